//! What can be asked of agents: to run a turn, to wait for one, to say who they are and which models there are.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::{Value, json};
use verso_proto::agent::v1::{
    AgentIdentity, AgentInfo, AgentModel, AgentsListResponse, ClientTool, CompleteEnd, CompleteRequest, IdentityGetRequest,
    IdentityGetResponse, RunRequest, RunResponse, Sampling as WireSampling, WaitRequest, WaitResponse,
};
use verso_tools::tool::Spec;

use crate::attachments;
use crate::chat::{self, Arriving};
use crate::commands::{self, Heard, Place};
use crate::delivery::{self, Wanted};
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::provider::{Sampling, ToolChoice, ToolSpec};
use crate::runs::{Caller, Ended, Request, Run, Runs, StopReason, Submission, Submitted};
use crate::sessions;
use crate::store::{RunState, SessionHints};

/// How long `agent.wait` waits that does not say, in milliseconds.
const WAIT_MS_DEFAULT: i64 = 30_000;

/// Answers as they become known.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Error>> + Send>>;

/// A piece of the answer to an HTTP caller.
#[derive(Debug)]
pub(crate) enum Piece {
    Delta(String),
    End(CompleteEnd),
}

/// Runs a turn. `repeat` says, of a request that the edge makes again, how many of its answers the caller already has:
/// from an earlier incarnation, or through another edge.
pub(crate) async fn run(runs: &Runs, request: RunRequest, caller: Caller, repeat: Option<usize>) -> Result<Answers<RunResponse>, Error> {
    let submitted = match submission(runs, request, caller).await? {
        Asked::Run(submission) => runs.submit(*submission).await?,
        Asked::Answer(arriving, heard) => Submitted::Ended(chat::answered(runs, *arriving, heard).await?.ended),
    };
    let delivered = repeat.unwrap_or(0);
    Ok(match submitted {
        Submitted::New(run) => accepted_and_final(run, delivered),
        // Its first caller may not have heard that it was accepted.
        Submitted::InFlight(run) if run.recovered || repeat.is_some() => accepted_and_final(run, delivered),
        Submitted::InFlight(run) => stream::once(async move { Ok(ack(&run, "in_flight")) }).boxed(),
        Submitted::Ended(_) if delivered > 1 => stream::empty().boxed(),
        Submitted::Ended(ended) => stream::once(async move { Ok(ended.response.clone()) }).boxed(),
    })
}

fn accepted_and_final(run: Arc<Run>, delivered: usize) -> Answers<RunResponse> {
    let accepted = ack(&run, "accepted");
    let end = async move { Ok(run.ended().await?.response.clone()) };
    stream::once(async { Ok(accepted) }).chain(stream::once(end)).skip(delivered).boxed()
}

fn ack(run: &Run, status: &str) -> RunResponse {
    RunResponse {
        run_id: run.id.clone(),
        status: status.to_owned(),
        accepted_at_ms: Some(run.accepted_at_ms),
        session_key: Some(run.key.to_string()),
        agent_id: Some(run.agent.to_string()),
        ..RunResponse::default()
    }
}

enum Asked {
    Run(Box<Submission>),
    Answer(Box<Arriving>, Heard),
}

