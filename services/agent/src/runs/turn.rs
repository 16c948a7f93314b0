//! One turn: the model is asked, its answer streamed, its tool calls answered, until it has nothing to add.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;
use verso_kit::trace;
use verso_proto::Json;
use verso_proto::agent::v1::{ChatMessage, ContentBlock, Usage};

use super::Runs;
use super::run::{Request, Run};
use crate::messages::{self, Author};
use crate::models::{Endpoint, Model};
use crate::prompt::{self, Ingredients};
use crate::provider::{self, Answer, Call, Delta, Failure, Finish, Kind, Sampling, ThoughtFragment, ToolChoice, ToolFragment};
use crate::sessions::levels;
use crate::store::{self, Head, PageRequest};
use crate::tools;

/// How often a model may ask for tools within one turn.
const ROUNDS_MAX: usize = 16;

/// Tools that a model may call at once.
const CALLS_MAX: usize = 16;

/// What arrives together is sent together, up to so many pieces …
const MERGED_DELTAS_MAX: usize = 64;

/// … and so many bytes.
const MERGED_BYTES_MAX: usize = 16 << 10;

/// How a turn went well.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) model: Arc<Model>,
    /// Of all calls together.
    pub(super) usage: Option<Usage>,
    /// Of the last call.
    pub(super) last_usage: Option<Usage>,
    /// Whether the model reached the longest answer that it may give.
    pub(super) cut_short: bool,
}

/// Why a turn has no reply. The words are for the person who asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The model did not answer.
    #[error("{}: {failure}", model.full_name())]
    Provider { model: Arc<Model>, failure: Failure },
    /// The model asks for tools and never answers.
    #[error("stopped after {ROUNDS_MAX} rounds of tool calls without an answer")]
    TooManyRounds,
    /// The conversation cannot be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The request cannot be served.
    #[error(transparent)]
    Refused(crate::error::Error),
}

/// What a model has said and asked for in one round.
#[derive(Debug, Default)]
struct Round {
    calls: BTreeMap<usize, ToolFragment>,
    thoughts: BTreeMap<usize, ThoughtFragment>,
    usage: Option<Usage>,
    finish: Option<Finish>,
}

/// Carries the turn out.
pub(super) async fn converse(runs: &Runs, run: &Run, request: &Request, head: &Head) -> Result<Reply, Error> {
    let parts = &runs.parts;
    let profile = parts.roster.get(&run.agent);
    let asked = request.model.clone().or_else(|| head.session.model_override());
    let chosen = parts.catalog.choose(&parts.clients, asked.as_deref(), profile.model.as_deref()).await;
    let model = chosen.map_err(Error::Refused)?;
    let conversation = conversation(runs, run, request, head, &model).await?;
    let now_ms = parts.clock.now_ms();
    let extra = request.extra_system_prompt.as_deref();
    let ingredients = Ingredients { profile: &profile, model: &model, zone: &parts.zone, now_ms, extra, conversation: &conversation };
    let mut prompt = prompt::build(&ingredients);
    let session_level = head.session.thinking_level.as_deref();
    let thinking = request.thinking.as_deref().or(session_level).unwrap_or(&parts.thinking_default);
    let thinking = levels::usable(thinking, &model);
    let status = if model.offline() { parts.status_text(&run.key, &model).await? } else { String::new() };

    let mut reply = Reply { model: Arc::clone(&model), usage: None, last_usage: None, cut_short: false };
    for _ in 0..ROUNDS_MAX {
        let failed = |failure| Error::Provider { model: Arc::clone(&model), failure };
        let call = Call {
            model: &model,
            credential: match &model.endpoint {
                Endpoint::Server(server) => server.credential.as_ref(),
                _ => None,
            },
            prompt: &prompt,
            tools: tools::specs(),
            tool_choice: &ToolChoice::Auto,
            sampling: &Sampling::default(),
            thinking,
            patient: true,
            trace: trace::current(),
            status: &status,
        };
        let answer = provider::call(&parts.clients, &call).await.map_err(failed)?;
        let round = listen(run, answer).await.map_err(failed)?;
        reply.last_usage = round.usage.or(reply.last_usage);
        reply.usage = sum(reply.usage, round.usage);
        let text = run.emitter.end_message();
        let said = said(&model, &text, &round, now_ms);
        if round.calls.is_empty() {
            reply.cut_short = round.finish == Some(Finish::Length);
            run.add((!said.content.is_empty()).then_some(said));
            return Ok(reply);
        }
        prompt.messages.push(said.clone());
        let results = use_tools(runs, run, &model, &round).await?;
        prompt.messages.extend(results.iter().cloned());
        run.add(std::iter::once(said).chain(results));
    }
    Err(Error::TooManyRounds)
}

/// Returns what was said before, and the message to answer.
async fn conversation(runs: &Runs, run: &Run, request: &Request, head: &Head, model: &Model) -> Result<Vec<ChatMessage>, Error> {
    let mut conversation = Vec::new();
    if head.position > 0 {
        let bytes_max = prompt::history_bytes_max(model);
        let page = PageRequest { messages_max: prompt::HISTORY_MESSAGES_MAX, bytes_max, offset: 0 };
        conversation = runs.parts.store.window(&head.session.session_id, head.position, page).await?;
    }
    conversation.push(messages::user(&request.message, &request.images, run.accepted_at_ms));
    Ok(conversation)
}

