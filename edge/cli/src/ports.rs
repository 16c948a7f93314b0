//! Who listens on a TCP port of this machine.

#[cfg(not(target_os = "linux"))]
mod lsof;
#[cfg(target_os = "linux")]
mod procfs;

use std::io;
use std::net::SocketAddr;

use rustix::process::{Pid, Signal};
use serde::Serialize;

#[cfg(not(target_os = "linux"))]
use lsof as source;
#[cfg(target_os = "linux")]
use procfs as source;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listener {
    pub(crate) pid: i32,
    /// The name of its program.
    pub(crate) command: String,
    pub(crate) address: String,
    pub(crate) command_line: String,
    /// The process that started it.
    #[serde(skip)]
    pub(crate) parent: Option<i32>,
    /// When it started, in the system's own count: tells a reused pid apart.
    #[serde(skip)]
    pub(crate) started: Option<u64>,
}

/// What is known about a port.
#[derive(Debug, Default)]
pub(crate) struct Port {
    /// Where somebody listens.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Who, as far as we may know: other users' processes are hidden.
    pub(crate) listeners: Vec<Listener>,
}

impl Port {
    /// Looks at a port.
    pub(crate) fn inspect(number: u16) -> io::Result<Self> {
        source::inspect(number)
    }

    /// Whether somebody listens.
    pub(crate) fn is_busy(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Advises what to do about it, a line for each kind of listener.
    pub(crate) fn hints(&self) -> Vec<String> {
        let others = self.listeners.iter().any(|listener| !["verso", "openclaw", "ssh"].iter().any(|word| listener.is_like(word)));
        let mut hints = Vec::new();
        if let Some(gateway) = self.listeners.iter().find(|one| one.is_like("verso") || one.is_like("openclaw")) {
            hints.push(format!("Gateway already running locally. Stop it (kill {}) or use a different port.", gateway.pid));
        }
        if self.listeners.iter().any(|listener| listener.is_like("ssh")) {
            hints.push("SSH tunnel already bound to this port. Close the tunnel or use a different local port in -L.".to_owned());
        }
        if others || (self.is_busy() && self.listeners.is_empty()) {
            hints.push("Another process is listening on this port.".to_owned());
        }
        hints
    }
}

impl Listener {
    /// Says for people what it is.
    pub(crate) fn kind(&self) -> &'static str {
        if self.is_like("verso") || self.is_like("openclaw") {
            "a gateway"
        } else if self.is_like("ssh") {
            "an SSH tunnel"
        } else {
            "another program"
        }
    }

    fn is_like(&self, word: &str) -> bool {
        self.command_line.to_lowercase().contains(word)
    }

    /// Whether the process is still the one that was found.
    pub(crate) fn is_alive(&self) -> bool {
        source::started(self.pid) == self.started && self.signal(None).is_ok()
    }

    /// Sends a signal; none only asks whether one could be sent.
    pub(crate) fn signal(&self, signal: Option<Signal>) -> io::Result<()> {
        let pid = Pid::from_raw(self.pid).ok_or(io::ErrorKind::NotFound)?;
        match signal {
            Some(signal) => Ok(rustix::process::kill_process(pid, signal)?),
            None => Ok(rustix::process::test_kill_process(pid)?),
        }
    }
}
