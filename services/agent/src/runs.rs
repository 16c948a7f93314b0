//! Runs: accepted into the journal, queued in their session's lane, carried out, ended once, and found again after a restart.

mod aside;
mod ask;
mod drive;
mod emitter;
mod footer;
mod keepsake;
mod preview;
mod queue;
mod recovery;
mod run;
mod save;
mod spans;
mod stuck;
mod throttle;
mod turn;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument as _;
use verso_kit::CancellationToken;
use verso_kit::tasks::Tasks;
use verso_kit::trace;
use verso_proto::wire::v1::Party;

use crate::commands::Who;
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::lanes::{SESSION_WAITING_MAX, WAITING_MAX};
use crate::metrics;
use crate::parts::Parts;
use crate::store::SessionHints;
pub(crate) use emitter::{Emitter, Source, StopReason, emit_reply};
pub(crate) use preview::preview;
pub(crate) use queue::{Drops, Mode as QueueMode, Queue, Section as QueueSection, Wishes as QueueWishes, dropped as tell_of_dropped};
use run::Claim;
pub(crate) use run::{Ended, Facts, HeartbeatTurn, Inline, Origin, Phase, Request, Route, Run, success_response};

/// How long an ended run is remembered for those who wait for it, in milliseconds.
const WAITABLE_MS: i64 = 10 * 60 * 1_000;

/// How often the journal is pruned.
const PRUNE_INTERVAL: Duration = Duration::from_mins(10);

/// All runs of this incarnation. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    pub(crate) parts: Arc<Parts>,
    tasks: Tasks,
    active: Arc<Mutex<HashMap<String, Arc<Run>>>>,
    /// The number of the next run.
    ordinal: Arc<AtomicU64>,
    /// Counts the runs that arrived, for those who wait for one that is not there yet.
    arrivals: watch::Sender<u64>,
}

/// Who asks for something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// What the caller is called, for sessions that have no name yet.
    pub(crate) name: Option<String>,
    /// The connection.
    pub(crate) conn_id: Option<String>,
    /// Whether the edge vouches for the owner's authority.
    pub(crate) owner: bool,
    /// Whether it may allow programs to be run.
    pub(crate) approves: bool,
    /// The protocol that it speaks; 0: none.
    pub(crate) protocol: u32,
}

impl Caller {
    /// Returns what the caller may say. Whoever may write may give commands; what needs more as a method needs more as a command.
    pub(crate) fn who(&self) -> Who {
        Who {
            authorized: true,
            manages: self.owner,
            owns: self.owner,
            approves: self.owner || self.approves,
            name: self.name.clone(),
            channel: None,
            account: None,
            sender: None,
        }
    }

    /// Returns the caller as one who calls the session `session_key`.
    pub(crate) fn party(&self, session_key: Option<&str>) -> Option<Party> {
        Some(Party { conn_id: self.conn_id.clone()?, session_key: session_key.unwrap_or_default().to_owned() })
    }
}

/// A run that somebody asks for.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) run_id: String,
    pub(crate) key: SessionKey,
    pub(crate) agent: AgentId,
    pub(crate) hints: SessionHints,
    pub(crate) request: Request,
}

/// What became of a submission.
#[derive(Debug)]
pub(crate) enum Submitted {
    New(Arc<Run>),
    /// A repeat: the run is under way.
    InFlight(Arc<Run>),
    /// A repeat: the run is over.
    Ended(Arc<Ended>),
}

impl Runs {
    /// Is triggered when the service ends.
    pub(crate) fn shutdown(&self) -> CancellationToken {
        self.tasks.shutdown().clone()
    }

