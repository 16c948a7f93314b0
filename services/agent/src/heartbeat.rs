//! Agents that wake by themselves: when it is time, or when something happened that they should hear of.

mod beat;
pub(crate) mod settings;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use verso_kit::CancellationToken;
use verso_proto::Json;
use verso_proto::agent::v1::{SetHeartbeatsRequest, SetHeartbeatsResponse, WakeRequest, WakeResponse};

use crate::error::Error;
use crate::keys::AgentId;
use crate::runs::Runs;
use crate::system_events;
pub(crate) use beat::Beaten;
pub(crate) use settings::Plan;

/// Wakes that come closely together are one.
const GATHER: Duration = Duration::from_millis(250);

/// When an agent that was busy is tried again.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// The longest sleep between two looks at the clock, which somebody may set.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// The file in a workspace that says what to look after.
const CHECKLIST: &str = "HEARTBEAT.md";

/// Why an agent is to wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is time.
    Interval,
    /// Something happened.
    Wake,
}

/// Who wakes, and when. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeats {
    pub(crate) runs: Runs,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    enabled: AtomicBool,
    /// Agents that somebody wants to wake.
    wanted: Mutex<BTreeMap<String, Cause>>,
    changed: Notify,
    /// One agent at a time.
    beating: tokio::sync::Mutex<()>,
    /// When each agent wakes next, in milliseconds since 1970, and how often it does.
    due: Mutex<HashMap<String, (i64, Duration)>>,
}

impl Heartbeats {
    /// Prepares the heartbeats of all agents.
    pub(crate) fn new(runs: Runs) -> Self {
        let shared = Shared {
            enabled: AtomicBool::new(true),
            wanted: Mutex::default(),
            changed: Notify::new(),
            beating: tokio::sync::Mutex::new(()),
            due: Mutex::default(),
        };
        Self { runs, shared: Arc::new(shared) }
    }

    /// The heartbeats of `runs`, whose parts are others. What is due stays due, unless its interval is another.
    pub(crate) fn renewed(&self, runs: Runs) -> Self {
        Self { runs, shared: Arc::clone(&self.shared) }
    }

    /// Starts the task that wakes agents until `replaced`. A wake that is under way then is finished.
    pub(crate) fn start(&self, replaced: CancellationToken) {
        let (heartbeats, shutdown) = (self.clone(), self.runs.shutdown());
        self.runs.spawn("heartbeats", async move {
            shutdown.run_until_cancelled(heartbeats.keep_time(replaced)).await;
        });
    }

    /// Answers `wake`.
    pub(crate) async fn wake(&self, request: WakeRequest) -> Result<WakeResponse, Error> {
        const METHOD: &str = "wake";
        let roster = &self.runs.parts.roster;
        let named = roster.named(METHOD, request.agent_id.as_deref())?;
        let (agent, key) = roster.session(METHOD, named.as_ref(), request.session_key.as_deref())?;
        if request.text.trim().is_empty() {
            return Ok(WakeResponse { ok: false });
        }
        system_events::queue(&self.runs.parts, &key, &request.text, None).await?;
        if request.mode == "now" {
            self.want(&agent);
        }
        Ok(WakeResponse { ok: true })
    }

    /// Answers `set-heartbeats`.
    pub(crate) fn set_enabled(&self, request: &SetHeartbeatsRequest) -> Result<SetHeartbeatsResponse, Error> {
        let enabled = match request.enabled.as_ref().map(|Json { text }| text.trim()) {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(Error::NotABoolean { method: "set-heartbeats", member: "enabled" }),
        };
        self.shared.enabled.store(enabled, Ordering::Relaxed);
        self.shared.changed.notify_one();
        Ok(SetHeartbeatsResponse { ok: true, enabled })
    }

    /// Whether heartbeats are turned on.
    pub(crate) fn enabled(&self) -> bool {
        self.shared.enabled.load(Ordering::Relaxed)
    }

    /// Wakes an agent soon.
    pub(crate) fn want(&self, agent: &AgentId) {
        self.wanted().insert(agent.to_string(), Cause::Wake);
        self.shared.changed.notify_one();
    }

