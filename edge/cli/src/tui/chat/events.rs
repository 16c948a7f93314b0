//! What the gateway tells of a session.

use serde_json::Value;

use super::{Action, Chat, Entry, Who, printable};

impl Chat {
    pub(super) fn on_event(&mut self, name: &str, payload: &Value) -> Vec<Action> {
        if payload["sessionKey"] != self.session.as_str() {
            return Vec::new();
        }
        if name == "chat" {
            self.on_chat(payload);
        }
        Vec::new()
    }

    fn on_chat(&mut self, payload: &Value) {
        let run = payload["runId"].as_str().unwrap_or_default().to_owned();
        let text = payload.get("message").map(message_text).unwrap_or_default();
        match payload["state"].as_str() {
            Some("delta") => {
                if !self.runs.contains(&run) {
                    self.runs.push(run.clone());
                }
                self.write(&run, &text);
            }
            Some("final") => {
                if !text.is_empty() {
                    self.write(&run, &text);
                }
                self.ended(&run);
            }
            Some("aborted") => {
                self.ended(&run);
                self.add(Who::Notice, "Stopped.");
            }
            Some("error") => {
                self.ended(&run);
                let why = payload["errorMessage"].as_str().unwrap_or("the run failed");
                self.add(Who::Error, why);
            }
            _ => {}
        }
    }

    /// Each event holds the whole text so far.
    fn write(&mut self, run: &str, text: &str) {
        let text = printable(text);
        let open = self.entries.iter_mut().rev().find(|entry| entry.run.as_deref() == Some(run));
        match open {
            Some(entry) => entry.text = text,
            None => self.entries.push(Entry { who: Who::Agent, text, run: Some(run.to_owned()) }),
        }
    }

    /// Shows the history in the place of what was on the screen, and says what was to be said first.
    pub(super) fn on_history(&mut self, payload: &Value) -> Vec<Action> {
        // What was said a moment ago may not be in this history yet.
        let known: Vec<String> = payload["messages"].as_array().into_iter().flatten().map(message_text).collect();
        let said = self.entries.iter().filter(|entry| entry.who == Who::User).count().saturating_sub(self.runs.len());
        let mut users = 0;
        let mut keep = |entry: &&Entry| {
            users += usize::from(entry.who == Who::User);
            entry.run.is_some() || (entry.who == Who::User && users > said && !known.contains(&entry.text))
        };
        let unfinished: Vec<Entry> = self.entries.iter().filter(&mut keep).cloned().collect();
        self.entries.clear();
        for message in payload["messages"].as_array().into_iter().flatten() {
            let who = match message["role"].as_str() {
                Some("user") => Who::User,
                Some("assistant") => Who::Agent,
                Some("toolResult" | "tool" | "tool_result") => Who::Tool,
                _ => Who::Notice,
            };
            let text = message_text(message);
            if !text.is_empty() && who != Who::Tool {
                self.add(who, &text);
            }
        }
        self.entries.extend(unfinished);
        match self.start.message.take() {
            Some(text) => self.say(text),
            None => Vec::new(),
        }
    }
}

/// The text of a message, whose content is a text or a list of parts.
fn message_text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => message["text"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Words what `status` says.
pub(super) fn status(payload: &Value) -> String {
    let sessions = &payload["sessions"];
    let model = sessions.pointer("/defaults/model").and_then(Value::as_str).unwrap_or("none configured");
    format!("Model: {model}\nSessions: {}", sessions["count"])
}
