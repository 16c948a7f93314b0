//! A program and everything that it starts: one process group, which ends with its leader, its time or its owner, whichever is first.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use verso_kit::CancellationToken;

use crate::sandbox::Sandbox;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// How long output is still read after the group was ended: somebody else may hold the other end of the pipe.
const DRAIN: Duration = Duration::from_millis(500);

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The folder that it begins in.
    pub folder: PathBuf,
    /// Its whole environment.
    pub variables: BTreeMap<String, String>,
    /// What it may touch; none: whatever this process may.
    pub sandbox: Option<Sandbox>,
    /// What is to be run when it has ended.
    pub cleanup: Option<Cleanup>,
}

/// A program that puts things in order after another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleanup {
    /// Its file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// How much of its time and words a program gets.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// None: as long as it needs.
    pub timeout: Option<Duration>,
    /// Bytes of each output that are kept; the newest ones.
    pub output_bytes_max: usize,
}

/// How a program has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It took too long and was killed.
    TimedOut,
    /// Its owner has no use for it any more.
    Cancelled,
}

impl Ended {
    /// Returns the exit code, if there is one.
    pub fn code(self) -> Option<i32> {
        if let Self::Exited(code) = self { Some(code) } else { None }
    }
}

/// What a program has done.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// The end of what it said.
    pub stdout: String,
    /// The end of what it complained about.
    pub stderr: String,
}

/// A running process group. Dropping it kills the group.
#[derive(Debug)]
pub struct Group {
    leader: Child,
    pid: Pid,
    reaped: bool,
}

/// The ends of a program's pipes.
#[derive(Debug)]
pub struct Pipes {
    /// Open if the program is given input.
    pub stdin: Option<ChildStdin>,
    /// What it says.
    pub stdout: ChildStdout,
    /// What it complains about.
    pub stderr: ChildStderr,
}

impl Group {
    /// Starts a program with pipes; `input` says whether it is given any.
    pub async fn start(plan: &Plan, input: bool) -> io::Result<(Self, Pipes)> {
        let mut command = Command::new(&plan.program);
        command.args(&plan.arguments).current_dir(&plan.folder).env_clear().envs(&plan.variables);
        command.stdin(if input { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut leader = match &plan.sandbox {
            Some(sandbox) => sandbox.within(move || command.spawn()).await?,
            None => command.spawn()?,
        };
        let gone = || io::Error::other("the program's pipes are not there");
        let pipes = Pipes {
            stdin: leader.stdin.take(),
            stdout: leader.stdout.take().ok_or_else(gone)?,
            stderr: leader.stderr.take().ok_or_else(gone)?,
        };
        Ok((Self::of(leader)?, pipes))
    }

    /// Takes charge of a child that leads a process group of its own.
    pub fn of(leader: Child) -> io::Result<Self> {
        let pid = leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the program has ended already"))?;
        Ok(Self { leader, pid, reaped: false })
    }

    /// Returns the leader's process id, which is the group's.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Kills every process of the group. The leader is not reaped yet, so the number still means this group.
    pub fn kill(&self) {
        if !self.reaped
            && let Err(error) = kill_process_group(self.pid, Signal::KILL)
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "the process group is gone");
        }
    }

    /// Waits for the leader, then ends what it left behind.
    pub async fn wait(&mut self) -> io::Result<Ended> {
        use std::os::unix::process::ExitStatusExt as _;
        self.leader_ended().await;
        self.kill();
        let status = self.leader.wait().await?;
        self.reaped = true;
        Ok(status.code().map_or_else(|| Ended::Signalled(status.signal().unwrap_or_default()), Ended::Exited))
    }

