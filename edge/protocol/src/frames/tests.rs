use rand::distr::{Distribution, StandardUniform};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::*;
use crate::{Code, Version};

fn refused(text: &str) -> (String, String) {
    match RequestFrame::parse(text, Version::V3) {
        Err(Rejected::NotARequest { id, message }) => (id, message),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn reads_a_request_without_copying() {
    let text = r#"{"type":"req","id":"7","method":"health","params":{"probe":true},"traceparent":"00-ab"}"#;
    let frame = RequestFrame::parse(text, Version::V3).unwrap();
    assert!(matches!(frame.method, std::borrow::Cow::Borrowed("health")));
    assert!(matches!(frame.id, std::borrow::Cow::Borrowed("7")));
    assert_eq!(frame.params.unwrap().get(), r#"{"probe":true}"#);
    assert_eq!(frame.traceparent.as_deref(), Some("00-ab"));
}

#[test]
fn reads_escapes_and_takes_null_params_for_none() {
    let text = r#"{"params":null,"method":"chat\u002esend","id":"a\"b","type":"\u0072eq"}"#;
    let frame = RequestFrame::parse(text, Version::V3).unwrap();
    assert_eq!((frame.id.as_ref(), frame.method.as_ref()), ("a\"b", "chat.send"));
    assert!(frame.params.is_none());
}

#[test]
fn text_that_is_not_json_is_told_apart() {
    for text in ["{nope", "", "{} {}", "{\"type\":\"req\"", "\u{feff}{}"] {
        assert_eq!(RequestFrame::parse(text, Version::V3).unwrap_err(), Rejected::NotJson, "{text}");
    }
}

#[test]
fn says_what_is_wrong_with_a_frame() {
    let table = [
        (r#"{"type":"req","id":"e1","method":"m","extra":1}"#, "e1", "at root: unexpected property 'extra'"),
        (r#"{"type":"req","id":"m1"}"#, "m1", "must have required property 'method'"),
        (r#"{"type":"req","method":"m"}"#, "invalid", "must have required property 'id'"),
        (r#"{"type":"req","id":5,"method":"m"}"#, "invalid", "at /id: must be string"),
        (r#"{"type":"req","id":"","method":"m"}"#, "invalid", "at /id: must NOT have fewer than 1 characters"),
        (
            r#"{"type":"res","id":"w1","ok":true}"#,
            "w1",
            "must have required property 'method'; at root: unexpected property 'ok'; at /type: must be equal to constant",
        ),
        (r#"{"type":"req","id":"t","method":"m","traceparent":null}"#, "t", "at /traceparent: must be string"),
        (
            r#"{"type":"req","id":"p","method":"m","expectedProfileId":""}"#,
            "p",
            "at /expectedProfileId: must NOT have fewer than 1 characters",
        ),
        ("[]", "invalid", "must be object"),
        ("null", "invalid", "must be object"),
    ];
    for (text, id, expected) in table {
        assert_eq!(refused(text), (id.to_owned(), format!("invalid request frame: {expected}")), "{text}");
    }
    let long = format!(r#"{{"type":"req","id":"l","method":"m","traceparent":"{}"}}"#, "é".repeat(129));
    assert_eq!(refused(&long).1, "invalid request frame: at /traceparent: must NOT have more than 128 characters");
}

#[test]
fn a_frame_with_a_million_unknown_members_is_refused_in_few_words() {
    let members: String = (0..1_000_000).flat_map(|index| ["\"k".to_owned(), index.to_string(), "\":0,".to_owned()]).collect();
    let (_, message) = refused(&format!("{{{members}\"id\":\"big\"}}"));
    assert!(message.len() < 4_096, "{} bytes", message.len());
}

#[test]
fn parameters_nested_beyond_reason_are_carried_but_not_followed() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let text = format!(r#"{{"type":"req","id":"d","method":"m","params":{deep}}}"#);
    assert_eq!(RequestFrame::parse(&text, Version::V4).unwrap().params.unwrap().get().len(), deep.len());
}

/// What clients of the older generation accept: nothing beside these members.
fn closed_frame_schema() -> jsonschema::Validator {
    let count = json!({"type": "integer", "minimum": 0});
    let text = json!({"type": "string", "minLength": 1});
    let error = json!({
        "type": "object", "required": ["code", "message"], "additionalProperties": false,
        "properties": {"code": text, "message": text, "details": {"not": {"type": "null"}}, "retryable": {"type": "boolean"}, "retryAfterMs": count},
    });
    let state_version = json!({
        "type": "object", "required": ["presence", "health"], "additionalProperties": false,
        "properties": {"presence": count, "health": count},
    });
    jsonschema::validator_for(&json!({"oneOf": [
        {"type": "object", "required": ["type", "id", "ok"], "additionalProperties": false,
         "properties": {"type": {"const": "res"}, "id": text, "ok": {"type": "boolean"}, "payload": {}, "error": error}},
        {"type": "object", "required": ["type", "event"], "additionalProperties": false,
         "properties": {"type": {"const": "event"}, "event": text, "payload": {}, "seq": count, "stateVersion": state_version}},
    ]}))
    .unwrap()
}

fn any_text(rng: &mut SmallRng) -> String {
    let length = rng.random_range(1..20);
    (0..length).map(|_| *['a', '"', '\\', '\n', 'é', '\u{1}', '\u{2028}', '😀', '.', '/'].choose(rng).unwrap()).collect()
}

fn any_json(rng: &mut SmallRng, depth: usize) -> Value {
    match rng.random_range(0..if depth == 0 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => json!(rng.random::<bool>()),
        2 => json!(rng.random::<i64>()),
        3 => json!(any_text(rng)),
        4 => (0..rng.random_range(0..4)).map(|_| any_json(rng, depth - 1)).collect(),
        _ => Value::Object((0..rng.random_range(0..4)).map(|_| (any_text(rng), any_json(rng, depth - 1))).collect()),
    }
}

fn maybe<T>(rng: &mut SmallRng) -> Option<T>
where
    StandardUniform: Distribution<T>,
{
    rng.random::<bool>().then(|| rng.random())
}

fn any_error(rng: &mut SmallRng) -> ErrorShape {
    let code = *[Code::InvalidRequest, Code::Unavailable, Code::Forbidden].choose(rng).unwrap();
    let message = if rng.random_range(0..10) == 0 { String::new() } else { any_text(rng) };
    let mut error = ErrorShape::new(code, message).with_details(&any_json(rng, 2));
    error.retryable = maybe::<bool>(rng);
    error.retry_after_ms = maybe::<u64>(rng);
    error
}

#[test]
fn every_frame_that_is_written_passes_the_closed_schema() {
    let schema = closed_frame_schema();
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..5_000 {
        let (id, payload) = (any_text(&mut rng), any_json(&mut rng, 3));
        let text = payload.to_string();
        let error = any_error(&mut rng);
        let (seq, versions) = (maybe::<u64>(&mut rng), maybe::<(u64, u64)>(&mut rng));
        let frames = [
            response_ok(&id, &text),
            response_error(&id, &error),
            response_failed(&id, Some(&text), &error),
            event(&id, &text, seq, versions),
        ];
        for (index, frame) in frames.iter().enumerate() {
            let value: Value = serde_json::from_str(frame).unwrap_or_else(|fault| panic!("{fault}: {frame}"));
            assert!(schema.is_valid(&value), "{frame}");
            if index != 1 {
                assert_eq!(value["payload"], payload, "{frame}");
            }
            if index < 3 {
                assert_eq!(value["id"], json!(id));
            }
        }
        let last: Value = serde_json::from_str(&frames[3]).unwrap();
        assert_eq!(last.get("seq").and_then(Value::as_u64), seq);
        assert_eq!(last.get("stateVersion").map(|version| version["health"].as_u64()), versions.map(|(_, health)| Some(health)));
    }
}

#[test]
fn an_event_takes_one_allocation_of_the_right_size() {
    let prefix = EventPrefix::new("presence", r#"{"presence":[]}"#);
    assert_eq!(prefix.payload(), r#"{"presence":[]}"#);
    for (seq, versions) in [(None, None), (Some(0), None), (Some(u64::MAX), Some((9, 10))), (None, Some((u64::MAX, 0)))] {
        let frame = prefix.finish(seq, versions);
        assert_eq!(frame.capacity(), frame.len());
    }
    assert_eq!(
        prefix.finish(Some(4), Some((2, 3))),
        r#"{"type":"event","event":"presence","payload":{"presence":[]},"seq":4,"stateVersion":{"presence":2,"health":3}}"#
    );
    assert_eq!(event("tick", "", None, None), r#"{"type":"event","event":"tick","payload":null}"#);
}

fn mutate(rng: &mut SmallRng, seed: &str) -> String {
    let mut bytes = seed.as_bytes().to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..bytes.len().max(1));
        match rng.random_range(0..4) {
            0 if at < bytes.len() => bytes[at] = rng.random(),
            1 => bytes.insert(at.min(bytes.len()), *b"{}[]\",:\\0nu".choose(rng).unwrap()),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn sec_29_mutated_frames_are_answered_without_a_panic() {
    let seeds = [
        r#"{"type":"req","id":"1","method":"health"}"#,
        r#"{"type":"req","id":"1:é","method":"chat.send","params":{"sessionKey":"main","message":"\ud83d\ude00","n":[1,2e9]}}"#,
        r#"{"type":"res","id":"1","ok":true,"payload":null}"#,
        r#"{"type":"req","id":"2","method":"agent","params":{},"traceparent":"00-x","expectedProfileId":"p"}"#,
    ];
    let mut rng = SmallRng::seed_from_u64(2);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..200_000 {
        let seed = seeds.choose(&mut rng).unwrap();
        let text = mutate(&mut rng, seed);
        match RequestFrame::parse(&text, Version::V4) {
            Ok(frame) => {
                assert!(!frame.id.is_empty() && !frame.method.is_empty());
                good += 1;
            }
            Err(Rejected::NotJson) => assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err()),
            Err(Rejected::NotARequest { id, message }) => {
                assert!(!id.is_empty() && message.starts_with("invalid request frame: "), "{text}");
                bad += 1;
            }
        }
    }
    assert!(good > 1_000 && bad > 1_000, "{good} good, {bad} bad");
}
