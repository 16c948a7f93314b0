//! One adapter's process: started with as little as possible, listened to, and ended with everything that it started.

mod output;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin};
use tokio::time::{Instant, sleep, timeout};
use verso_kit::files;
use verso_kit::telemetry::Destination;
use verso_proto::adapter::v1::HelloResponse;

use crate::VERSION;
use crate::client::Client;
use crate::error::Error;
use crate::handover::Handover;
use crate::limits::Limits;
use output::Output;

/// How long a process may take from its start to its first answer.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is asked whether it serves yet.
const START_POLL: Duration = Duration::from_millis(25);

/// How long a process may take to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long the handover may take: a pipe holds far more than that.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// A program that is an adapter, and what it is for.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// What it may use.
    pub limits: Limits,
    /// This build's own program, which lays the limits on itself before it becomes the other.
    pub verso: PathBuf,
    /// The network's id.
    pub channel: String,
    /// The account.
    pub account: String,
    /// A folder of the account's own. Its process runs there.
    pub folder: PathBuf,
    /// A folder for sockets, which only we can look into.
    pub sockets: PathBuf,
    /// How long it may take to serve.
    pub start_timeout: Duration,
    /// Where its telemetry goes; none for programs of others.
    pub telemetry: Option<Destination>,
}

/// How a process ended, and the last thing that it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// `exit status 1`, `signal 9`.
    pub how: String,
    /// The last line of its output.
    pub last_words: Option<String>,
    /// Whether it ended as if all was well.
    pub clean: bool,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.last_words {
            Some(words) => write!(f, "{}: {words}", self.how),
            None => f.write_str(&self.how),
        }
    }
}

/// A running adapter. Dropping it kills the process and what it started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    output: Output,
    /// Closing it tells the process that we are gone.
    lifeline: Option<ChildStdin>,
    socket: PathBuf,
    client: Client,
    exit: Option<Exit>,
}

impl Program {
    /// Starts the process, and waits until it serves and speaks our version.
    pub async fn start(&self) -> Result<(Process, HelloResponse), Error> {
        let mut process = self.spawn().await?;
        let client = process.client.clone();
        let deadline = Instant::now() + self.start_timeout;
        let hello = async {
            loop {
                match client.hello().await {
                    Err(Error::Gone(_)) if Instant::now() < deadline => sleep(START_POLL).await,
                    Err(Error::Gone(_)) => return Err(Error::Late(self.start_timeout)),
                    answer => return answer,
                }
            }
        };
        let answer = tokio::select! {
            answer = hello => answer,
            exit = process.exited() => Err(Error::Ended(exit.to_string())),
            () = tokio::time::sleep_until(deadline) => Err(Error::Late(self.start_timeout)),
        };
        answer.map(|hello| (process, hello))
    }

    /// Starts the process without waiting for it.
    pub async fn spawn(&self) -> Result<Process, Error> {
        let created = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Create { path, source }
        };
        files::create_private_dir(&self.folder).map_err(created(&self.folder))?;
        files::create_private_dir(&self.sockets).map_err(created(&self.sockets))?;
        let name = uuid::Uuid::new_v4().simple().to_string();
        let socket = self.sockets.join(format!("{}.sock", name.get(..12).unwrap_or(&name)));
        let token = uuid::Uuid::new_v4().simple().to_string();
        let client = Client::unix(socket.clone(), &token)?;
        let failed = |source| Error::Start { program: self.command.first().cloned().unwrap_or_default(), source };
        let mut child = self.command().spawn().map_err(failed)?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = group.ok_or_else(|| failed(io::Error::other("the process ended before it was seen")))?;
        let told = Handover {
            contract: VERSION,
            socket: socket.clone(),
            token,
            channel: self.channel.clone(),
            account: self.account.clone(),
            folder: self.folder.clone(),
            telemetry: self.telemetry.clone(),
        };
        let output = Output::of(&mut child, &self.channel, &self.account);
        let mut lifeline = child.stdin.take();
        if let Some(lifeline) = &mut lifeline {
            let line = serde_json::to_string(&told).map(|line| format!("{line}\n")).map_err(|error| failed(io::Error::other(error)))?;
            // One that ended already, or does not read, is found out by what follows.
            drop(timeout(HANDOVER_TIMEOUT, lifeline.write_all(line.as_bytes())).await);
        }
        Ok(Process { child, group, output, lifeline, socket, client, exit: None })
    }

    fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.verso);
        let Limits { memory_mib, descriptors } = self.limits;
        let arguments = [format!("--memory-mib={memory_mib}"), format!("--descriptors={descriptors}")];
        command.arg("adapter-exec").args(arguments).arg(format!("--parent={}", rustix::process::getpid().as_raw_nonzero()));
        command.arg("--").args(self.command.iter().map(OsString::from));
        command.env_clear().envs(&self.environment).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command
    }
}

impl Process {
    /// Returns the way to call it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the process's id: that of the group of everything that it starts, too.
    pub fn id(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Waits until the process has ended, and passes on what it prints meanwhile. May be given up and called again.
    pub async fn exited(&mut self) -> Exit {
        if let Some(exit) = &self.exit {
            return exit.clone();
        }
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                () = self.output.pass_on() => {}
            }
        };
        // What it had started goes with it.
        self.kill_group();
        self.output.rest().await;
        let exit = described(status, self.output.last_words());
        self.exit = Some(exit.clone());
        exit
    }

    /// Asks the process to end, and kills it when it does not.
    pub async fn stop(&mut self) -> Exit {
        let client = self.client.clone();
        let asked = async {
            drop(client.stop().await);
            // An answer is no end.
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            exit = self.exited() => Some(exit),
            () = asked => None,
            () = sleep(STOP_TIMEOUT) => None,
        };
        match ended {
            Some(exit) => exit,
            None => self.kill().await,
        }
    }

    /// Lets the process believe that we are gone.
    pub(crate) fn cut_lifeline(&mut self) {
        self.lifeline = None;
    }

    /// Returns the way to call it with another token.
    pub(crate) fn client_with(&self, token: &str) -> Result<Client, Error> {
        Client::unix(self.socket.clone(), token)
    }

    /// Kills the process and what it started.
    pub async fn kill(&mut self) -> Exit {
        if self.exit.is_none() {
            self.kill_group();
        }
        self.exited().await
    }

    fn kill_group(&self) {
        match kill_process_group(self.group, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "an adapter could not be killed"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.is_none() {
            self.kill_group();
        }
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(%error, "a socket stays");
            }
            _ => {}
        }
    }
}

fn described(status: io::Result<ExitStatus>, last_words: Option<String>) -> Exit {
    let (how, clean) = match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => (format!("exit status {code}"), code == 0),
            (None, Some(signal)) => (format!("signal {signal}"), false),
            (None, None) => ("it ended".to_owned(), false),
        },
        Err(error) => (format!("it is lost: {error}"), false),
    };
    Exit { how, last_words: last_words.filter(|_| !clean), clean }
}
