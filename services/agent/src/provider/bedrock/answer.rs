//! The JSON of an answer: a frame for each thing that happens, named by its headers.

use aws_smithy_types::event_stream::Message;
use serde::Deserialize;
use serde_json::{Value, json};
use verso_proto::agent::v1::Usage;

use crate::provider::reading::{self, Parse, Step};
use crate::provider::{Delta, Failure, Finish, Kind, ThoughtFragment, ToolFragment};

/// Reads the answers.
#[derive(Debug)]
pub(in crate::provider) struct Parser;

/// What a frame says: one of these, or what changes nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Event {
    content_block_start: Option<Started>,
    content_block_delta: Option<Continued>,
    message_stop: Option<Stopped>,
    metadata: Option<Metadata>,
    exception: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Started {
    content_block_index: usize,
    start: Start,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Continued {
    content_block_index: usize,
    delta: Addition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Stopped {
    stop_reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    usage: TokenUsage,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Start {
    tool_use: Option<ToolUse>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are the dialect's")]
struct ToolUse {
    tool_use_id: String,
    name: String,
    /// A string in a stream, an object in a whole answer.
    input: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Addition {
    text: Option<String>,
    tool_use: Option<ToolUse>,
    reasoning_content: Option<Reasoning>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are the dialect's")]
struct Reasoning {
    text: String,
    signature: String,
    redacted_content: String,
    /// In a whole answer.
    reasoning_text: Option<Box<Reasoning>>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are the dialect's")]
struct TokenUsage {
    input_tokens: i64,
    output_tokens: i64,
    cache_read_input_tokens: i64,
    cache_write_input_tokens: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Whole {
    output: Output,
    stop_reason: String,
    usage: TokenUsage,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Output {
    message: Content,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Content {
    content: Vec<Addition>,
}

impl From<TokenUsage> for Usage {
    fn from(counts: TokenUsage) -> Self {
        let TokenUsage { input_tokens: input, output_tokens: output, cache_read_input_tokens, cache_write_input_tokens } = counts;
        let (cache_read, cache_write) = (cache_read_input_tokens, cache_write_input_tokens);
        Self { input, output, cache_read, cache_write, total: input + output + cache_read + cache_write }
    }
}

/// Returns a frame as JSON with one member, which is named after what happens.
pub(in crate::provider) fn frame(message: &Message) -> Result<String, Failure> {
    let header = |wanted: &str| {
        let found = message.headers().iter().find(|header| header.name().as_str() == wanted)?;
        found.value().as_string().ok().map(|value| value.as_str().to_owned())
    };
    let payload: Value = if message.payload().is_empty() { json!({}) } else { reading::json(message.payload())? };
    let name = match header(":message-type").as_deref() {
        Some("event") => header(":event-type").unwrap_or_default(),
        Some(_) => {
            let kind = header(":exception-type").or_else(|| header(":error-code")).unwrap_or_default();
            let text = payload["message"].as_str().map(str::to_owned).or_else(|| header(":error-message")).unwrap_or_default();
            return Ok(json!({"exception": {"type": kind, "message": text}}).to_string());
        }
        None => return Err(Failure::new(Kind::Malformed, "the provider's answer has a frame without a type")),
    };
    Ok(json!({ name: payload }).to_string())
}

impl Parse for Parser {
    fn piece(&mut self, data: &str) -> Result<Step, Failure> {
        let Event { content_block_start, content_block_delta, message_stop, metadata, exception } = reading::json(data.as_bytes())?;
        if let Some(error) = exception {
            return Err(failed(&error));
        }
        if let Some(Metadata { usage }) = metadata {
            return Ok(Step::End(Delta { usage: Some(usage.into()), ..Delta::default() }));
        }
        let mut all = Delta::default();
        if let Some(Started { content_block_index: index, start }) = content_block_start {
            let call = start.tool_use.map(|call| ToolFragment { index, id: call.tool_use_id, name: call.name, ..ToolFragment::default() });
            all.tools.extend(call);
        }
        if let Some(Continued { content_block_index, delta }) = content_block_delta {
            all.merge(added(content_block_index, delta));
        }
        all.finish = message_stop.map(|stopped| finish(&stopped.stop_reason));
        Ok(Step::Add(all))
    }

    fn document(&mut self, body: &[u8]) -> Result<Delta, Failure> {
        let whole: Whole = reading::json(body)?;
        let mut all = Delta { usage: Some(whole.usage.into()), ..Delta::default() };
        for (index, block) in whole.output.message.content.into_iter().enumerate() {
            all.merge(added(index, block));
        }
        all.finish = Some(finish(&whole.stop_reason));
        Ok(all)
    }
}

/// An exception has a name where other dialects have a number.
fn failed(error: &Value) -> Failure {
    let code = match error["type"].as_str().unwrap_or_default().to_ascii_lowercase() {
        name if name.contains("throttling") => 429,
        name if name.contains("validation") => 400,
        name if name.contains("serviceunavailable") || name.contains("modelnotready") => 529,
        name if name.contains("timeout") => 408,
        name if name.contains("accessdenied") => 403,
        _ => 500,
    };
    Failure::from_stream(&json!({"message": error["message"], "type": error["type"], "code": code}))
}

fn added(index: usize, addition: Addition) -> Delta {
    let mut delta = Delta { text: addition.text.unwrap_or_default(), ..Delta::default() };
    if let Some(call) = addition.tool_use {
        let arguments = match call.input {
            Value::String(text) => text,
            Value::Null => String::new(),
            whole => whole.to_string(),
        };
        delta.tools.push(ToolFragment { index, id: call.tool_use_id, name: call.name, arguments, ..ToolFragment::default() });
    }
    if let Some(reasoning) = addition.reasoning_content {
        let Reasoning { text, signature, redacted_content, reasoning_text } = reasoning;
        let (text, signature) = reasoning_text.map_or((text, signature), |whole| (whole.text, whole.signature));
        let redacted = !redacted_content.is_empty();
        let signature = if redacted { redacted_content } else { signature };
        delta.thoughts.push(ThoughtFragment { index, text, signature, redacted });
    }
    delta
}

fn finish(reason: &str) -> Finish {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolUse,
        "guardrail_intervened" | "content_filtered" => Finish::Filtered,
        _ => Finish::Stop,
    }
}
