//! What an adapter's process may use.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;

use rustix::process::{Resource, Rlimit, setrlimit};

/// What the kernel may end first when memory is short: from -1000 to 1000.
#[cfg(target_os = "linux")]
const OOM_SCORE: &str = "500";

/// What one process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory that it writes to, in MiB.
    pub memory_mib: u64,
    /// Open files and sockets.
    pub descriptors: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_mib: 512, descriptors: 1_024 }
    }
}

impl Limits {
    /// Lays the limits on this process for good.
    fn apply(self) -> io::Result<()> {
        let fixed = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
        setrlimit(Resource::Nofile, fixed(self.descriptors))?;
        // Not the address space: runtimes reserve far more of that than they use.
        setrlimit(Resource::Data, fixed(self.memory_mib.saturating_mul(1 << 20)))?;
        // A dump of its memory would hold its account's secrets.
        setrlimit(Resource::Core, fixed(0))?;
        #[cfg(target_os = "linux")]
        if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
            tracing::debug!(%error, "the kernel is not told whom to end first");
        }
        Ok(())
    }

    /// Becomes the program `words`, within the limits and not for longer than the process `parent` lives. Returns why it could not.
    pub fn exec(self, parent: i32, words: &[OsString]) -> io::Error {
        let Some((program, arguments)) = words.split_first() else { return io::Error::other("there is no program to start") };
        if let Err(error) = self.apply().and_then(|()| end_with(parent)) {
            return error;
        }
        std::process::Command::new(program).args(arguments).exec()
    }
}

/// Has the kernel end this process together with its parent.
fn end_with(parent: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have gone before the signal was asked for.
    let current = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
    if current.is_some_and(|current| current.get() == parent) { Ok(()) } else { Err(io::Error::other("the channel service is gone")) }
}
