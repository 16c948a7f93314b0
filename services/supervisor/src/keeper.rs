//! Keeps one service running: start, ready, watch, restart, stop.

mod replace;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use verso_kit::tasks::Tasks;

use crate::board::{Board, State};
use crate::budget::{Budget, Verdict};
use crate::config::Limits;
use crate::epochs::Epochs;
use crate::error::Error;
use crate::launch::{Inheritance, Launcher};
use crate::pace::{Pace, Paces};
use crate::probe::Probe;
use crate::process::{Exit, Process};
use crate::service_name::ServiceName;
use crate::sockets::Control;

/// What all keepers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) launcher: Launcher,
    pub(crate) epochs: Epochs,
    pub(crate) board: Board,
    pub(crate) limits: Limits,
    pub(crate) paces: Paces,
    pub(crate) tasks: Tasks,
    /// Triggered when nothing may take time any more.
    pub(crate) at_once: CancellationToken,
}

/// Who waits for a restart: hears that the service serves, or why not.
pub(crate) type Waiter = oneshot::Sender<Result<(), String>>;

/// What a keeper can be asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Replace the process.
    Restart(Waiter),
    /// Tell the process to read its configuration again.
    Reload,
    /// Stop the process, and start no other until a restart is asked for.
    Drain {
        /// How long it may take; none: as long as any stop.
        deadline: Option<Duration>,
        waiter: Waiter,
    },
    /// Replace the process of this incarnation, which uses more than it may.
    Recycle { epoch: u64, why: String, waiter: Waiter },
    /// Kill the process of this incarnation, which uses far more than it may.
    End { epoch: u64, why: String },
}

/// The sockets of one service. They outlive its processes.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) control: Control,
    pub(crate) ports: Vec<(&'static str, TcpListener)>,
}

/// Looks after one service.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) name: ServiceName,
    pub(crate) shared: Arc<Shared>,
    pub(crate) sockets: Sockets,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Triggered to stop the service for good.
    pub(crate) stop: CancellationToken,
    pub(crate) budget: Budget,
    pub(crate) waiters: Vec<Waiter>,
    /// Why the process is being replaced, when nobody has asked for it.
    pub(crate) excess: Option<String>,
}

/// Why an incarnation is over.
enum Ended {
    Stopped,
    Restarting,
    Drained,
    Failed { why: String, served: Duration },
}

/// How the wait for a new process went.
enum Readiness {
    Ready,
    Stopping,
    Ended(Exit),
}

/// Why the watch over a serving process is over.
enum Watched {
    Restart,
    Drain(Option<Duration>),
    Stopping,
    Ended(Exit),
}

impl Keeper {
    /// Keeps the service running until it is told to stop. The first process carries `epoch`.
    pub(crate) async fn run(mut self, epoch: u64) {
        let mut epoch = Some(epoch);
        while !self.stop.is_cancelled() {
            let ended = match self.start(epoch.take()).await {
                Ok(process) => self.attend(process).await,
                Err(error) => Ended::Failed { why: words(&error), served: Duration::ZERO },
            };
            match ended {
                Ended::Stopped => break,
                Ended::Restarting => {}
                Ended::Drained => self.stay_down().await,
                Ended::Failed { why, served } => self.rest(why, served).await,
            }
        }
    }

    async fn start(&mut self, epoch: Option<u64>) -> Result<Process, Error> {
        let epoch = match epoch {
            Some(epoch) => epoch,
            None => self.shared.epochs.mint(self.name).await?,
        };
        let inherits = Inheritance { control: &self.sockets.control, ports: &self.sockets.ports, replaced: None };
        let process = self.shared.launcher.start(self.name, epoch, &inherits).await?;
        self.shared.board.update(self.name, |entry| {
            entry.state = State::Starting;
            entry.starts += 1;
            (entry.pid, entry.epoch) = (Some(process.pid()), epoch);
            (entry.serving_since, entry.retry_at) = (None, None);
        });
        info!(service = %self.name, epoch, pid = process.pid(), "service started");
        Ok(process)
    }

