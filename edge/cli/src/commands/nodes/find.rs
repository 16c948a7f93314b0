//! Which node a name means, and how it is asked to do something.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::remote::Remote;
use crate::failure::Failure;

/// What a node may take for a small thing.
pub(super) const USUAL_TIMEOUT: Duration = Duration::from_secs(15);
/// What the gateway may take beyond the node's own limit.
const GRACE: Duration = Duration::from_secs(5);
/// A shorter beginning of an id is no name.
const ID_PREFIX_CHARS_MIN: usize = 6;

/// Something that a node is to do.
pub(super) struct Invoke<'a> {
    pub(super) node: &'a str,
    pub(super) command: &'a str,
    pub(super) params: Value,
    pub(super) timeout: Duration,
    pub(super) key: String,
}

impl Invoke<'_> {
    /// Asks the node and returns what it answered.
    pub(super) async fn send(self, remote: &mut Remote<'_>) -> anyhow::Result<Value> {
        let id = node(remote, self.node).await?;
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let params =
            json!({"nodeId": id, "command": self.command, "params": self.params, "timeoutMs": timeout_ms, "idempotencyKey": self.key});
        remote.call_within("node.invoke", params, self.timeout + GRACE).await
    }
}

/// Finds the id of the node that `query` means.
pub(in super::super) async fn node(remote: &mut Remote<'_>, query: &str) -> anyhow::Result<String> {
    let payload = remote.call("node.list", json!({})).await?;
    let nodes = payload["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(choose(nodes, query)?)
}

/// Exact id, then address, then name, then the beginning of an id.
fn choose(nodes: &[Value], query: &str) -> Result<String, Failure> {
    let wanted = normalised(query);
    let text = |node: &Value, member: &str| node[member].as_str().unwrap_or_default().to_owned();
    let long_enough = query.chars().count() >= ID_PREFIX_CHARS_MIN;
    let ways: [&dyn Fn(&Value) -> bool; 4] = [
        &|node| text(node, "nodeId") == query,
        &|node| text(node, "remoteIp") == query,
        &|node| !wanted.is_empty() && normalised(&text(node, "displayName")) == wanted,
        &|node| long_enough && text(node, "nodeId").starts_with(query),
    ];
    let label = |node: &Value| Some(text(node, "displayName")).filter(|name| !name.is_empty()).unwrap_or_else(|| text(node, "nodeId"));
    let labels = |nodes: Vec<&Value>| nodes.into_iter().map(label).collect::<Vec<_>>().join(", ");
    for fits in ways {
        let found: Vec<&Value> = nodes.iter().filter(|node| fits(node)).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(text(one, "nodeId")),
            _ => return Err(Failure::new(format!("ambiguous node: {query} (matches: {})", labels(found)))),
        }
    }
    let known = labels(nodes.iter().collect());
    Err(Failure::new(if known.is_empty() { format!("unknown node: {query}") } else { format!("unknown node: {query} (known: {known})") }))
}

/// Names that differ in case and signs only are one.
fn normalised(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_id_address_name_or_the_beginning_of_its_id() {
        let nodes = [
            json!({"nodeId": "abcdef123", "displayName": "Living Room", "remoteIp": "10.0.0.2"}),
            json!({"nodeId": "abcdef456", "displayName": "Kitchen"}),
            json!({"nodeId": "kitchen", "displayName": "Other"}),
        ];
        let id = |query| choose(&nodes, query).unwrap();
        assert_eq!((id("abcdef123"), id("10.0.0.2"), id("living-room")), ("abcdef123".into(), "abcdef123".into(), "abcdef123".into()));
        assert_eq!((id("kitchen"), id("abcdef4")), ("kitchen".into(), "abcdef456".into()), "an id wins over a name");
        let words = |query| choose(&nodes, query).unwrap_err().text().to_owned();
        assert_eq!(words("abcdef"), "ambiguous node: abcdef (matches: Living Room, Kitchen)");
        assert_eq!(words("abc"), "unknown node: abc (known: Living Room, Kitchen, Other)");
        assert_eq!(choose(&[], "").unwrap_err().text(), "unknown node: ");
    }
}
