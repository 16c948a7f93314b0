//! What a program may touch: folders by Landlock, dangerous system calls and sockets by seccomp. Both bind the thread that starts the
//! program, and with it everything that the program starts.

use std::io;
use std::path::{Path, PathBuf};

pub mod container;
#[cfg(target_os = "linux")]
mod linux;
pub mod wrapper;

/// Where programs and their data are that every program may read.
const SYSTEM_FOLDERS: [&str; 12] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/proc", "/sys", "/nix", "/run/systemd/resolve"];

/// Devices that are nobody's. Folders for temporary files are everybody's: a program is given one of its own.
const DEVICES: [&str; 7] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts"];

/// What a program may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    network: bool,
}

/// What the agent's own folder is to a program in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceAccess {
    /// It is not there.
    None,
    /// It can be read.
    ReadOnly,
    /// It can be changed.
    ReadWrite,
}

/// How well this host can enforce it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// All of it.
    Full,
    /// The kernel is older than some of it.
    Partial,
    /// Nothing of it.
    None,
}

impl Sandbox {
    /// Describes a sandbox around `workspace`; `network` says whether programs may connect to anything.
    pub fn new(workspace: &Path, access: WorkspaceAccess, network: bool) -> Self {
        let (mut readable, mut writable): (Vec<PathBuf>, Vec<PathBuf>) =
            (SYSTEM_FOLDERS.iter().map(PathBuf::from).collect(), DEVICES.iter().map(PathBuf::from).collect());
        match access {
            WorkspaceAccess::None => {}
            WorkspaceAccess::ReadOnly => readable.push(workspace.to_owned()),
            WorkspaceAccess::ReadWrite => writable.push(workspace.to_owned()),
        }
        Self { readable, writable, network }
    }

    /// Returns how well this host can enforce a sandbox. Asks the kernel, on a thread that ends with the question.
    pub async fn strength() -> Strength {
        let nothing = Self { readable: Vec::new(), writable: Vec::new(), network: false };
        on_own_thread(move || Ok(nothing.enter())).await.unwrap_or(Strength::None)
    }

    /// Calls `start` on a thread that is in the sandbox. Refuses when nothing of the sandbox can be enforced.
    pub(crate) async fn within<T: Send + 'static>(&self, start: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let sandbox = self.clone();
        on_own_thread(move || match sandbox.enter() {
            Strength::None => Err(io::Error::other("this host cannot enforce a sandbox")),
            Strength::Full | Strength::Partial => start(),
        })
        .await
    }

    #[cfg(target_os = "linux")]
    fn enter(&self) -> Strength {
        linux::enter(self)
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unused_self, reason = "there is nothing to enforce it with")]
    fn enter(&self) -> Strength {
        Strength::None
    }
}

/// Calls `work` on a thread of its own, because what it does to its thread cannot be undone.
async fn on_own_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (answer, result) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
        let _inside = runtime.enter();
        // Whoever asked may have gone; then nobody needs the answer.
        drop(answer.send(work()));
    })?;
    result.await.map_err(|_| io::Error::other("the sandbox's thread died"))?
}

#[cfg(test)]
mod other_tests;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
