//! From a list of chat messages to what an agent is told: the current message, what came before it, and additions to the system prompt.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::errors::Refusal;

/// Stands above earlier messages. Transcripts of the reference have the same line, and agents know it.
const HISTORY: &str = "[Chat messages since your last reply - for context]";

/// Stands above the message that is to be answered.
const CURRENT: &str = "[Current message - respond to this]";

/// What a request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) message: String,
    /// The texts of system and developer messages.
    pub(super) system: Option<String>,
}

impl Prompt {
    /// Reads `messages`. What is not a message is skipped.
    pub(super) fn assemble(messages: Option<&Value>) -> Result<Self, Refusal> {
        let messages = messages.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let (mut system, mut entries) = (Vec::new(), Vec::new());
        for message in messages {
            let role = message.get("role").and_then(Value::as_str).map_or("", str::trim);
            match role {
                "system" | "developer" => system.extend(Some(text_of(message)).filter(|text| !text.is_empty())),
                _ => entries.extend(Entry::read(role, message)),
            }
        }
        let current = entries.iter().rposition(|entry| entry.speaker != Speaker::Assistant).or(entries.len().checked_sub(1));
        let Some(current) = current else { return Err(Refusal::invalid("Missing user message in `messages`.")) };
        if entries[current].pictures {
            return Err(Refusal::invalid("Invalid image_url content in `messages`. Agents cannot be sent pictures this way; send text."));
        }
        Ok(Self { message: render(&entries[..=current]), system: (!system.is_empty()).then(|| system.join("\n\n")) })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Speaker {
    User,
    Assistant,
    /// A tool, and the call that it answers or its name.
    Tool(Option<String>),
}

/// One message of the conversation.
#[derive(Debug)]
struct Entry {
    speaker: Speaker,
    text: String,
    pictures: bool,
}

impl Entry {
    /// Reads a message; none if it says nothing, or nobody knows its role.
    fn read(role: &str, message: &Value) -> Option<Self> {
        let text = text_of(message);
        let (speaker, text, pictures) = match role {
            "user" => (Speaker::User, text, has_pictures(message)),
            "assistant" => (Speaker::Assistant, with_tool_calls(text, message), false),
            "tool" | "function" => (Speaker::Tool(tool_name(message)), text, false),
            _ => return None,
        };
        // A tool that has nothing to say has answered all the same.
        let speaks = !text.is_empty() || pictures || matches!(speaker, Speaker::Tool(_));
        speaks.then_some(Self { speaker, text, pictures })
    }

    fn write(&self, line: &mut String) {
        match &self.speaker {
            Speaker::User => line.push_str("User"),
            Speaker::Assistant => line.push_str("Assistant"),
            Speaker::Tool(None) => line.push_str("Tool"),
            Speaker::Tool(Some(name)) => {
                line.push_str("Tool:");
                line.push_str(name);
            }
        }
        line.push_str(": ");
        line.push_str(&self.text);
    }
}

/// Returns what the agent is told; the last entry is the one to be answered.
fn render(entries: &[Entry]) -> String {
    let Some((current, history)) = entries.split_last() else { return String::new() };
    if history.is_empty() && !matches!(current.speaker, Speaker::Tool(_)) {
        return current.text.clone();
    }
    let mut prompt = String::with_capacity(entries.iter().map(|entry| entry.text.len() + 32).sum::<usize>() + 128);
    if !history.is_empty() {
        prompt.push_str(HISTORY);
        for entry in history.iter().filter(|entry| !entry.text.is_empty() || !entry.pictures) {
            prompt.push('\n');
            entry.write(&mut prompt);
        }
        prompt.push_str("\n\n");
    }
    prompt.push_str(CURRENT);
    prompt.push('\n');
    current.write(&mut prompt);
    prompt
}

/// Returns the text of a message: its string, or the texts of its parts.
fn text_of(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Array(parts)) => parts.iter().filter_map(part_text).collect::<Vec<_>>().join("\n").trim().to_owned(),
        _ => String::new(),
    }
}

fn part_text(part: &Value) -> Option<&str> {
    let member = |name: &str| part.get(name).and_then(Value::as_str);
    let text = if matches!(member("type"), Some("text" | "input_text")) { member("text") } else { None };
    text.or_else(|| member("input_text"))
}

fn has_pictures(message: &Value) -> bool {
    let parts = message.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    parts.iter().any(|part| matches!(part.get("type").and_then(Value::as_str), Some("image_url" | "input_image")))
}

/// Returns the call that a tool's message answers, or the tool's name.
fn tool_name(message: &Value) -> Option<String> {
    let member = |name: &str| message.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    member("tool_call_id").or_else(|| member("name")).map(str::to_owned)
}

/// Adds a line for each tool that the assistant called.
fn with_tool_calls(mut text: String, message: &Value) -> String {
    let calls = message.get("tool_calls").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for call in calls {
        let member = |path: &str| call.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let (id, name, arguments) = (member("/id"), member("/function/name"), member("/function/arguments"));
        if name.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing into a string always succeeds.
        let _infallible = write!(text, "tool_call id={id} name={name} arguments={arguments}");
    }
    text
}

#[cfg(test)]
mod tests;
