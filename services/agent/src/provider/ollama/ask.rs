//! The JSON of a request.

use serde_json::{Map, Value, json};
use verso_proto::agent::v1::ChatMessage;

use crate::messages;
use crate::provider::conversation::{Turn, arguments, calls, pictures, result_words, seen};
use crate::provider::{Call, Format, ToolSpec};

/// Renders a call.
pub(super) fn body(call: &Call<'_>) -> Value {
    let mut body = json!({"model": call.model.id, "messages": conversation(call), "stream": true, "options": options(call)});
    if !call.tools.is_empty() {
        body["tools"] = call.tools.iter().map(tool).collect();
    }
    match call.sampling.format() {
        Some(Format::Json) => body["format"] = json!("json"),
        Some(Format::Schema(schema)) => body["format"] = schema.get("schema").cloned().unwrap_or_else(|| json!("json")),
        None => {}
    }
    if let Some(level) = call.thinking() {
        // Only some models know levels; all that think know whether to.
        body["think"] = if call.model.id.starts_with("gpt-oss") { json!(level) } else { json!(true) };
    }
    body
}

fn options(call: &Call<'_>) -> Value {
    let sampling = call.sampling;
    let mut options = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            options.insert(name.to_owned(), value);
        }
    };
    // Without this, it forgets the beginning of what does not fit its default, and says nothing.
    set("num_ctx", Some(call.model.context_window.into()));
    set("num_predict", call.max_tokens().map(Value::from));
    set("temperature", sampling.temperature.map(Value::from));
    set("top_p", sampling.top_p.map(Value::from));
    set("frequency_penalty", sampling.frequency_penalty.map(Value::from));
    set("presence_penalty", sampling.presence_penalty.map(Value::from));
    set("seed", sampling.seed.map(Value::from));
    set("stop", (!sampling.stop.is_empty()).then(|| json!(sampling.stop)));
    Value::Object(options)
}

fn conversation(call: &Call<'_>) -> Vec<Value> {
    let mut all = Vec::with_capacity(call.prompt.messages.len() + 1);
    if !call.prompt.system.is_empty() {
        all.push(json!({"role": "system", "content": call.prompt.system}));
    }
    for turn in call.prompt.turns() {
        match turn {
            Turn::User(message) => all.push(question(message)),
            Turn::Assistant(message) => all.push(answer(message)),
            Turn::Results(results) => all.extend(results.iter().map(|result| {
                let mut message = json!({"role": "tool", "content": result_words(result, call.model), "tool_name": result.tool_name});
                let images: Vec<&str> = seen(result, call.model).map(|(_, data)| data).collect();
                if !images.is_empty() {
                    message["images"] = json!(images);
                }
                message
            })),
        }
    }
    all
}

fn question(message: &ChatMessage) -> Value {
    let images: Vec<&str> = pictures(message).map(|(_, data)| data).collect();
    let mut question = json!({"role": "user", "content": messages::text_of(message)});
    if !images.is_empty() {
        question["images"] = json!(images);
    }
    question
}

fn answer(message: &ChatMessage) -> Value {
    let call = |call: &verso_proto::agent::v1::ContentBlock| {
        let arguments: Value = serde_json::from_str(arguments(call)).unwrap_or_default();
        json!({"function": {"name": call.name, "arguments": if arguments.is_object() { arguments } else { json!({}) }}})
    };
    let calls: Vec<Value> = calls(message).map(call).collect();
    let mut answer = json!({"role": "assistant", "content": messages::text_of(message)});
    if !calls.is_empty() {
        answer["tool_calls"] = json!(calls);
    }
    answer
}

fn tool(tool: &ToolSpec) -> Value {
    json!({"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters}})
}
