//! Messages from chat networks: to the agent and the conversation that they are for, and the answer back.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use verso_proto::agent::v1::{ChatSendRequest, Payload, SubmitRequest, SubmitResponse};

use crate::agents::Answers;
use crate::attachments;
use crate::chat;
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::routing::Origin;
use crate::runs::{Caller, Ended, Origin as From, Request, Run, Runs, Submission, Submitted};
use crate::store::{RunState, SessionHints};
use crate::system_events;

/// What a group is told to have said before the message that is answered.
const CONTEXT_TITLE: &str = "[Chat messages since your last reply - for context]";

/// What comes after it.
const MESSAGE_TITLE: &str = "[Current message - respond to this]";

/// Takes a message.
pub(crate) async fn submit(runs: &Runs, request: SubmitRequest) -> Result<Answers<SubmitResponse>, Error> {
    let (agent, key) = session(runs, &request)?;
    if request.note {
        // The same event takes its own place: a repeat adds nothing.
        system_events::queue(&runs.parts, &key, &request.body, Some(request.run_id)).await?;
        return Ok(once(Place { agent, key }.response("ok")));
    }
    if request.authorized && runs.parts.commands.parse(&request.text).is_some() {
        return command(runs, request, agent, key).await;
    }
    let hints = SessionHints {
        display_name: request.sender_name.clone(),
        channel: Some(request.channel.trim().to_lowercase()),
        ..SessionHints::default()
    };
    let message = match &request.context {
        Some(context) => format!("{CONTEXT_TITLE}\n{context}\n\n{MESSAGE_TITLE}\n{}", request.body),
        None => request.body,
    };
    let from =
        From { channel: request.channel.trim().to_lowercase(), to: request.to, thread: request.thread_id, sender: request.sender_id };
    let asked = Request { message, images: attachments::read(request.attachments)?, origin: Some(from), ..Request::default() };
    let place = Place { agent: agent.clone(), key: key.clone() };
    let submission = Submission { run_id: request.run_id, key, agent, hints, request: asked };
    Ok(match runs.submit(submission).await {
        Ok(Submitted::New(run) | Submitted::InFlight(run)) => accepted_and_end(run, place),
        Ok(Submitted::Ended(ended)) => once(place.ended(&ended)),
        Err(Error::SendDenied) => once(place.response("denied")),
        Err(error) => return Err(error),
    })
}

/// Which agent and conversation a message is for.
fn session(runs: &Runs, request: &SubmitRequest) -> Result<(AgentId, SessionKey), Error> {
    const METHOD: &str = "submit";
    let origin = Origin {
        channel: &request.channel,
        account: &request.account_id,
        kind: if request.chat_type == "direct" { "dm" } else { &request.chat_type },
        peer: &request.peer_id,
        thread: request.thread_id.as_deref(),
    };
    let roster = &runs.parts.roster;
    // An agent that is not there any more does not silence a chat.
    let bound = roster.routing.agent(&origin).filter(|agent| roster.agents().iter().any(|profile| profile.id == *agent));
    roster.session(METHOD, bound.as_ref(), roster.routing.conversation(&origin).as_deref())
}

/// Carries out a command, whose answer is a run like any other.
async fn command(runs: &Runs, request: SubmitRequest, agent: AgentId, key: SessionKey) -> Result<Answers<SubmitResponse>, Error> {
    let place = Place { agent, key };
    let run_id = request.run_id;
    let sent = ChatSendRequest {
        session_key: place.key.to_string(),
        message: request.text,
        idempotency_key: run_id.clone(),
        ..ChatSendRequest::default()
    };
    let caller = Caller { name: request.sender_name, ..Caller::default() };
    let answered = chat::send(runs, sent, caller).await;
    let answered = match answered {
        Err(Error::SendDenied) => return Ok(once(place.response("denied"))),
        answered => answered?,
    };
    if answered.ok == Some(true) {
        let words = if answered.aborted == Some(true) { "⚙️ Agent was aborted." } else { "⚙️ Nothing was running." };
        return Ok(once(SubmitResponse { payloads: vec![payload(words)], ..place.response("ok") }));
    }
    let (runs, accepted) = (runs.clone(), place.response("accepted"));
    let end = async move {
        let ended = runs.wait(&run_id, std::time::Duration::MAX).await?.ok_or(Error::Restarting)?;
        Ok(place.ended(&ended))
    };
    Ok(stream::once(async { Ok(accepted) }).chain(stream::once(end)).boxed())
}

/// Where a message belongs.
struct Place {
    agent: AgentId,
    key: SessionKey,
}

impl Place {
    fn response(&self, status: &str) -> SubmitResponse {
        SubmitResponse {
            status: status.to_owned(),
            session_key: self.key.to_string(),
            agent_id: self.agent.to_string(),
            ..SubmitResponse::default()
        }
    }

    fn ended(&self, ended: &Ended) -> SubmitResponse {
        let status = match ended.state {
            RunState::Aborted => "aborted",
            RunState::Error => "error",
            _ => "ok",
        };
        let payloads = ended.response.result.as_ref().map(|result| result.payloads.clone()).unwrap_or_default();
        let payloads = payloads.into_iter().filter(says_something).collect();
        SubmitResponse { payloads, error: ended.error().map(str::to_owned), ..self.response(status) }
    }
}

fn says_something(payload: &Payload) -> bool {
    !payload.text.trim().is_empty() || payload.media_url.is_some() || !payload.media_urls.is_empty()
}

fn payload(text: &str) -> Payload {
    Payload { text: text.to_owned(), ..Default::default() }
}

fn accepted_and_end(run: Arc<Run>, place: Place) -> Answers<SubmitResponse> {
    let accepted = place.response("accepted");
    let end = async move { Ok(place.ended(&*run.ended().await?)) };
    stream::once(async { Ok(accepted) }).chain(stream::once(end)).boxed()
}

fn once(response: SubmitResponse) -> Answers<SubmitResponse> {
    stream::once(async { Ok(response) }).boxed()
}
