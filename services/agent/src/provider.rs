//! Model calls: one request, and the answer as a stream of what it adds. What is asked is the same for every dialect; each dialect
//! renders its own request from it and reads its own answer.

mod anthropic;
mod bedrock;
pub(crate) mod client;
mod completions;
mod conversation;
mod exchange;
mod failure;
mod google;
mod offline;
mod ollama;
pub(crate) mod raw_stream;
mod reading;
mod responses;
#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use verso_kit::config::Secret;
use verso_kit::trace::TraceContext;
use verso_proto::Json;
use verso_proto::agent::v1::{ChatMessage, PreviewRequest, Usage};
use verso_tools::tool::Spec;

use crate::models::{Dialect, Endpoint, Model, Server};
pub(crate) use conversation::whole_rounds;
pub(crate) use failure::{Failure, Kind};

/// An answer as it arrives.
pub(crate) type Answer = Pin<Box<dyn Stream<Item = Result<Delta, Failure>> + Send>>;

/// What a model is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prompt {
    pub(crate) system: String,
    /// The oldest first; each tool call is followed by its result. Shared with the conversation that they are from, which may be long.
    pub(crate) messages: Vec<Arc<ChatMessage>>,
}

/// A tool that the model may call. Clones share it: there are many, and each turn has all of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToolSpec(pub(crate) Arc<Spec>);

impl Deref for ToolSpec {
    type Target = Spec;

    fn deref(&self) -> &Spec {
        &self.0
    }
}

impl Serialize for ToolSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ToolSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spec::deserialize(deserializer).map(|spec| Self(Arc::new(spec)))
    }
}

/// How a model chooses its words. What is left out is the provider's own choice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sampling {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<i64>,
    /// The longest answer, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop: Vec<String>,
    /// The form of the answer, as the OpenAI API writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_format: Option<Value>,
}

impl Sampling {
    /// Returns the form of the answer, unless it is plain text.
    fn format(&self) -> Option<Format<'_>> {
        let format = self.response_format.as_ref()?;
        match format.get("type").and_then(Value::as_str)? {
            "json_schema" => Some(Format::Schema(format.get("json_schema").unwrap_or(&Value::Null))),
            "json_object" => Some(Format::Json),
            _ => None,
        }
    }
}

/// A form of an answer that is not plain text.
#[derive(Debug, Clone, Copy)]
enum Format<'a> {
    /// A JSON object.
    Json,
    /// JSON of a shape: `name`, `schema` and `strict`.
    Schema(&'a Value),
}

/// Refuses what a dialect has no word for: penalties, a seed, and what else is `asked`. An answer that ignores what was asked of it would
/// look like one that heeds it.
fn refuse_unspoken(dialect: &str, sampling: &Sampling, asked: (&'static str, bool)) -> Result<(), Failure> {
    let given = |number: Option<f64>| number.is_some_and(|number| number != 0.0);
    let asked = [
        asked,
        ("frequency_penalty", given(sampling.frequency_penalty)),
        ("presence_penalty", given(sampling.presence_penalty)),
        ("seed", sampling.seed.is_some()),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((what, _)) => {
            Err(Failure::new(Kind::Refused, format!("the model's provider ({dialect}) cannot be told {what}; leave it out")))
        }
        None => Ok(()),
    }
}

/// Which of its tools a model must call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToolChoice {
    /// The model's own choice.
    #[default]
    Auto,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// One call of a model.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) model: &'a Model,
    /// What the provider asks for; none for servers that need nothing.
    pub(crate) credential: Option<&'a Credential>,
    pub(crate) prompt: &'a Prompt,
    pub(crate) tools: &'a [ToolSpec],
    pub(crate) tool_choice: &'a ToolChoice,
    pub(crate) sampling: &'a Sampling,
    /// How much to think; `off` for models that cannot be told.
    pub(crate) thinking: &'a str,
    /// Whether a repeat after a short pause is worth it; false while there is somebody else to ask.
    pub(crate) patient: bool,
    pub(crate) trace: TraceContext,
    /// What the offline responder says when it is asked how things are.
    pub(crate) status: &'a str,
}

impl Call<'_> {
    /// Returns the longest answer that may be given, in tokens.
    fn max_tokens(&self) -> Option<u64> {
        match (self.sampling.max_tokens, self.model.max_tokens) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most),
        }
    }

    /// Returns how much to think, if at all.
    fn thinking(&self) -> Option<&str> {
        (self.model.reasoning && self.thinking != "off").then_some(self.thinking)
    }
}