    /// Waits until the leader has ended, without reaping it: its number cannot become another process's meanwhile.
    #[cfg(target_os = "linux")]
    #[allow(deprecated, reason = "sound for a descriptor that is owned here; what replaces it is unsafe to call")]
    async fn leader_ended(&self) {
        let opened = rustix::process::pidfd_open(self.pid, rustix::process::PidfdFlags::NONBLOCK);
        let watched =
            opened.map_err(io::Error::from).and_then(|fd| tokio::io::unix::AsyncFd::with_interest(fd, tokio::io::Interest::READABLE));
        match watched {
            Ok(fd) => drop(fd.readable().await),
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "the process cannot be watched"),
        }
    }

    /// Elsewhere the wait itself has to do.
    #[cfg(not(target_os = "linux"))]
    async fn leader_ended(&mut self) {
        let _ = self.leader.wait().await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program to its end, without input.
pub async fn run(plan: Plan, limits: Limits, cancelled: &CancellationToken) -> io::Result<Outcome> {
    let (mut group, pipes) = Group::start(&plan, false).await?;
    let (mut stdout, mut stderr) = (Tail::new(limits.output_bytes_max), Tail::new(limits.output_bytes_max));
    let ended = {
        let mut reading = std::pin::pin!(async { tokio::join!(stdout.fill(pipes.stdout), stderr.fill(pipes.stderr)) });
        let mut overdue = std::pin::pin!(overdue(limits.timeout));
        let mut waiting = std::pin::pin!(group.wait());
        let mut read = false;
        let ended = loop {
            tokio::select! {
                ended = &mut waiting => break ended,
                _ = &mut reading, if !read => read = true,
                () = &mut overdue => break Ok(Ended::TimedOut),
                () = cancelled.cancelled() => break Ok(Ended::Cancelled),
            }
        };
        if !read && matches!(ended, Ok(Ended::Exited(_) | Ended::Signalled(_))) && tokio::time::timeout(DRAIN, reading).await.is_err() {
            tracing::debug!("a program's output is still open after its end");
        }
        ended?
    };
    if matches!(ended, Ended::TimedOut | Ended::Cancelled) {
        group.kill();
        group.wait().await?;
    }
    Ok(Outcome { ended, stdout: stdout.text(), stderr: stderr.text() })
}

/// Waits until the time is over; for ever if there is no limit.
pub(crate) async fn overdue(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

/// The newest part of an output.
#[derive(Debug)]
struct Tail {
    bytes: Vec<u8>,
    bytes_max: usize,
    cut: usize,
}

impl Tail {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max, cut: 0 }
    }

    async fn fill(&mut self, mut output: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count @ 1..) = output.read(&mut buffer).await {
            self.bytes.extend_from_slice(&buffer[..count]);
            let over = self.bytes.len().saturating_sub(self.bytes_max);
            self.bytes.drain(..over);
            self.cut += over;
        }
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.cut == 0 { text.into_owned() } else { format!("[{} bytes before this were cut]\n{text}", self.cut) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Plan {
        Plan {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            folder: "/".into(),
            variables: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            sandbox: None,
            cleanup: None,
        }
    }

    fn limits(timeout_ms: u64) -> Limits {
        Limits { timeout: Some(Duration::from_millis(timeout_ms)), output_bytes_max: 64 }
    }

    fn alive(pid: &str) -> bool {
        // What has ended but was not reaped by whoever inherited it is not alive.
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn gone(pid: &str) {
        tokio::time::timeout(Duration::from_secs(5), async {
            while alive(pid) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn says_how_it_ended_and_keeps_the_newest_words() {
        let outcome = run(shell("echo out; echo err >&2; exit 3"), limits(10_000), &CancellationToken::new()).await.unwrap();
        assert_eq!((outcome.ended, outcome.stdout.as_str(), outcome.stderr.as_str()), (Ended::Exited(3), "out\n", "err\n"));
        let outcome = run(shell("printf 'a%.0s' $(seq 100); printf end"), limits(10_000), &CancellationToken::new()).await.unwrap();
        assert!(outcome.stdout.starts_with("[39 bytes before this were cut]") && outcome.stdout.ends_with("aend"), "{}", outcome.stdout);
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_ends_with_it() {
        let outcome = run(shell("sleep 1000 >/dev/null 2>&1 & echo $!"), limits(10_000), &CancellationToken::new()).await.unwrap();
        assert_eq!(outcome.ended, Ended::Exited(0));
        gone(&outcome.stdout).await;
    }

    #[tokio::test]
    async fn the_whole_group_ends_with_its_time_and_its_owner() {
        let outcome = run(shell("sleep 1000 & echo $!; wait"), limits(300), &CancellationToken::new()).await.unwrap();
        assert_eq!(outcome.ended, Ended::TimedOut);
        gone(&outcome.stdout).await;
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        let outcome = run(shell("sleep 1000"), limits(60_000), &cancelled).await.unwrap();
        assert_eq!(outcome.ended, Ended::Cancelled);
    }
}
