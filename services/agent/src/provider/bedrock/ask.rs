//! The JSON of a request.

use serde_json::{Map, Value, json};
use verso_proto::agent::v1::ChatMessage;

use crate::messages;
use crate::provider::conversation::{BEGINNING, Turn, arguments, call_id, calls, pictures, result_words, seen, thoughts, words};
use crate::provider::{Call, ToolChoice, ToolSpec};

/// The smallest budget for thoughts that the models take, in tokens.
const BUDGET_MIN: u64 = 1_024;

/// The longest answer of a model that thinks, when nobody says, in tokens.
const MAX_TOKENS_DEFAULT: u64 = 8_192;

/// Models that keep what stands before a mark.
const KEEPING: &str = "anthropic.claude";

/// Renders a call.
pub(super) fn body(call: &Call<'_>) -> Value {
    let keeps = call.model.id.contains(KEEPING);
    let mark = || json!({"cachePoint": {"type": "default"}});
    let mut messages = conversation(call);
    if keeps && let Some(content) = messages.last_mut().and_then(|message| message["content"].as_array_mut()) {
        content.push(mark());
    }
    let budget = budget(call);
    let mut body = json!({"messages": messages, "inferenceConfig": inference(call, budget)});
    if !call.prompt.system.is_empty() {
        let mark = keeps.then(mark);
        body["system"] = std::iter::once(json!({"text": call.prompt.system})).chain(mark).collect();
    }
    if !call.tools.is_empty() {
        body["toolConfig"] = json!({"tools": call.tools.iter().map(tool).collect::<Vec<_>>()});
        if let Some(choice) = choice(call.tool_choice) {
            body["toolConfig"]["toolChoice"] = choice;
        }
    }
    if let Some(tokens) = budget {
        body["additionalModelRequestFields"] = json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    }
    body
}

fn inference(call: &Call<'_>, budget: Option<u64>) -> Value {
    let (sampling, mut config) = (call.sampling, Map::new());
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    let max_tokens = call.max_tokens().or(budget.map(|_| MAX_TOKENS_DEFAULT));
    set("maxTokens", max_tokens.map(Value::from));
    // A model that thinks takes neither.
    set("temperature", sampling.temperature.filter(|_| budget.is_none()).map(Value::from));
    set("topP", sampling.top_p.filter(|_| budget.is_none()).map(Value::from));
    set("stopSequences", (!sampling.stop.is_empty()).then(|| json!(sampling.stop)));
    Value::Object(config)
}

/// Returns how many tokens of the answer are for thoughts.
fn budget(call: &Call<'_>) -> Option<u64> {
    let wanted = match call.thinking()? {
        "minimal" => BUDGET_MIN,
        "low" => 2_048,
        "medium" => 8_192,
        _ => 16_384,
    };
    // Something must be left for the words.
    let most = call.max_tokens().unwrap_or(MAX_TOKENS_DEFAULT).saturating_sub(BUDGET_MIN);
    Some(wanted.min(most)).filter(|budget| *budget >= BUDGET_MIN)
}

fn conversation(call: &Call<'_>) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::with_capacity(call.prompt.messages.len());
    if matches!(call.prompt.turns().first(), Some(Turn::Assistant(_))) {
        // A conversation begins with a question, or is refused.
        messages.push(json!({"role": "user", "content": [{"text": BEGINNING}]}));
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
    std::iter::once(json!({"text": words(message)})).chain(pictures(message).filter_map(picture)).collect()
}

fn answer(message: &ChatMessage, call: &Call<'_>) -> Vec<Value> {
    let thoughts = thoughts(message, call.model).map(|thought| {
        let signature = thought.thinking_signature.as_deref().unwrap_or_default();
        if thought.redacted == Some(true) {
            json!({"reasoningContent": {"redactedContent": signature}})
        } else {
            let text = thought.thinking.as_deref().unwrap_or_default();
            json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}})
        }
    });
    let mut blocks: Vec<Value> = thoughts.collect();
    let calls: Vec<Value> = calls(message)
        .map(|call| {
            let input: Value = serde_json::from_str(arguments(call)).unwrap_or_default();
            let input = if input.is_object() { input } else { json!({}) };
            json!({"toolUse": {"toolUseId": call_id(call.id.as_deref().unwrap_or_default()), "name": call.name, "input": input}})
        })
        .collect();
    if !messages::text_of(message).trim().is_empty() || calls.is_empty() {
        blocks.push(json!({"text": words(message).trim_end()}));
    }
    blocks.extend(calls);
    blocks
}

fn result(message: &ChatMessage, call: &Call<'_>) -> Value {
    let words = result_words(message, call.model);
    let words = json!({"text": if words.is_empty() { "(nothing)" } else { &words }});
    let content: Vec<Value> = std::iter::once(words).chain(seen(message, call.model).filter_map(picture)).collect();
    json!({"toolResult": {
        "toolUseId": call_id(message.tool_call_id.as_deref().unwrap_or_default()),
        "content": content,
        "status": if message.is_error == Some(true) { "error" } else { "success" },
    }})
}

/// Returns a picture; none if the dialect has no name for its kind.
fn picture((kind, data): (&str, &str)) -> Option<Value> {
    let format = kind.strip_prefix("image/").filter(|format| ["png", "jpeg", "gif", "webp"].contains(format))?;
    Some(json!({"image": {"format": format, "source": {"bytes": data}}}))
}

fn tool(tool: &ToolSpec) -> Value {
    json!({"toolSpec": {"name": tool.name, "description": tool.description, "inputSchema": {"json": tool.parameters}}})
}

fn choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::Required => Some(json!({"any": {}})),
        ToolChoice::Named(name) => Some(json!({"tool": {"name": name}})),
    }
}