    /// Sees a process (and, for a service that overlaps, those that replace it) through to its end.
    async fn attend(&mut self, mut process: Process) -> Ended {
        match self.until_ready(&mut process, &self.sockets.control).await {
            Readiness::Ready => {}
            Readiness::Stopping => return self.halt(process, None, Ended::Stopped).await,
            Readiness::Ended(exit) => return Ended::Failed { why: exit.to_string(), served: Duration::ZERO },
        }
        let mut since = self.serves(&process);
        loop {
            match self.watch(&mut process).await {
                Watched::Stopping => return self.halt(process, None, Ended::Stopped).await,
                Watched::Drain(deadline) => return self.halt(process, deadline, Ended::Drained).await,
                Watched::Ended(exit) => return Ended::Failed { why: exit.to_string(), served: since.elapsed() },
                Watched::Restart if !self.name.overlaps() => return self.halt(process, None, Ended::Restarting).await,
                Watched::Restart => match self.successor(process.pid()).await {
                    Ok(next) => {
                        let previous = std::mem::replace(&mut process, next);
                        since = self.serves(&process);
                        self.retire(previous);
                    }
                    Err(why) => {
                        warn!(service = %self.name, why, "not replaced; the previous process stays");
                        self.excess = None;
                        self.answer(&Err(why));
                    }
                },
            }
        }
    }

