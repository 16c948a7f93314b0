//! A program that goes on while the model does something else: its newest output, its input, and its end.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use verso_kit::CancellationToken;

use super::child::{self, Cleanup, Ended, Group, Limits, Plan, overdue};

/// Bytes of output that are kept: the newest.
const OUTPUT_BYTES_MAX: usize = 200_000;

/// Bytes that are read at once.
const READ_BYTES: usize = 8 << 10;

/// Pieces of input that may wait until the program reads them.
const INPUT_QUEUE: usize = 64;

/// How long it may take to put things in order after a program.
const CLEANUP: Duration = Duration::from_secs(10);

/// How long output is still read after the end.
const DRAIN: Duration = Duration::from_millis(300);

/// The size of a terminal, in characters.
const TERMINAL: (u16, u16) = (40, 120);

type Output = Box<dyn AsyncRead + Send + Unpin>;
type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// A program that was started. Everybody who holds it sees the same.
#[derive(Debug)]
pub struct Job {
    /// What the model calls it.
    pub id: String,
    /// Whose it is; others do not see it.
    pub agent: String,
    /// The command line.
    pub command: String,
    /// The folder that it began in.
    pub folder: String,
    /// The process group.
    pub pid: i32,
    started: Instant,
    output: Mutex<Ring>,
    end: watch::Sender<Option<(Ended, Duration)>>,
    input: mpsc::Sender<Option<Vec<u8>>>,
    stop: CancellationToken,
}

/// What is needed to watch a job from its own task.
pub(super) struct Running {
    group: Group,
    outputs: Vec<Output>,
    input: Option<Input>,
    orders: mpsc::Receiver<Option<Vec<u8>>>,
    timeout: Option<Duration>,
    cleanup: Option<(Cleanup, Plan)>,
}

/// What is to become a job.
#[derive(Debug)]
pub struct Order {
    /// What is run.
    pub plan: Plan,
    /// Whose it is.
    pub agent: String,
    /// The command line, for lists.
    pub command: String,
    /// Whether it is given a terminal.
    pub terminal: bool,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

#[derive(Debug, Default)]
struct Ring {
    bytes: Vec<u8>,
    /// Where in `bytes` begins what nobody has polled.
    unread: usize,
    /// How much is gone from the beginning.
    cut: usize,
}

impl Job {
    /// Starts a program.
    pub(super) async fn start(id: String, order: Order) -> io::Result<(Arc<Self>, Running)> {
        let (group, outputs, input) = if order.terminal { terminal(&order.plan).await? } else { pipes(&order.plan).await? };
        let (sender, orders) = mpsc::channel(INPUT_QUEUE);
        let job = Arc::new(Self {
            id,
            agent: order.agent,
            command: order.command,
            folder: order.plan.folder.display().to_string(),
            pid: group.pid(),
            started: Instant::now(),
            output: Mutex::default(),
            end: watch::Sender::new(None),
            input: sender,
            stop: CancellationToken::new(),
        });
        let cleanup = order.plan.cleanup.clone().map(|cleanup| (cleanup, order.plan));
        Ok((job, Running { group, outputs, input, orders, timeout: order.timeout, cleanup }))
    }

