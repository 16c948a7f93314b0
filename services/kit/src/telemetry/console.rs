//! Console lines: `<ISO time> [service] message key=value`.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::record::Fields;
use crate::config::Env;

#[derive(Debug)]
pub(super) struct Format {
    pub(super) service: &'static str,
}

/// Colour only for a person: on a terminal, unless told otherwise.
pub(super) fn coloured(env: &Env) -> bool {
    env.get("FORCE_COLOR").is_some() || (env.get("NO_COLOR").is_none() && std::io::stderr().is_terminal())
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let fields = Fields::of(event);
        let now = jiff::Timestamp::now();
        let (open, close) = if writer.has_ansi_escapes() { (colour(*event.metadata().level()), "\u{1b}[0m") } else { ("", "") };
        write!(writer, "{now:.3} {open}[{}]{close} {}", self.service, fields.message)?;
        for (name, value) in &fields.others {
            match value {
                serde_json::Value::String(text) => write!(writer, " {name}={text}")?,
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
