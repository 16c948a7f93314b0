//! Flags as a job, or as the change of one.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use verso_kit::clock::Clock;

use super::super::remote::members;
use crate::args::{Cron, Job, milliseconds};
use crate::failure::Failure;

/// Puts a new job together.
pub(super) fn added(job: &Job, name: &str, disabled: bool) -> Result<Value, Failure> {
    let schedule = schedule(job, Clock::system().now_ms())?.ok_or_else(|| Failure::new("Choose exactly one of --at, --every or --cron"))?;
    let payload = payload(job).ok_or_else(|| Failure::new("Choose exactly one of --system-event or --message"))?;
    let target = job.session.as_deref().unwrap_or(if job.message.is_some() && job.session.is_none() { "isolated" } else { "main" });
    fits(target, job)?;
    Ok(members([
        ("name", json!(name)),
        ("description", json!(job.description)),
        ("enabled", json!(!disabled)),
        ("deleteAfterRun", if job.delete_after_run { json!(true) } else { Value::Null }),
        ("agentId", json!(job.agent)),
        ("schedule", schedule),
        ("sessionTarget", json!(target)),
        ("wakeMode", json!(job.wake.as_deref().unwrap_or("next-heartbeat"))),
        ("payload", payload),
        ("isolation", isolation(job, target == "isolated")),
    ]))
}

/// Puts the change of a job together: what no flag mentions stays as it is.
pub(super) fn edited(job: &Job, command: Option<&Cron>) -> Result<Value, Failure> {
    let Some(Cron::Edit { name, enable, disable, clear_agent, no_deliver, no_best_effort_deliver, .. }) = command else {
        return Ok(json!({}));
    };
    if let Some(target) = job.session.as_deref().filter(|_| payload(job).is_some()) {
        fits(target, job)?;
    }
    let mut payload = payload(job).or_else(|| delivery(job)).unwrap_or_default();
    for (off, member) in [(no_deliver, "deliver"), (no_best_effort_deliver, "bestEffortDeliver")] {
        if *off {
            payload["kind"] = json!("agentTurn");
            payload[member] = json!(false);
        }
    }
    let mut patch = members([
        ("name", json!(name)),
        ("description", json!(job.description)),
        ("enabled", if *enable || *disable { json!(enable) } else { Value::Null }),
        ("deleteAfterRun", if job.delete_after_run { json!(true) } else { Value::Null }),
        ("agentId", json!(job.agent)),
        ("schedule", schedule(job, Clock::system().now_ms())?.unwrap_or_default()),
        ("sessionTarget", json!(job.session)),
        ("wakeMode", json!(job.wake)),
        ("payload", payload),
        ("isolation", isolation(job, false)),
    ]);
    if *clear_agent {
        patch["agentId"] = Value::Null;
    }
    if patch.as_object().is_some_and(Map::is_empty) { Err(Failure::new("Nothing to change.")) } else { Ok(patch) }
}

/// A session of its own runs an agent; the main session hears of an event.
fn fits(target: &str, job: &Job) -> Result<(), Failure> {
    match (target, job.system_event.is_some()) {
        ("main", false) => Err(Failure::new("--session main requires --system-event (use --session isolated for --message)")),
        ("isolated", true) => Err(Failure::new("--session isolated requires --message (use --session main for --system-event)")),
        _ => Ok(()),
    }
}

fn schedule(job: &Job, now_ms: i64) -> Result<Option<Value>, Failure> {
    if let Some(text) = &job.at {
        return at(text, now_ms).map(|ms| Some(json!({"kind": "at", "atMs": ms})));
    }
    if let Some(text) = &job.every {
        let every = milliseconds(text).map_err(|error| Failure::new(format!("Invalid --every: {error}")))?;
        return Ok(Some(json!({"kind": "every", "everyMs": u64::try_from(every.as_millis()).unwrap_or(u64::MAX)})));
    }
    Ok(job.cron.as_ref().map(|expr| members([("kind", json!("cron")), ("expr", json!(expr)), ("tz", json!(job.tz))])))
}

/// A time, or the time that is left until then.
fn at(text: &str, now_ms: i64) -> Result<i64, Failure> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant.as_millisecond());
    }
    let relative = text.strip_prefix('+').unwrap_or(text);
    let unit = relative.ends_with(|letter: char| letter.is_ascii_alphabetic());
    match milliseconds(relative) {
        Ok(wait) if unit => Ok(now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))),
        _ => Err(Failure::new("Invalid --at; use ISO time with a zone (2026-01-31T08:00:00Z) or a duration like 20m")),
    }
}

fn payload(job: &Job) -> Option<Value> {
    if let Some(text) = &job.system_event {
        return Some(json!({"kind": "systemEvent", "text": text}));
    }
    let message = job.message.as_ref()?;
    let mut payload = delivery(job).unwrap_or_else(|| json!({"kind": "agentTurn"}));
    payload["message"] = json!(message);
    Some(payload)
}

/// What flags say about a turn beside its message; none if they say nothing.
fn delivery(job: &Job) -> Option<Value> {
    let on = |flag: bool| if flag { json!(true) } else { Value::Null };
    let mut payload = members([
        ("model", json!(job.model)),
        ("thinking", json!(job.thinking)),
        ("timeoutSeconds", json!(job.timeout_seconds)),
        ("deliver", on(job.deliver)),
        ("channel", json!(job.channel)),
        ("to", json!(job.to)),
        ("bestEffortDeliver", on(job.best_effort_deliver)),
    ]);
    if payload.as_object().is_none_or(Map::is_empty) {
        return None;
    }
    payload["kind"] = json!("agentTurn");
    Some(payload)
}

fn isolation(job: &Job, with_default: bool) -> Value {
    let prefix = job.post_prefix.clone().or_else(|| with_default.then(|| "Cron".to_owned()));
    let isolation = members([
        ("postToMainPrefix", json!(prefix)),
        ("postToMainMode", json!(job.post_mode)),
        ("postToMainMaxChars", json!(job.post_max_chars)),
    ]);
    if isolation.as_object().is_none_or(Map::is_empty) { Value::Null } else { isolation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_from_now() {
        assert_eq!(at("1970-01-01T00:00:05Z", 0).unwrap(), 5_000);
        assert_eq!((at("20m", 1_000).unwrap(), at("+2s", 1_000).unwrap()), (1_201_000, 3_000));
        for text in ["", "5", "soon", "2026-01-31"] {
            assert!(at(text, 0).is_err(), "{text}");
        }
    }

    #[test]
    fn a_job_is_either_an_event_or_a_turn() {
        let event = Job { every: Some("10m".to_owned()), system_event: Some("look".to_owned()), ..Job::default() };
        let params = added(&event, "n", false).unwrap();
        assert_eq!(
            params,
            json!({"name": "n", "enabled": true, "schedule": {"kind": "every", "everyMs": 600_000}, "sessionTarget": "main",
                   "wakeMode": "next-heartbeat", "payload": {"kind": "systemEvent", "text": "look"}})
        );
        let turn = Job { cron: Some("0 8 * * *".to_owned()), message: Some("hi".to_owned()), deliver: true, ..Job::default() };
        let params = added(&turn, "n", true).unwrap();
        assert_eq!((&params["sessionTarget"], &params["payload"]["deliver"]), (&json!("isolated"), &json!(true)));
        let wrong = Job { session: Some("main".to_owned()), ..turn };
        assert!(added(&wrong, "n", false).unwrap_err().text().starts_with("--session main requires --system-event"));
        assert!(added(&Job::default(), "n", false).unwrap_err().text().starts_with("Choose exactly one of --at"));
    }
}
