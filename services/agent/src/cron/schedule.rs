//! When a job runs next.

use croner::JobType;
use croner::parser::{CronParser, Seconds};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use verso_proto::agent::v1::CronSchedule;

use super::Error;

/// Times on the wall that may lie before now, because the clock went back.
const WALL_ATTEMPTS_MAX: usize = 128;

/// When a job runs.
#[derive(Debug, Clone)]
pub(crate) enum Schedule {
    At { at_ms: i64 },
    Every { every_ms: i64, anchor_ms: Option<i64> },
    Cron { cron: Box<croner::Cron>, zone: TimeZone },
}

impl Schedule {
    /// Reads a schedule. `host` is the zone of an expression that names none.
    pub(crate) fn parse(raw: &CronSchedule, host: &TimeZone) -> Result<Self, Error> {
        match raw.kind.as_str() {
            "at" => Ok(Self::At { at_ms: at_ms(raw)? }),
            "every" => {
                let every_ms = raw.every_ms.ok_or(Error::Missing { path: "/schedule", member: "everyMs" })?;
                Ok(Self::Every { every_ms: every_ms.max(1), anchor_ms: raw.anchor_ms })
            }
            "cron" => {
                let expr = raw.expr.as_deref().map(str::trim).filter(|expr| !expr.is_empty());
                let expr = expr.ok_or(Error::Missing { path: "/schedule", member: "expr" })?;
                let zone = match raw.tz.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
                    Some(name) => TimeZone::get(name).map_err(|_| Error::UnknownZone(name.to_owned()))?,
                    None => host.clone(),
                };
                let parser = CronParser::builder().seconds(Seconds::Optional).build();
                let cron = parser.parse(expr).map_err(|error| Error::Expression { expr: expr.to_owned(), reason: error.to_string() })?;
                Ok(Self::Cron { cron: Box::new(cron), zone })
            }
            _ => Err(Error::Missing { path: "/schedule", member: "kind" }),
        }
    }

    /// Returns the next time after `now_ms`; none if there is none.
    pub(crate) fn next(&self, now_ms: i64) -> Option<i64> {
        match self {
            Self::At { at_ms } => Some(*at_ms).filter(|at_ms| *at_ms > now_ms),
            Self::Every { every_ms, anchor_ms: None } => now_ms.checked_add(*every_ms),
            Self::Every { anchor_ms: Some(anchor_ms), .. } if *anchor_ms > now_ms => Some(*anchor_ms),
            Self::Every { every_ms, anchor_ms: Some(anchor_ms) } => {
                let elapsed = now_ms - anchor_ms;
                let steps = (elapsed / every_ms + i64::from(elapsed % every_ms != 0)).max(1);
                anchor_ms.checked_add(steps.checked_mul(*every_ms)?)
            }
            Self::Cron { cron, zone } => {
                let now: Zoned = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(zone.clone());
                let next = match cron.determine_job_type() {
                    JobType::FixedTime => next_on_the_wall(cron, &now, zone)?,
                    JobType::IntervalWildcard => cron.find_next_occurrence(&now, false).ok()?,
                };
                Some(next.timestamp().as_millisecond())
            }
        }
    }

    /// Whether it is over after one run that went well.
    pub(crate) fn once(&self) -> bool {
        matches!(self, Self::At { .. })
    }
}

/// Finds the next time as a clock on the wall shows it. A time that the clock leaps over comes as much later as the clock leaps, one that
/// it shows twice comes once.
fn next_on_the_wall(cron: &croner::Cron, now: &Zoned, zone: &TimeZone) -> Option<Zoned> {
    let mut wall = now.datetime();
    for _ in 0..WALL_ATTEMPTS_MAX {
        wall = cron.find_next_occurrence(&wall.to_zoned(TimeZone::UTC).ok()?, false).ok()?.datetime();
        let next = wall.to_zoned(zone.clone()).ok()?;
        if next > *now {
            return Some(next);
        }
    }
    None
}

/// Returns the schedule with its time in both forms.
pub(crate) fn complete(mut raw: CronSchedule) -> CronSchedule {
    if raw.kind == "at"
        && let Ok(at_ms) = at_ms(&raw)
    {
        raw.at_ms = Some(at_ms);
        raw.at = Timestamp::from_millisecond(at_ms).ok().map(|at| format!("{at:.3}"));
    }
    raw
}