    /// Waits until the process behind `control` serves.
    async fn until_ready(&self, process: &mut Process, control: &Control) -> Readiness {
        let limits = &self.shared.limits;
        let probe = Probe::new(control.path());
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Readiness::Stopping,
            exit = process.exit() => Readiness::Ended(exit),
            () = probe.ready(limits) => Readiness::Ready,
            () = sleep(limits.start_timeout) => Readiness::Ended(process.kill().await.because("did not get ready in time")),
        }
    }

    /// How quickly the service is started again.
    fn pace(&self) -> Pace {
        self.shared.paces.get(self.name)
    }

    /// Publishes that the process serves.
    fn serves(&mut self, process: &Process) -> Instant {
        let (now, left) = (Instant::now(), self.budget.left(&self.pace()));
        self.shared.board.update(self.name, |entry| {
            entry.state = State::Serving;
            (entry.pid, entry.epoch) = (Some(process.pid()), process.epoch);
            (entry.serving_since, entry.latency) = (Some(now), None);
            entry.failures_left = left;
        });
        info!(service = %self.name, epoch = process.epoch, "service serving");
        self.answer(&Ok(()));
        now
    }

    /// Watches a serving process until something is to be done about it.
    async fn watch(&mut self, process: &mut Process) -> Watched {
        let probe = Probe::new(self.sockets.control.path());
        let (shared, name) = (Arc::clone(&self.shared), self.name);
        let hung = probe.unanswered(&shared.limits, |latency| shared.board.note(name, |entry| entry.latency = Some(latency)));
        tokio::pin!(hung);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Watched::Stopping,
                exit = process.exit() => return Watched::Ended(exit),
                () = &mut hung => return Watched::Ended(process.kill().await.because("did not answer health checks")),
                Some(command) = self.commands.recv() => match command {
                    Command::Reload => process.signal(Signal::HUP),
                    Command::Restart(waiter) => {
                        self.waiters.push(waiter);
                        self.budget.forget();
                        self.shared.board.update(self.name, |entry| entry.failures = 0);
                        return Watched::Restart;
                    }
                    Command::Drain { deadline, waiter } => {
                        self.waiters.push(waiter);
                        return Watched::Drain(deadline);
                    }
                    Command::Recycle { epoch, why, waiter } if epoch == process.epoch => {
                        self.waiters.push(waiter);
                        self.excess = Some(why);
                        return Watched::Restart;
                    }
                    Command::End { epoch, why } if epoch == process.epoch => {
                        return Watched::Ended(process.kill().await.because(&why));
                    }
                    // It was about a process that is gone.
                    Command::Recycle { waiter, .. } => drop(waiter.send(Ok(()))),
                    Command::End { .. } => {}
                },
            }
        }
    }

    /// Stops the process gracefully, within `deadline` or what any stop may take.
    async fn halt(&mut self, mut process: Process, deadline: Option<Duration>, then: Ended) -> Ended {
        self.shared.board.update(self.name, |entry| entry.state = State::Stopping);
        let deadline = deadline.unwrap_or_else(|| self.shared.limits.drain(self.name));
        let exit = process.stop(deadline, &self.shared.at_once).await;
        let exit = match self.excess.take() {
            Some(why) => exit.because(&why),
            None => exit,
        };
        info!(service = %self.name, epoch = process.epoch, %exit, "service stopped");
        self.shared.board.update(self.name, |entry| {
            entry.last_exit = Some(exit.to_string());
            (entry.pid, entry.serving_since) = (None, None);
        });
        then
    }

    /// Waits before the next start after a failure.
    async fn rest(&mut self, why: String, served: Duration) {
        let verdict = self.budget.failed(served, &self.shared.limits, &self.pace());
        let (state, pause) = match verdict {
            Verdict::Retry(pause) => (State::Backoff, pause),
            Verdict::Spent(pause) => (State::Failed, pause),
        };
        let retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        match verdict {
            Verdict::Retry(_) => warn!(service = %self.name, why, retry_in_ms, "service ended"),
            Verdict::Spent(_) => error!(service = %self.name, why, retry_in_ms, "service keeps ending; its budget is used up"),
        }
        self.answer(&Err(why.clone()));
        let (until, failures, left) = (Instant::now() + pause, self.budget.failures(), self.budget.left(&self.pace()));
        self.shared.board.update(self.name, |entry| {
            (entry.state, entry.retry_at) = (state, Some(until));
            (entry.latency, entry.failures_left) = (None, left);
            (entry.pid, entry.serving_since) = (None, None);
            entry.last_exit = Some(why);
            entry.failures = failures;
        });
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep_until(until) => return,
                Some(command) = self.commands.recv() => match command {
                    Command::Reload | Command::End { .. } => {} // the next process reads the configuration anyway
                    Command::Recycle { waiter, .. } => drop(waiter.send(Ok(()))),
                    Command::Restart(waiter) => {
                        self.waiters.push(waiter);
                        self.forgive();
                        return;
                    }
                    Command::Drain { waiter, .. } => {
                        self.waiters.push(waiter);
                        return self.stay_down().await;
                    }
                },
            }
        }
    }

    /// Forgets the failures: an operator asked for a start.
    fn forgive(&mut self) {
        self.budget.forget();
        self.shared.board.update(self.name, |entry| entry.failures = 0);
    }

    /// Waits until a restart is asked for.
    async fn stay_down(&mut self) {
        self.shared.board.update(self.name, |entry| (entry.state, entry.retry_at) = (State::Stopped, None));
        self.answer(&Ok(()));
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                Some(command) = self.commands.recv() => match command {
                    Command::Reload | Command::End { .. } => {}
                    Command::Restart(waiter) => {
                        self.waiters.push(waiter);
                        self.forgive();
                        return;
                    }
                    // It is down already. Nobody waiting needs no answer.
                    Command::Drain { waiter, .. } | Command::Recycle { waiter, .. } => drop(waiter.send(Ok(()))),
                },
            }
        }
    }

    /// Tells those who wait for a restart how it went.
    fn answer(&mut self, result: &Result<(), String>) {
        for waiter in self.waiters.drain(..) {
            // One who no longer waits needs no answer.
            drop(waiter.send(result.clone()));
        }
    }
}

impl Drop for Keeper {
    // Also when the keeper panicked: whoever waits for the stop must not wait for ever.
    fn drop(&mut self) {
        self.shared.board.update(self.name, |entry| {
            entry.state = State::Stopped;
            (entry.pid, entry.serving_since, entry.retry_at) = (None, None, None);
        });
    }
}

/// Returns the error with its causes.
fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
