//! One run: what others can see of it and do to it while it is under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use verso_kit::CancellationToken;
use verso_proto::agent::v1::{
    AgentMeta, Answerer, ChatMessage, Payload, PendingToolCall, RunError, RunMeta, RunResponse, RunResult, Usage,
};
use verso_proto::wire::v1::Party;

use super::emitter::{Emitter, StopReason};
use super::queue::Queue;
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::messages::{self, Image};
use crate::models::Model;
use crate::provider::{Failure, Sampling, ToolChoice, ToolSpec};
use crate::reply::{self, Beat};
use crate::sessions::levels;
use crate::store::{self, RunRecord, RunState};

/// What is asked of an agent. As JSON it is in the journal, so that a later incarnation can do it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Request {
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) images: Vec<Image>,
    /// Added to the system prompt.
    pub(crate) extra_system_prompt: Option<String>,
    /// How long the run may take. None: as long as the configuration says; 0: as long as it needs.
    pub(crate) timeout_ms: Option<u64>,
    /// `provider/model`.
    pub(crate) model: Option<String>,
    pub(crate) thinking: Option<String>,
    /// Whether the session begins afresh.
    pub(crate) reset: bool,
    pub(crate) sampling: Sampling,
    /// Tools that the caller carries out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<ToolSpec>,
    pub(crate) tool_choice: ToolChoice,
    /// Set when nobody asked: the agent has woken by itself.
    pub(crate) heartbeat: Option<HeartbeatTurn>,
    /// Where the message comes from, if it is from a chat network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
    /// Whether the sender has the owner's authority. The edge or a channel says so, never a text; what a heartbeat, a job or a webhook causes
    /// never has it.
    pub(crate) sender_is_owner: bool,
    /// Who speaks, as a chat network knows him.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sender: Option<String>,
    /// Where it was said, and where the answer goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<Route>,
    /// Where its answer is to be sent when nobody there waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deliver: Option<Route>,
    /// What becomes of it while the session is busy. None: it waits for its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<Queue>,
    /// What holds for this message instead of what is set on the session.
    pub(crate) inline: Inline,
    /// The connection that asks, and how it calls the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) party: Option<Party>,
    /// The span that it was first carried out in: one that is taken up again says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
}

/// A chat on a network, and who wrote there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) channel: String,
    /// Where answers go, in the network's own words.
    pub(crate) to: String,
    pub(crate) thread: Option<String>,
    /// The network's own id of the sender.
    pub(crate) sender: String,
}

impl Request {
    /// Names the authority with which it was said: the owner's or nobody's, and whose words they are.
    pub(crate) fn authority(&self) -> String {
        let rank = if self.sender_is_owner { "owner" } else { "guest" };
        format!("{rank}:{}", self.sender.as_deref().unwrap_or_default())
    }
}

/// A place on a chat network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Route {
    pub(crate) channel: String,
    pub(crate) to: String,
    pub(crate) account: Option<String>,
    pub(crate) thread: Option<String>,
}

/// Settings that hold for one message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Inline {
    pub(crate) verbose: Option<String>,
    pub(crate) reasoning: Option<String>,
    pub(crate) elevated: Option<String>,
    pub(crate) exec_host: Option<String>,
    pub(crate) exec_security: Option<String>,
    pub(crate) exec_ask: Option<String>,
    pub(crate) exec_node: Option<String>,
}

/// What is particular to a turn that nobody asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HeartbeatTurn {
    /// The longest remark beside the acknowledgement that is not worth mentioning, in characters.
    pub(crate) ack_chars_max: usize,
    /// When the session was updated last.
    pub(crate) updated_at_ms: Option<i64>,
}

/// How far a run has come.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// Not yet in the journal: nothing may be promised.
    Arriving,
    /// In the journal.
    Accepted,
    /// Over.
    Ended(Arc<Ended>),
    /// Known from before: this is not a new run.
    Known(Arc<Ended>),
    /// Could not be written down.
    Refused(store::Error),
    /// The session takes no messages.
    Denied,
    /// Left to the next incarnation.
    Left,
}

/// How a run has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) state: RunState,
    pub(crate) response: RunResponse,
    pub(crate) started_at_ms: Option<i64>,
    pub(crate) at_ms: i64,
    /// Whether the model reached the longest answer that it may give. The journal does not keep this.
    pub(crate) cut_short: bool,
    /// Why no model answered, if that is how it ended. Nor does it keep this.
    pub(crate) failure: Option<Failure>,
    /// What has answered, if a model has.
    pub(crate) answerer: Option<Answerer>,
}