fn at_ms(raw: &CronSchedule) -> Result<i64, Error> {
    match (raw.at_ms, raw.at.as_deref().map(str::trim)) {
        (_, Some(text)) if !text.is_empty() => instant(text).ok_or_else(|| Error::Time(text.to_owned())),
        (Some(at_ms), _) => Ok(at_ms),
        _ => Err(Error::Missing { path: "/schedule", member: "atMs" }),
    }
}

/// Reads a time: milliseconds since 1970, or ISO 8601; without a zone it is UTC.
fn instant(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let civil: DateTime = text.parse().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        instant(text).unwrap()
    }

    fn cron(expr: &str, tz: &str) -> Schedule {
        let raw = CronSchedule { kind: "cron".to_owned(), expr: Some(expr.to_owned()), tz: Some(tz.to_owned()), ..CronSchedule::default() };
        Schedule::parse(&raw, &TimeZone::UTC).unwrap()
    }

    #[test]
    fn intervals_count_from_their_anchor() {
        for (anchor_ms, now_ms, next) in [
            (Some(500), 2_000, 2_500),
            (Some(500), 2_500, 2_500),
            (Some(5_000), 2_000, 5_000),
            (Some(2_000), 2_000, 3_000),
            (None, 2_000, 3_000),
        ] {
            assert_eq!(Schedule::Every { every_ms: 1_000, anchor_ms }.next(now_ms), Some(next), "{anchor_ms:?} {now_ms}");
        }
        for (now_ms, next) in [(4, Some(5)), (5, None), (6, None)] {
            assert_eq!(Schedule::At { at_ms: 5 }.next(now_ms), next);
        }
    }

    #[test]
    fn expressions_mean_what_they_mean_to_the_reference() {
        let (berlin, utc, noon) = ("Europe/Berlin", "UTC", "2026-02-01T12:00:00Z");
        for (expr, tz, now, next) in [
            ("0 9 * * *", berlin, noon, "2026-02-02T08:00:00Z"),
            ("*/10 * * * * *", utc, noon, "2026-02-01T12:00:10Z"),
            ("0 0 13 * 5", utc, noon, "2026-02-06T00:00:00Z"),
            ("0 0 31 * *", utc, noon, "2026-03-31T00:00:00Z"),
            ("0 0 L * *", utc, noon, "2026-02-28T00:00:00Z"),
            ("0 0 * * 5#2", utc, noon, "2026-02-13T00:00:00Z"),
            ("0 0 * * 7", utc, noon, "2026-02-08T00:00:00Z"),
            ("@daily", utc, noon, "2026-02-02T00:00:00Z"),
            ("0 12 * * *", utc, noon, "2026-02-02T12:00:00Z"),
            ("30 2 * * *", berlin, "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"),
            ("30 2 * * *", berlin, "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            ("30 2 * * *", berlin, "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
        ] {
            let found = cron(expr, tz).next(ms(now)).map(|at_ms| Timestamp::from_millisecond(at_ms).unwrap().to_string());
            assert_eq!(found.as_deref(), Some(next), "{expr} {tz} after {now}");
        }
    }

    #[test]
    fn reads_times_with_and_without_a_zone() {
        for (text, expected) in [
            ("2026-03-01T10:00:00", Some(1_772_359_200_000)),
            ("2026-03-01T10:00:00Z", Some(1_772_359_200_000)),
            ("2026-03-01T11:00:00+01:00", Some(1_772_359_200_000)),
            ("2026-03-01", Some(1_772_323_200_000)),
            ("1772359200000", Some(1_772_359_200_000)),
            ("soon", None),
        ] {
            assert_eq!(instant(text), expected, "{text}");
        }
        let raw = CronSchedule { kind: "at".to_owned(), at: Some("2026-03-01T10:00".to_owned()), ..CronSchedule::default() };
        let whole = complete(raw);
        assert_eq!((whole.at_ms, whole.at.as_deref()), (Some(1_772_359_200_000), Some("2026-03-01T10:00:00.000Z")));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let parse = |raw: CronSchedule| Schedule::parse(&raw, &TimeZone::UTC).unwrap_err().to_string();
        let kind = |kind: &str| CronSchedule { kind: kind.to_owned(), ..CronSchedule::default() };
        assert!(parse(kind("every")).ends_with("must have required property 'everyMs'"));
        assert!(parse(CronSchedule { expr: Some("every day".to_owned()), ..kind("cron") }).contains("every day"));
        let nowhere = CronSchedule { expr: Some("* * * * *".to_owned()), tz: Some("Mars/Base".to_owned()), ..kind("cron") };
        assert!(parse(nowhere).contains("Mars/Base"));
    }
}
