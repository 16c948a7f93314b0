//! The JSON of a request.

use serde_json::{Map, Value, json};
use verso_proto::agent::v1::ChatMessage;

use crate::messages;
use crate::provider::conversation::{BEGINNING, Turn, arguments, calls, pictures, result_words, seen, words};
use crate::provider::{Call, Format, ToolChoice, ToolSpec};

/// Renders a call.
pub(super) fn body(call: &Call<'_>) -> Value {
    let mut body = json!({"contents": conversation(call), "generationConfig": generation(call)});
    if !call.prompt.system.is_empty() {
        body["systemInstruction"] = json!({"parts": [{"text": call.prompt.system}]});
    }
    if !call.tools.is_empty() {
        body["tools"] = json!([{"functionDeclarations": call.tools.iter().map(tool).collect::<Vec<_>>()}]);
    }
    if let Some(choice) = choice(call) {
        body["toolConfig"] = json!({"functionCallingConfig": choice});
    }
    body
}

fn generation(call: &Call<'_>) -> Value {
    let sampling = call.sampling;
    let mut config = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    set("temperature", sampling.temperature.map(Value::from));
    set("topP", sampling.top_p.map(Value::from));
    set("frequencyPenalty", sampling.frequency_penalty.map(Value::from));
    set("presencePenalty", sampling.presence_penalty.map(Value::from));
    set("seed", sampling.seed.map(Value::from));
    set("maxOutputTokens", call.max_tokens().map(Value::from));
    set("stopSequences", (!sampling.stop.is_empty()).then(|| json!(sampling.stop)));
    if let Some(format) = sampling.format() {
        set("responseMimeType", Some(json!("application/json")));
        if let Format::Schema(schema) = format {
            set("responseJsonSchema", schema.get("schema").cloned());
        }
    }
    let budget = |level: &str| match level {
        "minimal" => 512,
        "low" => 2_048,
        "medium" => 8_192,
        _ => 24_576,
    };
    set("thinkingConfig", call.thinking().map(|level| json!({"includeThoughts": true, "thinkingBudget": budget(level)})));
    Value::Object(config)
}

fn conversation(call: &Call<'_>) -> Vec<Value> {
    let mut contents: Vec<Value> = Vec::with_capacity(call.prompt.messages.len());
    if matches!(call.prompt.turns().first(), Some(Turn::Assistant(_))) {
        // A conversation begins with a question, or is refused.
        contents.push(json!({"role": "user", "parts": [{"text": BEGINNING}]}));
    }
    for turn in call.prompt.turns() {
        let (role, parts) = match turn {
            Turn::User(message) => ("user", question(message)),
            Turn::Assistant(message) => ("model", answer(message)),
            Turn::Results(results) => ("user", results.iter().flat_map(|answered| result(answered, call)).collect()),
        };
        match contents.last_mut() {
            Some(last) if last["role"] == role => {
                if let Some(all) = last["parts"].as_array_mut() {
                    all.extend(parts);
                }
            }
            _ => contents.push(json!({"role": role, "parts": parts})),
        }
    }
    contents
}

fn question(message: &ChatMessage) -> Vec<Value> {
    let pictures = pictures(message).map(picture);
    std::iter::once(json!({"text": words(message)})).chain(pictures).collect()
}

fn answer(message: &ChatMessage) -> Vec<Value> {
    let text = messages::text_of(message);
    let calls: Vec<Value> = calls(message)
        .map(|call| {
            let args: Value = serde_json::from_str(arguments(call)).unwrap_or_default();
            let mut part = json!({"functionCall": {"name": call.name, "args": if args.is_object() { args } else { json!({}) }}});
            if let Some(signature) = &call.thought_signature {
                part["thoughtSignature"] = json!(signature);
            }
            part
        })
        .collect();
    let said = (!text.is_empty() || calls.is_empty()).then(|| json!({"text": words(message)}));
    said.into_iter().chain(calls).collect()
}

fn picture((kind, data): (&str, &str)) -> Value {
    json!({"inlineData": {"mimeType": kind, "data": data}})
}

fn result(message: &ChatMessage, call: &Call<'_>) -> Vec<Value> {
    let member = if message.is_error == Some(true) { "error" } else { "output" };
    let response = json!({"functionResponse": {"name": message.tool_name, "response": {member: result_words(message, call.model)}}});
    std::iter::once(response).chain(seen(message, call.model).map(picture)).collect()
}

fn tool(tool: &ToolSpec) -> Value {
    json!({"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters})
}

fn choice(call: &Call<'_>) -> Option<Value> {
    match call.tool_choice {
        _ if call.tools.is_empty() => None,
        ToolChoice::Auto => None,
        ToolChoice::Required => Some(json!({"mode": "ANY"})),
        ToolChoice::Named(name) => Some(json!({"mode": "ANY", "allowedFunctionNames": [name]})),
    }
}