/// Checks a request and turns it into what is to be run.
async fn submission(runs: &Runs, request: RunRequest, caller: Caller) -> Result<Asked, Error> {
    const METHOD: &str = "agent";
    let roster = &runs.parts.roster;
    roster.check_channel(METHOD, request.channel.as_deref())?;
    roster.check_channel(METHOD, request.reply_channel.as_deref())?;
    let named = roster.named(METHOD, request.agent_id.as_deref())?;
    let session_id = request.session_id.filter(|id| !id.trim().is_empty());
    let (agent, key) = match (&session_id, &request.session_key) {
        (Some(id), None) => by_session_id(runs, id.trim(), named).await?,
        _ => roster.session(METHOD, named.as_ref(), request.session_key.as_deref())?,
    };
    let images = attachments::read(request.attachments, attachments::IMAGE_BYTES_MAX)?;
    let wished_channel = request.channel.clone();
    let (party, who) = (caller.party(request.session_key.as_deref()), caller.who());
    expect_session(runs, &key, request.expected_existing_session_id.as_deref()).await?;
    let hints = SessionHints {
        session_id,
        label: request.label.as_deref().map(sessions::label).transpose()?,
        display_name: who.name.clone(),
        channel: request.channel.map(|channel| channel.trim().to_lowercase()).filter(|channel| channel != "last"),
        spawned_by: request.spawned_by,
        route: None,
    };
    let place = Place { agent: agent.clone(), key: key.clone() };
    let (message, reset) = match commands::fresh(runs, &place, &who, &request.message).await? {
        Some(Heard::Words(spoken)) => (spoken.message, true),
        Some(heard) => {
            let run_id = request.idempotency_key;
            return Ok(Asked::Answer(Box::new(Arriving { run_id, place, hints, party }), heard));
        }
        None => (request.message, false),
    };
    let deliver = match request.deliver {
        Some(true) => {
            let (channel, to) = (request.reply_channel.or(wished_channel), request.reply_to.or(request.to));
            let account = request.reply_account_id.or(request.account_id);
            let found = delivery::route(runs, &agent, &key, Wanted { channel, to, account, thread: request.thread_id }).await;
            if request.best_effort_deliver == Some(true) { found.ok() } else { Some(found?) }
        }
        _ => None,
    };
    let model = match (request.provider, request.model) {
        (Some(provider), Some(model)) => Some(format!("{provider}/{model}")),
        (_, model) => model,
    };
    let run = Request {
        message,
        images,
        extra_system_prompt: request.extra_system_prompt,
        timeout_ms: request.timeout.map(|seconds| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000)),
        model: model.filter(|model| !model.trim().is_empty()),
        thinking: request.thinking,
        reset,
        sender_is_owner: who.owns,
        deliver,
        party,
        ..Request::default()
    };
    let run_id = request.idempotency_key;
    Ok(Asked::Run(Box::new(Submission { run_id, key, agent, hints, request: run })))
}

/// Refuses a request for a session that was begun afresh since the caller looked.
pub(crate) async fn expect_session(runs: &Runs, key: &SessionKey, expected: Option<&str>) -> Result<(), Error> {
    let Some(expected) = expected else { return Ok(()) };
    match runs.parts.store.session(key).await? {
        Some(session) if session.session_id != expected => {
            Err(sessions::Error::OtherId { key: key.to_string(), expected: expected.to_owned() }.into())
        }
        _ => Ok(()),
    }
}

async fn by_session_id(runs: &Runs, session_id: &str, named: Option<AgentId>) -> Result<(AgentId, SessionKey), Error> {
    let naming = &runs.parts.roster.naming;
    if let Some(session) = runs.parts.store.session_by_id(session_id).await? {
        return Ok((AgentId::normalize(&session.agent_id), session.key));
    }
    let agent = named.unwrap_or_else(|| naming.default_agent.clone());
    let key = naming.resolve(&format!("agent:{agent}:explicit:{session_id}"), &agent)?;
    Ok((agent, key))
}

/// Waits for the end of a run.
pub(crate) async fn wait(runs: &Runs, request: WaitRequest) -> Result<WaitResponse, Error> {
    let timeout = u64::try_from(request.timeout_ms.unwrap_or(WAIT_MS_DEFAULT)).unwrap_or(0);
    let run_id = request.run_id.trim().to_owned();
    let ended = runs.wait(&run_id, Duration::from_millis(timeout)).await?;
    Ok(match ended {
        None => WaitResponse { run_id, status: "timeout".to_owned(), ..WaitResponse::default() },
        Some(ended) => WaitResponse {
            run_id,
            status: if ended.state == RunState::Error { "error" } else { "ok" }.to_owned(),
            started_at_ms: ended.started_at_ms,
            ended_at_ms: Some(ended.at_ms),
            error: ended.error().map(str::to_owned),
        },
    })
}

