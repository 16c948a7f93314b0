//! One running process.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio_util::sync::CancellationToken;

/// A child process and what it started. Dropping it kills the child.
#[derive(Debug)]
pub(crate) struct Process {
    child: tokio::process::Child,
    pid: Pid,
    pub(crate) epoch: u64,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit(String);

impl Exit {
    /// Adds why we ended it.
    pub(crate) fn because(self, why: &str) -> Self {
        Self(format!("{} ({why})", self.0))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Result<ExitStatus>> for Exit {
    fn from(status: io::Result<ExitStatus>) -> Self {
        Self(match status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "ended".to_owned(),
            },
            Err(error) => format!("lost: {error}"),
        })
    }
}

impl Process {
    /// Wraps a child that leads a process group of its own.
    pub(crate) fn new(child: tokio::process::Child, epoch: u64) -> io::Result<Self> {
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.ok_or_else(|| io::Error::other("the child ended before it was seen"))?;
        Ok(Self { child, pid, epoch })
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> i64 {
        i64::from(self.pid.as_raw_pid())
    }

    /// Waits for the end. May be cancelled and called again.
    pub(crate) async fn exit(&mut self) -> Exit {
        let status = self.child.wait().await;
        // Tools that the service had started go with it.
        self.signal_group(Signal::KILL);
        status.into()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) {
        // Once the child was waited for, its number may belong to somebody else.
        if self.child.id().is_some() {
            report(kill_process(self.pid, signal));
        }
    }

    /// Asks the process to stop, and kills it when it has not within `drain` or when `at_once` is triggered.
    pub(crate) async fn stop(&mut self, drain: Duration, at_once: &CancellationToken) -> Exit {
        self.end(Signal::TERM, drain, at_once).await
    }

    /// The same, for a process whose successor serves already: it can tell its clients to come back at once.
    pub(crate) async fn retire(&mut self, drain: Duration, at_once: &CancellationToken) -> Exit {
        self.end(Signal::USR1, drain, at_once).await
    }

    async fn end(&mut self, signal: Signal, drain: Duration, at_once: &CancellationToken) -> Exit {
        self.signal(signal);
        let why = tokio::select! {
            biased;
            exit = self.exit() => return exit,
            () = at_once.cancelled() => "stopped at once",
            () = tokio::time::sleep(drain) => "did not stop in time",
        };
        self.kill().await.because(why)
    }

    /// Kills the process and what it started.
    pub(crate) async fn kill(&mut self) -> Exit {
        if self.child.id().is_some() {
            self.signal_group(Signal::KILL);
        }
        self.exit().await
    }

    fn signal_group(&self, signal: Signal) {
        report(kill_process_group(self.pid, signal));
    }
}

fn report(result: rustix::io::Result<()>) {
    match result {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "signal not delivered"),
    }
}
