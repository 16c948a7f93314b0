//! How often an agent wakes by itself, when it may, and what it is asked then.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::keys::AgentId;

/// How often an agent wakes, unless configured.
const EVERY_DEFAULT: &str = "30m";

/// What an agent is asked, unless configured.
const PROMPT_DEFAULT: &str = "This is a routine check, not a message from a person. If the workspace has a HEARTBEAT.md, do what it says and nothing \
                              beyond it; do not take up old conversations again. If nothing needs attention, answer HEARTBEAT_OK.";

/// The longest remark beside the acknowledgement that is not worth sending, in characters.
const ACK_CHARS_MAX_DEFAULT: usize = 300;

/// The section `heartbeat`, of all agents or of one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Section {
    /// Such as `30m`; `0m` turns it off. Default: 30m.
    pub(crate) every: Option<String>,
    /// When it may wake. Default: always.
    pub(crate) active_hours: Option<ActiveHours>,
    /// `provider/model`. Default: the session's.
    pub(crate) model: Option<String>,
    /// The session that it wakes in. Default: the main one.
    pub(crate) session: Option<String>,
    /// `last`, `none` or a channel. Default: `last`.
    pub(crate) target: Option<String>,
    /// Who is told, on a channel that `target` names.
    pub(crate) to: Option<String>,
    /// What it is asked, word for word.
    pub(crate) prompt: Option<String>,
    /// In characters. Default: 300.
    pub(crate) ack_max_chars: Option<usize>,
}

/// The part of the day in which an agent may wake.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ActiveHours {
    /// `HH:MM`.
    pub(crate) start: String,
    /// `HH:MM`; `24:00` is the end of the day.
    pub(crate) end: String,
    /// `user`, `local` or an IANA name. Default: `user`.
    pub(crate) timezone: Option<String>,
}

/// How one agent wakes.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) agent: AgentId,
    /// None: not by itself.
    pub(crate) every: Option<Duration>,
    /// The same, as configured.
    pub(crate) every_text: String,
    pub(crate) active_hours: Option<ActiveHours>,
    pub(crate) model: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) target: String,
    pub(crate) to: Option<String>,
    pub(crate) prompt: String,
    pub(crate) ack_chars_max: usize,
}

impl Plan {
    /// Puts the section of one agent over that of all. `wakes`: whether this agent wakes at all.
    pub(crate) fn new(agent: AgentId, all: &Section, own: Option<&Section>, wakes: bool) -> Self {
        let text = |pick: fn(&Section) -> &Option<String>| {
            let found = own.and_then(|own| pick(own).clone()).or_else(|| pick(all).clone());
            found.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let every_text = text(|section| &section.every).unwrap_or_else(|| EVERY_DEFAULT.to_owned());
        let hours = own.and_then(|own| own.active_hours.clone()).or_else(|| all.active_hours.clone());
        let ack = own.and_then(|own| own.ack_max_chars).or(all.ack_max_chars);
        Self {
            agent,
            every: interval(&every_text).filter(|_| wakes),
            every_text,
            active_hours: hours,
            model: text(|section| &section.model),
            session: text(|section| &section.session),
            target: text(|section| &section.target).unwrap_or_else(|| "last".to_owned()).to_lowercase(),
            to: text(|section| &section.to),
            prompt: text(|section| &section.prompt).unwrap_or_else(|| PROMPT_DEFAULT.to_owned()),
            ack_chars_max: ack.unwrap_or(ACK_CHARS_MAX_DEFAULT),
        }
    }

    /// Whether the agent may wake at `now_ms`.
    pub(crate) fn active(&self, now_ms: i64, user_zone: &TimeZone) -> bool {
        self.active_hours.as_ref().is_none_or(|hours| hours.include(now_ms, user_zone))
    }
}

impl ActiveHours {
    fn include(&self, now_ms: i64, user_zone: &TimeZone) -> bool {
        let (Some(start), Some(end)) = (minutes(&self.start), minutes(&self.end)) else { return true };
        if start == end {
            return true;
        }
        let zone = match self.timezone.as_deref().map(str::trim) {
            None | Some("" | "user") => user_zone.clone(),
            Some("local") => TimeZone::system(),
            Some(name) => TimeZone::get(name).unwrap_or_else(|_| user_zone.clone()),
        };
        let now = Timestamp::from_millisecond(now_ms).unwrap_or_default().to_zoned(zone);
        let now = i32::from(now.hour()) * 60 + i32::from(now.minute());
        if start < end { (start..end).contains(&now) } else { now >= start || now < end }
    }
}

/// Reads `HH:MM` as minutes of the day.
fn minutes(text: &str) -> Option<i32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let valid = (0..24).contains(&hours) && (0..60).contains(&minutes) || (hours, minutes) == (24, 0);
    valid.then_some(hours * 60 + minutes)
}

/// Reads an interval such as `30m`; minutes are meant when no unit is given. None: zero, or not an interval.
pub(crate) fn interval(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let ms = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "" | "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    (number > 0).then(|| Duration::from_millis(number.saturating_mul(ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_intervals() {
        for (every, seconds) in [("30m", Some(1_800)), ("0m", None), ("2h", Some(7_200)), ("15", Some(900)), ("soon", None)] {
            assert_eq!(interval(every).map(|every| every.as_secs()), seconds, "{every}");
        }
    }

    #[test]
    fn active_hours_may_wrap_midnight() {
        let hours = |start: &str, end: &str| ActiveHours { start: start.to_owned(), end: end.to_owned(), timezone: Some("UTC".to_owned()) };
        let at = |hour: i64, minute: i64| (hour * 60 + minute) * 60_000;
        for (start, end, hour, minute, expected) in [
            ("08:00", "22:00", 7, 59, false),
            ("08:00", "22:00", 8, 0, true),
            ("08:00", "22:00", 22, 0, false),
            ("08:00", "24:00", 23, 59, true),
            ("22:00", "06:00", 23, 0, true),
            ("22:00", "06:00", 5, 59, true),
            ("22:00", "06:00", 6, 0, false),
            ("08:00", "08:00", 3, 0, true),
            ("late", "08:00", 3, 0, true),
        ] {
            assert_eq!(hours(start, end).include(at(hour, minute), &TimeZone::UTC), expected, "{start}-{end} at {hour}:{minute}");
        }
    }

    #[test]
    fn an_agents_own_section_goes_before_that_of_all() {
        let all = Section { every: Some("1h".to_owned()), target: Some("none".to_owned()), ..Section::default() };
        let own = Section { every: Some("5m".to_owned()), ack_max_chars: Some(0), ..Section::default() };
        let plan = Plan::new(AgentId::normalize("a"), &all, Some(&own), true);
        assert_eq!((plan.every, plan.target.as_str(), plan.ack_chars_max), (Some(Duration::from_mins(5)), "none", 0));
        assert_eq!(Plan::new(AgentId::normalize("a"), &all, None, false).every, None);
    }
}