/// Says who an agent is.
pub(crate) fn identity(runs: &Runs, request: &IdentityGetRequest) -> Result<IdentityGetResponse, Error> {
    const METHOD: &str = "agent.identity.get";
    let roster = &runs.parts.roster;
    let named = roster.named(METHOD, request.agent_id.as_deref())?;
    let (agent, _) = roster.session(METHOD, named.as_ref(), request.session_key.as_deref())?;
    let profile = roster.get(&agent);
    Ok(IdentityGetResponse {
        agent_id: agent.to_string(),
        name: profile.display_name().to_owned(),
        avatar: profile.avatar(),
        emoji: profile.identity.and_then(|identity| identity.emoji),
    })
}

/// Lists the agents.
pub(crate) fn list(runs: &Runs) -> AgentsListResponse {
    let roster = &runs.parts.roster;
    let identity = |identity: &crate::config::Identity| AgentIdentity {
        name: identity.name.clone(),
        theme: identity.theme.clone(),
        emoji: identity.emoji.clone(),
        avatar: identity.avatar.clone(),
    };
    let agents = roster.agents().iter().map(|agent| AgentInfo {
        id: agent.id.to_string(),
        name: agent.name.clone(),
        identity: agent.identity.as_ref().map(identity),
        kind: "agent".to_owned(),
        workspace: agent.workspace.display().to_string(),
        model: Some(AgentModel { primary: runs.parts.catalog.known(agent.model.as_deref()).full_name() }),
    });
    AgentsListResponse {
        default_id: roster.naming.default_agent.to_string(),
        main_key: roster.naming.main_key.to_string(),
        scope: if roster.naming.global { "global" } else { "per-sender" }.to_owned(),
        agents: agents.collect(),
        ownership: "sole".to_owned(),
        selection_required: false,
    }
}

/// Refuses a request that names an agent that is not configured.
pub(crate) fn known(runs: &Runs, method: &'static str, agent: Option<&str>) -> Result<(), Error> {
    runs.parts.roster.named(method, agent).map(drop)
}

/// Runs a turn for an HTTP caller, and stops it when the caller goes away.
pub(crate) async fn complete(runs: &Runs, request: CompleteRequest) -> Result<Answers<Piece>, Error> {
    const METHOD: &str = "complete";
    let roster = &runs.parts.roster;
    let named = roster.named(METHOD, Some(&request.agent_id))?;
    let (agent, key) = roster.session(METHOD, named.as_ref(), Some(&request.session_key))?;
    let images = attachments::read(request.attachments, attachments::HTTP_IMAGE_BYTES_MAX)?;
    if request.message.trim().is_empty() && images.is_empty() {
        return Err(Error::NothingToSend);
    }
    let sampling = request.sampling.map(sampling).unwrap_or_default();
    let (tools, tool_choice) = client_tools(request.tools, request.tool_choice.as_deref())?;
    let run = Request {
        message: request.message,
        images,
        extra_system_prompt: request.extra_system_prompt,
        model: request.model.filter(|model| !model.trim().is_empty()),
        thinking: request.thinking,
        sampling,
        tools,
        tool_choice,
        ..Request::default()
    };
    let submission = Submission { run_id: request.idempotency_key, key, agent, hints: SessionHints::default(), request: run };
    Ok(match runs.submit(submission).await? {
        Submitted::New(run) | Submitted::InFlight(run) => {
            let listener = Listener { run, seen: 0, over: false };
            stream::unfold(listener, Listener::next).boxed()
        }
        Submitted::Ended(ended) => stream::once(async move { Ok(Piece::End(end(&ended))) }).boxed(),
    })
}

