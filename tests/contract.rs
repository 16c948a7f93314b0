//! The contract as data: the method table is whole, and what is published says the same.

use serde_json::{Value, json};
use verso_proto::methods::{EVENTS, METHODS, Retry, Scope, find};
use verso_protocol::contract;

/// The published form of the contract; a change of it is a change of the wire.
const PUBLISHED: &str = "wire/schema.json";

#[test]
fn the_published_schema_is_the_contract() {
    let path = verso_tests::package().join(PUBLISHED);
    let current = format!("{}\n", serde_json::to_string_pretty(&contract::document().expect("schemas are JSON")).expect("JSON"));
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    if published != current {
        // Left beside the published one for the next commit to take.
        let proposed = path.with_extension("proposed.json");
        std::fs::write(&proposed, &current).expect("a writable folder");
        panic!("the contract changed: review {} and rename it to {PUBLISHED}", proposed.display());
    }
}

#[test]
fn every_wire_method_is_whole() {
    for method in METHODS.iter().filter(|method| !method.name.is_empty()) {
        assert_ne!(method.scope, Scope::Unspecified, "{}", method.name);
        assert!(method.transcode.is_some(), "{} cannot be called", method.name);
        assert!(std::ptr::eq(find(method.name).expect("a row"), method), "{} is listed twice", method.name);
        assert!(jsonschema::validator_for(&serde_json::from_str(method.params_schema).expect("JSON")).is_ok(), "{}", method.name);
        assert!(jsonschema::validator_for(&serde_json::from_str(method.result_schema).expect("JSON")).is_ok(), "{}", method.name);
        assert!(method.timeout_ms > 0, "{} has no deadline", method.name);
    }
}

#[test]
fn internal_rpcs_cannot_be_called_by_name() {
    assert!(find("").is_none());
    assert!(METHODS.iter().any(|method| method.name.is_empty()), "the test would prove nothing");
}

#[test]
fn a_keyed_method_asks_for_its_key() {
    for method in METHODS.iter().filter(|method| !method.name.is_empty() && method.retry == Retry::Keyed) {
        let schema: Value = serde_json::from_str(method.params_schema).expect("JSON");
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        assert!(required.contains(&json!("idempotencyKey")), "{}", method.name);
    }
}

#[test]
fn events_have_distinct_names() {
    let names: std::collections::BTreeSet<_> = EVENTS.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), EVENTS.len());
}
