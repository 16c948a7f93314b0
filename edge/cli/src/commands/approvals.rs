//! `verso approvals`: which programs may run, and what waits for a decision.

use std::io::Read as _;

use serde_json::{Value, json};
use uuid::Uuid;

use super::remote::{Remote, ask, members, text};
use super::{Session, nodes};
use crate::args::{Allowlist, AllowlistEntry, Approvals, Group};
use crate::failure::Failure;
use crate::output::{As, Column};

const WAITING: [Column; 4] = [
    Column("Id", &["/id"], As::Text),
    Column("Command", &["/request/command"], As::Text),
    Column("Agent", &["/request/agentId"], As::Text),
    Column("Asked", &["/createdAtMs"], As::Ago),
];

/// The largest file of rules that is read, in bytes.
const RULES_BYTES_MAX: u64 = 1_048_576;

pub(super) async fn run(session: &Session, group: &Group<Approvals>) -> anyhow::Result<()> {
    let reach = &group.reach;
    match group.command.as_ref().unwrap_or(&Approvals::Get { node: None }) {
        Approvals::Get { node } => {
            let mut rules = Rules::open(session, group, node.as_deref()).await?;
            let payload = rules.load().await?;
            rules.remote.answer(&payload, || shown(&payload))
        }
        Approvals::Set { file, node, .. } => {
            let text = match file {
                Some(path) => std::fs::read_to_string(path)?,
                None => standard_input()?,
            };
            let file: Value = verso_kit::config::parse(&text).map_err(|error| Failure::new(format!("the rules are not JSON: {error}")))?;
            let mut rules = Rules::open(session, group, node.as_deref()).await?;
            let current = rules.load().await?;
            let payload = rules.store(file, &current).await?;
            rules.remote.answer(&payload, || shown(&payload))
        }
        Approvals::Allowlist(Allowlist::Add(entry)) => change(session, group, entry, true).await,
        Approvals::Allowlist(Allowlist::Remove(entry)) => change(session, group, entry, false).await,
        Approvals::Pending => {
            ask(session, reach, "exec.approval.list", json!({}), |remote, payload| remote.section("Waiting", payload, "", &WAITING)).await
        }
        Approvals::Resolve { id, decision } => {
            ask(session, reach, "exec.approval.resolve", json!({"id": id, "decision": decision}), |_, _| format!("{id}: {decision}")).await
        }
    }
}

fn standard_input() -> std::io::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(RULES_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

async fn change(session: &Session, group: &Group<Approvals>, entry: &AllowlistEntry, add: bool) -> anyhow::Result<()> {
    let pattern = entry.pattern.trim();
    if pattern.is_empty() {
        return Err(Failure::new("the pattern is empty").into());
    }
    let mut rules = Rules::open(session, group, entry.node.as_deref()).await?;
    let current = rules.load().await?;
    let mut file = current["file"].clone();
    if !listed(&mut file, &entry.agent, pattern, add) {
        let state = if add { "is on the list already" } else { "is not on the list" };
        return rules.remote.answer(&current, || format!("{pattern} {state} of {}.", entry.agent));
    }
    let payload = rules.store(file, &current).await?;
    let done = if add { "may run without asking for" } else { "must ask again for" };
    rules.remote.answer(&payload, || format!("{pattern} {done} {}.", entry.agent))
}

/// Adds or removes a pattern; false if nothing changes.
fn listed(file: &mut Value, agent: &str, pattern: &str, add: bool) -> bool {
    if !file.is_object() {
        *file = json!({"version": 1});
    }
    let list = &mut file["agents"][agent]["allowlist"];
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return false };
    let before = list.len();
    let known = list.iter().any(|entry| entry["pattern"] == pattern);
    match add {
        true if !known => list.push(json!({"id": Uuid::new_v4().to_string(), "pattern": pattern})),
        true => {}
        false => list.retain(|entry| entry["pattern"] != pattern),
    }
    list.len() != before
}

/// Whose rules: the gateway's, or those of a node.
struct Rules<'a> {
    remote: Remote<'a>,
    node: Option<String>,
}

impl<'a> Rules<'a> {
    async fn open(session: &'a Session, group: &'a Group<Approvals>, node: Option<&str>) -> anyhow::Result<Self> {
        let mut remote = Remote::open(session, &group.reach).await?;
        let node = match node {
            Some(query) => Some(nodes::node(&mut remote, query).await?),
            None => None,
        };
        Ok(Self { remote, node })
    }

    async fn load(&mut self) -> anyhow::Result<Value> {
        match &self.node {
            Some(node) => self.remote.call("exec.approvals.node.get", json!({"nodeId": node})).await,
            None => self.remote.call("exec.approvals.get", json!({})).await,
        }
    }

    /// Replaces the rules, unless somebody else has done so since they were loaded.
    async fn store(&mut self, file: Value, current: &Value) -> anyhow::Result<Value> {
        let base = current["hash"].clone();
        let params = members([("file", file), ("baseHash", base), ("nodeId", json!(self.node))]);
        let method = if self.node.is_some() { "exec.approvals.node.set" } else { "exec.approvals.set" };
        self.remote.call(method, params).await
    }
}

fn shown(payload: &Value) -> String {
    let mut lines = vec![format!("Rules: {}", text(payload, "/path"))];
    lines.extend(
        payload["file"]["defaults"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}: {}", crate::output::plain(value))),
    );
    for (agent, rules) in payload["file"]["agents"].as_object().into_iter().flatten() {
        let patterns = rules["allowlist"].as_array().into_iter().flatten().map(|entry| text(entry, "/pattern").to_owned());
        lines.push(format!("{agent}: {}", patterns.collect::<Vec<_>>().join(", ")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_on_the_list_once() {
        let mut file = Value::Null;
        assert!(listed(&mut file, "main", "/bin/ls", true));
        assert!(!listed(&mut file, "main", "/bin/ls", true));
        assert_eq!(file["agents"]["main"]["allowlist"][0]["pattern"], "/bin/ls");
        assert!(listed(&mut file, "main", "/bin/ls", false));
        assert!(!listed(&mut file, "main", "/bin/ls", false));
    }
}
