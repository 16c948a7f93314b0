//! One transcript file: a JSON document a line, a tree whose newest leaf is the conversation.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use serde_json::Value;
use verso_proto::Json;
use verso_proto::agent::v1::{ChatMessage, ContentBlock, MessageUsage};

use crate::messages;

/// The longest line that is read, in bytes: a message with ten pictures is shorter.
const LINE_BYTES_MAX: u64 = 128 << 20;

/// What a transcript holds.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    /// The oldest first.
    pub(crate) messages: Vec<(i64, ChatMessage)>,
    /// The newest summary, and the place in `messages` where the rest begins.
    pub(crate) summary: Option<(String, usize)>,
    /// Lines of other kinds, by kind.
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) unreadable: u64,
}

impl Transcript {
    /// Reads a file.
    pub(super) fn of_file(path: &Path) -> io::Result<Self> {
        Self::read(|told| each(path, told))
    }

    /// Reads lines, which `each` tells of as often as it is asked; of one that is no JSON as none.
    pub(super) fn read<E>(each: impl Fn(&mut dyn FnMut(Option<Value>)) -> Result<(), E>) -> Result<Self, E> {
        let on_path = newest_path(&each)?;
        let mut transcript = Self::default();
        let mut places = HashMap::new();
        each(&mut |line| match line {
            Some(line) => transcript.take(&line, &on_path, &mut places),
            None => transcript.unreadable += 1,
        })?;
        Ok(transcript)
    }

    fn take(&mut self, line: &Value, on_path: &HashSet<String>, places: &mut HashMap<String, usize>) {
        let kind = line["type"].as_str().unwrap_or("unknown");
        let id = line["id"].as_str().unwrap_or_default();
        // Lines that name no line before them were put in from outside.
        let counts = line.get("parentId").is_none() || on_path.contains(id);
        places.insert(id.to_owned(), self.messages.len());
        match kind {
            "session" => {}
            _ if !counts => *self.dropped.entry("other branches".to_owned()).or_default() += 1,
            "message" => match message(&line["message"]) {
                Some(message) => self.messages.push((written_ms(line, &message), message)),
                None => *self.dropped.entry("message of an unknown role".to_owned()).or_default() += 1,
            },
            "compaction" => {
                let kept = line["firstKeptEntryId"].as_str().and_then(|id| places.get(id)).copied().unwrap_or(self.messages.len());
                self.summary = line["summary"].as_str().map(|summary| (summary.to_owned(), kept));
            }
            kind => *self.dropped.entry(kind.to_owned()).or_default() += 1,
        }
    }
}

/// Returns the ids of the lines between the newest leaf and the root.
fn newest_path<E>(each: impl Fn(&mut dyn FnMut(Option<Value>)) -> Result<(), E>) -> Result<HashSet<String>, E> {
    let (mut parents, mut leaf) = (HashMap::new(), None);
    each(&mut |line| {
        let Some(line) = line else { return };
        if let Some(id) = line["id"].as_str().filter(|_| line["type"] != "session") {
            let parent = line["parentId"].as_str().map(str::to_owned);
            if line.get("parentId").is_some() {
                leaf = Some(id.to_owned());
            }
            parents.insert(id.to_owned(), parent);
        }
    })?;
    let mut found = HashSet::new();
    while let Some(id) = leaf {
        leaf = parents.get(&id).cloned().flatten();
        // A line that is its own ancestor ends the walk.
        if !found.insert(id) {
            break;
        }
    }
    Ok(found)
}

/// Tells of each line; of one that is no JSON as none.
fn each(path: &Path, told: &mut dyn FnMut(Option<Value>)) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = std::io::Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if !line.trim_ascii().is_empty() {
            told(serde_json::from_slice(&line).ok());
        }
    }
}

fn written_ms(line: &Value, message: &ChatMessage) -> i64 {
    let written = line["timestamp"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_millisecond);
    written.or(message.timestamp_ms).unwrap_or(0)
}

