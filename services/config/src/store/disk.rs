//! What is asked of the disk, one system call after the other, so that tests can let any of them fail.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Only their owner reads and writes these files.
const MODE: u32 = 0o600;

/// The calls that change something, and reading.
pub trait Fs: Debug + Send + Sync {
    /// Reads a file.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// Creates an empty file that only its owner can read, in place of any that is there.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Appends to it.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
    /// Waits until its content is on the disk.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Gives it the place of another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Waits until the names in a folder are on the disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The real disk.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Fs for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        Ok(file)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// Replaces the file at `path`, or leaves it as it was: also when the machine stops in between. One writer at a time.
pub(super) fn write_whole(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let aside = aside(path);
    let prepared = fs.create(&aside).and_then(|mut file| {
        fs.write(&mut file, bytes)?;
        fs.sync(&file)
    });
    if let Err(error) = prepared.and_then(|()| fs.rename(&aside, path)) {
        // What cannot be removed either is replaced by the next write.
        drop(fs.remove(&aside));
        return Err(error);
    }
    fs.sync_folder(folder)
}

/// One name, so that what a crash leaves behind does not pile up.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}
