//! The lock of the state folder.
//!
//! The lock is the kernel's (`flock`), so a dead holder leaves nothing to clean up; the text in the file is for people and for
//! the command line.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use verso_kit::clock::Clock;

use crate::error::Error;

const POLL: Duration = Duration::from_millis(100);

/// What the holder of a state folder says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The supervisor's process.
    pub pid: i32,
    /// When it took the lock, ISO 8601.
    pub created_at: String,
    /// Its config file.
    pub config_path: PathBuf,
    /// The folder of its sockets.
    pub run_dir: PathBuf,
    /// When the process started, in clock ticks since boot; tells a reused pid apart. Linux only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
}

impl Holder {
    /// Returns who holds the state folder now; none when nobody does.
    pub fn of(state_dir: &Path) -> Option<Self> {
        let mut file = File::open(path(state_dir)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => read(&mut file),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

/// A state folder that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    // Closing it releases the lock; children never inherit it.
    file: File,
}

impl Lock {
    /// Takes the lock, waiting `wait` for its holder to leave.
    pub(crate) async fn acquire(state_dir: &Path, wait: Duration, holder: &Holder) -> Result<Self, Error> {
        let path = path(state_dir);
        let failed = |source| Error::Lock { path: path.clone(), source };
        let deadline = Instant::now() + wait;
        loop {
            let mut file = open(&path).map_err(failed)?;
            match file.try_lock() {
                // A holder that left between our open and our lock has removed the file that we locked.
                Ok(()) if same_file(&file, &path) => {
                    write(&mut file, holder).map_err(failed)?;
                    return Ok(Self { path, file });
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(Error::AlreadyRunning { pid: read(&mut file).map(|held| held.pid), waited_ms: wait.as_millis() });
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL.min(wait)).await,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    }
}

impl Lock {
    /// Says which lock it is, for those who ask later whether it still counts.
    pub(crate) fn tenure(&self) -> io::Result<Tenure> {
        let found = self.file.metadata()?;
        Ok(Tenure { path: self.path.clone(), device: found.dev(), inode: found.ino() })
    }
}

/// Which lock is ours. A process that was paused while somebody else took the folder over finds another one there.
#[derive(Debug, Clone)]
pub(crate) struct Tenure {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Tenure {
    /// Whether the folder is still ours.
    pub(crate) fn holds(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Another's is not to be removed.
        if !same_file(&self.file, &self.path) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(error = &error as &dyn std::error::Error, "lock file not removed");
        }
    }
}

/// Describes this process.
pub(crate) fn this_process(config_path: &Path, run_dir: &Path, clock: &Clock) -> Holder {
    let created_at = Timestamp::from_millisecond(clock.now_ms()).unwrap_or_default().to_string();
    Holder {
        pid: rustix::process::getpid().as_raw_pid(),
        created_at,
        config_path: config_path.to_owned(),
        run_dir: run_dir.to_owned(),
        start_time: start_time(),
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("run").join("gateway.lock")
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => ours.dev() == theirs.dev() && ours.ino() == theirs.ino(),
        _ => false,
    }
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(holder)?)
}

/// Field 22 of the kernel's status line; the name before it may hold spaces, so count from its closing bracket.
fn start_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}
