//! What clients leave out of a request or write in their own way, put right before the request is checked.

use serde_json::{Map, Value};

use super::Version::{self, V3};

type Members = Map<String, Value>;

/// One method whose requests come in several forms.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) method: &'static str,
    pub(super) complete: fn(Version, &mut Members),
}

/// The methods. All others are passed on as they are.
pub(super) static REQUESTS: &[Row] = &[
    Row { method: "cron.add", complete: job },
    Row { method: "cron.update", complete: patch },
    Row { method: "cron.run", complete: run },
    Row { method: "sessions.list", complete: page },
];

/// A whole job: unwrapped, with what it does not say.
fn job(version: Version, members: &mut Members) {
    for wrapper in ["data", "job"] {
        if let Some(Value::Object(inner)) = members.get_mut(wrapper) {
            *members = std::mem::take(inner);
        }
    }
    parts(members);
    members.entry("wakeMode").or_insert_with(|| "next-heartbeat".into());
    let target = match members.get("payload").and_then(|payload| payload.get("kind")).and_then(Value::as_str) {
        Some("systemEvent") => Some("main"),
        Some("agentTurn") => Some("isolated"),
        _ => None,
    };
    if let Some(target) = target {
        members.entry("sessionTarget").or_insert_with(|| target.into());
    }
    if version == V3 {
        // To a 3 gateway, what is not said to be on is off.
        members.entry("enabled").or_insert(Value::Bool(false));
    }
}

fn patch(_: Version, members: &mut Members) {
    let Some(Value::Object(patch)) = members.get_mut("patch") else { return };
    for wrapper in ["data", "job"] {
        if let Some(Value::Object(inner)) = patch.get_mut(wrapper) {
            *patch = std::mem::take(inner);
        }
    }
    parts(patch);
}

/// A 3 gateway answers when the job is over.
fn run(version: Version, members: &mut Members) {
    if version == V3 {
        members.entry("wait").or_insert(Value::Bool(true));
    }
}

/// Clients of 3 get every session unless they say how many.
fn page(version: Version, members: &mut Members) {
    if version != V3 {
        members.entry("limit").or_insert_with(|| 100.into());
    }
}

fn parts(members: &mut Members) {
    if let Some(Value::String(text)) = members.get("enabled") {
        let enabled = match text.trim().to_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        if let Some(enabled) = enabled {
            members.insert("enabled".to_owned(), Value::Bool(enabled));
        }
    }
    if let Some(Value::Object(schedule)) = members.get_mut("schedule") {
        times(schedule);
    }
    if let Some(Value::Object(payload)) = members.get_mut("payload")
        && let Some(provider) = payload.remove("provider")
    {
        let channel = provider.as_str().map(|text| text.trim().to_lowercase());
        payload.entry("channel").or_insert_with(|| channel.map_or(provider, Value::from));
    }
}

/// A schedule says what it is by what it has; its time may be a number or a text under either name.
fn times(schedule: &mut Members) {
    if !schedule.contains_key("kind") {
        let has = |name: &str| schedule.contains_key(name);
        let kind = match () {
            () if has("at") || has("atMs") => Some("at"),
            () if has("everyMs") => Some("every"),
            () if has("expr") => Some("cron"),
            () => None,
        };
        if let Some(kind) = kind {
            schedule.insert("kind".to_owned(), kind.into());
        }
    }
    let is_text = |value: &Value| value.is_string();
    if schedule.get("atMs").is_some_and(is_text) {
        let text = schedule.remove("atMs").unwrap_or_default();
        schedule.entry("at").or_insert(text);
    }
    if schedule.get("at").is_some_and(Value::is_number) {
        let number = schedule.remove("at").unwrap_or_default();
        schedule.entry("atMs").or_insert(number);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Adapter;
    use super::*;

    fn completed(version: u32, method: &str, params: &Value) -> Value {
        let raw = serde_json::value::to_raw_value(params).unwrap();
        let adapter = Adapter::for_version(version);
        adapter.request(method, Some(&raw)).map_or_else(|| params.clone(), |text| serde_json::from_str(text.get()).unwrap())
    }

    #[test]
    fn a_job_is_unwrapped_and_completed() {
        let event = json!({"kind": "systemEvent", "text": "x"});
        let whole = json!({"schedule": {"kind": "at", "at": "2026-03-01T10:00:00"}, "payload": event, "wakeMode": "next-heartbeat", "sessionTarget": "main"});
        let given = json!({"schedule": {"at": "2026-03-01T10:00:00"}, "payload": event});
        assert_eq!(completed(4, "cron.add", &given), whole);
        for wrapper in ["data", "job"] {
            assert_eq!(completed(4, "cron.add", &json!({wrapper: given})), whole);
        }
        assert_eq!(completed(3, "cron.add", &given)["enabled"], false);
        assert_eq!(completed(3, "cron.add", &json!({"enabled": "true"}))["enabled"], true);
        let odd = completed(4, "cron.add", &json!({"job": {"payload": {"message": "m", "provider": "Telegram"}}}));
        assert_eq!((odd.get("sessionTarget"), &odd["payload"]), (None, &json!({"message": "m", "channel": "telegram"})));
    }

    #[test]
    fn a_schedule_may_write_its_time_in_four_ways() {
        let schedule = |schedule: Value| completed(4, "cron.add", &json!({"schedule": schedule}))["schedule"].clone();
        assert_eq!(schedule(json!({"atMs": 5})), json!({"kind": "at", "atMs": 5}));
        assert_eq!(schedule(json!({"at": 5})), json!({"kind": "at", "atMs": 5}));
        assert_eq!(schedule(json!({"atMs": "5"})), json!({"kind": "at", "at": "5"}));
        assert_eq!(schedule(json!({"everyMs": 5})), json!({"kind": "every", "everyMs": 5}));
        assert_eq!(schedule(json!({"expr": "@daily"})), json!({"kind": "cron", "expr": "@daily"}));
        assert_eq!(schedule(json!({"kind": "other"})), json!({"kind": "other"}));
    }

    #[test]
    fn a_3_client_waits_for_its_run() {
        assert_eq!(completed(3, "cron.run", &json!({"id": "x"})), json!({"id": "x", "wait": true}));
        assert_eq!(completed(4, "cron.run", &json!({"id": "x"})), json!({"id": "x"}));
    }

    #[test]
    fn every_row_names_a_method_and_the_others_pass() {
        for row in REQUESTS {
            assert!(verso_proto::methods::find(row.method).is_some(), "{}", row.method);
        }
        let raw = serde_json::value::to_raw_value(&json!({})).unwrap();
        let adapter = Adapter::for_version(3);
        assert!(adapter.request("cron.list", Some(&raw)).is_none() && adapter.request("cron.add", None).is_none());
    }
}
