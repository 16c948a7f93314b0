//! Model calls: one request, and the answer as a stream of what it adds.

pub(crate) mod client;
mod completions;
mod failure;
mod offline;
pub(crate) mod wire;

use std::pin::Pin;

use futures_util::Stream;
use verso_kit::trace::TraceContext;
use verso_proto::agent::v1::Usage;

use crate::models::{Endpoint, Model};
pub(crate) use failure::{Failure, Kind};
use wire::{ToolSpec, WireMessage};

/// An answer as it arrives.
pub(crate) type Answer = Pin<Box<dyn Stream<Item = Result<Delta, Failure>> + Send>>;

/// One call of a model.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) model: &'a Model,
    pub(crate) messages: &'a [WireMessage],
    pub(crate) tools: &'a [ToolSpec],
    /// How much to think; only for models that can be told.
    pub(crate) thinking: Option<&'a str>,
    pub(crate) trace: TraceContext,
    /// What the offline responder says when it is asked how things are.
    pub(crate) status: &'a str,
}

/// What a piece of the stream adds to the answer.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) text: String,
    pub(crate) tools: Vec<ToolFragment>,
    pub(crate) usage: Option<Usage>,
    /// `stop`, `length`, `tool_calls`, …
    pub(crate) finish: Option<String>,
}

impl Delta {
    /// Adds what came after.
    pub(crate) fn merge(&mut self, later: Self) {
        if self.text.is_empty() {
            self.text = later.text;
        } else {
            self.text.push_str(&later.text);
        }
        self.tools.extend(later.tools);
        self.usage = later.usage.or(self.usage.take());
        self.finish = later.finish.or(self.finish.take());
    }
}

/// A part of a tool call. Parts with one index belong together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ToolFragment {
    pub(crate) index: usize,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// Calls a model. Dropping the answer ends the call.
pub(crate) async fn call(clients: &client::Clients, call: &Call<'_>) -> Result<Answer, Failure> {
    match &call.model.endpoint {
        Endpoint::Completions(endpoint) => completions::call(clients, endpoint, call).await,
        Endpoint::Offline => Ok(offline::answer(call)),
        Endpoint::Unusable(reason) => Err(Failure::new(Kind::Unusable, reason.clone())),
    }
}
