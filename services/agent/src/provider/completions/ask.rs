//! The JSON of a request.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::messages;
use crate::models::Server;
use crate::provider::conversation::{SHOWN, Turn, arguments, call_id, calls, pictures, result_words, seen};
use crate::provider::{Call, ToolChoice, ToolSpec};
use verso_proto::agent::v1::ChatMessage;

/// The host whose newer models no longer take `max_tokens`.
const OPENAI_HOST: &str = "api.openai.com";

/// The body of a request.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    messages: Vec<Message>,
    stream: bool,
    stream_options: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'a Value>,
}

#[derive(Debug, Default, Serialize)]
struct Message {
    role: &'static str,
    content: Option<Content>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
}

impl Message {
    fn text(role: &'static str, text: String) -> Self {
        Self { role, content: Some(Content::Text(text)), ..Self::default() }
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Value>),
}

#[derive(Debug, Serialize)]
struct ToolCall {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

#[derive(Debug, Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Specification<'a>,
}

#[derive(Debug, Serialize)]
struct Specification<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
}

/// Renders a call.
pub(super) fn body<'a>(server: &Server, call: &'a Call<'_>) -> Body<'a> {
    let newer = server.host() == Some(OPENAI_HOST);
    let sampling = call.sampling;
    Body {
        model: &call.model.id,
        messages: conversation(call),
        stream: true,
        stream_options: json!({"include_usage": true}),
        tools: call.tools.iter().map(tool).collect(),
        tool_choice: choice(call),
        max_tokens: call.max_tokens().filter(|_| !newer),
        max_completion_tokens: call.max_tokens().filter(|_| newer),
        reasoning_effort: call.thinking(),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        seed: sampling.seed,
        stop: &sampling.stop,
        response_format: sampling.format().and(sampling.response_format.as_ref()),
    }
}

fn conversation(call: &Call<'_>) -> Vec<Message> {
    let mut messages = Vec::with_capacity(call.prompt.messages.len() + 1);
    if !call.prompt.system.is_empty() {
        messages.push(Message::text("system", call.prompt.system.clone()));
    }
    for turn in call.prompt.turns() {
        match turn {
            Turn::User(message) => messages.push(question(message)),
            Turn::Assistant(message) => messages.push(answer(message)),
            Turn::Results(results) => {
                messages.extend(results.iter().map(|result| Message {
                    tool_call_id: result.tool_call_id.as_deref().map(call_id),
                    ..Message::text("tool", result_words(result, call.model))
                }));
                // The dialect has words alone in a tool's answer; its pictures come right after.
                let pictures: Vec<Value> = results.iter().flat_map(|result| seen(result, call.model)).map(picture).collect();
                if !pictures.is_empty() {
                    let words = json!({"type": "text", "text": SHOWN});
                    let parts = std::iter::once(words).chain(pictures).collect();
                    messages.push(Message { role: "user", content: Some(Content::Parts(parts)), ..Message::default() });
                }
            }
        }
    }
    messages
}

fn question(message: &ChatMessage) -> Message {
    let text = messages::text_of(message);
    let mut pictures = pictures(message).peekable();
    if pictures.peek().is_none() {
        return Message::text("user", text);
    }
    let words = (!text.is_empty()).then(|| json!({"type": "text", "text": text}));
    Message { role: "user", content: Some(Content::Parts(words.into_iter().chain(pictures.map(picture)).collect())), ..Message::default() }
}

fn picture((kind, data): (&str, &str)) -> Value {
    json!({"type": "image_url", "image_url": {"url": format!("data:{kind};base64,{data}")}})
}

fn answer(message: &ChatMessage) -> Message {
    let text = messages::text_of(message);
    let calls = calls(message).map(|call| ToolCall {
        id: call_id(call.id.as_deref().unwrap_or_default()),
        kind: "function",
        function: Function { name: call.name.clone().unwrap_or_default(), arguments: arguments(call).to_owned() },
    });
    let tool_calls: Vec<ToolCall> = calls.collect();
    let content = (!text.is_empty() || tool_calls.is_empty()).then_some(Content::Text(text));
    Message { role: "assistant", content, tool_calls, tool_call_id: None }
}

fn tool(tool: &ToolSpec) -> Tool<'_> {
    let function = Specification { name: &tool.name, description: &tool.description, parameters: tool.parameters.text() };
    Tool { kind: "function", function }
}

fn choice(call: &Call<'_>) -> Option<Value> {
    match call.tool_choice {
        _ if call.tools.is_empty() => None,
        ToolChoice::Auto => None,
        ToolChoice::Required => Some(json!("required")),
        ToolChoice::Named(name) => Some(json!({"type": "function", "function": {"name": name}})),
    }
}
