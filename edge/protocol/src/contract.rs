//! The whole contract for readers: every method and event with its JSON Schemas, and the same as TypeScript declarations.

mod typescript;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use verso_proto::methods::{EVENTS, EventKind, METHODS, Method, find};

/// The contract could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// Nobody answers to that name.
    #[error("unknown method: {0}")]
    UnknownMethod(String),
    /// A generated schema is not JSON.
    #[error("a schema of the contract is not JSON")]
    Schema(#[from] serde_json::Error),
}

/// Returns every method and event, in the order of their names.
pub fn document() -> Result<Value, ContractError> {
    let mut methods = Map::new();
    for (name, method) in wire_methods() {
        methods.insert(name.to_owned(), of_method(method)?);
    }
    let mut events = Map::new();
    for (name, kind) in wire_events() {
        events.insert(name.to_owned(), of_event(kind)?);
    }
    Ok(json!({"methods": methods, "events": events}))
}

/// Returns one method: its name, who may call it, and its schemas.
pub fn method(name: &str) -> Result<Value, ContractError> {
    let method = find(name).ok_or_else(|| ContractError::UnknownMethod(name.to_owned()))?;
    let mut document = json!({"method": name});
    if let (Some(document), Value::Object(row)) = (document.as_object_mut(), of_method(method)?) {
        document.extend(row);
    }
    Ok(document)
}

/// Returns TypeScript declarations of all requests, answers, events and frames.
pub fn typescript() -> Result<String, ContractError> {
    let mut declarations = typescript::Declarations::default();
    for (name, method) in wire_methods() {
        declarations.method(name, method.scope.as_str_name(), &schema(method.params_schema)?, &schema(method.result_schema)?);
    }
    for (name, kind) in wire_events() {
        declarations.event(name, &schema(kind.payload_schema)?);
    }
    Ok(declarations.finish())
}

fn of_method(method: &Method) -> Result<Value, ContractError> {
    Ok(json!({
        "scope": method.scope.as_str_name(), "role": method.role.as_str_name(), "retry": format!("{:?}", method.retry),
        "streaming": method.streaming, "listed": method.listed, "since": method.since,
        "params": schema(method.params_schema)?, "result": schema(method.result_schema)?,
    }))
}

fn of_event(kind: &EventKind) -> Result<Value, ContractError> {
    Ok(json!({
        "scope": kind.scope.as_str_name(), "nodes": kind.nodes, "dropIfSlow": kind.drop_if_slow, "payload": schema(kind.payload_schema)?,
    }))
}

fn schema(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

fn wire_methods() -> BTreeMap<&'static str, &'static Method> {
    METHODS.iter().filter(|method| !method.name.is_empty()).map(|method| (method.name, method)).collect()
}

fn wire_events() -> BTreeMap<&'static str, &'static EventKind> {
    EVENTS.iter().map(|kind| (kind.name, kind)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_method_reads_like_its_row() {
        let one = method("node.rename").unwrap();
        assert_eq!((&one["method"], &one["scope"]), (&json!("node.rename"), &json!("PAIRING")));
        assert_eq!(one["params"]["required"], json!(["nodeId", "displayName"]));
        assert_eq!(one["params"], document().unwrap()["methods"]["node.rename"]["params"]);
        assert_eq!(method("node.rname").unwrap_err().to_string(), "unknown method: node.rname");
    }

    #[test]
    fn an_answer_lists_what_is_always_there() {
        let row = method("logs.tail").unwrap();
        assert_eq!(row["result"]["required"], json!(["file", "cursor", "size", "lines", "truncated", "reset"]));
        assert!(row["result"].get("additionalProperties").is_none(), "readers bear new members");
    }

    #[test]
    fn declares_every_method_and_event_once_and_closes_what_it_opens() {
        let text = typescript().unwrap();
        for name in wire_methods().keys() {
            assert_eq!(text.matches(&format!("\n  \"{name}\": {{ params: ")).count(), 1, "{name}");
        }
        for name in wire_events().keys() {
            assert_eq!(text.matches(&format!("\n  \"{name}\": {}Event;", typescript::type_name(name))).count(), 1, "{name}");
        }
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("export interface ").or_else(|| line.strip_prefix("export type ")))
            .filter_map(|rest| rest.split(['<', ' ']).next())
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "a name is declared twice");
        for (open, close) in [('{', '}'), ('[', ']'), ('(', ')')] {
            assert_eq!(text.matches(open).count(), text.matches(close).count(), "{open}{close}");
        }
    }
}
