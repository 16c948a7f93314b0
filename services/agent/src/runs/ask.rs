//! One round of a turn: the models that may answer are asked one after the other, until one does.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::time::Instant;
use verso_kit::trace;
use verso_proto::agent::v1::{ChatMessage, Usage};

use super::Runs;
use super::run::{Request, Run};
use super::spans;
use super::turn::{self, Error};
use crate::messages;
use crate::metrics;
use crate::models::{Endpoint, Key, Model};
use crate::provider::{self, Answer, Call, Delta, Failure, Finish, Kind, Prompt, ThoughtFragment, ToolFragment, ToolSpec};
use crate::sessions::levels;
use crate::store::Head;

/// Tools that a model may call at once.
const CALLS_MAX: usize = 16;

/// What a model has said and asked for in one round.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) calls: BTreeMap<usize, ToolFragment>,
    pub(super) thoughts: BTreeMap<usize, ThoughtFragment>,
    pub(super) usage: Option<Usage>,
    pub(super) finish: Option<Finish>,
}

/// Why no model answered.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// The one that was asked last.
    pub(super) model: Arc<Model>,
    pub(super) failure: Failure,
    /// What every one of them said, if more than one was asked.
    tried: Vec<String>,
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tried.as_slice() {
            [] | [_] => write!(formatter, "{}: {}", self.model.full_name(), self.failure),
            tried => formatter.write_str(&tried.join(" | ")),
        }
    }
}

/// Shows a conversation to a model: how much of it fits depends on the model.
pub(super) type Show<'a> = dyn Fn(&Model, &[Arc<ChatMessage>]) -> Prompt + Send + Sync + 'a;

/// What stays the same while models are asked, and how far down the list we are.
pub(super) struct Asking<'a> {
    pub(super) runs: &'a Runs,
    pub(super) run: &'a Run,
    pub(super) request: &'a Request,
    pub(super) head: &'a Head,
    /// Those that may answer, the preferred first; never empty.
    pub(super) chain: Vec<Arc<Model>>,
    pub(super) place: usize,
    pub(super) show: &'a Show<'a>,
    /// What was said before this turn, and the message to answer.
    pub(super) conversation: Vec<Arc<ChatMessage>>,
    /// What this turn has added.
    pub(super) added: Vec<Arc<ChatMessage>>,
    /// How much to think: as asked, until a model says that it cannot.
    pub(super) thinking: String,
    pub(super) tools: &'a [ToolSpec],
    pub(super) status: String,
    /// What the model at `place` is shown; none when it must be put together anew.
    pub(super) prompt: Option<Prompt>,
}

