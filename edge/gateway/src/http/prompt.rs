//! From a list of messages to what an agent is told: the current message, what came before it, and additions to the system prompt.

use serde_json::Value;

use super::errors::Refusal;

/// Stands above earlier messages. Transcripts of the reference have the same line, and agents know it.
const HISTORY: &str = "[Chat messages since your last reply - for context]";

/// Stands above the message that is to be answered.
const CURRENT: &str = "[Current message - respond to this]";

/// What stands for a message that is only pictures …
const ONLY_PICTURES: &str = "User sent image(s) with no text.";

/// … or files.
const ONLY_FILES: &str = "User sent file(s) with no text.";

/// What a request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) message: String,
    /// The texts of system and developer messages.
    pub(super) system: Option<String>,
    /// What comes along with the newest message of the user.
    pub(super) media: Vec<Part>,
}

/// A picture or a file of a message, as its sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Picture(Source),
    File { source: Source, name: Option<String> },
}

/// Where a picture or a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// An address, or a `data:` URL.
    Url(String),
    Base64 {
        media_type: Option<String>,
        data: String,
    },
    /// Not in any form that is known.
    Unreadable,
}

impl Prompt {
    /// Reads `messages`. What is not a message is skipped.
    pub(super) fn assemble(messages: Option<&Value>) -> Result<Self, Refusal> {
        let messages = messages.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut conversation = Conversation::default();
        for message in messages {
            let role = message.get("role").and_then(Value::as_str).map_or("", str::trim);
            match role {
                "system" | "developer" => conversation.instruct(text_of(message)),
                _ => conversation.entries.extend(Entry::read(role, message)),
            }
        }
        conversation.into_prompt().ok_or_else(|| Refusal::invalid("Missing user message in `messages`."))
    }
}

/// What has been said so far.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    system: Vec<String>,
    pub(super) entries: Vec<Entry>,
}

impl Conversation {
    /// Adds to the system prompt.
    pub(super) fn instruct(&mut self, text: String) {
        self.system.extend(Some(text).filter(|text| !text.trim().is_empty()));
    }

    /// Returns what the agent is told; none if there is nothing to answer.
    pub(super) fn into_prompt(mut self) -> Option<Prompt> {
        let entries = &mut self.entries;
        let current = entries.iter().rposition(|entry| entry.speaker != Speaker::Assistant).or(entries.len().checked_sub(1))?;
        // The result of a tool is about the question before it, with its pictures.
        let asked = entries[..=current].iter().rposition(|entry| entry.speaker == Speaker::User);
        let media = asked.map(|place| std::mem::take(&mut entries[place].media)).unwrap_or_default();
        if let Some(entry) = asked.map(|place| &mut entries[place]).filter(|entry| entry.text.is_empty()) {
            let pictures = media.iter().any(|part| matches!(part, Part::Picture(_)));
            if pictures { ONLY_PICTURES } else { ONLY_FILES }.clone_into(&mut entry.text);
        }
        let system = (!self.system.is_empty()).then(|| self.system.join("\n\n"));
        Some(Prompt { message: render(&entries[..=current]), system, media })
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    User,
    Assistant,
    /// A tool, and the call that it answers or its name.
    Tool(Option<String>),
}

/// One message of the conversation.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) speaker: Speaker,
    pub(super) text: String,
    pub(super) media: Vec<Part>,
}

impl Entry {
    /// Reads a message; none if it says nothing, or nobody knows its role.
    fn read(role: &str, message: &Value) -> Option<Self> {
        let text = text_of(message);
        let (speaker, text, media) = match role {
            "user" => (Speaker::User, text, media_of(message)),
            "assistant" => (Speaker::Assistant, with_tool_calls(text, message), Vec::new()),
            "tool" | "function" => (Speaker::Tool(tool_name(message)), text, Vec::new()),
            _ => return None,
        };
        // A tool that has nothing to say has answered all the same.
        let speaks = !text.is_empty() || !media.is_empty() || matches!(speaker, Speaker::Tool(_));
        speaks.then_some(Self { speaker, text, media })
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
        for entry in history.iter().filter(|entry| !entry.text.is_empty() || entry.media.is_empty()) {
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
pub(super) fn text_of(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Array(parts)) => parts.iter().filter_map(part_text).collect::<Vec<_>>().join("\n").trim().to_owned(),
        _ => String::new(),
    }
}

fn part_text(part: &Value) -> Option<&str> {
    let member = |name: &str| part.get(name).and_then(Value::as_str);
    let text = if matches!(member("type"), Some("text" | "input_text" | "output_text" | "refusal")) { member("text") } else { None };
    text.or_else(|| member("input_text"))
}

/// Returns the pictures and files of a message, in every spelling of the two APIs.
pub(super) fn media_of(message: &Value) -> Vec<Part> {
    let parts = message.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let read = |part: &Value| match part.get("type").and_then(Value::as_str)? {
        "image_url" | "input_image" => Some(Part::Picture(picture_source(part))),
        "file" | "input_file" => {
            let file = part.get("file").unwrap_or(part);
            let name = file.get("filename").or_else(|| file.pointer("/source/filename")).and_then(Value::as_str).map(str::to_owned);
            Some(Part::File { source: file_source(file), name })
        }
        _ => None,
    };
    parts.iter().filter_map(read).collect()
}

fn picture_source(part: &Value) -> Source {
    let url = part.pointer("/image_url/url").or_else(|| part.get("image_url")).and_then(Value::as_str);
    url.map_or_else(|| nested_source(part), |url| Source::Url(url.trim().to_owned()))
}

fn file_source(file: &Value) -> Source {
    let url = file.get("file_data").or_else(|| file.get("file_url")).and_then(Value::as_str);
    url.map_or_else(|| nested_source(file), |url| Source::Url(url.trim().to_owned()))
}

/// Reads `source`: `{"type": "url", "url"}` or `{"type": "base64", "media_type", "data"}`.
fn nested_source(part: &Value) -> Source {
    let member = |name: &str| part.pointer(&format!("/source/{name}")).and_then(Value::as_str).map(str::to_owned);
    match (member("type").as_deref(), member("url"), member("data")) {
        (Some("url"), Some(url), _) => Source::Url(url.trim().to_owned()),
        (Some("base64"), _, Some(data)) => Source::Base64 { media_type: member("media_type"), data },
        _ => Source::Unreadable,
    }
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
        text.push_str(&called(id, name, arguments));
    }
    text
}

/// Returns the line that tells of a call.
pub(super) fn called(id: &str, name: &str, arguments: &str) -> String {
    format!("tool_call id={id} name={name} arguments={arguments}")
}

#[cfg(test)]
mod tests;
