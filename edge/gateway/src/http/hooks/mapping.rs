//! From a call to what the configuration makes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::request::Parts;
use serde_json::{Map, Value, json};

use super::action::{Action, AgentAction, Mode};
use super::config::{Config, GMAIL, Mapping};
use super::{door, template, transform};
use crate::gateway::Gateway;

/// Actions of one call.
const ACTIONS_MAX: usize = 200;

/// A call of a webhook.
#[derive(Debug)]
pub(super) struct Call {
    /// What follows the base path.
    pub(super) path: String,
    /// Several headers of one name are joined.
    pub(super) headers: Map<String, Value>,
    /// Of several values of one name the last counts.
    pub(super) query: Map<String, Value>,
    pub(super) payload: Value,
    url: String,
}

impl Call {
    pub(super) fn new(head: &Parts, path: &str, payload: Value) -> Self {
        let mut headers: Map<String, Value> = Map::new();
        for (name, value) in &head.headers {
            // The secret is for the gateway, not for templates or programs.
            if super::answer::is_secret(name) {
                continue;
            }
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let joined = match headers.get(name.as_str()).and_then(Value::as_str) {
                Some(earlier) => format!("{earlier}, {value}"),
                None => value,
            };
            headers.insert(name.as_str().to_owned(), json!(joined));
        }
        let query = door::pairs(head).filter(|(name, _)| name != "token").map(|(name, value)| (name, json!(value))).collect();
        Self { path: path.to_owned(), headers, query, payload, url: head.uri.path().to_owned() }
    }

    /// Returns a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(Value::as_str).map(str::trim).filter(|value| !value.is_empty())
    }
}

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Mapped {
    /// No mapping is for it.
    Nothing,
    /// The mapping wants nothing done.
    Skipped,
    Actions(Vec<Action>),
}

/// Why nothing becomes of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The call has not what the mapping needs. The words are for its sender.
    #[error("{0}")]
    Invalid(String),
    /// The template cannot be used.
    #[error("a template cannot be rendered")]
    Template(#[from] minijinja::Error),
    /// The program has failed.
    #[error("a transform failed")]
    Transform(#[from] transform::Error),
}

/// Finds the first mapping that is for the call, and does what it says.
pub(super) async fn apply(gateway: &Arc<Gateway>, config: &Config, call: &Call) -> Result<Mapped, Error> {
    let Some(mapping) = config.all_mappings().find(|mapping| is_for(mapping, call)) else { return Ok(Mapped::Nothing) };
    let now = now(gateway);
    let mut actions = Vec::new();
    let parts = parts(&mapping, call)?;
    for payload in &parts {
        let mut action = rendered(&mapping, call, payload, &now)?;
        if let Some(transform) = &mapping.transform {
            let asked = json!({"payload": payload, "headers": call.headers, "url": call.url, "path": call.path});
            let config_path = gateway.config_path();
            let folder = folder(config, &config_path);
            let around = transform::Surroundings::new(folder, &gateway.context.env);
            match transform::run(&gateway.hooks.transforms, transform, &around, &asked).await? {
                Value::Null => continue,
                Value::Object(overrides) => action.extend(overrides),
                _ => return Err(Error::Invalid("the transform must answer with an object or null".to_owned())),
            }
        }
        actions.push(Action::from_members(&action, &mapping).map_err(Error::Invalid)?);
    }
    if actions.is_empty() { Ok(Mapped::Skipped) } else { Ok(Mapped::Actions(actions)) }
}

fn is_for(mapping: &Mapping, call: &Call) -> bool {
    let path = mapping.r#match.path.as_deref().map(|path| path.trim_matches('/'));
    let source = mapping.r#match.source.as_deref();
    path.is_none_or(|path| path == call.path.trim_matches('/'))
        && source.is_none_or(|source| call.payload.get("source").and_then(Value::as_str) == Some(source))
}

/// Returns the payload, or one payload for each item of the list that the mapping names.
fn parts(mapping: &Mapping, call: &Call) -> Result<Vec<Value>, Error> {
    let Some(key) = mapping.for_each.as_deref() else { return Ok(vec![call.payload.clone()]) };
    let Some(Value::Array(items)) = call.payload.get(key) else { return Ok(vec![call.payload.clone()]) };
    if items.len() > ACTIONS_MAX {
        return Err(Error::Invalid(format!("{key} has more than {ACTIONS_MAX} items")));
    }
    let one = |item: &Value| {
        let mut payload = call.payload.clone();
        payload[key] = json!([item]);
        payload
    };
    Ok(items.iter().map(one).collect())
}

/// Returns the members of the action as the mapping says them, for a transform to change.
fn rendered(mapping: &Mapping, call: &Call, payload: &Value, now: &str) -> Result<Map<String, Value>, Error> {
    let mut action = Map::new();
    let mut set = |name: &str, template: Option<&String>| -> Result<(), Error> {
        let Some(template) = template else { return Ok(()) };
        let text = template::render(template, call, payload, now)?;
        if !text.trim().is_empty() {
            action.insert(name.to_owned(), json!(text.trim()));
        }
        Ok(())
    };
    set("message", mapping.message_template.as_ref())?;
    set("text", mapping.text_template.as_ref())?;
    set("name", mapping.name.as_ref())?;
    set("sessionKey", mapping.session_key.as_ref())?;
    set("to", mapping.to.as_ref())?;
    set("accountId", mapping.account_id.as_ref())?;
    set("model", mapping.model.as_ref())?;
    set("thinking", mapping.thinking.as_ref())?;
    action.insert("kind".to_owned(), json!(mapping.action.as_deref().unwrap_or("agent")));
    action.insert("wakeMode".to_owned(), json!(mapping.wake_mode.as_deref().unwrap_or("now")));
    let literals = [
        ("deliver", mapping.deliver.map(Value::from)),
        ("channel", mapping.channel.clone().map(Value::from)),
        ("timeoutSeconds", mapping.timeout_seconds.map(Value::from)),
        ("agentId", mapping.agent_id.clone().map(Value::from)),
        ("allowUnsafeExternalContent", mapping.allow_unsafe_external_content.then_some(Value::Bool(true))),
    ];
    action.extend(literals.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))));
    // Mail may be told twice; the provider names each.
    if mapping.id.as_deref() == Some(GMAIL)
        && let Some(id) = payload.pointer("/messages/0/id").and_then(Value::as_str)
    {
        action.insert("idempotencyKey".to_owned(), json!(format!("gmail:{id}")));
    }
    Ok(action)
}

