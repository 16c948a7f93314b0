//! Commands that nodes were asked to carry out, until they answer.

mod payload;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use verso_kit::events::Hub;
use verso_kit::metrics::REACHED;
use verso_proto::node::v1::{
    Event, Invocation, InvokeCancel, InvokeChunk, InvokeInput, InvokeRequest, InvokeResponse, InvokeResultRequest,
};
use verso_proto::wire::v1::{Audience, Principal};

use crate::answers::{Answers, CallKey, Found, Outcome, Turn};
use crate::approvals::Approvals;
use crate::commands::CommandPolicy;
use crate::error::Error;
use crate::metrics;
use crate::registry::Registry;
use crate::run_permit::{Named, vetted};
use crate::waiting::{Ended, Refused, Waiting};
pub(crate) use payload::told;

/// How many commands may be under way.
const PENDING_MAX: usize = 2_048;

/// How long a node may take unless its caller says otherwise, in milliseconds.
const WAIT_MS: i64 = 30_000;

/// The longest that a caller may wait, in milliseconds: a day.
const WAIT_MS_MAX: i64 = 86_400_000;

/// How many runs of programs are remembered, for what nodes later say of them.
const RUNS_MAX: usize = 2_048;

/// How much a command is given to read at a time, in bytes.
const INPUT_BYTES_MAX: usize = 16_384;

/// The oldest protocol whose clients are sent output while a command is under way.
const PROGRESS_SINCE: u32 = 4;

/// The command that runs a program.
const RUN: &str = "system.run";

/// What is under way.
#[derive(Debug)]
pub(crate) struct Invokes {
    policy: RwLock<Arc<CommandPolicy>>,
    hub: Hub<Event>,
    registry: Arc<Registry>,
    approvals: Arc<Approvals>,
    pending: Waiting<Asked, Heard>,
    answers: Answers,
    /// Which node was told to run what, and for which conversation; the newest last.
    runs: Mutex<VecDeque<(String, Named)>>,
}

/// Who was asked, over which connection, and by whom.
#[derive(Debug, Clone)]
struct Asked {
    node_id: String,
    command: String,
    conn_id: String,
    key: CallKey,
    idempotency_key: String,
    /// Follows the command's output.
    follower: Option<String>,
}

/// What ends a wait.
#[derive(Debug)]
enum Heard {
    Result(Box<InvokeResultRequest>),
    /// The node is no longer paired.
    Unpaired,
}

impl Invokes {
    pub(crate) fn new(policy: CommandPolicy, hub: Hub<Event>, registry: Arc<Registry>, approvals: Arc<Approvals>) -> Self {
        let (pending, answers) = (Waiting::new(PENDING_MAX), Answers::default());
        let policy = RwLock::new(Arc::new(policy));
        Self { policy, hub, registry, approvals, pending, answers, runs: Mutex::default() }
    }

    /// Returns what nodes may offer.
    pub(crate) fn policy(&self) -> Arc<CommandPolicy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Holds nodes to other rules from now on.
    pub(crate) fn set_policy(&self, policy: CommandPolicy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// Counts the commands that are not answered.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Asks a node and waits for its answer. The same call again joins the first one, or gets its answer.
    pub(crate) async fn invoke(&self, by: Option<&Principal>, request: InvokeRequest) -> Result<InvokeResponse, Error> {
        let begun = Instant::now();
        let answer = self.once(by, request).await;
        metrics::invoked(&answer, begun.elapsed());
        answer
    }

    async fn once(&self, by: Option<&Principal>, request: InvokeRequest) -> Result<InvokeResponse, Error> {
        let key = key(by, &request);
        loop {
            let outcome = match self.answers.begin(key) {
                Found::New(turn) => return self.dispatch(by, request, key, turn).await,
                Found::Ended(outcome) => Some(outcome),
                // When whoever makes the call gives it up, it is this one's turn.
                Found::UnderWay(mut outcome) => outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone()),
            };
            if let Some(outcome) = outcome {
                return settled(outcome);
            }
        }
    }