    /// Wakes an agent now, unless something is in the way.
    pub(crate) async fn beat(&self, agent: &AgentId, cause: Cause) -> Beaten {
        let _one_at_a_time = self.shared.beating.lock().await;
        beat::beat(self, agent, cause).await
    }

    async fn keep_time(&self, replaced: CancellationToken) {
        while !replaced.is_cancelled() {
            let now_ms = self.runs.parts.clock.now_ms();
            let next_ms = self.next_due(now_ms);
            let pause = next_ms.map_or(LOOK_INTERVAL, |next_ms| Duration::from_millis(u64::try_from(next_ms - now_ms).unwrap_or(0)));
            tokio::select! {
                biased;
                () = replaced.cancelled() => return,
                () = self.shared.changed.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(pause.min(LOOK_INTERVAL)) => {}
            }
            let now_ms = self.runs.parts.clock.now_ms();
            let mut wanted = std::mem::take(&mut *self.wanted());
            for (agent, _) in self.due().iter().filter(|(_, (due_ms, _))| *due_ms <= now_ms) {
                wanted.entry(agent.clone()).or_insert(Cause::Interval);
            }
            for (agent, cause) in wanted {
                let id = AgentId::normalize(&agent);
                let beaten = self.beat(&id, cause).await;
                let every = self.runs.parts.heartbeats.iter().find(|plan| plan.agent == id).and_then(|plan| plan.every);
                match (beaten, every) {
                    (Beaten::Busy, _) => self.want_later(agent, cause),
                    (_, Some(every)) => {
                        self.due().insert(agent, (after(self.runs.parts.clock.now_ms(), every), every));
                    }
                    (_, None) => {}
                }
            }
        }
    }

    /// Brings what is due in line with the plans, and returns when to wake next.
    fn next_due(&self, now_ms: i64) -> Option<i64> {
        let plans: HashMap<String, Duration> =
            self.runs.parts.heartbeats.iter().filter_map(|plan| Some((plan.agent.to_string(), plan.every?))).collect();
        let mut due = self.due();
        due.retain(|agent, (_, every)| plans.get(agent) == Some(every));
        for (agent, every) in plans {
            due.entry(agent).or_insert_with(|| (after(now_ms, every), every));
        }
        due.values().map(|(due_ms, _)| *due_ms).min()
    }

    fn due(&self) -> MutexGuard<'_, HashMap<String, (i64, Duration)>> {
        self.shared.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries an agent that is busy again in a moment.
    fn want_later(&self, agent: String, cause: Cause) {
        self.wanted().entry(agent).or_insert(cause);
        let heartbeats = self.clone();
        self.runs.spawn("busy heartbeat", async move {
            let shutdown = heartbeats.runs.shutdown();
            if shutdown.run_until_cancelled(tokio::time::sleep(BUSY_PAUSE)).await.is_some() {
                heartbeats.shared.changed.notify_one();
            }
        });
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<String, Cause>> {
        self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn after(now_ms: i64, every: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(every.as_millis()).unwrap_or(i64::MAX))
}

/// Whether a workspace has a checklist with nothing on it.
async fn nothing_to_look_after(workspace: &Path) -> bool {
    let file = workspace.join(CHECKLIST);
    tokio::fs::read_to_string(file).await.is_ok_and(|text| text.lines().all(says_nothing))
}

/// Blank lines, headings and empty list items are no tasks.
fn says_nothing(line: &str) -> bool {
    let line = line.trim();
    let hashes = line.chars().take_while(|c| *c == '#').count();
    let heading = hashes > 0 && (line.len() == hashes || line[hashes..].starts_with(char::is_whitespace));
    let item = line.strip_prefix(['-', '*', '+']).map(str::trim);
    line.is_empty() || heading || matches!(item, Some("" | "[ ]" | "[x]" | "[X]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checklist_of_headings_and_empty_items_says_nothing() {
        for line in ["", "# T", "###", "- ", "* ", "- [ ]"] {
            assert!(says_nothing(line), "{line:?}");
        }
        for line in ["#nospace", "<!-- later -->", "- water the plants", "call mum"] {
            assert!(!says_nothing(line), "{line:?}");
        }
    }
}
