//! Chat: sending into a session, reading it, stopping it, and putting words into it.

mod history;

use std::sync::Arc;

use verso_proto::agent::v1::{
    ChatAbortRequest, ChatAbortResponse, ChatInjectRequest, ChatInjectResponse, ChatMessage, ChatSendRequest, ChatSendResponse,
};
use verso_proto::wire::v1::Party;

use crate::agents;
use crate::attachments;
use crate::commands::{self, Command};
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::messages::{self, COMMAND};
use crate::runs::{Caller, Ended, Facts, Request, Runs, StopReason, Submission, Submitted, emit_reply, success_response};
use crate::sessions;
use crate::store::{Accepted, Arrival, RunState, SessionHints};

pub(crate) use history::{branches, history, message, startup};

/// The `model` of a message that somebody put into a transcript.
const INJECTED_MODEL: &str = "inject";

/// Sends a message into a session.
pub(crate) async fn send(runs: &Runs, request: ChatSendRequest, caller: Caller) -> Result<ChatSendResponse, Error> {
    const METHOD: &str = "chat.send";
    let (agent, key) = session(runs, METHOD, request.agent_id.as_deref(), &request.session_key)?;
    let images = attachments::read(request.attachments)?;
    if request.message.trim().is_empty() && images.is_empty() {
        return Err(Error::NothingToSend);
    }
    agents::expect_session(runs, &key, request.session_id.as_deref()).await?;
    let run_id = request.idempotency_key;
    let party = caller.party(Some(&request.session_key));
    let hints = SessionHints { display_name: caller.name, channel: Some("webchat".to_owned()), ..SessionHints::default() };
    let interprets = request.suppress_command_interpretation != Some(true);
    let (message, reset) = match runs.parts.commands.parse(&request.message).filter(|_| interprets) {
        Some(Command::Stop) => {
            let run_ids = runs.stop_session(&key, StopReason::Stop);
            return Ok(ChatSendResponse { ok: Some(true), aborted: Some(!run_ids.is_empty()), run_ids, ..ChatSendResponse::default() });
        }
        Some(Command::Reset { rest }) if rest.is_empty() => {
            let text = reset_text(runs).await;
            let answered = reply(runs, Arriving { run_id: run_id.clone(), key, agent, hints, party }, true, text).await?;
            return Ok(answered.response(run_id));
        }
        Some(Command::Reset { rest }) => (rest, true),
        Some(command) => {
            let text = reply_text(runs, &command, &key, &agent).await?;
            let answered = reply(runs, Arriving { run_id: run_id.clone(), key, agent, hints, party }, false, text).await?;
            return Ok(answered.response(run_id));
        }
        None => (request.message, false),
    };
    let request = Request {
        message,
        images,
        timeout_ms: request.timeout_ms.and_then(|ms| u64::try_from(ms).ok()),
        thinking: request.thinking,
        reset,
        party,
        ..Request::default()
    };
    let submitted = runs.submit(Submission { run_id: run_id.clone(), key, agent, hints, request }).await?;
    let status =
        |status: &str| ChatSendResponse { run_id: Some(run_id.clone()), status: Some(status.to_owned()), ..ChatSendResponse::default() };
    Ok(match submitted {
        Submitted::New(_) => status("started"),
        Submitted::InFlight(_) => status("in_flight"),
        Submitted::Ended(ended) => repeated(run_id, &ended),
    })
}

/// Begins a session afresh, and says so.
pub(crate) async fn reset(runs: &Runs, arriving: Arriving) -> Result<Arc<Ended>, Error> {
    let text = reset_text(runs).await;
    reply(runs, arriving, true, text).await.map(|answered| answered.ended)
}

/// Stops one run, or all runs of a session.
pub(crate) fn abort(runs: &Runs, request: &ChatAbortRequest) -> Result<ChatAbortResponse, Error> {
    let (_, key) = session(runs, "chat.abort", request.agent_id.as_deref(), &request.session_key)?;
    let run_ids = match &request.run_id {
        Some(run_id) => runs.stop_run(&key, run_id, StopReason::Rpc)?,
        None => runs.stop_session(&key, StopReason::Rpc),
    };
    Ok(ChatAbortResponse { ok: true, aborted: !run_ids.is_empty(), run_ids })
}

