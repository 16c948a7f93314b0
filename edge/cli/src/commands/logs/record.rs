//! One line of the log file.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::output::{Style, Tone};

/// What a line says.
#[derive(Debug, Default, PartialEq)]
pub(in crate::commands) struct Record {
    pub(super) time: Option<String>,
    pub(super) level: Option<String>,
    pub(super) subsystem: Option<String>,
    pub(super) module: Option<String>,
    /// The process that wrote it.
    pub(super) service: Option<String>,
    pub(super) message: String,
    /// `name=value` pairs beside the message.
    pub(super) fields: Vec<String>,
}

impl Record {
    /// Reads a line; none when it is not a record.
    pub(in crate::commands) fn parse(line: &str) -> Option<Self> {
        let value: Map<String, Value> = serde_json::from_str(line).ok()?;
        let meta = value.get("_meta").and_then(Value::as_object);
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let name = text(meta.and_then(|meta| meta.get("name")));
        let origin: Map<String, Value> = name.as_deref().and_then(|name| serde_json::from_str(name).ok()).unwrap_or_default();
        let mut record = Self {
            time: text(value.get("time")).or_else(|| text(meta.and_then(|meta| meta.get("date")))),
            level: text(meta.and_then(|meta| meta.get("logLevelName"))).map(|level| level.to_lowercase()),
            subsystem: text(origin.get("subsystem")),
            module: text(origin.get("module")),
            service: text(meta.and_then(|meta| meta.get("service"))),
            ..Self::default()
        };
        let mut words = Vec::new();
        for argument in (0..).map_while(|index: usize| value.get(&index.to_string())) {
            match argument {
                Value::String(text) if Some(text) == name.as_ref() => {}
                Value::String(text) => words.push(text.clone()),
                Value::Object(fields) => record.fields.extend(fields.iter().map(|(name, value)| format!("{name}={}", plain(value)))),
                other => words.push(other.to_string()),
            }
        }
        record.message = words.join(" ");
        Some(record)
    }

    /// Returns the record for scripts. What is absent is left out.
    pub(super) fn document(&self, line: &str) -> Value {
        let mut document = json!({"type": "log"});
        let optional = [("time", &self.time), ("level", &self.level), ("subsystem", &self.subsystem), ("module", &self.module)];
        for (name, value) in optional {
            if let Some(value) = value {
                document[name] = json!(value);
            }
        }
        document["message"] = json!(self.message_with_fields());
        document["raw"] = json!(line);
        document
    }

    /// Words the record for people. On a terminal the time is that of the reader's own clock.
    pub(in crate::commands) fn render(&self, style: Style, terminal: bool) -> String {
        let time = self.time.as_deref().unwrap_or_default();
        let time = if terminal { local(time) } else { time.to_owned() };
        let level = self.level.as_deref().unwrap_or("info");
        let tone = match level {
            "error" | "fatal" => Tone::Bad,
            "warn" => Tone::Warning,
            "info" => Tone::Good,
            _ => Tone::Muted,
        };
        let subsystem = self.subsystem.as_ref().map(|name| style.paint(Tone::Accent, format!("[{name}]")));
        let parts = [Some(style.paint(Tone::Muted, time)), Some(style.paint(tone, level)), subsystem, Some(self.message_with_fields())];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    fn message_with_fields(&self) -> String {
        std::iter::once(&self.message).chain(&self.fields).filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ")
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn local(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(instant) => instant.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string(),
        Err(_) => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"0":"{\"subsystem\":\"node\"}","1":{"node":"tv","elapsed_ms":3},"2":"node disconnected","_meta":{"name":"{\"subsystem\":\"node\"}","date":"2026-11-22T10:15:39.479Z","logLevelName":"INFO"},"time":"2026-11-22T10:15:39.490Z"}"#;

    #[test]
    fn reads_subsystem_fields_and_message() {
        let record = Record::parse(LINE).unwrap();
        assert_eq!(record.render(Style::plain(), false), "2026-11-22T10:15:39.490Z info [node] node disconnected node=tv elapsed_ms=3");
        let document = record.document(LINE);
        assert_eq!(document["message"], "node disconnected node=tv elapsed_ms=3");
        assert_eq!(document["subsystem"], "node");
        assert!(document.get("module").is_none());
        assert_eq!(document["raw"], LINE);
    }

    #[test]
    fn a_line_of_another_shape_is_no_record() {
        assert_eq!(Record::parse("plain text"), None);
        assert_eq!(Record::parse("[1]"), None);
    }
}
