use serde_json::json;
use verso_proto::methods::find;

use super::*;

fn complaint(version: Version, method: &str, params: &Value) -> String {
    let raw = serde_json::value::to_raw_value(params).unwrap();
    match check(version, find(method).unwrap(), Some(&raw)) {
        Ok(()) => "fine".to_owned(),
        Err(message) => message,
    }
}

fn v3(method: &str, params: &Value) -> String {
    complaint(Version::V3, method, params)
}

fn v4(method: &str, params: &Value) -> String {
    complaint(Version::V4, method, params)
}

fn connect() -> Value {
    json!({"minProtocol": 3, "maxProtocol": 3, "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"}})
}

#[test]
fn every_schema_of_the_contract_compiles() {
    for method in METHODS.iter().filter(|method| !method.name.is_empty()) {
        schema_of(method);
    }
}

#[test]
fn absent_and_null_params_equal_an_empty_object() {
    let null = RawValue::from_string("null".to_owned()).unwrap();
    for params in [None, Some(&*null)] {
        assert_eq!(check(Version::V3, find("node.list").unwrap(), params), Ok(()));
        let message = check(Version::V3, find("node.describe").unwrap(), params).unwrap_err();
        assert_eq!(message, "invalid node.describe params: must have required property 'nodeId'");
    }
}

#[test]
fn missing_members_come_first_and_in_the_order_of_the_contract() {
    assert_eq!(
        v3("agent", &json!({"agentId": "", "bogus": 1, "thinking": 4})),
        "invalid agent params: must have required property 'message'; must have required property 'idempotencyKey'; \
         at root: unexpected property 'bogus'; at /agentId: must NOT have fewer than 1 characters; at /thinking: must be string"
    );
}

#[test]
fn protocol_4_names_one_missing_member_at_a_time() {
    assert_eq!(v4("agent", &json!({})), "invalid agent params: must have required property 'message'");
    assert_eq!(
        v4("connect", &json!({"minProtocol": 4, "maxProtocol": 4, "client": {"id": "cli"}})),
        "invalid connect params: at /client: must have required property 'version'"
    );
}

#[test]
fn says_which_member_breaks_which_rule() {
    let table = [
        (json!({"minProtocol": "3"}), "at /minProtocol: must be integer"),
        (json!({"minProtocol": 0}), "at /minProtocol: must be >= 1"),
        (json!({"bogus": 1}), "at root: unexpected property 'bogus'"),
        (json!({"client": 1}), "at /client: must be object"),
        (json!({"caps": ["a", "", 3]}), "at /caps/1: must NOT have fewer than 1 characters; at /caps/2: must be string"),
        (
            json!({"device": {}}),
            "at /device: must have required property 'id'; at /device: must have required property 'publicKey'; \
                                 at /device: must have required property 'signature'; at /device: must have required property 'signedAt'",
        ),
    ];
    for (change, expected) in table {
        let mut params = connect();
        params.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(v3("connect", &params), format!("invalid connect params: {expected}"));
    }
    assert_eq!(v3("connect", &connect()), "fine");
    assert_eq!(v3("connect", &json!([])), "invalid connect params: must be object");
}

#[test]
fn the_two_generations_word_an_enumeration_differently() {
    let mut params = connect();
    params["client"]["id"] = json!("nobody");
    assert_eq!(
        v3("connect", &params),
        "invalid connect params: at /client/id: must be equal to constant; at /client/id: must match a schema in anyOf"
    );
    assert_eq!(v4("connect", &params), "invalid connect params: at /client/id: must be equal to one of the allowed values");
}

#[test]
fn the_two_generations_word_a_limit_differently() {
    let params = json!({"sessionKey": "", "limit": 2000});
    assert_eq!(
        v3("chat.history", &params),
        "invalid chat.history params: at /sessionKey: must NOT have fewer than 1 characters; at /limit: must be <= 1000"
    );
    assert_eq!(
        v4("chat.history", &params),
        "invalid chat.history params: at /sessionKey: must not have fewer than 1 characters; at /limit: must be <= 1000"
    );
}

#[test]
fn unknown_members_below_the_root_carry_their_path() {
    let mut params = connect();
    params["client"]["bogus"] = json!(1);
    assert_eq!(v4("connect", &params), "invalid connect params: at /client: unexpected property 'bogus'");
}

#[test]
fn a_flood_of_unknown_members_is_answered_in_few_words() {
    let flood: serde_json::Map<String, Value> = (0..10_000).map(|index| (format!("k{index}"), json!(0))).collect();
    let message = v3("node.list", &Value::Object(flood));
    assert!(message.starts_with("invalid node.list params: at root: unexpected property 'k0'; "));
    assert!(message.len() < 4_096, "{} bytes", message.len());
}

#[test]
fn params_nested_beyond_reason_are_refused() {
    let deep = RawValue::from_string("[".repeat(5_000) + &"]".repeat(5_000)).unwrap();
    let message = check(Version::V3, find("chat.send").unwrap(), Some(&deep)).unwrap_err();
    assert_eq!(message, "invalid chat.send params: recursion limit exceeded");
}
