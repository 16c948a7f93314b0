//! One turn: the model is asked, its answer streamed, its tool calls answered, until it has nothing to add.

pub(super) mod ahead;
pub(super) mod news;
mod tool_calls;

use std::sync::Arc;

use verso_proto::Json;
use verso_proto::agent::v1::{ChatMessage, ContentBlock, PendingToolCall, Usage};

use super::Runs;
use super::ask::{Asking, Round, Unanswered};
use super::run::{Request, Run};
use crate::compaction::{self, Outcome};
use crate::keys::SessionKey;
use crate::messages::{self, Author, Named as _};
use crate::models::Model;
use crate::parts::Parts;
use crate::prompt::shelf::Shelf;
use crate::prompt::workspace::ContextFile;
use crate::prompt::{self, Ingredients, Mode, Surroundings};
use crate::provider::{Finish, ToolFragment, ToolSpec};
use crate::store::{self, Context, Head};
use crate::tools::{Equipment, ExecWishes, Turn};
use ahead::Reading;
use news::News;

/// How often a model may ask for tools within one turn.
const ROUNDS_MAX: usize = 16;

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
    /// Calls of the caller's own tools, which end the turn.
    pub(super) pending: Vec<PendingToolCall>,
}

/// Why a turn has no reply. The words are for the person who asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No model answered.
    #[error("{0}")]
    Provider(Box<Unanswered>),
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

impl Error {
    /// The same for those who wait for no turn.
    pub(super) fn refused(self) -> crate::error::Error {
        match self {
            Self::Refused(error) => error,
            Self::Store(error) => error.into(),
            Self::Provider(_) | Self::TooManyRounds => crate::error::Error::TurnFailed(self.to_string()),
        }
    }
}

/// Carries the turn out, with what was read for it already, and tells the news of it.
pub(super) async fn converse(
    runs: &Runs,
    run: &Arc<Run>,
    request: &Request,
    head: &Head,
    (reading, news): (Option<Reading>, News<'_>),
) -> Result<Reply, Error> {
    let parts = &runs.parts;
    let profile = parts.roster.get(&run.agent);
    let asked = request.model.clone().or_else(|| head.session.model_override());
    let chain = parts.catalog.chain(&parts.clients, asked.as_deref(), &profile).await.map_err(Error::Refused)?;
    let mut ahead = match reading {
        Some(reading) => reading.done().await,
        None => None,
    };
    if parts.compaction.due(&head.session, &chain[0]) && summarise(runs, run, head, &chain).await? {
        ahead = None;
    }
    let session_level = head.session.thinking_level.as_deref();
    let thinking = request.thinking.as_deref().or(session_level).unwrap_or(&parts.thinking_default).to_owned();
    let (inline, settings) = (&request.inline, &head.session.settings);
    let exec = ExecWishes {
        security: inline.exec_security.clone().or_else(|| settings.exec_security.clone()),
        ask: inline.exec_ask.clone().or_else(|| settings.exec_ask.clone()),
        host: inline.exec_host.clone().or_else(|| settings.exec_host.clone()),
        node: inline.exec_node.clone().or_else(|| settings.exec_node.clone()),
        elevated: inline.elevated.clone().or_else(|| settings.elevated_level.clone()),
        sender: request.origin.as_ref().map(|origin| (origin.channel.clone(), origin.sender.clone())),
        by_owner: request.sender_is_owner,
    };
    let account = request.route.as_ref().and_then(|route| route.account.as_deref()).or_else(|| head.session.last_account());
    let origin = request.origin.as_ref();
    let scene = Turn { runs, key: &run.key, profile: &profile, models: &chain, skills: &[], origin, account, exec };
    let (shelf, context) = ahead.map(|ahead| ahead.into_parts(head, &chain[0])).unzip();
    // Neither needs the other, and each waits for the disk.
    let conversation = conversation(runs, run, request, (head, context.flatten()), &chain[0]);
    let (conversation, scenery) = tokio::join!(conversation, scenery(scene, shelf));
    let (conversation, Scenery { files, skills, equipment }) = (conversation?, scenery?);
    let own = |spec: &&ToolSpec| request.tools.iter().any(|tool| tool.name == spec.name);
    let offered: Vec<ToolSpec> = equipment.specs.iter().filter(|spec| !own(spec)).chain(&request.tools).cloned().collect();
    let around = surroundings(parts, &run.key, &offered, (&files, skills), &thinking);
    let (now_ms, extra, around) = (parts.clock.now_ms(), request.extra_system_prompt.as_deref(), &around);
    let show = |model: &Model, conversation: &[Arc<ChatMessage>]| {
        prompt::build(&Ingredients { profile: &profile, model, zone: &parts.zone, now_ms, around, extra, conversation })
    };
    let thinking = thinking.clone();
    let (show, tools, prompt) = (&show, offered.as_slice(), None);
    let (added, status) = (Vec::new(), String::new());
    let mut asking = Asking { runs, run, request, head, chain, place: 0, show, conversation, added, thinking, tools, status, prompt };

    let (mut usage, mut last_usage, mut news) = (None, None, Some(news));
    for _ in 0..ROUNDS_MAX {
        let round = match news.take() {
            Some(news) => news.beside(asking.round()).await?,
            None => asking.round().await?,
        };
        let model = Arc::clone(asking.model());
        last_usage = round.usage.or(last_usage);
        usage = sum(usage, round.usage);
        let text = run.emitter.end_message();
        let said = said(&model, &text, &round, parts.clock.now_ms());
        let pending = pending(request, &round);
        if round.calls.is_empty() || !pending.is_empty() {
            run.add((!said.content.is_empty()).then_some(said));
            let cut_short = round.finish == Some(Finish::Length);
            return Ok(Reply { model, usage, last_usage, cut_short, pending });
        }
        asking.add([said.clone()]);
        let answered = tool_calls::answer(runs, run, &equipment, &round).await?;
        let (results, said_between) = (answered.results, answered.heard);
        asking.add(results.iter().chain(&said_between).cloned());
        run.add(std::iter::once(said).chain(results.into_iter().map(tool_calls::for_transcript)).chain(said_between));
    }
    Err(Error::TooManyRounds)
}

/// Has the older part of the conversation summarised, so that this turn fits. Returns whether it was.
pub(super) async fn summarise(runs: &Runs, run: &Run, head: &Head, chain: &[Arc<Model>]) -> Result<bool, Error> {
    run.emitter.shortening(false);
    let done = compaction::conversation(runs, &run.agent, &head.session, (head.position, chain), None).await;
    run.emitter.shortening(true);
    match done {
        Ok(Outcome::Done { .. }) => Ok(true),
        Ok(Outcome::Nothing) => Ok(false),
        Ok(Outcome::Failed(why)) => {
            tracing::warn!(run = run.id, why, "the conversation could not be summarised");
            Ok(false)
        }
        Err(crate::error::Error::Store(error)) => Err(Error::Store(error)),
        Err(error) => Err(Error::Refused(error)),
    }
}

/// What is around a turn.
pub(super) struct Scenery {
    pub(super) files: Vec<ContextFile>,
    /// The list of skills, as a model reads it.
    pub(super) skills: Option<String>,
    pub(super) equipment: Equipment,
}

/// Returns what a prompt says of it.
pub(super) fn surroundings<'a>(
    parts: &'a Parts,
    key: &'a SessionKey,
    offered: &'a [ToolSpec],
    (files, skills): (&'a [ContextFile], Option<String>),
    thinking: &'a str,
) -> Surroundings<'a> {
    Surroundings {
        mode: if key.is_subagent() { Mode::Minimal } else { Mode::Full },
        tools: offered.iter().map(|spec| (spec.name.as_str(), spec.description.as_str())).collect(),
        skills,
        files,
        aliases: parts.catalog.aliases(),
        sandboxed: parts.toolbox.sandboxes(parts, key),
        host: &parts.host,
        default_model: parts.catalog.current().full_name(),
        channel: key.channel(),
        thinking: Some(thinking),
    }
}