fn message(message: &Value) -> Option<ChatMessage> {
    let role = message["role"].as_str().filter(|role| matches!(*role, "user" | "assistant" | "toolResult"))?;
    let text = |name: &str| message[name].as_str().map(str::to_owned);
    let content = match &message["content"] {
        Value::String(text) => vec![messages::text_block(text)],
        Value::Array(blocks) => blocks.iter().map(block).collect(),
        _ => Vec::new(),
    };
    let usage = &message["usage"];
    let tokens = |name: &str| usage[name].as_i64();
    Some(ChatMessage {
        role: role.to_owned(),
        content,
        timestamp_ms: message["timestamp"].as_i64(),
        api: text("api"),
        provider: text("provider"),
        model: text("model"),
        usage: usage.is_object().then(|| MessageUsage {
            input: tokens("input").unwrap_or(0),
            output: tokens("output").unwrap_or(0),
            cache_read: tokens("cacheRead"),
            cache_write: tokens("cacheWrite"),
            total_tokens: tokens("totalTokens").unwrap_or(0),
        }),
        stop_reason: text("stopReason"),
        tool_call_id: text("toolCallId"),
        tool_name: text("toolName"),
        is_error: message["isError"].as_bool(),
        ..ChatMessage::default()
    })
}

fn block(block: &Value) -> ContentBlock {
    let text = |name: &str| block[name].as_str().map(str::to_owned);
    ContentBlock {
        r#type: text("type").unwrap_or_else(|| "text".to_owned()),
        text: text("text"),
        id: text("id"),
        name: text("name"),
        arguments: block.get("arguments").map(|arguments| Json { text: arguments.to_string() }),
        mime_type: text("mimeType"),
        data: text("data"),
        thinking: text("thinking"),
        thinking_signature: text("thinkingSignature"),
        ..ContentBlock::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_branch_is_the_conversation_and_the_rest_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let lines = [
            r#"{"type":"session","version":3,"id":"s","timestamp":"2026-01-01T00:00:00.000Z"}"#,
            r#"{"type":"model_change","id":"0","parentId":null,"provider":"a","modelId":"b"}"#,
            r#"{"type":"message","id":"1","parentId":"0","timestamp":"2026-01-01T00:00:01.000Z","message":{"role":"user","content":"one"}}"#,
            r#"{"type":"message","id":"2","parentId":"1","message":{"role":"assistant","content":[{"type":"text","text":"abandoned"}]}}"#,
            r#"{"type":"message","id":"3","parentId":"1","message":{"role":"assistant","content":[{"type":"toolCall","id":"c","name":"read","arguments":{"path":"a"}}],"stopReason":"toolUse"}}"#,
            r#"{"type":"compaction","id":"4","parentId":"3","summary":"short","firstKeptEntryId":"3"}"#,
            r#"{"type":"message","id":"5","message":{"role":"assistant","content":"put in"}}"#,
            r#"{"type":"message","id":"6","parentId":"4","message":{"role":"custom","content":"x"}}"#,
            "{broken",
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let found = Transcript::of_file(&path).unwrap();
        let texts: Vec<String> =
            found.messages.iter().map(|(_, message)| format!("{}: {}", message.role, messages::text_of(message))).collect();
        assert_eq!(texts, ["user: one", "assistant: ", "assistant: put in"]);
        assert_eq!(found.messages[0].0, 1_767_225_601_000);
        assert_eq!(found.messages[1].1.content[0].arguments.as_ref().unwrap().text, r#"{"path":"a"}"#);
        assert_eq!((found.summary, found.unreadable), (Some(("short".to_owned(), 1)), 1));
        let dropped: Vec<(String, u64)> = found.dropped.into_iter().collect();
        assert_eq!(
            dropped,
            [("message of an unknown role".to_owned(), 1), ("model_change".to_owned(), 1), ("other branches".to_owned(), 1)]
        );
    }
}
