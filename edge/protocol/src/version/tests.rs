use std::borrow::Cow;

use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::table::{ERRORS, EVENTS, Edit, RESPONSES, Row};
use super::*;
use crate::Code;

/// The circumstances in which nothing is held back.
const VERBOSE: Circumstances<'static> = Circumstances { verbose: true, alias: None };

/// A payload with `value` at `path` and neighbours on each level. One of them is what keeps `auth` in a hello.
fn at(path: &str, value: &Value) -> Value {
    path.rsplit('.').fold(value.clone(), |below, name| json!({"deviceToken": {"kept": [1.50]}, name: below, "after": null}))
}

fn without(path: &str) -> Value {
    match path.rsplit_once('.') {
        Some((above, _)) => at(above, &json!({"deviceToken": {"kept": [1.50]}, "after": null})),
        None => json!({"deviceToken": {"kept": [1.50]}, "after": null}),
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn other(version: Version) -> Version {
    if version == Version::V3 { Version::V4 } else { Version::V3 }
}

/// What both tables promise, checked through `render`.
fn holds(row: &Row, render: &dyn Fn(Version, &str) -> Option<String>) {
    let check = |version, given: &Value, expected: Option<&Value>| {
        let rendered = render(version, &given.to_string()).map(|text| parsed(&text));
        assert_eq!(rendered.as_ref(), expected, "{version:?} {} {}", row.name, row.path);
    };
    match row.edit {
        Edit::Drop => {
            let given = at(row.path, &json!({"any": "thing"}));
            check(row.version, &given, Some(&without(row.path)));
            check(other(row.version), &given, Some(&given));
        }
        Edit::DropUnless(member) => {
            let given = at(row.path, &json!({member: "x", "z": 1}));
            check(row.version, &given, Some(&given));
            let given = at(row.path, &json!({"z": 1}));
            check(row.version, &given, Some(&without(row.path)));
            check(other(row.version), &given, Some(&given));
        }
        Edit::Replace { from, to } => {
            let given = at(row.path, &parsed(from));
            check(row.version, &given, Some(&at(row.path, &parsed(to))));
            check(other(row.version), &given, Some(&given));
            let unrelated = at(row.path, &json!("unrelated"));
            check(row.version, &unrelated, Some(&unrelated));
        }
        Edit::Suppress(values) => {
            for value in values {
                let given = at(row.path, &parsed(value));
                check(row.version, &given, None);
                check(other(row.version), &given, Some(&given));
            }
            let unrelated = at(row.path, &json!("unrelated"));
            check(row.version, &unrelated, Some(&unrelated));
        }
        Edit::DropAll(members) => {
            let with = |members: &[&str]| {
                let members = members.iter().map(|member| ((*member).to_owned(), json!(1)));
                let all: serde_json::Map<_, _> = members.chain([("kept".to_owned(), json!(2))]).collect();
                at(row.path, &Value::Object(all))
            };
            check(row.version, &with(members), Some(&with(&[])));
            check(other(row.version), &with(members), Some(&with(members)));
        }
        Edit::DropBeside(name, text) => {
            let given = json!({name: parsed(text), row.path: "x", "z": 1});
            check(row.version, &given, Some(&json!({name: parsed(text), "z": 1})));
            check(other(row.version), &given, Some(&given));
            let unrelated = json!({name: "unrelated", row.path: "x", "z": 1});
            check(row.version, &unrelated, Some(&unrelated));
        }
        // What these depend on is not in the payload: they have tests of their own.
        Edit::Verbose(_) | Edit::Starters(_) | Edit::Alias => {}
    }
}

#[test]
fn only_newer_clients_get_a_page_unless_they_ask_for_one() {
    let list = |version, params: &str| {
        let params = serde_json::value::RawValue::from_string(params.to_owned()).unwrap();
        Adapter::new(version).request("sessions.list", Some(&params)).map(|params| parsed(params.get()))
    };
    assert_eq!(list(Version::V4, "{}"), Some(json!({"limit": 100})));
    assert_eq!(list(Version::V4, r#"{"limit":7}"#), Some(json!({"limit": 7})));
    assert_eq!(list(Version::V3, "{}"), Some(json!({})));
}

#[test]
fn a_session_has_the_name_that_the_reader_gave_it() {
    for row in EVENTS.iter().filter(|row| matches!(row.edit, Edit::Alias)) {
        let given = at(row.path, &json!("agent:main:main")).to_string();
        let named = Circumstances { alias: Some("\"main\""), ..Circumstances::default() };
        let render = |version, circumstances| parsed(&Adapter::new(version).event(row.name, &given, circumstances).unwrap());
        assert_eq!(render(row.version, named), at(row.path, &json!("main")));
        assert_eq!(render(row.version, Circumstances::default()), parsed(&given));
        assert_eq!(render(other(row.version), named), parsed(&given));
        assert!(Adapter::new(row.version).takes_alias(row.name) && !Adapter::new(other(row.version)).takes_alias(row.name));
    }
}

#[test]
fn details_go_to_sessions_that_ask_for_them_and_to_those_who_started_the_run() {
    for row in EVENTS {
        match row.edit {
            Edit::Verbose(values) => {
                for value in values {
                    let given = at(row.path, &parsed(value)).to_string();
                    let shown =
                        |version, verbose| Adapter::new(version).event(row.name, &given, Circumstances { verbose, alias: None }).is_some();
                    assert!(shown(row.version, true) && !shown(row.version, false) && shown(other(row.version), false));
                }
            }
            Edit::Starters(values) => {
                for value in values {
                    let given = at(row.path, &parsed(value)).to_string();
                    assert!(Adapter::new(row.version).for_starters(row.name, &given));
                    assert!(!Adapter::new(other(row.version)).for_starters(row.name, &given));
                }
                let unrelated = at(row.path, &json!("unrelated")).to_string();
                assert!(!Adapter::new(row.version).for_starters(row.name, &unrelated));
            }
            _ => {}
        }
    }
}

#[test]
fn every_row_for_responses_holds() {
    for row in RESPONSES {
        holds(row, &|version, text| Some(Adapter::new(version).response(row.name, text).into_owned()));
    }
}

#[test]
fn every_row_for_events_holds() {
    for row in EVENTS {
        holds(row, &|version, text| Adapter::new(version).event(row.name, text, VERBOSE).map(Cow::into_owned));
    }
}

#[test]
fn every_row_for_errors_holds() {
    for row in ERRORS {
        let message = row.short_message.map_or("text".to_owned(), |short| format!("{short}: more"));
        let detail = row.detail.unwrap_or("KEPT");
        let given = ErrorShape::new(row.code, message.clone()).with_details(&json!({"code": detail}));
        let rendered = Adapter::new(row.version).error(given.clone());
        assert_eq!(rendered.code, row.becomes.unwrap_or(row.code));
        let words = format!("{}{}", row.prefix.unwrap_or_default(), row.short_message.unwrap_or(&message));
        assert_eq!(rendered.message, words);
        assert_eq!(rendered.detail("code").as_deref(), Some(detail));
        let untouched = Adapter::new(other(row.version)).error(given);
        assert_eq!((untouched.code, untouched.message.as_ref()), (row.code, message.as_str()));
    }
}

#[test]
fn every_row_names_a_method_of_the_contract() {
    for row in RESPONSES {
        assert!(verso_proto::methods::find(row.name).is_some(), "{}", row.name);
    }
}

#[test]
fn values_off_the_path_keep_their_text() {
    let payload = r#"{"runId":"r", "data": {"n": 1.0e3,"x":"\u00e9"},"agentId":"main"}"#;
    assert_eq!(Adapter::for_version(3).event("agent", payload, VERBOSE).unwrap(), r#"{"runId":"r","data":{"n": 1.0e3,"x":"\u00e9"}}"#);
}

#[test]
fn a_payload_without_differences_is_not_copied() {
    let payload = r#"{"runId":"r","status":"accepted","acceptedAt":1}"#;
    assert!(matches!(Adapter::for_version(3).response("agent", payload), Cow::Borrowed(_)));
    assert!(matches!(Adapter::for_version(3).response("node.list", "{}"), Cow::Borrowed(_)));
    assert!(matches!(Adapter::for_version(3).response("agent", "[1]"), Cow::Borrowed("[1]")));
}

#[test]
fn hello_for_protocol_3_has_no_auth_without_a_device_token() {
    let hello = json!({
        "type": "hello-ok", "protocol": 3, "server": {"version": "1", "host": "h", "bootId": "b", "controlUiBuildSource": "configured", "connId": "c"},
        "features": {"methods": [], "events": [], "capabilities": []},
        "snapshot": {"authMode": "token", "sessionDefaults": {"mainKey": "main", "modelConfigured": true, "ownership": "sole", "selectionRequired": false}},
        "auth": {"method": "token", "role": "operator", "scopes": []},
        "policy": {"maxPayload": 1, "attachments": {"maxBytes": 1}}, "canvasHostUrl": "http://h",
    });
    assert_eq!(
        parsed(&Adapter::for_version(3).response("connect", &hello.to_string())),
        json!({
            "type": "hello-ok", "protocol": 3, "server": {"version": "1", "host": "h", "connId": "c"},
            "features": {"methods": [], "events": []}, "snapshot": {"sessionDefaults": {"mainKey": "main"}},
            "policy": {"maxPayload": 1}, "canvasHostUrl": "http://h",
        })
    );
    let newer = parsed(&Adapter::for_version(4).response("connect", &hello.to_string()));
    assert_eq!(newer["auth"]["method"], "token");
    assert_eq!((newer["server"].get("host"), newer.get("canvasHostUrl")), (None, None));
}

#[test]
fn a_run_that_ended_badly_is_a_failed_response() {
    let adapter = Adapter::for_version(4);
    let error = adapter.failure("agent", r#"{"runId":"r","status":"error","summary":"no model"}"#).unwrap();
    assert_eq!((error.code, error.message.as_ref()), (Code::Unavailable, "no model"));
    let late = adapter.failure("agent", r#"{"runId":"r","status":"error","summary":"late","errorKind":"timeout"}"#).unwrap();
    assert_eq!(late.code, Code::AgentTimeout);
    assert!(adapter.failure("agent", r#"{"runId":"r","status":"ok"}"#).is_none());
    assert!(
        adapter.failure("agent.wait", r#"{"runId":"r","status":"error"}"#).is_none(),
        "a wait that succeeded reports the error of another call"
    );
}

#[test]
fn the_newest_shared_version_wins() {
    for (min, max, expected) in [(3, 3, 3), (4, 4, 4), (3, 4, 4), (1, 99, 4), (2, 3, 3), (4, 9, 4)] {
        assert_eq!(Version::negotiate(min, max).unwrap().number(), expected, "{min}..{max}");
    }
}

#[test]
fn a_range_that_is_not_served_is_a_mismatch_that_never_expects_3() {
    for (min, max) in [(1, 2), (5, 9), (90, 99), (4, 3)] {
        let error = Version::negotiate(min, max).unwrap_err();
        assert_eq!((error.code, error.message.as_ref()), (Code::InvalidRequest, "protocol mismatch"));
        assert_eq!(
            parsed(error.details.unwrap().get()),
            json!({"code": "PROTOCOL_MISMATCH", "clientMinProtocol": min, "clientMaxProtocol": max, "expectedProtocol": 4, "minimumProbeProtocol": 3})
        );
    }
}

#[test]
fn an_unchecked_connect_announces_the_wording_that_it_wants() {
    for (params, expected) in [
        (json!({"maxProtocol": 4}), Version::V4),
        (json!({"maxProtocol": 3}), Version::V3),
        (json!({"maxProtocol": "4"}), Version::V3),
        (json!([]), Version::V3),
    ] {
        assert_eq!(Version::announced(Some(&to_raw_value(&params).unwrap())), expected, "{params}");
    }
    assert_eq!(Version::announced(None), Version::V3);
}

#[test]
fn nodes_are_shown_as_each_version_knows_them() {
    let list = r#"{"ts":1,"nodes":[{"nodeId":"a","clientId":"node-host","hostStats":{"cpuCount":1}},{"nodeId":"b"}]}"#;
    assert_eq!(parsed(&Adapter::for_version(3).response("node.list", list)), json!({"ts": 1, "nodes": [{"nodeId": "a"}, {"nodeId": "b"}]}));
    assert_eq!(Adapter::for_version(4).response("node.list", list), list);
}

#[test]
fn errors_about_nodes_say_what_each_version_expects() {
    let sent =
        ["TIMEOUT: node invoke timed out", "unknown or expired approval id", "node command not allowed: \"x\" is not in the allowlist"];
    let older = ["node invoke timed out", "unknown approval id", "node command not allowed"];
    for (sent, older) in sent.into_iter().zip(older) {
        assert_eq!(Adapter::for_version(3).error(ErrorShape::invalid(sent)).message, older);
        assert_eq!(Adapter::for_version(4).error(ErrorShape::invalid(sent)).message, sent);
    }
}
