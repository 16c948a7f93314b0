//! A small file system of its own for one folder of a test, which can be full.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory; it is gone when it is dropped.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Makes one at `path`; none where that is not allowed.
    pub fn at(path: &Path, kib: usize) -> Option<Self> {
        fs::create_dir_all(path).expect("a folder");
        let size = format!("size={kib}k,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { path: path.to_owned() });
        }
        #[allow(clippy::print_stderr, reason = "what is skipped is said")]
        {
            eprintln!("skipped: only root can make a file system");
        }
        None
    }

    /// Leaves no room.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.filler()).expect("a file");
        // Large pieces are quick; small ones leave nothing.
        for size in [1 << 20, 4 << 10, 1] {
            let piece = vec![0; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Gives the room back.
    pub fn empty(&self) {
        fs::remove_file(self.filler()).expect("a file less");
    }

    /// Lets nobody write any more, or again. Nobody may have a file open for writing.
    pub fn read_only(&self, read_only: bool) {
        let how = if read_only { "remount,ro" } else { "remount,rw" };
        let status = Command::new("mount").args(["-o", how]).arg(&self.path).status();
        assert!(status.expect("mount runs").success(), "{how}");
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Processes of the test may still have files open there.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}