    /// Returns how it ended and how long it took, if it has ended.
    pub fn ended(&self) -> Option<(Ended, Duration)> {
        *self.end.borrow()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> (Ended, Duration) {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.map(|end| *end);
        // The sender is in `self`.
        ended.ok().flatten().unwrap_or((Ended::Cancelled, Duration::ZERO))
    }

    /// Ends it and everything that it has started.
    pub fn kill(&self) {
        self.stop.cancel();
    }

    /// Gives it input. Returns false if it reads none, or not fast enough.
    pub fn write(&self, input: Vec<u8>) -> bool {
        self.ended().is_none() && self.input.try_send(Some(input)).is_ok()
    }

    /// Ends its input.
    pub fn close_input(&self) -> bool {
        self.input.try_send(None).is_ok()
    }

    /// Returns the newest output, at most so many characters of it.
    pub fn tail(&self, chars_max: usize) -> String {
        let ring = self.ring();
        let text = String::from_utf8_lossy(&ring.bytes);
        let count = text.chars().count();
        let newest: String = text.chars().skip(count.saturating_sub(chars_max)).collect();
        let cut = ring.cut > 0 || count > chars_max;
        if cut { format!("[earlier output was cut]\n{newest}") } else { newest }
    }

    /// Returns what has come since somebody last asked.
    pub fn poll(&self) -> String {
        let mut ring = self.ring();
        let text = String::from_utf8_lossy(&ring.bytes[ring.unread..]).into_owned();
        ring.unread = ring.bytes.len();
        text
    }

    /// Returns how long it has been running, or has run.
    pub fn age(&self) -> Duration {
        self.ended().map_or_else(|| self.started.elapsed(), |(_, duration)| duration)
    }

    /// Returns how long ago it ended.
    pub(super) fn since_end(&self) -> Option<Duration> {
        self.ended().map(|(_, duration)| self.started.elapsed().saturating_sub(duration))
    }

    /// Forgets the output so far.
    pub fn clear(&self) {
        *self.ring() = Ring::default();
    }

    fn add(&self, bytes: &[u8]) {
        let mut ring = self.ring();
        ring.bytes.extend_from_slice(bytes);
        let over = ring.bytes.len().saturating_sub(OUTPUT_BYTES_MAX);
        ring.bytes.drain(..over);
        ring.cut += over;
        ring.unread = ring.unread.saturating_sub(over);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, mut output: Output) {
        let mut buffer = vec![0; READ_BYTES];
        // A terminal whose program has gone answers with an error.
        while let Ok(count @ 1..) = output.read(&mut buffer).await {
            self.add(&buffer[..count]);
        }
    }
}

impl Running {
    /// Follows a job to its end. Triggered, `shutdown` ends it.
    pub(super) async fn follow(mut self, job: &Job, shutdown: &CancellationToken) {
        let outputs = std::mem::take(&mut self.outputs);
        let mut reading = std::pin::pin!(futures_util::future::join_all(outputs.into_iter().map(|output| job.read(output))));
        let mut overdue = std::pin::pin!(overdue(self.timeout));
        let mut feeding = std::pin::pin!(feed(self.input.take(), self.orders));
        let mut group = self.group;
        let (mut read, mut fed) = (false, false);
        let ended = loop {
            tokio::select! {
                ended = group.wait() => break ended,
                _ = &mut reading, if !read => read = true,
                () = &mut feeding, if !fed => fed = true,
                () = &mut overdue => break Ok(Ended::TimedOut),
                () = job.stop.cancelled() => break Ok(Ended::Cancelled),
                () = shutdown.cancelled() => break Ok(Ended::Cancelled),
            }
        };
        if let Ok(Ended::TimedOut | Ended::Cancelled) = ended {
            group.kill();
            if let Err(error) = group.wait().await {
                tracing::warn!(pid = job.pid, error = &error as &dyn std::error::Error, "could not wait for a killed program");
            }
        }
        if !read && tokio::time::timeout(DRAIN, reading).await.is_err() {
            tracing::debug!(pid = job.pid, "a program's output is still open after its end");
        }
        let ended = ended.unwrap_or_else(|error| {
            tracing::warn!(pid = job.pid, error = &error as &dyn std::error::Error, "could not wait for a program");
            Ended::Cancelled
        });
        if let Some((Cleanup { program, arguments }, plan)) = self.cleanup.take() {
            let plan = Plan { program, arguments, sandbox: None, cleanup: None, ..plan };
            let limits = Limits { timeout: Some(CLEANUP), output_bytes_max: 1 << 10 };
            if let Err(error) = child::run(plan, limits, &CancellationToken::new()).await {
                tracing::warn!(
                    pid = job.pid,
                    error = &error as &dyn std::error::Error,
                    "what a program leaves behind could not be put in order"
                );
            }
        }
        job.end.send_replace(Some((ended, job.started.elapsed())));
    }
}

async fn feed(mut input: Option<Input>, mut orders: mpsc::Receiver<Option<Vec<u8>>>) {
    while let Some(Some(bytes)) = orders.recv().await {
        let Some(writer) = &mut input else { continue };
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

async fn pipes(plan: &Plan) -> io::Result<(Group, Vec<Output>, Option<Input>)> {
    let (group, pipes) = Group::start(plan, true).await?;
    let input = pipes.stdin.map(|stdin| Box::new(stdin) as Input);
    Ok((group, vec![Box::new(pipes.stdout), Box::new(pipes.stderr)], input))
}

async fn terminal(plan: &Plan) -> io::Result<(Group, Vec<Output>, Option<Input>)> {
    let (pty, pts) = pty_process::open().map_err(io::Error::other)?;
    pty.resize(pty_process::Size::new(TERMINAL.0, TERMINAL.1)).map_err(io::Error::other)?;
    let command =
        pty_process::Command::new(&plan.program).args(&plan.arguments).current_dir(&plan.folder).env_clear().envs(&plan.variables);
    let command = command.env("TERM", "xterm-256color").kill_on_drop(true);
    // It leads a session of its own, and with it a process group.
    let start = move || command.spawn(pts).map_err(io::Error::other);
    let leader = match &plan.sandbox {
        Some(sandbox) => sandbox.within(start).await?,
        None => start()?,
    };
    let (output, input) = pty.into_split();
    Ok((Group::of(leader)?, vec![Box::new(output)], Some(Box::new(input))))
}
