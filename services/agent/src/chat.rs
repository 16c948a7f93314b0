//! Chat: sending into a session, reading it, stopping it, and putting words into it.

mod history;

use std::sync::Arc;

use verso_proto::agent::v1::{
    ChatAbortRequest, ChatAbortResponse, ChatInjectRequest, ChatInjectResponse, ChatMessage, ChatSendRequest, ChatSendResponse,
};
use verso_proto::wire::v1::Party;

use crate::agents;
use crate::attachments;
use crate::commands::{self, Heard, Place, Spoken, Who};
use crate::delivery::{self, Wanted};
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::messages::{self, COMMAND};
use crate::runs::{Caller, Ended, Facts, QueueWishes, Request, Runs, StopReason, Submission, Submitted, emit_reply, success_response};
use crate::sessions;
use crate::store::{Accepted, Arrival, RunState, SessionHints};

pub(crate) use history::{branches, history, message, startup};

/// The channel of clients that are no chat network.
pub(crate) const WEBCHAT: &str = "webchat";

/// The `model` of a message that somebody put into a transcript.
const INJECTED_MODEL: &str = "inject";

/// Sends a message into a session.
pub(crate) async fn send(runs: &Runs, request: ChatSendRequest, caller: Caller) -> Result<ChatSendResponse, Error> {
    const METHOD: &str = "chat.send";
    let (agent, key) = session(runs, METHOD, request.agent_id.as_deref(), &request.session_key)?;
    let images = attachments::read(request.attachments, attachments::IMAGE_BYTES_MAX)?;
    if request.message.trim().is_empty() && images.is_empty() {
        return Err(Error::NothingToSend);
    }
    agents::expect_session(runs, &key, request.session_id.as_deref()).await?;
    let run_id = request.idempotency_key;
    let (party, who) = (caller.party(Some(&request.session_key)), caller.who());
    let hints = SessionHints { display_name: caller.name, channel: Some(WEBCHAT.to_owned()), ..SessionHints::default() };
    let place = Place { agent, key };
    let deliver = match request.deliver {
        Some(true) => {
            let wanted = Wanted {
                channel: request.originating_channel,
                to: request.originating_to,
                account: request.originating_account_id,
                thread: request.originating_thread_id,
            };
            Some(delivery::route(runs, &place.agent, &place.key, wanted).await?)
        }
        _ => None,
    };
    let arriving = Arriving { run_id: run_id.clone(), place: place.clone(), hints, party };
    let who = if request.suppress_command_interpretation == Some(true) { Who { authorized: false, ..who } } else { who };
    let spoken = match hear_once(runs, &place, &who, (&run_id, &request.message)).await? {
        Once::Before(ended) => return Ok(repeated(run_id, &ended)),
        Once::Now(Heard::Stop) => {
            let run_ids = stop(runs, &place).await?.run_ids;
            return Ok(ChatSendResponse { ok: Some(true), aborted: Some(!run_ids.is_empty()), run_ids, ..ChatSendResponse::default() });
        }
        Once::Now(Heard::Words(spoken)) => spoken,
        Once::Now(heard) => return Ok(answered(runs, arriving, heard).await?.response(run_id)),
    };
    let request = Request {
        images,
        timeout_ms: request.timeout_ms.and_then(|ms| u64::try_from(ms).ok()),
        deliver,
        party: arriving.party,
        ..asked(runs, &place, &who, *spoken, request.thinking).await?
    };
    let submission = Submission { run_id: run_id.clone(), key: place.key, agent: place.agent, hints: arriving.hints, request };
    let submitted = runs.submit(submission).await?;
    let status =
        |status: &str| ChatSendResponse { run_id: Some(run_id.clone()), status: Some(status.to_owned()), ..ChatSendResponse::default() };
    Ok(match submitted {
        Submitted::New(_) => status("started"),
        Submitted::InFlight(_) => status("in_flight"),
        Submitted::Ended(ended) => repeated(run_id, &ended),
    })
}

/// What a message is, unless it was answered before.
pub(crate) enum Once {
    Now(Heard),
    Before(Arc<Ended>),
}

/// Decides about a message. What was a command the first time is not carried out again.
pub(crate) async fn hear_once(runs: &Runs, place: &Place, who: &Who, (run_id, message): (&str, &str)) -> Result<Once, Error> {
    if who.authorized
        && message.trim_start().starts_with('/')
        && let Some(record) = runs.parts.store.run(run_id).await?
        && record.ended_at_ms.is_some()
    {
        return Ok(Once::Before(Arc::new(Ended::from_record(&record))));
    }
    if !who.authorized {
        return Ok(Once::Now(Heard::Words(Box::new(Spoken { message: message.to_owned(), ..Spoken::default() }))));
    }
    commands::hear(runs, place, who, message).await.map(Once::Now)
}