    async fn dispatch(&self, by: Option<&Principal>, request: InvokeRequest, key: CallKey, turn: Turn) -> Result<InvokeResponse, Error> {
        let (node_id, command) = (request.node_id.trim().to_owned(), request.command.trim().to_owned());
        let (conn_id, node) = self.registry.link_soon(&node_id).await.ok_or(Error::NotConnected)?;
        self.policy().check(&node, &command)?;
        let id = uuid::Uuid::new_v4().to_string();
        let asked = Asked {
            node_id: node_id.clone(),
            command: command.clone(),
            conn_id: conn_id.clone(),
            key,
            idempotency_key: request.idempotency_key.clone(),
            follower: by.filter(|by| by.protocol >= PROGRESS_SINCE).map(|by| by.conn_id.clone()),
        };
        let place = self.pending.enter(id.clone(), asked.clone()).map_err(|refused| match refused {
            Refused::Taken | Refused::Full => {
                REACHED.one_more(["invokes_pending"]);
                Error::Busy { what: "invokes", max: PENDING_MAX }
            }
        })?;
        // Whoever leaves from here on is noticed by `left`; one who left before is noticed here.
        if self.registry.link(&node_id).is_none_or(|(live, _)| live != conn_id) {
            return Err(Error::NodeGone { command });
        }
        let timeout_ms = request.timeout_ms.unwrap_or(WAIT_MS).clamp(0, WAIT_MS_MAX);
        let cancel = InvokeCancel { invoke_id: id.clone(), node_id };
        let audience = Audience { conn_ids: vec![conn_id], ..Audience::default() };
        self.send(id, &asked, request, timeout_ms);
        let unheard = Unheard { hub: &self.hub, audience, cancel: Some(cancel) };
        let ended = place.wait(Duration::from_millis(timeout_ms.unsigned_abs())).await;
        let outcome = unheard.hear(ended, asked)?;
        turn.end(&outcome);
        settled(outcome)
    }

    /// Tells the node what it is to do.
    fn send(&self, id: String, asked: &Asked, request: InvokeRequest, timeout_ms: i64) {
        let params = if asked.command == RUN {
            let (params, named) = vetted(&asked.node_id, request.params, |id, run| self.approvals.permit(id, run));
            self.remember(&asked.node_id, named, request.session_key.as_ref());
            params
        } else {
            request.params
        };
        let invocation = Invocation {
            id,
            node_id: asked.node_id.clone(),
            command: asked.command.clone(),
            params_json: params.map(|params| params.text),
            timeout_ms,
            idempotency_key: request.idempotency_key,
            session_key: request.session_key,
        };
        let audience = Audience { conn_ids: vec![asked.conn_id.clone()], ..Audience::default() };
        self.hub.emit_with(invocation, |meta| meta.audience = Some(audience));
    }

    /// Takes a node's answer; false when nobody waits for it. Who repeats a call that was not answered in time gets the late answer.
    pub(crate) fn result(&self, caller: Option<&str>, result: InvokeResultRequest) -> Result<bool, Error> {
        if caller != Some(result.node_id.as_str()) {
            return Err(Error::WrongNode);
        }
        let (id, node_id) = (result.id.clone(), result.node_id.clone());
        let asks = |asked: &Asked| asked.node_id == node_id;
        if let Some(late) = self.pending.late(&id).filter(asks) {
            self.answers.amend(late.key, outcome(node_id, late.command, result));
            return Ok(false);
        }
        Ok(self.pending.answer(&id, asks, Heard::Result(Box::new(result))))
    }

    /// Passes a node's output on to who follows it; false when nobody waits for the command.
    pub(crate) fn progress(&self, caller: Option<&str>, mut chunk: InvokeChunk) -> Result<bool, Error> {
        if caller != Some(chunk.node_id.as_str()) {
            return Err(Error::WrongNode);
        }
        let Some(asked) = self.pending.about(&chunk.invoke_id).filter(|asked| asked.node_id == chunk.node_id) else { return Ok(false) };
        chunk.idempotency_key = asked.idempotency_key;
        if let Some(follower) = asked.follower {
            self.hub.emit_with(chunk, |meta| meta.audience = Some(Audience { conn_ids: vec![follower], ..Audience::default() }));
        }
        Ok(true)
    }

