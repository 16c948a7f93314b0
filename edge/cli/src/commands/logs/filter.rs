//! Which lines are wanted.

use jiff::Timestamp;

use super::record::Record;
use crate::args::{Logs, milliseconds};
use crate::failure::Failure;

/// From harmless to bad.
const LEVELS: [&str; 7] = ["silly", "trace", "debug", "info", "warn", "error", "fatal"];

/// What a line must have to be printed.
#[derive(Debug, Default)]
pub(super) struct Filter {
    services: Vec<String>,
    since: Option<Timestamp>,
    /// The place of the least level.
    level: Option<usize>,
}

impl Filter {
    pub(super) fn of(arguments: &Logs, now_ms: i64) -> Result<Self, Failure> {
        let since = arguments.since.as_deref().map(|text| instant(text, now_ms)).transpose()?;
        let level = arguments.level.as_deref().and_then(rank);
        Ok(Self { services: arguments.service.clone(), since, level })
    }

    /// Whether the line is wanted. A line that is no record says nothing of itself: it is wanted when everything is.
    pub(super) fn accepts(&self, record: Option<&Record>) -> bool {
        let Some(record) = record else { return self.services.is_empty() && self.since.is_none() && self.level.is_none() };
        let level = record.level.as_deref().and_then(rank);
        let time = record.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        (self.services.is_empty() || self.services.iter().any(|name| is_of(record, name)))
            && self.level.is_none_or(|least| level.is_some_and(|level| level >= least))
            && self.since.is_none_or(|since| time.is_some_and(|time| time >= since))
    }
}

/// Whether a service or a part of it wrote the record: `channels` is also `gateway/channels/telegram`.
fn is_of(record: &Record, name: &str) -> bool {
    let subsystem = record.subsystem.as_deref().map(|subsystem| subsystem.strip_prefix("gateway/").unwrap_or(subsystem));
    let within = |part: &str| part == name || part.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    record.service.as_deref() == Some(name) || subsystem.is_some_and(within)
}

fn rank(level: &str) -> Option<usize> {
    LEVELS.iter().position(|name| *name == level)
}

/// A time, or how long ago it was.
fn instant(text: &str, now_ms: i64) -> Result<Timestamp, Failure> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let ago = milliseconds(text).ok().filter(|_| text.ends_with(|letter: char| letter.is_ascii_alphabetic()));
    let then = ago.and_then(|ago| i64::try_from(ago.as_millis()).ok()).and_then(|ago| Timestamp::from_millisecond(now_ms - ago).ok());
    then.ok_or_else(|| Failure::new("Invalid --since; use a time with a zone (2026-01-31T08:00:00Z) or how long ago (10m)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(service: &str, subsystem: &str, level: &str, time: &str) -> Record {
        let some = |text: &str| Some(text.to_owned());
        Record { service: some(service), subsystem: some(subsystem), level: some(level), time: some(time), ..Record::default() }
    }

    #[test]
    fn a_line_is_wanted_by_service_level_and_time() {
        let line = record("channel", "gateway/channels/telegram", "warn", "2026-01-02T03:04:05Z");
        let of = |services: &[&str], level: Option<&str>, since: Option<&str>| Filter {
            services: services.iter().map(|&name| name.to_owned()).collect(),
            since: since.map(|text| instant(text, 0).unwrap()),
            level: level.and_then(rank),
        };
        for services in [&[][..], &["channel"], &["channels"], &["channels/telegram"], &["agent", "channel"]] {
            assert!(of(services, None, None).accepts(Some(&line)), "{services:?}");
        }
        assert!(!of(&["chan"], None, None).accepts(Some(&line)));
        assert!(of(&[], Some("warn"), Some("2026-01-02T03:04:05Z")).accepts(Some(&line)));
        assert!(!of(&[], Some("error"), None).accepts(Some(&line)));
        assert!(!of(&[], None, Some("2026-01-02T03:04:06Z")).accepts(Some(&line)));
        assert!(of(&[], None, None).accepts(None) && !of(&["agent"], None, None).accepts(None));
    }

    #[test]
    fn since_is_a_time_or_a_while_ago() {
        assert_eq!(instant("10s", 20_000).unwrap().as_millisecond(), 10_000);
        assert!(instant("10", 20_000).is_err() && instant("yesterday", 20_000).is_err());
    }
}
