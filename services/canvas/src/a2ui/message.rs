//! One message of an agent, checked.

use serde_json::Value;

use super::catalog::{MESSAGE, check};

/// The first message of newer versions, by which files that mix versions are told.
const NEWER: &str = "createSurface";

/// What a message does to a surface.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) surface: String,
    pub(crate) deed: Deed,
    /// As it came.
    pub(crate) json: Value,
}

/// The four things that can be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Deed {
    Begin,
    /// Components by their ids.
    Components(Vec<(String, Value)>),
    /// The place in the data model; empty for all of it.
    Data(String),
    Delete,
}

/// What is wrong with messages. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// There is nothing but blank lines.
    #[error("no JSONL messages found")]
    Empty,
    /// Messages of two versions that exclude each other.
    #[error("mixed A2UI v0.8 and v0.9 messages in one file")]
    Mixed,
    /// Everything that is wrong, a line each.
    #[error("{}", .0.join("\n"))]
    Lines(Vec<String>),
}

impl Message {
    /// Reads a message of v0.8.
    fn read(json: Value) -> Result<Self, String> {
        if json.as_object().is_some_and(|object| object.contains_key(NEWER)) {
            return Err(format!("{NEWER} belongs to A2UI v0.9, which is not shown here; send v0.8 messages"));
        }
        check(MESSAGE, &json, "")?;
        Self::of(json)
    }

    /// Takes a message apart whose shape nobody has checked beyond what is needed for that.
    fn of(json: Value) -> Result<Self, String> {
        let (name, body) = json.as_object().and_then(|object| object.iter().next()).ok_or("the message must be an object")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let surface = text(&body["surfaceId"]).ok_or_else(|| format!("{name}.surfaceId is missing"))?;
        let deed = match name.as_str() {
            "beginRendering" => Deed::Begin,
            "surfaceUpdate" => {
                let items = body["components"].as_array().map(Vec::as_slice).unwrap_or_default();
                Deed::Components(items.iter().filter_map(|item| Some((text(&item["id"])?, item.clone()))).collect())
            }
            "dataModelUpdate" => Deed::Data(body["path"].as_str().unwrap_or_default().trim_end_matches('/').to_owned()),
            "deleteSurface" => Deed::Delete,
            _ => return Err(format!("{name} is not known")),
        };
        Ok(Self { surface, deed, json })
    }
}

/// Reads messages, one a line; blank lines count as lines and say nothing.
pub(crate) fn read_jsonl(text: &str) -> Result<Vec<Message>, Problem> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed: Vec<_> = lines.map(|(index, line)| (format!("line {}", index + 1), serde_json::from_str::<Value>(line))).collect();
    if parsed.is_empty() {
        return Err(Problem::Empty);
    }
    let has = |wanted: fn(&str) -> bool| {
        let objects = parsed.iter().filter_map(|(_, value)| value.as_ref().ok()?.as_object());
        objects.flat_map(serde_json::Map::keys).any(|name| wanted(name))
    };
    if has(|name| name == NEWER) && has(|name| matches!(name, "beginRendering" | "surfaceUpdate" | "dataModelUpdate")) {
        return Err(Problem::Mixed);
    }
    collect(parsed.into_iter().map(|(at, value)| (at, value.map_err(|error| format!("not JSON: {error}")))))
}

/// Reads messages that are values already.
pub(crate) fn read_list(values: impl IntoIterator<Item = Result<Value, String>>) -> Result<Vec<Message>, Problem> {
    collect(values.into_iter().enumerate().map(|(index, value)| (format!("message {}", index + 1), value)))
}

/// Reads what can be taken apart and leaves the rest out: for who has the check switched off.
pub(crate) fn read_loosely(values: impl IntoIterator<Item = Value>) -> Vec<Message> {
    values.into_iter().filter_map(|json| Message::of(json).ok()).collect()
}

fn collect(values: impl Iterator<Item = (String, Result<Value, String>)>) -> Result<Vec<Message>, Problem> {
    let (mut messages, mut wrong) = (Vec::new(), Vec::new());
    for (at, value) in values {
        match value.and_then(Message::read) {
            Ok(message) => messages.push(message),
            Err(reason) => wrong.push(format!("{at}: {reason}")),
        }
    }
    if wrong.is_empty() { Ok(messages) } else { Err(Problem::Lines(wrong)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_their_lines() {
        let jsonl = "\n{\"deleteSurface\":{\"surfaceId\":\"main\"}}\n\n{\"surfaceUpdate\":{}}\nnonsense\n[]\n{}\n";
        let Err(Problem::Lines(lines)) = read_jsonl(jsonl) else { panic!("accepted") };
        assert_eq!(lines[0], "line 4: surfaceUpdate.surfaceId is missing");
        assert!(lines[1].starts_with("line 5: not JSON: "), "{lines:?}");
        assert_eq!(lines[2], "line 6: the message must be an object");
        assert!(lines[3].starts_with("line 7: the message must be exactly one of beginRendering, "), "{lines:?}");
    }

    #[test]
    fn nothing_and_newer_versions_are_refused() {
        assert_eq!(read_jsonl(" \n\n"), Err(Problem::Empty));
        let newer = r#"{"createSurface":{"surfaceId":"main"}}"#;
        assert!(read_jsonl(newer).unwrap_err().to_string().starts_with("line 1: createSurface"));
        let mixed = format!("{newer}\n{}", r#"{"surfaceUpdate":{"surfaceId":"main","components":[]}}"#);
        assert_eq!(read_jsonl(&mixed), Err(Problem::Mixed));
    }
}