/// Puts an assistant's message into a transcript.
pub(crate) async fn inject(runs: &Runs, request: ChatInjectRequest) -> Result<ChatInjectResponse, Error> {
    let (agent, key) = session(runs, "chat.inject", request.agent_id.as_deref(), &request.session_key)?;
    let label = request.label.as_deref().map(str::trim).filter(|label| !label.is_empty());
    let text = label.map_or_else(|| request.message.clone(), |label| format!("[{label}]\n\n{}", request.message));
    let now_ms = runs.parts.clock.now_ms();
    let message = messages::injected(&text, INJECTED_MODEL, now_ms);
    let (session_id, position) = runs.parts.store.inject(&key, message.clone(), now_ms).await?.ok_or(Error::SessionNotFound)?;
    let message_id = format!("{:08x}", rand::random::<u32>());
    emit_reply(&runs.parts.hub, &Runs::source(&format!("inject-{message_id}"), &key, &agent, None), 0, as_event(message.clone()));
    sessions::events::message_added(runs, &key, &agent, (&session_id, position), message).await;
    Ok(ChatInjectResponse { ok: true, message_id })
}

/// A command on its way into the journal.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub(crate) run_id: String,
    pub(crate) key: SessionKey,
    pub(crate) agent: AgentId,
    pub(crate) hints: SessionHints,
    pub(crate) party: Option<Party>,
}

/// How a command was answered: now, or before.
struct Answered {
    ended: Arc<Ended>,
    fresh: bool,
}

impl Answered {
    fn response(&self, run_id: String) -> ChatSendResponse {
        if self.fresh {
            ChatSendResponse { run_id: Some(run_id), status: Some("started".to_owned()), ..ChatSendResponse::default() }
        } else {
            repeated(run_id, &self.ended)
        }
    }
}

/// Answers a command: written down like a run, so that a repeat has no effect, but without a model.
async fn reply(runs: &Runs, arriving: Arriving, reset: bool, text: String) -> Result<Answered, Error> {
    let Arriving { run_id, key, agent, hints, party } = arriving;
    let now_ms = runs.parts.clock.now_ms();
    let message = messages::injected(&text, COMMAND, now_ms);
    let facts = Facts {
        duration_ms: 0,
        session_id: String::new(),
        provider: messages::OURSELVES.to_owned(),
        model: COMMAND.to_owned(),
        usage: None,
        aborted: false,
        pending: Vec::new(),
        error: None,
    };
    let response = success_response(&run_id, std::slice::from_ref(&message), facts);
    let source = Runs::source(&run_id, &key, &agent, party);
    let arrival = Arrival { run_id, key: key.clone(), agent: agent.clone(), request: String::new(), hints, at_ms: now_ms, opening: None };
    let accepted = runs.parts.store.accept_answered(arrival, reset, message.clone(), response.clone()).await?;
    Ok(match accepted {
        Accepted::Known(record) => Answered { ended: Arc::new(Ended::from_record(&record)), fresh: false },
        Accepted::Denied => return Err(Error::SendDenied),
        Accepted::New(_) => {
            emit_reply(&runs.parts.hub, &source, 1, as_event(message));
            let reason = if reset { "reset" } else { "command" };
            sessions::events::changed(runs, &key, &agent, sessions::events::What::reason(reason)).await;
            let ended =
                Ended { state: RunState::Ok, response, started_at_ms: Some(now_ms), at_ms: now_ms, cut_short: false, failure: None };
            Answered { ended: Arc::new(ended), fresh: true }
        }
    })
}

async fn reply_text(runs: &Runs, command: &Command, key: &SessionKey, agent: &AgentId) -> Result<String, Error> {
    Ok(match command {
        Command::Status => {
            let own = runs.parts.roster.get(agent).model;
            let asked = runs.parts.store.session(key).await?.and_then(|session| session.model_override());
            let model = runs.parts.catalog.choose(&runs.parts.clients, asked.as_deref(), own.as_deref()).await?;
            runs.parts.status_text(key, &model).await?
        }
        Command::WhoAmI => format!("You are talking to agent {agent} in session {key}."),
        Command::Help | Command::Stop | Command::Reset { .. } => commands::HELP.to_owned(),
    })
}

async fn reset_text(runs: &Runs) -> String {
    format!("New session started · model: {}", runs.parts.catalog.default(&runs.parts.clients).await.full_name())
}

/// Returns the answer to a message that was answered before.
fn repeated(run_id: String, ended: &Ended) -> ChatSendResponse {
    let error = ended.error().map(str::to_owned);
    let status = if error.is_some() { "error" } else { "ok" };
    ChatSendResponse {
        run_id: Some(run_id),
        status: Some(status.to_owned()),
        summary: error,
        error_kind: ended.response.error_kind.clone(),
        ..ChatSendResponse::default()
    }
}

fn session(runs: &Runs, method: &'static str, agent: Option<&str>, key: &str) -> Result<(AgentId, SessionKey), Error> {
    let named = runs.parts.roster.named(method, agent)?;
    runs.parts.roster.session(method, named.as_ref(), Some(key))
}

/// Events name neither the author nor the model of a message that no model wrote.
fn as_event(message: ChatMessage) -> ChatMessage {
    ChatMessage { provider: None, model: None, ..message }
}
