//! Log records on their way to the exporter, with the trace that they belong to.

use std::sync::Arc;

use arc_swap::ArcSwap;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{Item, Queue};
use crate::clock::Clock;
use crate::telemetry::Looks;
use crate::telemetry::record::Fields;
use crate::trace;

/// Fields that say who talks, and with whom: they stay on the machine.
const LEFT_OUT: [&str; 8] = ["session", "client", "sender", "peer", "to", "from", "account", "text"];

/// Makes records of events.
#[derive(Debug)]
pub(in crate::telemetry) struct Logs {
    queue: Queue,
    looks: Arc<ArcSwap<Looks>>,
}

impl Logs {
    pub(super) fn new(queue: Queue, looks: Arc<ArcSwap<Looks>>) -> Self {
        Self { queue, looks }
    }
}

impl<S: Subscriber> Layer<S> for Logs {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let fields = Fields::of(event, &self.looks.load().redactor);
        let now_ns = u64::try_from(Clock::system().now_ms()).unwrap_or_default() * 1_000_000;
        let level = *event.metadata().level();
        let (trace_id, span_id) = trace::ids().unwrap_or_default();
        let kept = fields.others.into_iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
        let target = ("code.namespace".to_owned(), Value::String(event.metadata().target().to_owned()));
        let record = LogRecord {
            time_unix_nano: now_ns,
            observed_time_unix_nano: now_ns,
            severity_number: severity(level).into(),
            severity_text: level.as_str().to_owned(),
            body: Some(AnyValue { value: Some(Any::StringValue(fields.message)) }),
            attributes: kept.chain([target]).map(|(name, value)| attribute(name, value)).collect(),
            trace_id,
            span_id,
            ..LogRecord::default()
        };
        self.queue.push(Item::Record(Box::new(record)));
    }
}

fn severity(level: Level) -> SeverityNumber {
    match level {
        Level::ERROR => SeverityNumber::Error,
        Level::WARN => SeverityNumber::Warn,
        Level::INFO => SeverityNumber::Info,
        Level::DEBUG => SeverityNumber::Debug,
        Level::TRACE => SeverityNumber::Trace,
    }
}

fn attribute(key: String, value: Value) -> KeyValue {
    let value = match value {
        Value::Bool(flag) => Any::BoolValue(flag),
        Value::Number(number) if number.is_i64() => Any::IntValue(number.as_i64().unwrap_or_default()),
        Value::String(text) if !text.starts_with("agent:") => Any::StringValue(text),
        // The key of a session says who talks.
        Value::String(_) => Any::StringValue("agent:…".to_owned()),
        other => Any::StringValue(other.to_string()),
    };
    KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
