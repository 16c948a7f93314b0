//! Questions whether a program may be run: open until somebody decides or their time is over, and remembered a while after that.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use verso_kit::clock::Clock;
use verso_kit::events::Hub;
use verso_proto::node::v1::{Event, ExecApprovalRequested, ExecApprovalResolved, ExecQuestion};

use crate::error::Error;
use crate::run_permit::{Asked, Run};

/// How many questions may be open, and how many decided ones are remembered.
const PENDING_MAX: usize = 512;

/// How long a question stays open unless its asker says otherwise, in milliseconds.
const WAIT_MS: i64 = 120_000;

/// The longest that a question stays open, in milliseconds: a day.
const WAIT_MS_MAX: i64 = 86_400_000;

/// How long a decision is remembered: whoever asked has that long to make use of it.
const REMEMBERED: Duration = Duration::from_mins(5);

/// What may be decided.
pub(crate) const DECISIONS: [&str; 3] = ["allow-once", "allow-always", "deny"];

/// The questions.
#[derive(Debug)]
pub(crate) struct Approvals {
    clock: Clock,
    hub: Hub<Event>,
    entries: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    asked: Asked,
    times: Times,
    /// When nobody can decide any more.
    expires: Instant,
    /// When the decision was made.
    decided_at: Option<Instant>,
    decision: watch::Sender<Option<String>>,
    /// A permission for one run was made use of.
    spent: bool,
}

/// When a question was asked, and until when it can be decided, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) created_at_ms: i64,
    pub(crate) expires_at_ms: i64,
}

impl Entry {
    fn is_open(&self, now: Instant) -> bool {
        self.decided_at.is_none() && now < self.expires
    }

    fn is_over(&self, now: Instant) -> bool {
        self.decided_at.map_or(now >= self.expires, |decided_at| now >= decided_at + REMEMBERED)
    }

    fn shown(&self, id: &str) -> ExecApprovalRequested {
        let Times { created_at_ms, expires_at_ms } = self.times;
        ExecApprovalRequested { id: id.to_owned(), request: Some(self.asked.question.clone()), created_at_ms, expires_at_ms }
    }
}

impl Approvals {
    pub(crate) fn new(clock: Clock, hub: Hub<Event>) -> Self {
        Self { clock, hub, entries: Mutex::default() }
    }

    /// Asks everybody who may decide; the question is open when this returns, with its id.
    pub(crate) fn ask(&self, id: Option<String>, asked: Asked, timeout_ms: Option<i64>) -> Result<(String, Times), Error> {
        let given = id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        let id = given.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let wait_ms = timeout_ms.unwrap_or(WAIT_MS).clamp(1, WAIT_MS_MAX);
        let created_at_ms = self.clock.now_ms();
        let times = Times { created_at_ms, expires_at_ms: created_at_ms + wait_ms };
        let now = Instant::now();
        let entry = Entry {
            asked,
            times,
            expires: now + Duration::from_millis(wait_ms.unsigned_abs()),
            decided_at: None,
            decision: watch::Sender::new(None),
            spent: false,
        };
        let shown = entry.shown(&id);
        {
            let mut entries = self.entries();
            entries.retain(|_, entry| !entry.is_over(now));
            if entries.get(&id).is_some_and(|entry| entry.is_open(now)) {
                return Err(Error::ApprovalPending);
            }
            let open = entries.values().filter(|entry| entry.is_open(now)).count();
            if open >= PENDING_MAX {
                return Err(Error::Busy { what: "approvals", max: PENDING_MAX });
            }
            if entries.len() - open >= PENDING_MAX {
                forget_oldest_decision(&mut entries);
            }
            entries.insert(id.clone(), entry);
        }
        self.hub.emit(shown);
        Ok((id, times))
    }

    /// Waits for the decision; none when nobody decides in time.
    pub(crate) async fn wait(&self, id: &str) -> Result<(Option<String>, Times), Error> {
        let (mut decision, expires, times) = {
            let entries = self.entries();
            let entry = entries.get(id).filter(|entry| !entry.is_over(Instant::now())).ok_or(Error::ApprovalOver)?;
            (entry.decision.subscribe(), entry.expires, entry.times)
        };
        let decided = match timeout_at(expires, decision.wait_for(Option::is_some)).await {
            Ok(Ok(decided)) => decided.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        Ok((decided, times))
    }

    /// Decides, and returns the node that asked, if it was one.
    pub(crate) fn resolve(&self, id: &str, decision: &str, resolved_by: Option<String>) -> Result<Option<String>, Error> {
        if !DECISIONS.contains(&decision) {
            return Err(Error::InvalidDecision);
        }
        let now = Instant::now();
        let asked_by = {
            let mut entries = self.entries();
            let entry = entries.get_mut(id).filter(|entry| entry.is_open(now)).ok_or(Error::UnknownApproval)?;
            entry.decided_at = Some(now);
            entry.decision.send_replace(Some(decision.to_owned()));
            entry.asked.by_node.clone()
        };
        self.hub.emit(self.resolution(id, decision, resolved_by));
        Ok(asked_by)
    }

    /// What everybody is told of a decision.
    pub(crate) fn resolution(&self, id: &str, decision: &str, resolved_by: Option<String>) -> ExecApprovalResolved {
        ExecApprovalResolved { id: id.to_owned(), decision: decision.to_owned(), resolved_by, ts_ms: self.clock.now_ms() }
    }

    /// Takes back a question that a node has asked and has no use for any more.
    pub(crate) fn withdraw(&self, id: &str, node_id: &str) {
        self.entries().retain(|known, entry| known != id || entry.asked.by_node.as_deref() != Some(node_id) || entry.decided_at.is_some());
    }

    /// Lists the open questions, oldest first.
    pub(crate) fn list(&self) -> Vec<ExecApprovalRequested> {
        let now = Instant::now();
        let mut open: Vec<_> = self.entries().iter().filter(|(_, entry)| entry.is_open(now)).map(|(id, entry)| entry.shown(id)).collect();
        open.sort_by_key(|question| question.created_at_ms);
        open
    }

    /// Returns one question, open or decided a while ago.
    pub(crate) fn get(&self, id: &str) -> Result<(ExecQuestion, Times), Error> {
        let entries = self.entries();
        let entry = entries.get(id).filter(|entry| !entry.is_over(Instant::now())).ok_or(Error::UnknownApproval)?;
        Ok((entry.asked.question.clone(), entry.times))
    }

    /// Returns the decision that lets exactly `run` happen now; none when there is none. A permission for one run is spent by this.
    pub(crate) fn permit(&self, id: &str, run: &Run) -> Option<String> {
        let mut entries = self.entries();
        let entry = entries.get_mut(id).filter(|entry| !entry.spent && !entry.is_over(Instant::now()))?;
        let decision = entry.decision.borrow().clone().filter(|decision| decision != "deny")?;
        if !entry.asked.covers(run) {
            return None;
        }
        entry.spent = decision == "allow-once";
        Some(decision)
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_oldest_decision(entries: &mut BTreeMap<String, Entry>) {
    let decided = entries.iter().filter_map(|(id, entry)| Some((entry.decided_at?, id.clone())));
    if let Some((_, id)) = decided.min() {
        entries.remove(&id);
    }
}
