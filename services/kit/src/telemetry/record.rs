//! Records of the log file: one JSON object a line, in the shape that `logs.tail` and the tools of existing users read.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::Looks;
use super::redaction::{Redactor, is_secret, mask};

#[derive(Debug)]
pub(super) struct Format {
    service: &'static str,
    hostname: String,
    subsystem: String,
    looks: Arc<ArcSwap<Looks>>,
}

impl Format {
    pub(super) fn new(service: &'static str, looks: Arc<ArcSwap<Looks>>) -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { service, hostname, subsystem: json!({"subsystem": service}).to_string(), looks }
    }
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let fields = Fields::of(event, &self.looks.load().redactor);
        let now = format!("{:.3}", jiff::Timestamp::now());
        let level = event.metadata().level();
        let mut record = Map::new();
        record.insert("0".to_owned(), json!(self.subsystem));
        if !fields.others.is_empty() {
            record.insert("1".to_owned(), Value::Object(fields.others));
        }
        record.insert(record.len().to_string(), json!(fields.message));
        let meta = json!({
            "runtime": "rust", "hostname": self.hostname, "name": self.subsystem, "parentNames": ["verso"], "date": now,
            "logLevelId": level_id(*level), "logLevelName": level.as_str(), "service": self.service,
        });
        record.insert("_meta".to_owned(), meta);
        record.insert("time".to_owned(), json!(now));
        record.insert("hostname".to_owned(), json!(self.hostname));
        record.insert("message".to_owned(), json!(fields.message));
        writeln!(writer, "{}", Value::Object(record))
    }
}

fn level_id(level: Level) -> u8 {
    match level {
        Level::TRACE => 1,
        Level::DEBUG => 2,
        Level::INFO => 3,
        Level::WARN => 4,
        Level::ERROR => 5,
    }
}

/// The message of an event, and its other fields.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) others: Map<String, Value>,
}

impl Fields {
    /// Reads an event, and takes the secrets out.
    pub(super) fn of(event: &Event<'_>, redactor: &Redactor) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields.message = redactor.clean(&fields.message).into_owned();
        for (name, value) in &mut fields.others {
            if let Value::String(text) = value {
                *text = if is_secret(name) { mask(text) } else { redactor.clean(text).into_owned() };
            }
        }
        fields
    }

    fn add(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field, json!(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, json!(value));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, json!(value));
    }

    /// The whole chain: the cause is what an operator looks for.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let chain =
            std::iter::successors(Some(value), |error| Error::source(*error)).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        self.add(field, json!(chain));
    }
}