impl Action {
    /// Reads what a mapping, and perhaps a transform, has made.
    fn from_members(members: &Map<String, Value>, mapping: &Mapping) -> Result<Self, String> {
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let mode = Mode::read(text("mode").or_else(|| text("wakeMode")));
        if text("kind") == Some("wake") {
            let text = text("text").ok_or("hook mapping requires text")?.to_owned();
            return Ok(Self::Wake { text, mode, session_key: None, agent_id: text_of(members, "agentId"), key: None });
        }
        let message = text("message").ok_or("hook mapping requires message")?.to_owned();
        Ok(Self::Agent(Box::new(AgentAction {
            message,
            name: text("name").unwrap_or("Hook").to_owned(),
            mode,
            deliver: members.get("deliver") != Some(&Value::Bool(false)),
            session_key: text_of(members, "sessionKey"),
            // A key that the operator wrote down is his own; one that a call fills in is not.
            key_is_callers: mapping.session_key.as_deref().is_none_or(|key| key.contains("{{") || text("sessionKey") != Some(key.trim())),
            channel: text("channel").unwrap_or("last").to_lowercase(),
            to: text_of(members, "to"),
            account_id: text_of(members, "accountId"),
            model: text_of(members, "model"),
            thinking: text_of(members, "thinking"),
            timeout_seconds: members.get("timeoutSeconds").and_then(Value::as_i64).filter(|seconds| *seconds > 0),
            agent_id: text_of(members, "agentId"),
            trusted: members.get("allowUnsafeExternalContent") == Some(&Value::Bool(true)),
            wait: false,
            idempotency_key: text_of(members, "idempotencyKey"),
        })))
    }
}

fn text_of(members: &Map<String, Value>, name: &str) -> Option<String> {
    members.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Relative to the folder of the configuration.
fn folder(config: &Config, config_path: &Path) -> PathBuf {
    let base = config_path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    config.transforms_dir.as_ref().map_or_else(|| base.clone(), |folder| base.join(folder))
}

/// The time as people and programs read it.
fn now(gateway: &Gateway) -> String {
    super::answer::timestamp(gateway.context.clock.now_ms())
}
