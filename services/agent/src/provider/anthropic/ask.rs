//! The JSON of a request.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use verso_proto::agent::v1::ChatMessage;

use crate::messages;
use crate::provider::conversation::{BEGINNING, Turn, arguments, call_id, calls, pictures, result_words, seen, thoughts, words};
use crate::provider::{Call, ToolChoice, ToolSpec};

/// The longest answer when nobody says, in tokens: the dialect requires a number.
const MAX_TOKENS_DEFAULT: u64 = 8_192;

/// The smallest budget for thoughts that the dialect takes, in tokens.
const BUDGET_MIN: u64 = 1_024;

/// The body of a request.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Value>,
    messages: Vec<Value>,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [String],
}

#[derive(Debug, Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Value>,
}

/// Renders a call.
pub(super) fn body<'a>(call: &'a Call<'_>) -> Body<'a> {
    let max_tokens = call.max_tokens().unwrap_or(MAX_TOKENS_DEFAULT);
    let budget = budget(call, max_tokens);
    let system = &call.prompt.system;
    let mut messages = conversation(call);
    mark_for_cache(messages.last_mut());
    let mut tools: Vec<Tool<'_>> = call.tools.iter().map(tool).collect();
    // What stands before the conversation changes rarely. The provider keeps it in the order tools, system, messages.
    if system.is_empty()
        && let Some(last) = tools.last_mut()
    {
        last.cache_control = Some(cached());
    }
    Body {
        model: &call.model.id,
        max_tokens,
        system: (!system.is_empty()).then(|| json!([{"type": "text", "text": system, "cache_control": cached()}])),
        messages,
        stream: true,
        tools,
        tool_choice: choice(call),
        thinking: budget.map(|tokens| json!({"type": "enabled", "budget_tokens": tokens})),
        // A model that thinks takes no temperature.
        temperature: call.sampling.temperature.filter(|_| budget.is_none()),
        top_p: call.sampling.top_p.filter(|_| budget.is_none()),
        stop_sequences: &call.sampling.stop,
    }
}

/// Returns how many tokens of the answer are for thoughts.
fn budget(call: &Call<'_>, max_tokens: u64) -> Option<u64> {
    let wanted = match call.thinking()? {
        "minimal" => BUDGET_MIN,
        "low" => 2_048,
        "medium" => 8_192,
        _ => 16_384,
    };
    // Something must be left for the words.
    Some(wanted.min(max_tokens.saturating_sub(BUDGET_MIN))).filter(|budget| *budget >= BUDGET_MIN)
}

fn conversation(call: &Call<'_>) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::with_capacity(call.prompt.messages.len());
    if matches!(call.prompt.turns().first(), Some(Turn::Assistant(_))) {
        // A conversation begins with a question, or is refused.
        messages.push(json!({"role": "user", "content": [{"type": "text", "text": BEGINNING}]}));
    }
    for turn in call.prompt.turns() {
        let (role, content) = match turn {
            Turn::User(message) => ("user", question(message)),
            Turn::Assistant(message) => ("assistant", answer(message, call)),
            Turn::Results(results) => ("user", results.iter().map(|answered| result(answered, call)).collect()),
        };
        // One side says everything in one message.
        match messages.last_mut() {
            Some(last) if last["role"] == role => {
                if let Some(all) = last["content"].as_array_mut() {
                    all.extend(content);
                }
            }
            _ => messages.push(json!({"role": role, "content": content})),
        }
    }
    messages
}

fn question(message: &ChatMessage) -> Vec<Value> {
    let mut blocks: Vec<Value> = pictures(message).map(picture).collect();
    let text = messages::text_of(message);
    if !text.trim().is_empty() || blocks.is_empty() {
        blocks.push(json!({"type": "text", "text": words(message)}));
    }
    blocks
}

fn answer(message: &ChatMessage, call: &Call<'_>) -> Vec<Value> {
    let thoughts = thoughts(message, call.model).map(|thought| {
        let signature = thought.thinking_signature.as_deref().unwrap_or_default();
        if thought.redacted == Some(true) {
            json!({"type": "redacted_thinking", "data": signature})
        } else {
            json!({"type": "thinking", "thinking": thought.thinking.as_deref().unwrap_or_default(), "signature": signature})
        }
    });
    let mut blocks: Vec<Value> = thoughts.collect();
    let calls: Vec<Value> = calls(message)
        .map(|call| {
            let input: Value = serde_json::from_str(arguments(call)).unwrap_or_default();
            let input = if input.is_object() { input } else { json!({}) };
            json!({"type": "tool_use", "id": call_id(call.id.as_deref().unwrap_or_default()), "name": call.name, "input": input})
        })
        .collect();
    let text = messages::text_of(message);
    if !text.trim().is_empty() || calls.is_empty() {
        blocks.push(json!({"type": "text", "text": words(message).trim_end()}));
    }
    blocks.extend(calls);
    blocks
}

fn picture((kind, data): (&str, &str)) -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}})
}

fn result(message: &ChatMessage, call: &Call<'_>) -> Value {
    let words = result_words(message, call.model);
    let pictures: Vec<Value> = seen(message, call.model).map(picture).collect();
    let content = if pictures.is_empty() {
        json!(if words.is_empty() { "(nothing)" } else { &words })
    } else {
        let words = (!words.trim().is_empty()).then(|| json!({"type": "text", "text": words}));
        words.into_iter().chain(pictures).collect()
    };
    json!({
        "type": "tool_result",
        "tool_use_id": call_id(message.tool_call_id.as_deref().unwrap_or_default()),
        "content": content,
        "is_error": message.is_error.unwrap_or(false),
    })
}

/// Asks the provider to keep all up to the end of this message.
fn mark_for_cache(message: Option<&mut Value>) {
    let block = message.and_then(|message| message["content"].as_array_mut()).and_then(|blocks| blocks.last_mut());
    if let Some(block) = block.filter(|block| block["type"] != "thinking" && block["type"] != "redacted_thinking") {
        block["cache_control"] = cached();
    }
}

fn cached() -> Value {
    json!({"type": "ephemeral"})
}

fn tool(tool: &ToolSpec) -> Tool<'_> {
    Tool { name: &tool.name, description: &tool.description, input_schema: tool.parameters.text(), cache_control: None }
}

fn choice(call: &Call<'_>) -> Option<Value> {
    match call.tool_choice {
        _ if call.tools.is_empty() => None,
        ToolChoice::Auto => None,
        ToolChoice::Required => Some(json!({"type": "any"})),
        ToolChoice::Named(name) => Some(json!({"type": "tool", "name": name})),
    }
}
