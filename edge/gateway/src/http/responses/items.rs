//! From the items of a request to what an agent is told.

use serde_json::Value;

use super::super::prompt::{Conversation, Entry, Part, Prompt, Speaker, called, media_of, text_of};

/// What is wrong with items that have no form that anybody knows.
const INVALID: &str = "input: Invalid input";

/// Reads `input`: a text, or items. `instructions` come before everything that the items add to the system prompt.
pub(super) fn assemble(input: Option<&Value>, instructions: Option<&str>) -> Result<Prompt, String> {
    let mut conversation = Conversation::default();
    conversation.instruct(instructions.unwrap_or_default().trim().to_owned());
    match input {
        Some(Value::String(text)) if text.trim().is_empty() => {}
        Some(Value::String(text)) => {
            conversation.entries.push(Entry { speaker: Speaker::User, text: text.trim().to_owned(), media: Vec::new() });
        }
        Some(Value::Array(items)) => {
            for item in items {
                add(&mut conversation, item)?;
            }
        }
        _ => return Err(INVALID.to_owned()),
    }
    conversation.into_prompt().ok_or_else(|| "Missing user message in `input`.".to_owned())
}

fn add(conversation: &mut Conversation, item: &Value) -> Result<(), String> {
    let member = |name: &str| item.get(name).and_then(Value::as_str);
    // Items without a type are messages, as the SDKs write them.
    let kind = member("type").or_else(|| member("role").map(|_| "message"));
    match kind {
        Some("message") => message(conversation, member("role"), item),
        Some("function_call") => {
            let name = member("name").filter(|name| !name.is_empty()).ok_or(INVALID)?;
            let id = member("call_id").or_else(|| member("id")).unwrap_or_default();
            let text = called(id, name, member("arguments").unwrap_or_default());
            conversation.entries.push(Entry { speaker: Speaker::Assistant, text, media: Vec::new() });
            Ok(())
        }
        Some("function_call_output") => {
            let call = member("call_id").map(str::trim).filter(|id| !id.is_empty()).ok_or(INVALID)?;
            let (text, media) = output(item.get("output").ok_or(INVALID)?);
            conversation.entries.push(Entry { speaker: Speaker::Tool(Some(call.to_owned())), text, media });
            Ok(())
        }
        // The model's own thoughts are of no use to another run, and what is stored elsewhere cannot be had.
        Some("reasoning" | "item_reference") => Ok(()),
        _ => Err(INVALID.to_owned()),
    }
}

fn message(conversation: &mut Conversation, role: Option<&str>, item: &Value) -> Result<(), String> {
    let well_formed = matches!(item.get("content"), Some(Value::String(_) | Value::Array(_)));
    if !well_formed {
        return Err(INVALID.to_owned());
    }
    let text = text_of(item);
    match role {
        Some("system" | "developer") => conversation.instruct(text),
        Some("assistant") if text.is_empty() => {}
        Some("assistant") => conversation.entries.push(Entry { speaker: Speaker::Assistant, text, media: Vec::new() }),
        Some("user") => {
            let media: Vec<Part> = media_of(item);
            if !text.is_empty() || !media.is_empty() {
                conversation.entries.push(Entry { speaker: Speaker::User, text, media });
            }
        }
        _ => return Err(INVALID.to_owned()),
    }
    Ok(())
}

/// What a tool answers is a text, or parts.
fn output(value: &Value) -> (String, Vec<Part>) {
    match value {
        Value::String(text) => (text.clone(), Vec::new()),
        Value::Array(_) => (text_of(&serde_json::json!({"content": value})), Vec::new()),
        other => (other.to_string(), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::prompt::Source;
    use super::*;

    #[test]
    fn items_become_a_conversation() {
        let input = json!([
            {"role": "developer", "content": "be kind"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "rain"}]},
        ]);
        let prompt = assemble(Some(&input), Some("be brief")).unwrap();
        assert_eq!(prompt.system.as_deref(), Some("be brief\n\nbe kind"));
        let expected = "[Chat messages since your last reply - for context]\nUser: weather?\nAssistant: tool_call id=c1 name=weather \
                        arguments={}\n\n[Current message - respond to this]\nTool:c1: rain";
        assert_eq!(prompt.message, expected);
    }

    #[test]
    fn pictures_and_files_come_along_in_every_spelling() {
        let content = json!([
            {"type": "input_image", "image_url": "https://example.com/a.png"},
            {"type": "input_image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="},
            {"type": "input_file", "source": {"type": "url", "url": "https://example.com/a.csv"}},
            {"type": "input_image", "file_id": "file-1"},
        ]);
        let prompt = assemble(Some(&json!([{"role": "user", "content": content}])), None).unwrap();
        assert_eq!(prompt.message, "User sent image(s) with no text.");
        let url = |text: &str| Source::Url(text.to_owned());
        let expected = [
            Part::Picture(url("https://example.com/a.png")),
            Part::Picture(Source::Base64 { media_type: Some("image/png".to_owned()), data: "aGk=".to_owned() }),
            Part::File { source: url("data:text/plain;base64,aGk="), name: Some("a.txt".to_owned()) },
            Part::File { source: url("https://example.com/a.csv"), name: None },
            Part::Picture(Source::Unreadable),
        ];
        assert_eq!(prompt.media, expected);
    }

    #[test]
    fn what_has_no_known_form_is_refused() {
        for input in [
            Value::Null,
            json!(7),
            json!([7]),
            json!([{"type": "message", "role": "robot", "content": "x"}]),
            json!([{"type": "message", "role": "user"}]),
            json!([{"type": "function_call_output", "output": "x"}]),
            json!([{"type": "function_call"}]),
            json!([{"type": "computer_call"}]),
        ] {
            assert_eq!(assemble(Some(&input), None).unwrap_err(), "input: Invalid input", "{input}");
        }
        for input in [json!(""), json!([]), json!([{"role": "user", "content": " "}])] {
            assert_eq!(assemble(Some(&input), None).unwrap_err(), "Missing user message in `input`.", "{input}");
        }
    }
}
