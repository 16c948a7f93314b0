//! Console lines: `<time> [service] message key=value`, or JSON.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::record::Fields;
use super::{Looks, Style};
use crate::config::Env;

#[derive(Debug)]
pub(super) struct Format {
    pub(super) service: &'static str,
    pub(super) looks: Arc<ArcSwap<Looks>>,
}

/// Colour only for a person: on a terminal, unless told otherwise.
pub(super) fn coloured(env: &Env) -> bool {
    env.get("FORCE_COLOR").is_some() || (env.get("NO_COLOR").is_none() && is_terminal())
}

/// Whether a person reads the console.
pub(super) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let looks = self.looks.load();
        let fields = Fields::of(event, &looks.redactor);
        let (now, level) = (jiff::Timestamp::now(), *event.metadata().level());
        if looks.style == Style::Json {
            let mut record = Map::new();
            record.insert("time".to_owned(), json!(format!("{now:.3}")));
            record.insert("level".to_owned(), json!(level.as_str().to_lowercase()));
            record.insert("subsystem".to_owned(), json!(self.service));
            record.insert("message".to_owned(), json!(fields.message));
            record.extend(fields.others);
            return writeln!(writer, "{}", Value::Object(record));
        }
        let time = match looks.style {
            Style::Pretty => now.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string(),
            Style::Compact | Style::Json => format!("{now:.3}"),
        };
        let (open, close) = if writer.has_ansi_escapes() { (colour(level), "\u{1b}[0m") } else { ("", "") };
        write!(writer, "{time} {open}[{}]{close} {}", self.service, fields.message)?;
        for (name, value) in &fields.others {
            match value {
                Value::String(text) => write!(writer, " {name}={text}")?,
                other => write!(writer, " {name}={other}")?,
            }
        }
        writeln!(writer)
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        _ => "\u{1b}[2m",
    }
}
