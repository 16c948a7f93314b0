//! The JSON of a request.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use verso_proto::agent::v1::ChatMessage;

use crate::messages;
use crate::provider::conversation::{SHOWN, Turn, arguments, call_id, calls, pictures, result_words, seen, thoughts};
use crate::provider::{Call, Format, ToolChoice, ToolSpec};

/// The body of a request.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instructions: &'a str,
    input: Vec<Value>,
    stream: bool,
    store: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    include: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
    strict: bool,
}

/// Renders a call.
pub(super) fn body<'a>(call: &'a Call<'_>) -> Body<'a> {
    let thinking = call.thinking();
    Body {
        model: &call.model.id,
        instructions: &call.prompt.system,
        input: input(call),
        stream: true,
        store: false,
        tools: call.tools.iter().map(tool).collect(),
        tool_choice: choice(call),
        max_output_tokens: call.max_tokens(),
        temperature: call.sampling.temperature,
        top_p: call.sampling.top_p,
        reasoning: thinking.map(|effort| json!({"effort": effort, "summary": "auto"})),
        // Without a store, the model sees its earlier thoughts only if they come back with the conversation.
        include: if thinking.is_some() { &["reasoning.encrypted_content"] } else { &[] },
        text: call.sampling.format().map(|format| json!({"format": form(format)})),
    }
}

/// This dialect has the members of a schema beside its type.
fn form(format: Format<'_>) -> Value {
    let Format::Schema(schema) = format else { return json!({"type": "json_object"}) };
    let mut form = schema.clone();
    if !form.is_object() {
        form = json!({});
    }
    form["type"] = json!("json_schema");
    form
}

fn input(call: &Call<'_>) -> Vec<Value> {
    let mut items = Vec::with_capacity(call.prompt.messages.len());
    for turn in call.prompt.turns() {
        match turn {
            Turn::User(message) => items.push(question(message)),
            Turn::Assistant(message) => answer(message, call, &mut items),
            Turn::Results(results) => {
                items.extend(results.iter().map(|result| {
                    let id = call_id(result.tool_call_id.as_deref().unwrap_or_default());
                    json!({"type": "function_call_output", "call_id": id, "output": result_words(result, call.model)})
                }));
                let pictures: Vec<Value> = results.iter().flat_map(|result| seen(result, call.model)).map(picture).collect();
                if !pictures.is_empty() {
                    let words = json!({"type": "input_text", "text": SHOWN});
                    let content: Vec<Value> = std::iter::once(words).chain(pictures).collect();
                    items.push(json!({"type": "message", "role": "user", "content": content}));
                }
            }
        }
    }
    items
}

fn question(message: &ChatMessage) -> Value {
    let text = messages::text_of(message);
    let words = (!text.is_empty()).then(|| json!({"type": "input_text", "text": text}));
    let pictures = pictures(message).map(picture);
    json!({"type": "message", "role": "user", "content": words.into_iter().chain(pictures).collect::<Vec<_>>()})
}

fn picture((kind, data): (&str, &str)) -> Value {
    json!({"type": "input_image", "detail": "auto", "image_url": format!("data:{kind};base64,{data}")})
}

fn answer(message: &ChatMessage, call: &Call<'_>, items: &mut Vec<Value>) {
    let signed = thoughts(message, call.model).filter_map(|thought| thought.thinking_signature.as_deref());
    items.extend(signed.filter_map(|item| serde_json::from_str(item).ok()));
    let text = messages::text_of(message);
    if !text.is_empty() {
        let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
        items.push(json!({"type": "message", "role": "assistant", "status": "completed", "content": content}));
    }
    items.extend(calls(message).map(|call| {
        let id = call_id(call.id.as_deref().unwrap_or_default());
        json!({"type": "function_call", "call_id": id, "name": call.name, "arguments": arguments(call)})
    }));
}

fn tool(tool: &ToolSpec) -> Tool<'_> {
    Tool { kind: "function", name: &tool.name, description: &tool.description, parameters: tool.parameters.text(), strict: false }
}

fn choice(call: &Call<'_>) -> Option<Value> {
    match call.tool_choice {
        _ if call.tools.is_empty() => None,
        ToolChoice::Auto => None,
        ToolChoice::Required => Some(json!("required")),
        ToolChoice::Named(name) => Some(json!({"type": "function", "name": name})),
    }
}
