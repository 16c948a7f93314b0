//! A folder that paths cannot leave. The kernel follows them, one step at a time, from a handle of the folder: a link that leads out,
//! or is put there meanwhile, is refused.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// Why a path was refused.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It leads out of the folder.
    #[error("{0} is outside the workspace")]
    Outside(String),
    /// It names no file.
    #[error("{0} is not the path of a file")]
    NoFile(String),
    /// There is nothing.
    #[error("{0} does not exist")]
    Missing(String),
    /// There is more than fits.
    #[error("{path} is larger than {max} bytes")]
    TooLarge {
        /// The path.
        path: String,
        /// The limit.
        max: u64,
    },
    /// The operating system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: String,
        /// What it said.
        source: std::io::Error,
    },
}

/// A folder that paths cannot leave.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
}

impl Place {
    /// Paths are below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads a file of at most so many bytes.
    pub fn read(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, Problem> {
        let inner = self.inner(path)?;
        let fail = |error: Errno| problem(path, error);
        let file = File::from(self.open(&inner, OFlags::RDONLY | OFlags::NONBLOCK).map_err(fail)?);
        let io = |source| Problem::Io { path: path.to_owned(), source };
        let found = file.metadata().map_err(io)?;
        if !found.is_file() {
            return Err(Problem::NoFile(path.to_owned()));
        }
        // With room for all of it, and one byte to see its end, there is one read instead of a dozen.
        let room = found.len().min(bytes_max) + 1;
        let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > bytes_max {
            return Err(Problem::TooLarge { path: path.to_owned(), max: bytes_max });
        }
        Ok(bytes)
    }

    /// Writes a whole file, or nothing; folders on the way are made.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Problem> {
        let inner = self.inner(path)?;
        let fail = |error: Errno| problem(path, error);
        let (folder, name) = self.parent(&inner, true).map_err(fail)?.ok_or_else(|| Problem::NoFile(path.to_owned()))?;
        // What is there may be a link or a folder: neither is replaced.
        let mode = match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if !rustix::fs::FileType::from_raw_mode(found.st_mode).is_file() => return Err(Problem::NoFile(path.to_owned())),
            Ok(found) => Mode::from_raw_mode(found.st_mode & 0o777),
            Err(Errno::NOENT) => Mode::from_raw_mode(0o644),
            Err(error) => return Err(fail(error)),
        };
        let draft = OsString::from(format!(".verso-{}", uuid::Uuid::new_v4().simple()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&folder, &draft, flags, mode).map_err(fail)?);
        let written = file.write_all(bytes).and_then(|()| file.sync_data()).map_err(|source| Problem::Io { path: path.to_owned(), source });
        let moved = written.and_then(|()| rustix::fs::renameat(&folder, &draft, &folder, &name).map_err(fail));
        if moved.is_err() {
            // What is left of the draft is nobody's; that it could not be removed either adds nothing.
            if let Err(error) = rustix::fs::unlinkat(&folder, &draft, AtFlags::empty()) {
                tracing::debug!(error = &error as &dyn std::error::Error, "a draft is left");
            }
        }
        moved
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> Result<(), Problem> {
        let inner = self.inner(path)?;
        let fail = |error: Errno| problem(path, error);
        let (folder, name) = self.parent(&inner, false).map_err(fail)?.ok_or_else(|| Problem::NoFile(path.to_owned()))?;
        rustix::fs::unlinkat(&folder, &name, AtFlags::empty()).map_err(fail)
    }

    /// Returns the path below the folder.
    fn inner(&self, path: &str) -> Result<PathBuf, Problem> {
        let outside = || Problem::Outside(path.to_owned());
        let wanted = Path::new(path.trim());
        let relative = if wanted.is_absolute() {
            let real = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
            wanted.strip_prefix(&self.root).or_else(|_| wanted.strip_prefix(&real)).map_err(|_| outside())?
        } else {
            wanted
        };
        let mut inner = PathBuf::new();
        for part in relative.components() {
            match part {
                Component::Normal(name) => inner.push(name),
                Component::CurDir => {}
                // Resolved here only where it cannot matter what the part before it is.
                Component::ParentDir if inner.pop() => {}
                _ => return Err(outside()),
            }
        }
        if inner.as_os_str().is_empty() { Err(Problem::NoFile(path.to_owned())) } else { Ok(inner) }
    }

    fn handle(&self) -> Result<OwnedFd, Errno> {
        rustix::fs::open(&self.root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    #[cfg(target_os = "linux")]
    fn open(&self, inner: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(self.handle()?, inner, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Elsewhere no link is followed at all.
    #[cfg(not(target_os = "linux"))]
    fn open(&self, inner: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut folder = self.handle()?;
        let parts: Vec<_> = inner.components().collect();
        let (last, above) = parts.split_last().ok_or(Errno::NOENT)?;
        for part in above {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            folder = rustix::fs::openat(&folder, part.as_os_str(), flags, Mode::empty())?;
        }
        rustix::fs::openat(&folder, last.as_os_str(), flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// Returns the folder of a file, made if it is to be, and the file's name.
    fn parent(&self, inner: &Path, make: bool) -> Result<Option<(OwnedFd, OsString)>, Errno> {
        let (Some(above), Some(name)) = (inner.parent(), inner.file_name()) else { return Ok(None) };
        let mut walked = PathBuf::new();
        let mut folder = self.handle()?;
        for part in above.components() {
            walked.push(part);
            folder = match self.open(&walked, OFlags::RDONLY | OFlags::DIRECTORY) {
                Err(Errno::NOENT) if make => {
                    rustix::fs::mkdirat(&folder, part.as_os_str(), Mode::from_raw_mode(0o755))?;
                    self.open(&walked, OFlags::RDONLY | OFlags::DIRECTORY)?
                }
                other => other?,
            };
        }
        Ok(Some((folder, name.to_owned())))
    }
}

fn problem(path: &str, error: Errno) -> Problem {
    match error {
        Errno::XDEV | Errno::LOOP => Problem::Outside(path.to_owned()),
        Errno::NOENT | Errno::NOTDIR => Problem::Missing(path.to_owned()),
        Errno::ISDIR => Problem::NoFile(path.to_owned()),
        other => Problem::Io { path: path.to_owned(), source: other.into() },
    }
}
