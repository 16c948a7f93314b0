//! The JSON of the `openai-completions` dialect.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use verso_proto::agent::v1::Usage;

use super::{Delta, ToolFragment};

/// The body of a request.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) messages: &'a [WireMessage],
    pub(super) stream: bool,
    pub(super) stream_options: StreamOptions,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) tools: &'a [ToolSpec],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_effort: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: bool,
}

/// A message as a model reads it.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct WireMessage {
    pub(crate) role: &'static str,
    pub(crate) content: Option<Content>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<ToolCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_call_id: Option<String>,
}

impl WireMessage {
    /// Returns a message that is only words.
    pub(crate) fn text(role: &'static str, text: String) -> Self {
        Self { role, content: Some(Content::Text(text)), ..Self::default() }
    }
}

/// What a message holds.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message that is more than words.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
}

/// A picture, as a `data:` URL.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ImageUrl {
    pub(crate) url: String,
}

/// A call that the model has made.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) function: Function,
}

/// Which tool, and with what.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// JSON, as the model wrote it.
    pub(crate) arguments: String,
}

/// A tool that the model may call.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ToolSpec {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) function: FunctionSpec,
}

/// What a tool is called, does and takes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FunctionSpec {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// JSON Schema.
    pub(crate) parameters: Value,
}

/// A piece of a streamed answer, or a whole answer that was not streamed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk {
    choices: Vec<Choice>,
    usage: Option<TokenUsage>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    delta: Option<Message>,
    message: Option<Message>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallPart>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CallPart {
    index: Option<usize>,
    id: Option<String>,
    function: Option<FunctionPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FunctionPart {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenUsage {
    prompt_tokens: i64,
    completion_tokens: i64,
    total_tokens: Option<i64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<i64>,
}

impl From<TokenUsage> for Usage {
    fn from(usage: TokenUsage) -> Self {
        let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
        Self {
            input: usage.prompt_tokens - cached,
            output: usage.completion_tokens,
            cache_read: cached,
            cache_write: 0,
            total: usage.total_tokens.unwrap_or(usage.prompt_tokens + usage.completion_tokens),
        }
    }
}

impl From<Chunk> for Delta {
    fn from(chunk: Chunk) -> Self {
        let mut delta = Self { usage: chunk.usage.map(Usage::from), ..Self::default() };
        // More than one choice is never asked for.
        let Some(choice) = chunk.choices.into_iter().next() else { return delta };
        delta.finish = choice.finish_reason;
        let Some(message) = choice.delta.or(choice.message) else { return delta };
        delta.text = message.content.or(message.refusal).unwrap_or_default();
        delta.tools = message.tool_calls.into_iter().flatten().enumerate().map(fragment).collect();
        delta
    }
}

fn fragment((place, part): (usize, CallPart)) -> ToolFragment {
    let function = part.function.unwrap_or_default();
    ToolFragment {
        index: part.index.unwrap_or(place),
        id: part.id.unwrap_or_default(),
        name: function.name.unwrap_or_default(),
        arguments: function.arguments.unwrap_or_default(),
    }
}
