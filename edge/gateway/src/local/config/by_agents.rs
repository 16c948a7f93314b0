//! The file as agents see and change it: without secrets, and only what says how they talk and think. Who may come in, what may run,
//! where answers and credentials go is for people.

use serde_json::Value;
use verso_config::{Action, Document, KeyPath, Plan, Settings, changed_paths};
use verso_kit::config::parse;
use verso_proto::edge::v1::ConfigPatchRequest;
use verso_proto::upkeep::v1::{ChangeRequest, ChangeResponse, DescribeResponse, LookResponse};
use verso_protocol::{Code, ErrorShape, Version};

use super::{Desk, answer, json};
use crate::gateway::Gateway;

/// What an agent may change, with all that is below. A key that is not here is out of its reach: new keys are, until somebody thinks
/// about them.
const CHANGEABLE: [&str; 25] = [
    "agents.defaults.model",
    "agents.defaults.imageModel",
    "agents.defaults.userTimezone",
    "agents.defaults.timeFormat",
    "agents.defaults.envelopeTimezone",
    "agents.defaults.envelopeTimestamp",
    "agents.defaults.envelopeElapsed",
    "agents.defaults.thinkingDefault",
    "agents.defaults.verboseDefault",
    "agents.defaults.timeoutSeconds",
    "agents.defaults.contextTokens",
    "agents.defaults.bootstrapMaxChars",
    "agents.defaults.heartbeat.every",
    "agents.defaults.heartbeat.activeHours",
    "agents.defaults.heartbeat.ackMaxChars",
    "agents.defaults.blockStreamingDefault",
    "agents.defaults.blockStreamingBreak",
    "agents.defaults.blockStreamingChunk",
    "agents.defaults.blockStreamingCoalesce",
    "agents.defaults.humanDelay",
    "agents.defaults.typingMode",
    "agents.defaults.typingIntervalSeconds",
    "agents.defaults.contextPruning",
    "session.reset",
    "ui",
];

/// What nobody changes from a chat, with all that is below: who may come in, what runs beside the gateway, and who may say so in a chat.
const CLOSED: [&str; 12] =
    ["$include", "approvals", "auth", "browser", "commands", "discovery", "env", "gateway", "hooks", "mcp", "plugins", "secrets"];

/// The key that opens the file to its owner's commands.
const BY_COMMANDS: &str = "/commands/config";

/// The key that lets him try settings out, which change no file.
const BY_TRIAL: &str = "/commands/debug";