    /// Gives a command under way something to read; false when there is none of that name.
    pub(crate) fn feed(&self, idempotency_key: &str, mut input: InvokeInput) -> Result<bool, Error> {
        if input.payload_json.len() > INPUT_BYTES_MAX {
            return Err(Error::InputTooLong { max: INPUT_BYTES_MAX });
        }
        let asked = self.pending.find(|asked| asked.node_id == input.node_id && asked.idempotency_key == idempotency_key);
        let Some((id, asked)) = asked else { return Ok(false) };
        input.id = id;
        self.hub.emit_with(input, |meta| meta.audience = Some(Audience { conn_ids: vec![asked.conn_id], ..Audience::default() }));
        Ok(true)
    }

    /// Returns the conversation for which a node was told to run something; none when it was not told.
    pub(crate) fn run(&self, node_id: &str, run_id: &str) -> Option<Named> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().rev().find(|(node, named)| node == node_id && named.run_id == run_id).map(|(_, named)| named.clone())
    }

    fn remember(&self, node_id: &str, named: Option<Named>, session_key: Option<&String>) {
        let Some(mut named) = named else { return };
        named.session_key = named.session_key.or_else(|| session_key.cloned());
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.push_back((node_id.to_owned(), named));
        if runs.len() > RUNS_MAX {
            runs.pop_front();
        }
    }

    /// A connection has ended: what was asked over it stays unanswered.
    pub(crate) fn left(&self, conn_id: &str) {
        self.pending.abandon(|asked| asked.conn_id == conn_id);
    }

    /// A node is no longer paired: nobody waits for it any more.
    pub(crate) fn unpaired(&self, node_id: &str) {
        self.pending.answer_each(|asked| asked.node_id == node_id, || Heard::Unpaired);
    }
}

/// Tells the node, when this is dropped, that nobody waits for its answer any more.
struct Unheard<'a> {
    hub: &'a Hub<Event>,
    audience: Audience,
    cancel: Option<InvokeCancel>,
}

impl Unheard<'_> {
    /// How the wait ended. A node that has answered, or is gone, needs not be told that nobody waits.
    fn hear(mut self, ended: Ended<Heard>, asked: Asked) -> Result<Outcome, Error> {
        let Asked { node_id, command, .. } = asked;
        match ended {
            Ended::Answered(Heard::Result(result)) => {
                self.cancel = None;
                Ok(outcome(node_id, command, *result))
            }
            Ended::Answered(Heard::Unpaired) => Err(Error::PairingChanged),
            Ended::TimedOut => Ok(Outcome::TimedOut),
            Ended::Abandoned => {
                self.cancel = None;
                Err(Error::NodeGone { command })
            }
        }
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            let audience = std::mem::take(&mut self.audience);
            self.hub.emit_with(cancel, |meta| meta.audience = Some(audience));
        }
    }
}

/// A call is the same again when the same peer says the same. A peer without a device is known by its connection alone.
fn key(by: Option<&Principal>, request: &InvokeRequest) -> CallKey {
    let who = by.map(|by| by.device_id.clone().unwrap_or_else(|| by.conn_id.clone())).unwrap_or_default();
    let params = request.params.as_ref().map(|params| params.text.as_str()).unwrap_or_default();
    CallKey::of(&[&who, request.node_id.trim(), request.command.trim(), &request.idempotency_key, params])
}

fn settled(outcome: Outcome) -> Result<InvokeResponse, Error> {
    match outcome {
        Outcome::Answered(answer) => Ok(answer),
        Outcome::Failed { code, message } => Err(Error::NodeFailed { code, message }),
        Outcome::TimedOut => Err(Error::InvokeTimedOut),
    }
}

fn outcome(node_id: String, command: String, result: InvokeResultRequest) -> Outcome {
    if !result.ok {
        let error = result.error.unwrap_or_default();
        let message = error.message.filter(|message| !message.trim().is_empty());
        let message = message.unwrap_or_else(|| "node invoke failed".to_owned());
        return Outcome::Failed { code: error.code.filter(|code| !code.is_empty()), message };
    }
    let (payload, payload_json) = payload::both(result.payload, result.payload_json);
    Outcome::Answered(InvokeResponse { ok: true, node_id, command, payload, payload_json })
}
