//! Opening a file below the folder, and nothing else.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::route::Place;

/// The page of a folder.
const INDEX: &str = "index.html";

/// The folder whose files are served.
#[derive(Debug, Clone)]
pub(crate) struct Root(Arc<PathBuf>);

/// A file that is open, and so cannot become another one.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: OwnedFd,
    /// What it is called.
    pub(crate) name: String,
}

impl Root {
    /// Serves the files of `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(Arc::new(path))
    }

    /// Returns where the folder is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Opens the file at `place`, or the page of the folder there; none when there is neither. It blocks.
    ///
    /// Each name is opened relative to the folder before it and must not be a link, so neither a link nor a change of the folder
    /// meanwhile leads outside. The folder itself may be a link: its owner named it.
    pub(crate) fn open(&self, place: &Place) -> io::Result<Option<Opened>> {
        match self.walk(place) {
            Ok(opened) => Ok(opened),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::NAMETOOLONG | Errno::NXIO | Errno::MLINK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn walk(&self, place: &Place) -> Result<Option<Opened>, Errno> {
        let mut folder = openat(CWD, self.path(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let Some((last, before)) = place.names.split_last() else { return page(&folder) };
        for name in before {
            folder = step(&folder, name, OFlags::DIRECTORY)?;
        }
        // A pipe would keep us waiting for its other end.
        let found = step(&folder, last, OFlags::NONBLOCK)?;
        match kind(&found)? {
            FileType::RegularFile if !place.folder => Ok(Some(Opened { file: found, name: last.clone() })),
            FileType::Directory => page(&found),
            _ => Ok(None),
        }
    }
}

/// Creates the folder when it is missing; true when it holds nothing that is not hidden. It blocks.
pub(crate) fn prepare(path: &Path) -> io::Result<bool> {
    std::fs::create_dir_all(path)?;
    for entry in std::fs::read_dir(path)? {
        if !entry?.file_name().as_encoded_bytes().starts_with(b".") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn page(folder: &OwnedFd) -> Result<Option<Opened>, Errno> {
    let file = step(folder, INDEX, OFlags::NONBLOCK)?;
    let regular = kind(&file)? == FileType::RegularFile;
    Ok(regular.then(|| Opened { file, name: INDEX.to_owned() }))
}

fn step(folder: &OwnedFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(folder, name, flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn kind(file: &OwnedFd) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode))
}