/// Streams an answer to whoever listens.
async fn listen(run: &Run, answer: Answer) -> Result<Round, Failure> {
    let mut answer = answer.fuse();
    let mut round = Round::default();
    let mut due: Option<Instant> = None;
    let mut next: Option<Option<Result<Delta, Failure>>> = None;
    loop {
        let item = if let Some(item) = next.take() {
            item
        } else {
            tokio::select! {
                biased;
                item = answer.next() => item,
                () = sleep_until(due), if due.is_some() => {
                    due = run.emitter.show_due();
                    continue;
                }
            }
        };
        let Some(mut delta) = item.transpose()? else { return Ok(round) };
        // One event for what came in one packet: each holds the whole text so far.
        for _ in 0..MERGED_DELTAS_MAX {
            if delta.text.len() >= MERGED_BYTES_MAX {
                break;
            }
            match answer.next().now_or_never() {
                Some(Some(Ok(more))) => delta.merge(more),
                other => {
                    next = other;
                    break;
                }
            }
        }
        round.take(delta, run, &mut due)?;
    }
}

impl Round {
    fn take(&mut self, delta: Delta, run: &Run, due: &mut Option<Instant>) -> Result<(), Failure> {
        if !delta.text.is_empty() {
            *due = run.emitter.text(&delta.text);
        }
        self.usage = delta.usage.or(self.usage);
        self.finish = delta.finish.or(self.finish);
        for part in delta.thoughts {
            let thought = self.thoughts.entry(part.index).or_default();
            thought.text.push_str(&part.text);
            thought.signature.push_str(&part.signature);
            thought.redacted |= part.redacted;
        }
        for part in delta.tools {
            if self.calls.len() >= CALLS_MAX && !self.calls.contains_key(&part.index) {
                return Err(Failure::new(Kind::Malformed, format!("the model calls more than {CALLS_MAX} tools at once")));
            }
            let call = self.calls.entry(part.index).or_default();
            call.index = part.index;
            call.id.push_str(&part.id);
            call.name.push_str(&part.name);
            call.arguments.push_str(&part.arguments);
            call.signature.push_str(&part.signature);
        }
        Ok(())
    }
}

/// Answers the tool calls of a round, one after the other.
async fn use_tools(runs: &Runs, run: &Run, model: &Model, round: &Round) -> Result<Vec<ChatMessage>, Error> {
    // From here on a restart cannot simply ask again.
    runs.parts.store.note_tool_call(&run.id).await?;
    let status = runs.parts.status_text(&run.key, model).await?;
    let mut results = Vec::with_capacity(round.calls.len());
    for call in round.calls.values() {
        let id = call_id(call);
        run.emitter.tool_started(&id, &call.name, &arguments(call));
        let answer = tools::call(&call.name, &call.arguments, run.key.as_str(), || status.clone());
        let result = Json { text: answer.as_json().to_string() };
        run.emitter.tool_ended(&id, &call.name, result, answer.is_error);
        results.push(ChatMessage {
            role: "toolResult".to_owned(),
            content: vec![messages::text_block(answer.text)],
            timestamp_ms: Some(runs.parts.clock.now_ms()),
            tool_call_id: Some(id),
            tool_name: Some(call.name.clone()),
            is_error: Some(answer.is_error),
            ..ChatMessage::default()
        });
    }
    Ok(results)
}

fn said(model: &Model, text: &str, round: &Round, at_ms: i64) -> ChatMessage {
    let words = (!text.trim().is_empty()).then(|| messages::text_block(text));
    let calls = round.calls.values().map(|call| ContentBlock {
        r#type: "toolCall".to_owned(),
        id: Some(call_id(call)),
        name: Some(call.name.clone()),
        arguments: Some(arguments(call)),
        thought_signature: filled(&call.signature),
        ..ContentBlock::default()
    });
    let thoughts = round.thoughts.values().map(|thought| ContentBlock {
        r#type: "thinking".to_owned(),
        thinking: Some(thought.text.clone()),
        thinking_signature: filled(&thought.signature),
        redacted: thought.redacted.then_some(true),
        ..ContentBlock::default()
    });
    let author = Author { api: model.api(), provider: &model.provider, model: &model.id };
    let stop_reason = match round.finish {
        _ if !round.calls.is_empty() => "toolUse",
        Some(Finish::Length) => "length",
        _ => "stop",
    };
    let content = thoughts.chain(words).chain(calls).collect();
    messages::assistant(content, author, &round.usage.unwrap_or_default(), stop_reason, at_ms)
}

/// Some providers number calls instead of naming them.
fn call_id(call: &ToolFragment) -> String {
    if call.id.is_empty() { format!("call_{}", call.index) } else { call.id.clone() }
}

/// Returns the arguments as JSON; what is not JSON as a JSON string.
fn arguments(call: &ToolFragment) -> Json {
    let text = call.arguments.trim();
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Json { text: text.to_owned() },
        Err(_) if text.is_empty() => Json { text: "{}".to_owned() },
        Err(_) => Json { text: serde_json::Value::from(text).to_string() },
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn sum(all: Option<Usage>, one: Option<Usage>) -> Option<Usage> {
    let (Some(all), Some(one)) = (all, one) else { return one.or(all) };
    Some(Usage {
        input: all.input + one.input,
        output: all.output + one.output,
        cache_read: all.cache_read + one.cache_read,
        cache_write: all.cache_write + one.cache_write,
        total: all.total + one.total,
    })
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}