/// Returns what is asked of an agent by words of `who`.
pub(crate) async fn asked(runs: &Runs, place: &Place, who: &Who, spoken: Spoken, thinking: Option<String>) -> Result<Request, Error> {
    let channel = who.channel.as_deref().unwrap_or(WEBCHAT);
    let session = runs.parts.store.session(&place.key).await?;
    // Where nothing runs, nothing is queued; where something does, the conversation goes on.
    let (wishes, over) = if runs.is_busy(&place.key) {
        (session.map(|session| session.queue).unwrap_or_default(), false)
    } else {
        let times = session.filter(|session| session.system_sent).map(|session| (session.updated_at_ms, runs.parts.clock.now_ms()));
        let over = |times| runs.parts.freshness.over(&place.key, channel, &runs.parts.zone, times);
        (QueueWishes::default(), times.is_some_and(over))
    };
    Ok(Request {
        message: spoken.message,
        reset: spoken.reset || over,
        thinking: spoken.thinking.or(thinking),
        model: spoken.model,
        inline: spoken.inline,
        sender_is_owner: who.owns,
        sender: who.sender.clone(),
        queue: Some(runs.parts.queue.resolve(spoken.queue, wishes, Some(channel))),
        ..Request::default()
    })
}

/// What was stopped.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) run_ids: Vec<String>,
    /// Runs of subagents.
    pub(crate) subagents: usize,
}

/// Stops everything that a session does or has others do.
pub(crate) async fn stop(runs: &Runs, place: &Place) -> Result<Stopped, Error> {
    let run_ids = runs.stop_session(&place.key, StopReason::Stop);
    Ok(Stopped { run_ids, subagents: commands::stop_all(runs, &place.key).await? })
}

/// Answers what is not for a model.
pub(crate) async fn answered(runs: &Runs, arriving: Arriving, heard: Heard) -> Result<Answered, Error> {
    let place = arriving.place.clone();
    let (reset, answer) = match heard {
        Heard::Answer(answer) => (false, answer),
        _ => (true, reset_text(runs, &place).await?.into()),
    };
    let answered = reply(runs, arriving, reset, answer.text).await?;
    if let Some(what) = answer.afterwards.filter(|_| answered.fresh) {
        commands::afterwards(runs, &place, what).await?;
    }
    Ok(answered)
}

/// Stops one run, or all runs of a session.
pub(crate) async fn abort(runs: &Runs, request: &ChatAbortRequest) -> Result<ChatAbortResponse, Error> {
    let (_, key) = session(runs, "chat.abort", request.agent_id.as_deref(), &request.session_key)?;
    let run_ids = if let Some(run_id) = &request.run_id {
        runs.stop_run(&key, run_id, StopReason::Rpc)?
    } else {
        let run_ids = runs.stop_session(&key, StopReason::Rpc);
        commands::stop_all(runs, &key).await?;
        run_ids
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
    pub(crate) place: Place,
    pub(crate) hints: SessionHints,
    pub(crate) party: Option<Party>,
}

/// How a command was answered: now, or before.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) ended: Arc<Ended>,
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
    let Arriving { run_id, place: Place { agent, key }, hints, party } = arriving;
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
    let (policy, request, opening) = (Arc::clone(&runs.parts.send_policy), String::new(), None);
    let arrival = Arrival { run_id, key: key.clone(), agent: agent.clone(), request, hints, policy, at_ms: now_ms, opening };
    let accepted = runs.parts.store.accept_answered(arrival, reset, message.clone(), response.clone()).await?;
    Ok(match accepted {
        Accepted::Known(record) => Answered { ended: Arc::new(Ended::from_record(&record)), fresh: false },
        Accepted::Denied => return Err(Error::SendDenied),
        Accepted::New(_) => {
            emit_reply(&runs.parts.hub, &source, 1, as_event(message));
            let reason = if reset { "reset" } else { "command" };
            sessions::events::changed(runs, &key, &agent, sessions::events::What::reason(reason)).await;
            let ended = Ended {
                state: RunState::Ok,
                response,
                started_at_ms: Some(now_ms),
                at_ms: now_ms,
                cut_short: false,
                failure: None,
                answerer: None,
            };
            Answered { ended: Arc::new(ended), fresh: true }
        }
    })
}

async fn reset_text(runs: &Runs, place: &Place) -> Result<String, Error> {
    let asked = runs.parts.store.session(&place.key).await?.and_then(|session| session.model_override());
    let own = runs.parts.roster.get(&place.agent).model;
    let model = runs.parts.catalog.choose(&runs.parts.clients, asked.as_deref(), own.as_deref()).await?;
    Ok(format!("New session started · model: {}", model.full_name()))
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