impl Asking<'_> {
    /// Returns the model that answers at the moment.
    pub(super) fn model(&self) -> &Arc<Model> {
        &self.chain[self.place]
    }

    /// Adds what the model and its tools have said.
    pub(super) fn add(&mut self, messages: impl IntoIterator<Item = ChatMessage>) {
        for message in messages.into_iter().map(Arc::new) {
            if let Some(prompt) = &mut self.prompt {
                prompt.messages.push(Arc::clone(&message));
            }
            self.added.push(message);
        }
    }

    /// Asks until somebody answers. Whoever answered is asked first the next time.
    pub(super) async fn round(&mut self) -> Result<Round, Error> {
        let (mut tried, mut shortened) = (Vec::new(), false);
        loop {
            let model = Arc::clone(self.model());
            let last = self.place + 1 == self.chain.len();
            let failure = match self.ask(&model, last, tried.is_empty()).await? {
                Ok(round) => return Ok(round),
                Err(failure) => failure,
            };
            if failure.kind == Kind::ContextLength && !shortened && (self.summarise().await? || self.shorten()) {
                tracing::info!(run = self.run.id, model = model.full_name(), "conversation is shortened and sent again");
                shortened = true;
                continue;
            }
            tried.push(format!("{}: {} ({})", model.full_name(), failure, failure.kind.reason()));
            // What has been said cannot be taken back, and would be said twice.
            let said = !self.run.emitter.current_message().is_empty();
            if last || said || !failure.kind.fails_over() {
                return Err(Error::Provider(Box::new(Unanswered { model, failure, tried })));
            }
            tracing::warn!(model = model.full_name(), error = %failure, "model did not answer; the next one is asked");
            self.place += 1;
            self.prompt = None;
            metrics::failed_over(&model, &failure, self.model());
        }
    }

    /// Has the older part of the conversation summarised. Returns false if that cannot be done.
    async fn summarise(&mut self) -> Result<bool, Error> {
        if !turn::summarise(self.runs, self.run, self.head, &self.chain[self.place..]).await? {
            return Ok(false);
        }
        let model = Arc::clone(self.model());
        self.conversation = turn::conversation(self.runs, self.run, self.request, (self.head, None), &model).await?;
        self.prompt = None;
        Ok(true)
    }

    /// Leaves the older half of the conversation out, and says so in its place. Returns false if there is nothing to leave out.
    fn shorten(&mut self) -> bool {
        let half = self.conversation.len() / 2;
        let question = |message: &Arc<ChatMessage>| message.role == "user";
        // An answer without its question makes no sense to a model.
        let Some(kept) = self.conversation.iter().skip(half).position(question).map(|place| half + place).filter(|kept| *kept > 0) else {
            return false;
        };
        self.run.emitter.shortening(false);
        let at_ms = self.conversation[kept].timestamp_ms.unwrap_or(self.run.accepted_at_ms);
        let note = format!("({kept} earlier messages of this conversation are left out: they did not fit)");
        drop(self.conversation.splice(..kept, [Arc::new(messages::user(&note, &[], at_ms))]));
        self.prompt = None;
        self.run.emitter.shortening(true);
        true
    }

    /// Asks one model, with each of its credentials.
    async fn ask(&mut self, model: &Arc<Model>, last: bool, nobody_asked: bool) -> Result<Result<Round, Failure>, Error> {
        if let Some(failure) = self.runs.parts.catalog.unfit(model) {
            return Ok(Err(failure));
        }
        let keyring = &self.runs.parts.keyring;
        let configured = match &model.endpoint {
            Endpoint::Server(server) => server.credential.as_ref(),
            Endpoint::Offline | Endpoint::Unusable(_) => None,
        };
        let mut keys = keyring.keys(&self.run.agent, &self.head.session.session_id, &model.provider, configured).await;
        if keys.iter().any(|key| !keyring.cools(&key.id)) {
            keys.retain(|key| !keyring.cools(&key.id));
        } else if !(last && nobody_asked) {
            // Whoever asks should not be refused by us alone: with nobody else to ask, a key that rests is tried all the same.
            return Ok(Err(Failure::new(Kind::RateLimit, "every credential of the provider is resting after a failure")));
        }
        let mut failure = Failure::new(Kind::Unusable, "the provider has no usable credential");
        for (place, key) in keys.iter().enumerate() {
            let patient = last && place + 1 == keys.len();
            match self.ask_with(model, key, patient).await? {
                Ok(round) => {
                    keyring.succeeded(&self.run.agent, &self.head.session.session_id, &model.provider, key).await;
                    return Ok(Ok(round));
                }
                Err(found) => failure = found,
            }
            keyring.failed(&self.run.agent, key, failure.kind).await;
            if !failure.kind.rotates() || !self.run.emitter.current_message().is_empty() {
                break;
            }
        }
        Ok(Err(failure))
    }

    /// Makes one call; and another with less thinking, if that is what the model does not know.
    async fn ask_with(&mut self, model: &Arc<Model>, key: &Key, patient: bool) -> Result<Result<Round, Failure>, Error> {
        loop {
            let prompt = self.prompt.get_or_insert_with(|| {
                let mut prompt = (self.show)(model, &self.conversation);
                prompt.messages.extend(self.added.iter().cloned());
                prompt
            });
            if model.offline() && self.status.is_empty() {
                self.status = self.runs.parts.status_text(&self.run.key, model).await?;
            }
            let call = Call {
                model,
                credential: key.credential.as_ref(),
                prompt,
                tools: self.tools,
                tool_choice: &self.request.tool_choice,
                sampling: &self.request.sampling,
                thinking: levels::usable(&self.thinking, model),
                patient,
                trace: trace::current(),
                status: &self.status,
            };
            self.run.asks_of(model, call.thinking);
            let begun_ms = self.runs.parts.clock.now_ms();
            let span = spans::model_call(model);
            let calling = async {
                // The provider is told the span of this very call.
                let call = Call { trace: trace::current(), ..call };
                match provider::call(&self.runs.parts.clients, &call).await {
                    Ok(answer) => listen(self.run, answer).await,
                    Err(failure) => Err(failure),
                }
            };
            let answered = trace::within(span.clone(), calling).await;
            spans::model_called(&span, answered.as_ref().map(|round| round.usage.as_ref()));
            self.count(model, &answered, begun_ms);
            match answered {
                Err(failure) if failure.about_thinking() && model.reasoning && self.thinking != levels::OFF => {
                    levels::less(&self.thinking).clone_into(&mut self.thinking);
                }
                answered => return Ok(answered),
            }
        }
    }

    /// Counts a call that is over.
    fn count(&self, model: &Model, answered: &Result<Round, Failure>, begun_ms: i64) {
        let parts = &self.runs.parts;
        metrics::model_called(model, answered.as_ref().err(), parts.clock.now_ms() - begun_ms);
        if let Some(usage) = answered.as_ref().ok().and_then(|round| round.usage.as_ref()) {
            metrics::used(self.run, model, usage, parts.catalog.price(&model.provider, &model.id));
            spans::used(&self.run.request, model, usage);
        }
    }
}

/// Streams an answer to whoever listens.
async fn listen(run: &Run, answer: Answer) -> Result<Round, Failure> {
    let mut answer = answer.fuse();
    let mut round = Round::default();
    let mut due: Option<Instant> = None;
    loop {
        let item = tokio::select! {
            biased;
            item = answer.next() => item,
            () = sleep_until(due), if due.is_some() => {
                due = run.emitter.show_due();
                continue;
            }
        };
        let Some(delta) = item.transpose()? else { return Ok(round) };
        if !delta.text.is_empty() {
            due = run.emitter.text(&delta.text);
        }
        round.take(delta)?;
    }
}

impl Round {
    fn take(&mut self, delta: Delta) -> Result<(), Failure> {
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

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}