/// Puts together what is around a turn, from what was read for it already or what is read now.
pub(super) async fn scenery(turn: Turn<'_>, shelf: Option<Shelf>) -> Result<Scenery, Error> {
    let parts = &turn.runs.parts;
    let Shelf { files, skills } = match shelf {
        Some(shelf) => shelf,
        None => Shelf::read(parts, turn.profile, turn.key).await,
    };
    let skills = skills.map_err(|error| Error::Refused(error.into()))?;
    let turn = Turn { skills: &skills, ..turn };
    let equipment = parts.toolbox.equip(&turn, &parts.skills).await;
    // Without the tool to read them they would be no use.
    let skills = verso_tools::skills::prompt(&skills).filter(|_| equipment.set.has("read"));
    Ok(Scenery { files, skills, equipment })
}

/// Returns the calls that only the caller can carry out.
fn pending(request: &Request, round: &Round) -> Vec<PendingToolCall> {
    let own = |call: &&ToolFragment| request.tools.iter().any(|tool| tool.name == call.name);
    let calls = round.calls.values().filter(own);
    calls.map(|call| PendingToolCall { id: call_id(call), name: call.name.clone(), arguments: arguments(call).text }).collect()
}

/// Returns what was said before, which may have been read already, and the message to answer.
pub(super) async fn conversation(
    runs: &Runs,
    run: &Run,
    request: &Request,
    (head, context): (&Head, Option<Context>),
    model: &Model,
) -> Result<Vec<Arc<ChatMessage>>, Error> {
    let context = match context {
        Some(context) => context,
        None if head.position == 0 => Context::default(),
        None => runs.parts.store.context(&head.session.session_id, head.position, compaction::page(model)).await?,
    };
    let mut conversation = compaction::shown(context);
    let said = || messages::user(&request.message, &request.images, run.accepted_at_ms).named(&run.id);
    conversation.push(Arc::new(head.user.clone().unwrap_or_else(said)));
    Ok(conversation)
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
