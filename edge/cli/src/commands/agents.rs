//! `verso agents` and `verso models`.

use serde_json::{Value, json};

use super::Session;
use super::remote::{Remote, members, text};
use crate::args::{Agents, Group, Models};
use crate::failure::Failure;
use crate::output::{self, As, Column, Tone};

const AGENTS: [Column; 5] = [
    Column("Agent", &["/id"], As::Text),
    Column("Name", &["/identity/name", "/name"], As::Text),
    Column("Default", &["/isDefault"], As::Yes),
    Column("Model", &["/model/primary", "/model"], As::Text),
    Column("Workspace", &["/workspace"], As::Text),
];

const MODELS: [Column; 4] = [
    Column("Model", &["/key"], As::Text),
    Column("Name", &["/name"], As::Text),
    Column("Input", &["/input"], As::Text),
    Column("Context", &["/contextWindow"], As::Text),
];

pub(super) async fn run(session: &Session, group: &Group<Agents>) -> anyhow::Result<()> {
    let Agents::List { bindings } = group.command.as_ref().unwrap_or(&Agents::List { bindings: false });
    let mut remote = Remote::open(session, &group.reach).await?;
    let payload = remote.call("agents.list", json!({})).await?;
    let document: Vec<Value> =
        payload["agents"].as_array().into_iter().flatten().map(|agent| listed(session, &payload, agent, *bindings)).collect();
    let document = Value::Array(document);
    remote.answer(&document, || remote.section("Agents", &document, "", &AGENTS))
}

/// What scripts read of an agent.
fn listed(session: &Session, payload: &Value, agent: &Value, bindings: bool) -> Value {
    let id = text(agent, "/id");
    let bound: Vec<Value> = session
        .snapshot
        .file
        .value()
        .get("bindings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|binding| binding["agentId"] == id)
        .cloned()
        .collect();
    members([
        ("id", json!(id)),
        ("name", agent["name"].clone()),
        ("identityName", agent["identity"]["name"].clone()),
        ("identityEmoji", agent["identity"]["emoji"].clone()),
        ("workspace", agent["workspace"].clone()),
        ("model", agent["model"]["primary"].clone()),
        ("bindings", json!(bound.len())),
        ("bindingDetails", if bindings { Value::Array(bound) } else { Value::Null }),
        ("isDefault", json!(payload["defaultId"] == id)),
    ])
}

pub(super) async fn models(session: &Session, group: &Group<Models>) -> anyhow::Result<()> {
    let reach = &group.reach;
    match group.command.as_ref().unwrap_or(&Models::Status { check: false }) {
        Models::Status { check } => {
            let mut remote = Remote::open(session, reach).await?;
            let status = remote.call("status", json!({})).await?;
            let models = remote.call("models.list", json!({})).await?;
            let keys: Vec<Value> = rows(&models).map(|row| row["key"].clone()).collect();
            let default = &status["sessions"]["defaults"]["model"];
            let document =
                json!({"defaultModel": default, "contextTokens": status["sessions"]["defaults"]["contextTokens"], "allowed": keys});
            remote.answer(&document, || {
                let default = default.as_str().map_or_else(|| session.style.paint(Tone::Warning, "none configured"), str::to_owned);
                format!("Default: {default}\nAvailable: {}", output::plain(&document["allowed"]))
            })?;
            if *check && keys.is_empty() { Err(Failure::silent().into()) } else { Ok(()) }
        }
        Models::List { all, provider, plain } => {
            let mut remote = Remote::open(session, reach).await?;
            let params = if *all { json!({"view": "all"}) } else { json!({}) };
            let payload = remote.call("models.list", params).await?;
            let wanted = |row: &Value| provider.as_ref().is_none_or(|provider| row["provider"] == provider.as_str());
            let models: Vec<Value> = rows(&payload).filter(wanted).collect();
            let document = json!({"count": models.len(), "models": models});
            remote.answer(&document, || {
                if *plain {
                    return models.iter().map(|row| text(row, "/key")).collect::<Vec<_>>().join("\n");
                }
                remote.section("Models", &document, "/models", &MODELS)
            })
        }
        Models::Set { model } => {
            let mut remote = Remote::open(session, reach).await?;
            let current = remote.call("config.get", json!({})).await?;
            let raw = json!({"agents": {"defaults": {"model": {"primary": model}}}}).to_string();
            let params = members([("raw", json!(raw)), ("baseHash", current["hash"].clone())]);
            let payload = remote.call("config.patch", params).await?;
            remote.answer(&payload, || format!("Default model: {model}"))
        }
    }
}

/// The models with the name that people use for them.
fn rows(payload: &Value) -> impl Iterator<Item = Value> {
    payload["models"].as_array().into_iter().flatten().map(|model| {
        let mut row = model.clone();
        let (provider, id) = (text(model, "/provider"), text(model, "/id"));
        let whole = provider.is_empty() || id.starts_with(&format!("{provider}/"));
        row["key"] = json!(if whole { id.to_owned() } else { format!("{provider}/{id}") });
        row
    })
}