/// What opens a provider's door.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) secret: Secret<String>,
    /// Whether it stands for a person's login instead of an account's key.
    pub(crate) login: bool,
}

impl Credential {
    /// An account's key.
    pub(crate) fn key(secret: Secret<String>) -> Self {
        Self { secret, login: false }
    }
}

/// Why a model has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    /// It reached the longest answer that it may give.
    Length,
    ToolUse,
    /// The provider held the answer back.
    Filtered,
}

/// What a piece of the stream adds to the answer.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Delta {
    pub(crate) text: String,
    pub(crate) thoughts: Vec<ThoughtFragment>,
    pub(crate) tools: Vec<ToolFragment>,
    pub(crate) usage: Option<Usage>,
    pub(crate) finish: Option<Finish>,
}

impl Delta {
    /// Adds what came after.
    pub(crate) fn merge(&mut self, later: Self) {
        if self.text.is_empty() {
            self.text = later.text;
        } else {
            self.text.push_str(&later.text);
        }
        self.thoughts.extend(later.thoughts);
        self.tools.extend(later.tools);
        self.usage = later.usage.or(self.usage.take());
        self.finish = later.finish.or(self.finish.take());
    }

    /// Whether it adds nothing.
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.thoughts.is_empty() && self.tools.is_empty() && self.usage.is_none() && self.finish.is_none()
    }
}

/// A part of a tool call. Parts with one index belong together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ToolFragment {
    pub(crate) index: usize,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
    /// To be sent back with the call.
    pub(crate) signature: String,
}

/// A part of a thought. Parts with one index belong together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ThoughtFragment {
    pub(crate) index: usize,
    pub(crate) text: String,
    /// To be sent back with the thought.
    pub(crate) signature: String,
    /// Whether only the provider can read it.
    pub(crate) redacted: bool,
}

/// Calls a model. Dropping the answer ends the call.
pub(crate) async fn call(clients: &client::Clients, call: &Call<'_>) -> Result<Answer, Failure> {
    match &call.model.endpoint {
        Endpoint::Server(server) => {
            let request = render(server, call)?;
            let parser: Box<dyn reading::Parse> = match server.dialect {
                Dialect::Completions => Box::new(completions::Parser),
                Dialect::Responses => Box::<responses::Parser>::default(),
                Dialect::Anthropic => Box::<anthropic::Parser>::default(),
                Dialect::Google => Box::<google::Parser>::default(),
                Dialect::Ollama => Box::<ollama::Parser>::default(),
                Dialect::Bedrock => Box::new(bedrock::Parser),
            };
            let parser = clients.recorded(request.url(), parser);
            exchange::call(clients, request, parser, call.patient).await
        }
        Endpoint::Offline => Ok(offline::answer(call)),
        Endpoint::Unusable(reason) => Err(Failure::new(Kind::Unusable, reason.clone())),
    }
}

/// Renders a call as it would be sent, without its secrets; none if nothing would be.
pub(crate) fn shown(call: &Call<'_>) -> Result<Option<PreviewRequest>, Failure> {
    let Endpoint::Server(server) = &call.model.endpoint else { return Ok(None) };
    let request = render(server, call)?;
    // Some addresses carry a name and password, or a key behind the question mark.
    let address = request.url().split('?').next().unwrap_or_default();
    let url = match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => address.to_owned(),
    };
    Ok(Some(PreviewRequest {
        method: "POST".to_owned(),
        url,
        headers: request.header_names().map(str::to_owned).collect(),
        body: Some(Json { text: String::from_utf8_lossy(request.body()).into_owned() }),
    }))
}

fn render(server: &Server, call: &Call<'_>) -> Result<exchange::Outgoing, Failure> {
    let sampling = call.model.sampling(call.sampling);
    let call = &Call { sampling: &sampling, ..*call };
    match server.dialect {
        Dialect::Completions => completions::request(server, call),
        Dialect::Responses => responses::request(server, call),
        Dialect::Anthropic => anthropic::request(server, call),
        Dialect::Google => google::request(server, call),
        Dialect::Ollama => ollama::request(server, call),
        Dialect::Bedrock => bedrock::request(server, call),
    }
}