impl Ended {
    /// Reads how a run has ended from the journal.
    pub(crate) fn from_record(record: &RunRecord) -> Self {
        let unknown = || failure_response(&record.run_id, "the end of this run could not be saved; send the message again", None);
        let (state, at_ms) = record.ended_at_ms.map_or((RunState::Error, record.accepted_at_ms), |at_ms| (record.state, at_ms));
        let response = record.response.clone().unwrap_or_else(unknown);
        let meta = response.result.as_ref().and_then(|result| result.meta.as_ref()?.agent_meta.as_ref());
        let answerer = meta.filter(|meta| messages::is_a_model(&meta.provider, &meta.model));
        let answerer = answerer.map(|meta| Answerer { provider: meta.provider.clone(), model: meta.model.clone(), thinking: None });
        Self { state, response, started_at_ms: record.started_at_ms, at_ms, cut_short: false, failure: None, answerer }
    }

    /// Returns what went wrong, if something did.
    pub(crate) fn error(&self) -> Option<&str> {
        (self.state == RunState::Error).then(|| self.response.summary.as_deref().unwrap_or("unknown error"))
    }
}

/// Who deals with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody yet: it waits.
    Nobody,
    /// Its own task.
    Itself,
    /// Another run, or whoever made room.
    Absorbed,
}

/// One run. Held by the task that carries it out and by everybody who waits for it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) key: SessionKey,
    pub(crate) agent: AgentId,
    pub(crate) accepted_at_ms: i64,
    /// Whether an earlier incarnation began it: what it answers is settled.
    pub(crate) begun_before: bool,
    /// Whether an earlier incarnation accepted it: its caller may come back without knowing that it was.
    pub(crate) recovered: bool,
    pub(crate) request: Arc<Request>,
    /// Counts the runs of this incarnation in the order in which they came.
    pub(crate) ordinal: u64,
    pub(crate) emitter: Emitter,
    pub(crate) started_at_ms: OnceLock<i64>,
    phase: watch::Sender<Phase>,
    stop: CancellationToken,
    /// What the turn adds to the transcript: whole rounds only.
    added: Mutex<Vec<ChatMessage>>,
    claim: Mutex<Claim>,
    /// Triggered when somebody else deals with it.
    absorbed: CancellationToken,
    /// Whether another turn has heard its message already.
    heard: AtomicBool,
    /// The runs whose messages this one has heard: they end with it.
    within: Mutex<Vec<Arc<Run>>>,
    /// The model that was asked last.
    answerer: Mutex<Option<Answerer>>,
}

impl Run {
    /// Makes a run that is about to be written down.
    pub(crate) fn new(id: String, key: SessionKey, agent: AgentId, emitter: Emitter, accepted_at_ms: i64) -> Self {
        Self {
            id,
            key,
            agent,
            accepted_at_ms,
            begun_before: false,
            recovered: false,
            request: Arc::default(),
            ordinal: 0,
            emitter,
            started_at_ms: OnceLock::new(),
            phase: watch::Sender::new(Phase::Arriving),
            stop: CancellationToken::new(),
            added: Mutex::new(Vec::new()),
            claim: Mutex::new(Claim::Nobody),
            absorbed: CancellationToken::new(),
            heard: AtomicBool::new(false),
            within: Mutex::default(),
            answerer: Mutex::default(),
        }
    }

    /// Makes a run that an earlier incarnation has written down.
    pub(crate) fn recovered(record: &RunRecord, agent: AgentId, emitter: Emitter) -> Self {
        let run = Self::new(record.run_id.clone(), record.key.clone(), agent, emitter, record.accepted_at_ms);
        let run = Self { recovered: true, begun_before: record.user_position.is_some(), ..run };
        run.set_phase(Phase::Accepted);
        run
    }

    /// Says what is asked, and which run it is.
    pub(crate) fn asks(self, request: Request, ordinal: u64) -> Self {
        Self { request: Arc::new(request), ordinal, ..self }
    }

    /// Takes it on. Returns false if somebody else has.
    pub(crate) fn claim(&self, claim: Claim) -> bool {
        let mut claimed = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        let free = *claimed == Claim::Nobody;
        if free {
            *claimed = claim;
            if claim == Claim::Absorbed {
                self.absorbed.cancel();
            }
        }
        free
    }

    /// Whether nobody has taken it on.
    pub(crate) fn is_unclaimed(&self) -> bool {
        *self.claim.lock().unwrap_or_else(PoisonError::into_inner) == Claim::Nobody
    }

    /// Waits until somebody else has taken it on.
    pub(crate) async fn absorbed(&self) {
        self.absorbed.cancelled().await;
    }

    /// Returns true once: whoever asks first lets another turn hear its message.
    pub(crate) fn hear_once(&self) -> bool {
        !self.heard.swap(true, Ordering::Relaxed)
    }

    /// Returns how far it is.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Has another run end with this one.
    pub(crate) fn take_in(&self, other: Arc<Run>) {
        self.within.lock().unwrap_or_else(PoisonError::into_inner).push(other);
    }