    /// Starts a task that ends with the service.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(&self, name: &'static str, work: F) {
        self.tasks.spawn(name, work);
    }

    /// Makes the table of runs. `tasks` carry them out.
    pub(crate) fn new(parts: Arc<Parts>, tasks: Tasks) -> Self {
        Self { parts, tasks, active: Arc::default(), ordinal: Arc::default(), arrivals: watch::Sender::new(0) }
    }

    /// The same table, whose next runs are carried out with other parts. Those under way keep theirs.
    pub(crate) fn with_parts(&self, parts: Arc<Parts>) -> Self {
        Self { parts, ..self.clone() }
    }

    /// Starts what goes on beside the runs.
    pub(crate) fn start_pruning(&self) {
        let (parts, shutdown) = (Arc::clone(&self.parts), self.tasks.shutdown().clone());
        self.tasks.spawn("journal pruning", async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(PRUNE_INTERVAL)).await.is_some() {
                if let Err(error) = parts.store.prune(parts.clock.now_ms()).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "could not prune the journal of runs");
                }
            }
        });
    }

    /// Accepts a run, unless it is known already. Returns when it is in the journal.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<Submitted, Error> {
        loop {
            if self.tasks.shutdown().is_cancelled() {
                return Err(Error::Restarting);
            }
            let known = self.find(&submission.run_id);
            let Some(run) = known else { break };
            match run.settled_arrival().await {
                Phase::Accepted => {
                    run.emitter.join(submission.request.party);
                    return Ok(Submitted::InFlight(run));
                }
                Phase::Ended(ended) | Phase::Known(ended) => return Ok(Submitted::Ended(ended)),
                Phase::Left => return Err(Error::Restarting),
                // Neither is in the table any more: this one may try.
                Phase::Refused(_) | Phase::Denied | Phase::Arriving => {}
            }
        }
        if let Some(Queue { cap, drops: Drops::New, .. }) = submission.request.queue
            && self.queued_in(&submission.key).len() >= cap
            && self.parts.store.run(&submission.run_id).await?.is_none()
        {
            return Err(Error::SessionQueueFull { max: cap });
        }
        let run = self.enter(submission)?;
        match run.settled_arrival().await {
            Phase::Known(ended) => Ok(Submitted::Ended(ended)),
            Phase::Refused(error) => Err(error.into()),
            Phase::Denied => Err(Error::SendDenied),
            Phase::Left => Err(Error::Restarting),
            Phase::Arriving | Phase::Accepted | Phase::Ended(_) => Ok(Submitted::New(run)),
        }
    }

    /// Returns a run that is under way.
    pub(crate) fn find(&self, run_id: &str) -> Option<Arc<Run>> {
        self.active().get(run_id).cloned()
    }

    /// Stops every run of a session, and returns which.
    pub(crate) fn stop_session(&self, key: &SessionKey, reason: StopReason) -> Vec<String> {
        let mut runs = self.of_session(key);
        runs.sort_by(|a, b| (a.accepted_at_ms, &a.id).cmp(&(b.accepted_at_ms, &b.id)));
        // Those that wait go first: none of them may begin because the one before it was stopped.
        let order = runs.iter().rev().filter(|run| run.stop(reason)).map(|run| run.id.clone());
        let mut stopped: Vec<String> = order.collect();
        stopped.reverse();
        stopped
    }

    /// Stops every other run of a session.
    fn stop_others(&self, run: &Run, reason: StopReason) {
        let mut others = self.of_session(&run.key);
        others.retain(|other| other.ordinal < run.ordinal);
        others.sort_by_key(|other| std::cmp::Reverse(other.ordinal));
        for other in others {
            other.stop(reason);
        }
    }

    /// Returns the messages that wait in a session and can become part of another's turn, the oldest first.
    fn queued_in(&self, key: &SessionKey) -> Vec<Arc<Run>> {
        let mut runs = self.of_session(key);
        runs.retain(|run| queue::waits(run));
        runs.sort_by_key(|run| run.ordinal);
        runs
    }

    /// Whether any subagent is at work.
    pub(crate) fn any_subagent_active(&self) -> bool {
        self.active().values().any(|run| run.key.is_subagent())
    }

    /// Whether a message to a session would have to wait.
    pub(crate) fn is_busy(&self, key: &SessionKey) -> bool {
        self.active().values().any(|run| run.key == *key)
    }

    /// Stops every run of a session, and waits until they are over. Returns false if that takes longer than `timeout`.
    pub(crate) async fn end_session(&self, key: &SessionKey, timeout: Duration) -> Result<bool, Error> {
        let runs = self.of_session(key);
        self.stop_session(key, StopReason::Rpc);
        let over = async {
            for run in runs {
                // How it ended does not matter, unless it did not: the next incarnation goes on with it.
                if let Err(error @ Error::Restarting) = run.ended().await {
                    return Err(error);
                }
            }
            Ok(())
        };
        tokio::time::timeout(timeout, over).await.map_or(Ok(false), |over| over.map(|()| true))
    }

    /// Stops one run of a session.
    pub(crate) fn stop_run(&self, key: &SessionKey, run_id: &str, reason: StopReason) -> Result<Vec<String>, Error> {
        match self.find(run_id) {
            Some(run) if run.key != *key => Err(Error::RunOfAnotherSession),
            Some(run) if run.stop(reason) => Ok(vec![run.id.clone()]),
            _ => Ok(Vec::new()),
        }
    }

    /// Waits until a run has ended: one that is under way, or still to come. None: not within `timeout`.
    pub(crate) async fn wait(&self, run_id: &str, timeout: Duration) -> Result<Option<Arc<Ended>>, Error> {
        let mut arrivals = self.arrivals.subscribe();
        if self.find(run_id).is_none()
            && let Some(record) = self.parts.store.run(run_id).await?
            && record.ended_at_ms.is_some_and(|ended_at_ms| self.parts.clock.now_ms() - ended_at_ms <= WAITABLE_MS)
        {
            return Ok(Some(Arc::new(Ended::from_record(&record))));
        }
        let waiting = async {
            loop {
                if let Some(run) = self.find(run_id) {
                    return run.ended().await;
                }
                arrivals.changed().await.map_err(|_| Error::Restarting)?;
            }
        };
        let shutdown = self.tasks.shutdown().cancelled();
        tokio::select! {
            biased;
            result = tokio::time::timeout(timeout, waiting) => result.ok().transpose(),
            () = shutdown => Err(Error::Restarting),
        }
    }

    /// Returns whose events a run's are.
    pub(crate) fn source(run_id: &str, key: &SessionKey, agent: &AgentId, party: Option<Party>) -> Source {
        Source {
            run_id: run_id.to_owned(),
            key: key.clone(),
            agent: agent.clone(),
            traceparent: trace::current().to_string(),
            quiet: false,
            party,
        }
    }

    /// Returns the ids of a session's runs that are under way.
    pub(crate) fn active_in(&self, key: &SessionKey) -> Vec<String> {
        let mut runs = self.of_session(key);
        runs.sort_by(|a, b| (a.accepted_at_ms, &a.id).cmp(&(b.accepted_at_ms, &b.id)));
        runs.into_iter().map(|run| run.id.clone()).collect()
    }

    /// Returns the keys of the sessions in which something runs.
    pub(crate) fn active_sessions(&self) -> Vec<String> {
        self.active().values().map(|run| run.key.to_string()).collect()
    }

    /// Returns the runs of a session that wait for their turn, and since when.
    pub(crate) fn waiting_in(&self, key: &SessionKey) -> Vec<(String, i64)> {
        let mut runs = self.of_session(key);
        runs.retain(|run| run.started_at_ms.get().is_none());
        runs.sort_by(|a, b| (a.accepted_at_ms, &a.id).cmp(&(b.accepted_at_ms, &b.id)));
        runs.into_iter().map(|run| (run.id.clone(), run.accepted_at_ms)).collect()
    }

    /// Puts a new run into the table and starts its task, which nobody's impatience can end.
    fn enter(&self, submission: Submission) -> Result<Arc<Run>, Error> {
        let limit = if submission.request.queue.is_some() { WAITING_MAX } else { SESSION_WAITING_MAX };
        let mut place = self.parts.lanes.join(&submission.key, limit)?;
        let turn = place.try_turn();
        metrics::run_entered(&submission.agent.to_string(), submission.key.as_str(), &submission.request);
        let source = Self::source(&submission.run_id, &submission.key, &submission.agent, submission.request.party.clone());
        let source = Source { quiet: submission.request.heartbeat.is_some(), ..source };
        let span = spans::run(submission.key.as_str(), &submission.agent, &submission.request);
        let context = trace::current().enter(&span);
        let emitter = Emitter::new(self.parts.hub.clone(), self.parts.clock.clone(), source, 1);
        let request = Request { traceparent: Some(context.to_string()), ..submission.request };
        let (id, key, agent) = (submission.run_id.clone(), submission.key.clone(), submission.agent.clone());
        let run = Run::new(id, key, agent, emitter, self.parts.clock.now_ms());
        let run = Arc::new(run.asks(request, self.next_ordinal()));
        if turn.is_some() {
            run.claim(Claim::Itself);
        }
        let arriving = drive::Arriving { hints: submission.hints, place, turn };
        self.insert(&run);
        let work = drive::arrive(self.clone(), Arc::clone(&run), arriving);
        self.tasks.spawn("run", trace::scope(context, work).instrument(span));
        Ok(run)
    }

    fn next_ordinal(&self) -> u64 {
        self.ordinal.fetch_add(1, Ordering::Relaxed)
    }

    fn insert(&self, run: &Arc<Run>) {
        self.active().insert(run.id.clone(), Arc::clone(run));
        self.arrivals.send_modify(|count| *count += 1);
    }

    fn of_session(&self, key: &SessionKey) -> Vec<Arc<Run>> {
        self.active().values().filter(|run| run.key == *key).cloned().collect()
    }

    fn remove(&self, run: &Run) {
        self.active().remove(&run.id);
    }

    fn active(&self) -> MutexGuard<'_, HashMap<String, Arc<Run>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
