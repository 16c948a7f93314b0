//! Messages from chat networks: to the agent and the conversation that they are for, and the answer back.

mod pieces;

use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use verso_proto::agent::v1::{ActivationRequest, ActivationResponse, CalledBy, Payload, SubmitRequest, SubmitResponse};

use crate::agents::Answers;
use crate::attachments;
use crate::chat::{self, Arriving, Once};
use crate::commands::{Heard, Place, Spoken, Who};
use crate::enclosures;
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::routing::Origin;
use crate::runs::{Ended, Origin as From, Request, Route, Run, Runs, Submission, Submitted};
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
    let place = Place { agent, key };
    let channel = request.channel.trim().to_lowercase();
    let owns = request.authorized && runs.parts.commands.section().owns(&channel, &request.sender_id, request.owner);
    let who = Who {
        authorized: request.authorized,
        manages: request.authorized,
        owns,
        approves: owns,
        sender: Some(request.sender_id.clone()),
        name: request.sender_name.clone(),
        channel: Some(channel.clone()),
        account: Some(request.account_id.clone()),
    };
    let to = Route {
        channel: channel.clone(),
        to: request.peer_id.clone(),
        account: Some(request.account_id.clone()),
        thread: request.thread_id.clone(),
    };
    let hints = SessionHints {
        display_name: request.sender_name.clone(),
        channel: Some(channel),
        route: Some(to.clone()),
        ..SessionHints::default()
    };
    let arriving = Arriving { run_id: request.run_id.clone(), place: place.clone(), hints, party: None };
    let spoken = match chat::hear_once(runs, &place, &who, (&request.run_id, &request.text)).await? {
        Once::Before(ended) => return Ok(once(place.ended(&ended))),
        Once::Now(Heard::Words(spoken)) => spoken,
        Once::Now(heard) => return command(runs, arriving, heard).await,
    };
    let body = reworded(&request.body, &request.text, &spoken.message);
    let message = match &request.context {
        Some(context) => format!("{CONTEXT_TITLE}\n{context}\n\n{MESSAGE_TITLE}\n{body}"),
        None => body,
    };
    let images = attachments::read(request.attachments, attachments::IMAGE_BYTES_MAX)?;
    let asked = chat::asked(runs, &place, &who, Spoken { message, ..*spoken }, None).await?;
    let from = From { channel: to.channel.clone(), to: request.to, thread: request.thread_id, sender: request.sender_id };
    let asked = Request { images, origin: Some(from), route: Some(to.clone()), ..asked };
    let submission =
        Submission { run_id: request.run_id, key: place.key.clone(), agent: place.agent.clone(), hints: arriving.hints, request: asked };
    let wanted = pieces::Wanted { parts: request.parts, drafts: request.drafts };
    let answers = match runs.submit(submission).await {
        Ok(Submitted::New(run) | Submitted::InFlight(run)) if request.parts || request.drafts => {
            pieces::of(run, place.clone(), runs.parts.chunks, wanted)
        }
        Ok(Submitted::New(run) | Submitted::InFlight(run)) => accepted_and_end(run, place.clone()),
        Ok(Submitted::Ended(ended)) if request.parts => once(pieces::again(&ended, &place, runs.parts.chunks)),
        Ok(Submitted::Ended(ended)) => once(place.ended(&ended)),
        Err(Error::SendDenied) => return Ok(once(place.response("denied"))),
        Err(error) => return Err(error),
    };
    let main = runs.parts.roster.naming.main(&place.agent);
    if request.chat_type == "direct" && main != place.key {
        // Whoever writes in private is whom the agent reaches by itself.
        runs.parts.store.keep_route(&main, to).await?;
    }
    Ok(with_files(runs, &place.agent, answers))
}

/// Adds the files that answers refer to.
fn with_files(runs: &Runs, agent: &AgentId, answers: Answers<SubmitResponse>) -> Answers<SubmitResponse> {
    let workspace: Arc<Path> = runs.parts.roster.get(agent).workspace.into();
    let add = move |answer: Result<SubmitResponse, Error>| {
        let workspace = Arc::clone(&workspace);
        async move {
            let answer = answer?;
            let files = enclosures::of(&workspace, &answer.payloads).await;
            Ok(SubmitResponse { files, ..answer })
        }
    };
    answers.then(add).boxed()
}

/// Puts what is left of a text into its envelope.
fn reworded(body: &str, text: &str, left: &str) -> String {
    match body.rfind(text) {
        Some(place) if text != left && !text.is_empty() => format!("{}{left}{}", &body[..place], &body[place + text.len()..]),
        _ => body.to_owned(),
    }
}

/// Returns whether a group's conversation wants to be mentioned, if anybody has said so, and what its agent is called by, if that is its own.
pub(crate) async fn activation(runs: &Runs, request: &ActivationRequest) -> Result<ActivationResponse, Error> {
    let origin = Origin {
        channel: &request.channel,
        account: &request.account_id,
        kind: "group",
        peer: &request.peer_id,
        thread: request.thread_id.as_deref(),
    };
    let (agent, key) = place(runs, &origin)?;
    let activation = runs.parts.store.session(&key).await?.and_then(|session| session.settings.group_activation);
    let called_by = runs.parts.roster.get(&agent).mention_patterns.map(|patterns| CalledBy { patterns });
    Ok(ActivationResponse { activation, called_by })
}

/// Which agent and conversation a message is for.
fn session(runs: &Runs, request: &SubmitRequest) -> Result<(AgentId, SessionKey), Error> {
    let origin = Origin {
        channel: &request.channel,
        account: &request.account_id,
        kind: if request.chat_type == "direct" { "dm" } else { &request.chat_type },
        peer: &request.peer_id,
        thread: request.thread_id.as_deref(),
    };
    place(runs, &origin)
}

fn place(runs: &Runs, origin: &Origin<'_>) -> Result<(AgentId, SessionKey), Error> {
    const METHOD: &str = "submit";
    let roster = &runs.parts.roster;
    // An agent that is not there any more does not silence a chat.
    let bound = roster.routing.agent(origin).filter(|agent| roster.agents().iter().any(|profile| profile.id == *agent));
    roster.session(METHOD, bound.as_ref(), roster.routing.conversation(origin).as_deref())
}

/// Carries out a command, whose answer is a run like any other.
async fn command(runs: &Runs, arriving: Arriving, heard: Heard) -> Result<Answers<SubmitResponse>, Error> {
    let place = arriving.place.clone();
    if matches!(heard, Heard::Stop) {
        let stopped = chat::stop(runs, &place).await?;
        let mut words = if stopped.run_ids.is_empty() { "⚙️ Nothing was running." } else { "⚙️ Agent was aborted." }.to_owned();
        if stopped.subagents > 0 {
            words = format!("{words} Stopped {} subagent runs.", stopped.subagents);
        }
        return Ok(once(SubmitResponse { payloads: vec![payload(&words)], ..place.response("ok") }));
    }
    match chat::answered(runs, arriving, heard).await {
        Ok(answered) => Ok(once(place.ended(&answered.ended))),
        Err(Error::SendDenied) => Ok(once(place.response("denied"))),
        Err(error) => Err(error),
    }
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
        let (error, answerer) = (ended.error().map(str::to_owned), ended.answerer.clone());
        SubmitResponse { payloads, error, answerer, ..self.response(status) }
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