    /// Returns the runs that end with this one.
    pub(crate) fn within(&self) -> Vec<Arc<Run>> {
        self.within.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves on.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Returns how far it has come, once it is written down.
    pub(crate) async fn settled_arrival(&self) -> Phase {
        let mut phase = self.phase.subscribe();
        let settled = phase.wait_for(|phase| !matches!(phase, Phase::Arriving)).await;
        settled.map_or(Phase::Left, |phase| phase.clone())
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Result<Arc<Ended>, Error> {
        let mut phase = self.phase.subscribe();
        let over = phase.wait_for(|phase| !matches!(phase, Phase::Arriving | Phase::Accepted)).await;
        match over.map(|phase| phase.clone()) {
            Ok(Phase::Ended(ended) | Phase::Known(ended)) => Ok(ended),
            Ok(Phase::Refused(error)) => Err(error.into()),
            Ok(Phase::Denied) => Err(Error::SendDenied),
            _ => Err(Error::Restarting),
        }
    }

    /// Stops it. Returns false if its end was already settled.
    pub(crate) fn stop(&self, reason: StopReason) -> bool {
        let stopped = self.emitter.aborted(reason);
        if stopped {
            self.stop.cancel();
        }
        stopped
    }

    /// Waits until somebody stops it.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Says that a model is asked, and how much it is told to think.
    pub(crate) fn asks_of(&self, model: &Model, thinking: &str) {
        let thinking = Some(if model.reasoning { thinking } else { levels::OFF }.to_owned());
        let answerer = Answerer { provider: model.provider.clone(), model: model.id.clone(), thinking };
        *self.answerer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answerer);
    }

    /// Returns the model that was asked last: whose words there are, if there are any.
    pub(crate) fn answerer(&self) -> Option<Answerer> {
        self.answerer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a whole round to what the turn adds to the transcript.
    pub(crate) fn add(&self, messages: impl IntoIterator<Item = ChatMessage>) {
        self.added().extend(messages);
    }

    /// Takes what the turn adds to the transcript.
    pub(crate) fn take_added(&self) -> Vec<ChatMessage> {
        std::mem::take(&mut *self.added())
    }

    /// Returns when the session was updated last, if this turn is none that makes it younger: nothing needed attention.
    pub(crate) fn unchanged_since_ms(&self, added: &[ChatMessage]) -> Option<i64> {
        let heartbeat = self.request.heartbeat.as_ref()?;
        let said = added.iter().rev().find(|message| message.role == "assistant").map(messages::text_of).unwrap_or_default();
        let quiet = reply::strip(&said, heartbeat.ack_chars_max) == Beat::Acknowledged;
        heartbeat.updated_at_ms.filter(|_| quiet)
    }

    fn added(&self) -> MutexGuard<'_, Vec<ChatMessage>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the answer says about how it came about.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) duration_ms: i64,
    pub(crate) session_id: String,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) usage: Option<Usage>,
    pub(crate) aborted: bool,
    /// Calls of the caller's own tools.
    pub(crate) pending: Vec<PendingToolCall>,
    /// What went wrong, by name.
    pub(crate) error: Option<&'static str>,
}

/// Returns the answer of a run that has said `added`.
pub(crate) fn success_response(run_id: &str, added: &[ChatMessage], facts: Facts) -> RunResponse {
    let said = added.iter().filter(|message| message.role == "assistant").map(messages::text_of);
    let payloads = said.filter_map(|text| reply::payload(&text)).collect();
    let summary = if facts.aborted { "aborted" } else { "completed" };
    RunResponse {
        run_id: run_id.to_owned(),
        status: "ok".to_owned(),
        summary: Some(summary.to_owned()),
        result: Some(result(payloads, facts)),
        ..RunResponse::default()
    }
}

/// Returns the answer of a run that failed. With `facts`, a provider's refusal: its words are also the text of the result.
pub(crate) fn failure_response(run_id: &str, error: &str, facts: Option<Facts>) -> RunResponse {
    RunResponse {
        run_id: run_id.to_owned(),
        status: "error".to_owned(),
        summary: Some(error.to_owned()),
        result: facts.map(|facts| result(vec![Payload { text: error.to_owned(), ..Payload::default() }], facts)),
        ..RunResponse::default()
    }
}

fn result(payloads: Vec<Payload>, facts: Facts) -> RunResult {
    let agent = AgentMeta { session_id: facts.session_id, provider: facts.provider, model: facts.model, usage: facts.usage };
    let error = facts
        .error
        .map(|kind| RunError { kind: kind.to_owned(), message: payloads.first().map(|payload| payload.text.clone()).unwrap_or_default() });
    RunResult {
        payloads,
        meta: Some(RunMeta {
            duration_ms: facts.duration_ms,
            agent_meta: Some(agent),
            aborted: facts.aborted,
            error,
            stop_reason: (!facts.pending.is_empty()).then(|| "tool_calls".to_owned()),
            pending_tool_calls: facts.pending,
        }),
    }
}