fn sampling(sampling: WireSampling) -> Sampling {
    Sampling {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        seed: sampling.seed,
        max_tokens: sampling.max_tokens.and_then(|tokens| u64::try_from(tokens).ok()).filter(|tokens| *tokens > 0),
        stop: sampling.stop,
        response_format: sampling.response_format.and_then(|json| serde_json::from_str(&json.text).ok()),
    }
}

/// Returns the caller's own tools that the model may call, and which of them it must.
fn client_tools(tools: Vec<ClientTool>, choice: Option<&str>) -> Result<(Vec<ToolSpec>, ToolChoice), Error> {
    let spec = |tool: ClientTool| {
        let parameters = tool.parameters.map(|json| serde_json::from_str(&json.text)).transpose().unwrap_or_default();
        let parameters = parameters.filter(Value::is_object).unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        ToolSpec(Arc::new(Spec { name: tool.name, description: tool.description.unwrap_or_default(), parameters: parameters.into() }))
    };
    let tools: Vec<ToolSpec> = tools.into_iter().map(spec).collect();
    let taken = crate::tools::RESERVED.into_iter().find(|name| tools.iter().any(|tool| tool.name == *name));
    if let Some(clash) = taken {
        return Err(Error::ToolNameTaken(clash.to_owned()));
    }
    Ok(match choice {
        Some("none") => (Vec::new(), ToolChoice::Auto),
        None | Some("auto") => (tools, ToolChoice::Auto),
        Some("required") => (tools, ToolChoice::Required),
        Some(name) => (tools.into_iter().filter(|tool| tool.name == name).collect(), ToolChoice::Named(name.to_owned())),
    })
}

/// Somebody who wants the text of a run, and is the only one who does.
struct Listener {
    run: Arc<Run>,
    /// How much of the text it has, in bytes.
    seen: usize,
    over: bool,
}

impl Listener {
    async fn next(mut self) -> Option<(Result<Piece, Error>, Self)> {
        if self.over {
            return None;
        }
        let mut progress = self.run.emitter.progress();
        let run = Arc::clone(&self.run);
        let seen = self.seen;
        let ended = tokio::select! {
            biased;
            _ = progress.wait_for(|length| *length > seen) => None,
            ended = run.ended() => Some(ended),
        };
        let piece = match ended {
            None => {
                let delta = self.run.emitter.text_since(seen);
                self.seen += delta.len();
                Ok(Piece::Delta(delta))
            }
            Some(ended) => {
                self.over = true;
                ended.map(|ended| Piece::End(end(&ended)))
            }
        };
        Some((piece, self))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.over {
            self.run.stop(StopReason::Rpc);
        }
    }
}

fn end(ended: &Ended) -> CompleteEnd {
    let result = ended.response.result.as_ref();
    let texts: Vec<&str> = result.into_iter().flat_map(|result| &result.payloads).map(|payload| payload.text.as_str()).collect();
    let meta = result.and_then(|result| result.meta.as_ref());
    let error = ended.error().map(str::to_owned);
    let pending = meta.map(|meta| meta.pending_tool_calls.clone()).unwrap_or_default();
    let stop_reason = match ended.state {
        RunState::Error => ended.failure.as_ref().map_or("error", |failure| failure.kind.reason()),
        RunState::Aborted => "aborted",
        _ if !pending.is_empty() => "tool_calls",
        _ if ended.cut_short => "length",
        _ => "stop",
    };
    CompleteEnd {
        text: if error.is_some() { String::new() } else { texts.join("\n\n") },
        usage: meta.and_then(|meta| meta.agent_meta.as_ref()).and_then(|agent| agent.usage),
        stop_reason: stop_reason.to_owned(),
        error,
        provider_status: ended.failure.as_ref().and_then(|failure| failure.status).map(i32::from),
        tool_calls: pending,
    }
}
