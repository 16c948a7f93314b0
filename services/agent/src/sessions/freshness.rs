//! When a conversation begins afresh by itself: with the first message of a new day, or after a silence. Nothing expires before somebody
//! speaks.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::Deserialize;

use crate::keys::SessionKey;

/// The hour at which a day begins, unless configured.
const HOUR: i8 = 4;

/// How long a silence is that ends a conversation, in minutes, where a silence does and nobody says how long.
const IDLE_MINUTES: i64 = 60;

/// What ends a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Daily,
    Idle,
}

/// A section `reset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Section {
    mode: Option<Mode>,
    /// 0 to 23.
    at_hour: Option<i8>,
    idle_minutes: Option<i64>,
}

/// What the section `session` says about it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Policies {
    reset: Option<Section>,
    /// `dm` (or `direct`), `group`, `thread`: over `reset`, member by member.
    reset_by_type: BTreeMap<String, Section>,
    /// By network: in place of all others.
    reset_by_channel: BTreeMap<String, Section>,
    /// How older configurations ask for silence.
    idle_minutes: Option<i64>,
}

/// What holds for one session. What is met first counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    at_hour: Option<i8>,
    idle_minutes: Option<i64>,
}

impl Policies {
    /// Whether the conversation of a session that was used last at `updated_at_ms` is over.
    pub(crate) fn over(&self, key: &SessionKey, channel: &str, zone: &TimeZone, (updated_at_ms, now_ms): (i64, i64)) -> bool {
        let policy = self.policy(key.as_str(), channel);
        let silent = policy.idle_minutes.is_some_and(|minutes| now_ms > updated_at_ms.saturating_add(minutes.saturating_mul(60_000)));
        silent || policy.at_hour.is_some_and(|hour| day_began_ms(now_ms, hour, zone).is_some_and(|began_ms| updated_at_ms < began_ms))
    }

    fn policy(&self, key: &str, channel: &str) -> Policy {
        if let Some(section) = self.reset_by_channel.get(channel) {
            return Policy::of(*section);
        }
        let kinds: &[&str] = if key.contains(":thread:") || key.contains(":topic:") {
            &["thread"]
        } else if key.contains(":group:") || key.contains(":channel:") {
            &["group"]
        } else {
            &["direct", "dm"]
        };
        let own = kinds.iter().find_map(|kind| self.reset_by_type.get(*kind)).copied();
        let section = match (self.reset, own) {
            (None, None) => Section { mode: self.idle_minutes.map(|_| Mode::Idle), idle_minutes: self.idle_minutes, ..Section::default() },
            (usual, own) => {
                let (usual, own) = (usual.unwrap_or_default(), own.unwrap_or_default());
                Section {
                    mode: own.mode.or(usual.mode),
                    at_hour: own.at_hour.or(usual.at_hour),
                    idle_minutes: own.idle_minutes.or(usual.idle_minutes).or(self.idle_minutes),
                }
            }
        };
        Policy::of(section)
    }
}

impl Policy {
    fn of(section: Section) -> Self {
        match section.mode.unwrap_or(Mode::Daily) {
            Mode::Daily => Self { at_hour: Some(section.at_hour.unwrap_or(HOUR).clamp(0, 23)), idle_minutes: section.idle_minutes },
            Mode::Idle => Self { at_hour: None, idle_minutes: Some(section.idle_minutes.unwrap_or(IDLE_MINUTES)) },
        }
    }
}

/// Returns when the day began that it is.
fn day_began_ms(now_ms: i64, hour: i8, zone: &TimeZone) -> Option<i64> {
    let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(zone.clone());
    let began = now.date().at(hour, 0, 0, 0).to_zoned(zone.clone()).ok()?;
    let began = if began > now { now.date().checked_sub(1.day()).ok()?.at(hour, 0, 0, 0).to_zoned(zone.clone()).ok()? } else { began };
    Some(began.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn over(session: Value, key: &str, updated_at: &str, now: &str) -> bool {
        let policies: Policies = serde_json::from_value(session).unwrap();
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        policies.over(&SessionKey::stored(key), "telegram", &TimeZone::UTC, (ms(updated_at), ms(now)))
    }

    #[test]
    fn a_conversation_ends_with_its_day_or_its_silence() {
        let (main, group, topic) = ("agent:main:main", "agent:main:telegram:group:-1", "agent:main:telegram:group:-1:topic:7");
        let idle = json!({"reset": {"mode": "idle", "idleMinutes": 10}});
        let both = json!({"reset": {"mode": "daily", "idleMinutes": 30}});
        let typed = json!({"reset": {"mode": "idle", "idleMinutes": 5}, "resetByType": {"group": {"idleMinutes": 500}, "thread": {"mode": "daily", "idleMinutes": 999}}});
        let by_channel = json!({"reset": {"mode": "idle", "idleMinutes": 5}, "resetByChannel": {"telegram": {"mode": "daily"}}});
        for (session, key, updated_at, now, expected) in [
            (json!({}), main, "2026-02-01T05:00:00Z", "2026-02-02T03:59:00Z", false),
            (json!({}), main, "2026-02-01T05:00:00Z", "2026-02-02T04:01:00Z", true),
            (json!({"reset": {"atHour": 9}}), main, "2026-02-01T10:00:00Z", "2026-02-02T08:59:00Z", false),
            (idle.clone(), main, "2026-02-01T05:00:00Z", "2026-02-01T05:10:00Z", false),
            (idle.clone(), main, "2026-02-01T05:00:00Z", "2026-02-01T05:10:00.001Z", true),
            (idle, main, "2026-02-01T03:55:00Z", "2026-02-01T04:01:00Z", false),
            (json!({"idleMinutes": 30}), main, "2026-02-01T03:50:00Z", "2026-02-01T04:10:00Z", false),
            (json!({"idleMinutes": 30}), main, "2026-02-01T03:50:00Z", "2026-02-01T04:21:00Z", true),
            (json!({"reset": {"mode": "idle"}}), main, "2026-02-01T03:50:00Z", "2026-02-01T04:51:00Z", true),
            (both.clone(), main, "2026-02-01T05:00:00Z", "2026-02-01T05:31:00Z", true),
            (both, main, "2026-02-01T03:50:00Z", "2026-02-01T04:01:00Z", true),
            (typed.clone(), main, "2026-02-01T05:00:00Z", "2026-02-01T05:06:00Z", true),
            (typed.clone(), group, "2026-02-01T05:00:00Z", "2026-02-01T05:06:00Z", false),
            (typed.clone(), topic, "2026-02-01T05:00:00Z", "2026-02-01T05:06:00Z", false),
            (typed, topic, "2026-02-01T03:00:00Z", "2026-02-01T04:06:00Z", true),
            (by_channel, group, "2026-02-01T05:00:00Z", "2026-02-01T05:06:00Z", false),
        ] {
            assert_eq!(over(session.clone(), key, updated_at, now), expected, "{session} {key} {updated_at} {now}");
        }
    }

    #[test]
    fn a_day_begins_where_its_owner_lives() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let began = |now: &str| {
            let now_ms = now.parse::<Timestamp>().unwrap().as_millisecond();
            Timestamp::from_millisecond(day_began_ms(now_ms, 4, &berlin).unwrap()).unwrap().to_string()
        };
        assert_eq!(began("2026-02-02T02:59:00Z"), "2026-02-01T03:00:00Z");
        assert_eq!(began("2026-02-02T03:00:00Z"), "2026-02-02T03:00:00Z");
    }
}