/// Whether a path is one of `keys`, or below it.
fn below(path: &str, keys: &[&str]) -> bool {
    keys.iter().any(|key| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Whether an agent may change what is at a path.
fn changeable(path: &str) -> bool {
    below(path, &CHANGEABLE)
}

/// Returns the file, or what is at a path of it.
pub(crate) fn look(gateway: &Gateway, path: &str) -> Result<LookResponse, ErrorShape> {
    let desk = Desk::open(gateway, Version::V4)?;
    let whole = desk.redactor.value(&desk.seen.parsed);
    let part = if path.trim().is_empty() { Some(&whole) } else { KeyPath::parse(path).and_then(|path| path.find(&whole)) };
    let part = part.ok_or_else(|| ErrorShape::invalid(format!("the configuration has no {path}")))?;
    Ok(LookResponse { config: Some(json(part)), hash: hash(&desk) })
}

/// Returns the schema of one key.
pub(crate) fn describe(path: &str) -> Result<DescribeResponse, ErrorShape> {
    let found = answer::lookup(path)?;
    Ok(DescribeResponse { schema: found.schema, children: found.children.into_iter().map(|child| child.path).collect() })
}

/// Lays a patch over the file, or says what that would do.
pub(crate) fn change(gateway: &Gateway, request: &ChangeRequest) -> Result<ChangeResponse, ErrorShape> {
    let desk = Desk::open(gateway, Version::V4)?;
    let seen = hash(&desk);
    if !request.base_hash.is_empty() && request.base_hash != seen {
        return Err(ErrorShape::invalid("the configuration has changed since it was looked at; look again"));
    }
    let patch = parse(&request.patch).map_err(|reason| ErrorShape::invalid(format!("the patch is not JSON5: {reason}")))?;
    if !patch.is_object() {
        return Err(ErrorShape::invalid("the patch is no object"));
    }
    let (before, after) = preview(&desk, &patch)?;
    let paths = changed_paths(&before, &after);
    if request.by_owner {
        open_to_owner(&before, &paths, request.check_only)?;
    }
    let out_of_reach: Vec<&str> = paths.iter().map(String::as_str).filter(|path| !changeable(path)).collect();
    if !out_of_reach.is_empty() && !request.by_owner {
        let words = format!("an agent cannot change {}; ask the owner. It can change: {}", out_of_reach.join(", "), CHANGEABLE.join(", "));
        return Err(ErrorShape::new(Code::Forbidden, words));
    }
    let plan = Plan::of(&paths, Settings::of(&after).mode);
    let restarted = plan.doing(Action::Restart).into_iter().map(str::to_owned).collect();
    if request.check_only || paths.is_empty() {
        return Ok(ChangeResponse { paths, restarted, hash: seen });
    }
    // On top of what was checked, or not at all.
    let base_hash = desk.seen.raw.is_some().then_some(seen);
    desk.patch(&ConfigPatchRequest { raw: request.patch.clone(), base_hash, ..ConfigPatchRequest::default() })?;
    let who = if request.by_owner { "the owner, in a chat" } else { "an agent" };
    tracing::info!(paths = paths.join(", "), who, "the configuration was changed");
    Ok(ChangeResponse { paths, restarted, hash: hash(&Desk::open(gateway, Version::V4)?) })
}

/// Checks that the file lets its owner change it from a chat, and that this is nothing that is closed to chats.
fn open_to_owner(before: &Value, paths: &[String], check_only: bool) -> Result<(), ErrorShape> {
    let on = |key: &str| before.pointer(key) == Some(&Value::Bool(true));
    let open = on(BY_COMMANDS) || check_only && on(BY_TRIAL);
    if !open {
        return Err(ErrorShape::new(Code::Forbidden, "commands.config is off"));
    }
    let closed: Vec<&str> = paths.iter().map(String::as_str).filter(|path| below(path, &CLOSED)).collect();
    if closed.is_empty() {
        return Ok(());
    }
    let words = format!("{} is not changed from a chat; use `verso config set` on the gateway's host", closed.join(", "));
    Err(ErrorShape::new(Code::Forbidden, words))
}

/// Returns what the file holds, and what it would hold.
fn preview(desk: &Desk, patch: &Value) -> Result<(Value, Value), ErrorShape> {
    let stored = Document::parse(desk.seen.raw.as_deref().unwrap_or("{}")).map_err(|error| desk.refusal(&error.into()))?;
    let merged = desk.merged(&stored, patch, &[]).map_err(|error| desk.refusal(&error))?;
    let after = Document::parse(&merged).map_err(|error| desk.refusal(&error.into()))?;
    Ok((stored.value().clone(), after.value().clone()))
}

fn hash(desk: &Desk) -> String {
    desk.hashes.of_text(desk.seen.raw.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_20_what_is_changed_from_a_chat_is_switched_on_in_the_file_and_opens_no_door() {
        let on = serde_json::json!({"commands": {"config": true}});
        let open = |before: &Value, path: &str| open_to_owner(before, &[path.to_owned()], false).is_ok();
        let tries = |before: &Value, path: &str| open_to_owner(before, &[path.to_owned()], true).is_ok();
        let trial = serde_json::json!({"commands": {"debug": true}});
        assert!(tries(&trial, "agents.defaults.model") && !open(&trial, "agents.defaults.model"), "a trial changes no file");
        assert!(!tries(&trial, "gateway.auth.token") && !tries(&serde_json::json!({}), "agents.defaults.model"));
        for path in ["messages.ackReaction", "channels.telegram.allowFrom", "agents.defaults.model", "tools.exec.security"] {
            assert!(open(&on, path), "{path}");
            assert!(!open(&serde_json::json!({}), path) && !open(&serde_json::json!({"commands": {"config": false}}), path), "{path}");
        }
        for path in [
            "commands.ownerAllowFrom",
            "commands.bash",
            "gateway.auth.token",
            "gateway",
            "hooks.token",
            "env.PATH",
            "mcp.servers.x",
            "$include",
        ] {
            assert!(!open(&on, path), "{path}");
        }
    }

    #[test]
    fn sec_59_what_is_open_is_named_and_everything_else_is_not() {
        for path in ["agents.defaults.model", "agents.defaults.model.primary", "agents.defaults.heartbeat.every", "ui.seamColor"] {
            assert!(changeable(path), "{path}");
        }
        for path in [
            "gateway.auth.token",
            "gateway.auth.mode",
            "gateway.bind",
            "gateway.nodes.allowCommands",
            "approvals.exec.enabled",
            "plugins.allow",
            "plugins.entries.x.enabled",
            "channels.telegram.allowFrom",
            "channels.telegram.dmPolicy",
            "channels.whatsapp.groups",
            "tools.exec.security",
            "tools.allow",
            "tools.elevated.allowFrom",
            "tools.agentToAgent.enabled",
            "agents.list",
            "agents.defaults",
            "agents.defaults.sandbox.mode",
            "agents.defaults.workspace",
            "agents.defaults.heartbeat.to",
            "agents.defaults.heartbeat.target",
            "agents.defaults.modelx",
            "agents.defaults.cliBackends.x.command",
            "models.providers.x.baseUrl",
            "models.providers.x.headers.Authorization",
            "mcp.servers.x.command",
            "auth.order",
            "bindings",
            "commands.ownerAllowFrom",
            "hooks.token",
            "env.PATH",
            "skills.load.extraDirs",
            "session.dmScope",
            "session.identityLinks",
            "logging.file",
            "$include",
        ] {
            assert!(!changeable(path), "{path}");
        }
    }
}
