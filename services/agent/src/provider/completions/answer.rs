//! The JSON of an answer. Servers that copy this dialect leave members out and add their own, so that nothing is required here.

use serde::Deserialize;
use serde_json::Value;
use verso_proto::agent::v1::Usage;

use crate::provider::{Delta, Finish, ThoughtFragment, ToolFragment};

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
    /// Some servers say `reasoning` for it.
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
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
        delta.finish = choice.finish_reason.as_deref().map(|reason| match reason {
            "length" => Finish::Length,
            "tool_calls" | "function_call" => Finish::ToolUse,
            "content_filter" => Finish::Filtered,
            _ => Finish::Stop,
        });
        let Some(message) = choice.delta.or(choice.message) else { return delta };
        delta.text = message.content.or(message.refusal).unwrap_or_default();
        let thought = message.reasoning_content.filter(|text| !text.is_empty());
        delta.thoughts = thought.map(|text| ThoughtFragment { text, ..ThoughtFragment::default() }).into_iter().collect();
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
        signature: String::new(),
    }
}
