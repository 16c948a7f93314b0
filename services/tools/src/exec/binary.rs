//! The file behind a program's name, so that what was approved is what is started.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use verso_kit::config::Env;

use crate::skills::find_program;

/// The file behind a program's name, as it was when somebody looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Where the search path finds it.
    pub found: PathBuf,
    /// Where that leads, links followed.
    pub real: PathBuf,
    /// Which file it is, and when it last changed: replaced or edited, it is another one.
    identity: [u64; 6],
}

impl Binary {
    /// Finds the file that `name` means in `folder`.
    pub fn find(name: &str, folder: &Path, env: &Env) -> Option<Self> {
        let found = if name.contains('/') { folder.join(name) } else { find_program(name, env)? };
        let real = found.canonicalize().ok()?;
        if !crate::skills::executable(&real) {
            return None;
        }
        Some(Self { identity: identity(&real)?, found, real })
    }

    /// Whether the file is still the one that was looked at.
    pub fn unchanged(&self) -> bool {
        self.found.canonicalize().is_ok_and(|real| real == self.real) && identity(&self.real) == Some(self.identity)
    }
}

/// Says which file a path leads to, and in which state: device, inode, size, and both times of change.
pub(super) fn identity(path: &Path) -> Option<[u64; 6]> {
    let found = path.metadata().ok()?;
    let change = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()].map(i64::cast_unsigned);
    let [modified, modified_ns, changed, changed_ns] = change;
    Some([found.dev(), found.ino(), found.size(), modified ^ modified_ns.rotate_left(32), changed, changed_ns])
}
