//! What the gateway goes by: the clock, and other gateways of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use verso_kit::clock::Clock;

use super::super::Session;
use super::{Check, Status};
use crate::config::Gateway;
use crate::instance::Instance;

/// How far apart the ports of two gateways are, at least: each uses some above its own.
const PORTS_BETWEEN: u16 = 20;

/// How far ahead of the clock a file may be.
const AHEAD_MAX: Duration = Duration::from_mins(5);

/// No clock that is right is before 2025, in milliseconds since 1970.
const EARLIEST_MS: i64 = 1_735_689_600_000;

pub(super) fn all(session: &Session) -> Vec<Check> {
    let mut checks = vec![clock(session)];
    checks.extend(isolation(session));
    checks
}

/// A clock that is behind what was written, or before this program, makes every signature and every deadline wrong.
fn clock(session: &Session) -> Check {
    let now = Clock::system().now_ms();
    let newest = fs::read_dir(&session.instance.state_dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .max();
    let ahead = newest.and_then(|newest| newest.duration_since(SystemTime::UNIX_EPOCH).ok()).is_some_and(|newest| {
        let newest_ms = i64::try_from(newest.as_millis()).unwrap_or(i64::MAX);
        newest_ms - now > i64::try_from(AHEAD_MAX.as_millis()).unwrap_or(i64::MAX)
    });
    if now >= EARLIEST_MS && !ahead {
        return Check::ok("clock.sane", "the clock agrees with what was written");
    }
    Check::wrong("clock.sane", Status::Error, "the clock is behind what was written")
        .because("Devices sign the time: with a wrong clock none of them gets in.")
        .mended_by("Set the clock by the network: timedatectl set-ntp true")
}

/// What another gateway of this machine shares with this one: nothing may be in both.
fn isolation(session: &Session) -> Vec<Check> {
    let id = "isolation.matrix";
    let ours = Facts::of(&session.instance, &session.snapshot.file.value().clone());
    let others: Vec<Facts> = siblings(&session.instance).iter().map(|path| Facts::read(path)).collect();
    let mut checks: Vec<Check> = Vec::new();
    for other in &others {
        let shared = ours.shared_with(other);
        let name = session.instance.short(&other.state_dir);
        if shared.is_empty() {
            checks.push(Check::ok(id, format!("nothing is shared with {name}")));
        } else {
            let check = Check::wrong(id, Status::Warn, format!("shared with {name}: {}", shared.join(", ")));
            checks.push(
                check
                    .because("Two gateways disturb each other where they share something.")
                    .mended_by("Give each its own port (20 apart), workspace and accounts."),
            );
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok(id, "no other gateway has a folder here"));
    }
    checks
}

/// State folders beside ours.
fn siblings(instance: &Instance) -> Vec<PathBuf> {
    let Some(home) = instance.env.get("HOME").map(PathBuf::from) else { return Vec::new() };
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name == ".verso" || name.to_string_lossy().starts_with(".verso-"));
    let found = fs::read_dir(home).into_iter().flatten().flatten().map(|entry| entry.path());
    found.filter(|path| named(path) && *path != instance.state_dir && path.join("verso.json").exists()).collect()
}

/// What must differ between two gateways.
struct Facts {
    state_dir: PathBuf,
    port: u16,
    workspace: PathBuf,
    /// Credentials of chat networks, by their place in the file.
    credentials: BTreeMap<String, String>,
}

impl Facts {
    fn read(state_dir: &Path) -> Self {
        let text = fs::read_to_string(state_dir.join("verso.json")).unwrap_or_default();
        let root = verso_kit::config::parse(&text).unwrap_or_default();
        let dev = state_dir.ends_with(".verso-dev");
        let mut facts = Self::from(state_dir, &root);
        if dev && root.pointer("/gateway/port").is_none() {
            facts.port = 19_001;
        }
        facts
    }

    fn of(instance: &Instance, root: &Value) -> Self {
        let port = Gateway::of(&verso_kit::config::File::from_value(root.clone())).effective_port(&instance.env);
        Self { port, ..Self::from(&instance.state_dir, root) }
    }

    fn from(state_dir: &Path, root: &Value) -> Self {
        let port = root.pointer("/gateway/port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).unwrap_or(18_789);
        let workspace = root.pointer("/agents/defaults/workspace").and_then(Value::as_str);
        let workspace = workspace.map_or_else(|| state_dir.join("workspace"), PathBuf::from);
        let mut credentials = BTreeMap::new();
        collect(root.get("channels").unwrap_or(&Value::Null), "channels", &mut credentials);
        Self { state_dir: state_dir.to_owned(), port, workspace, credentials }
    }

    fn shared_with(&self, other: &Self) -> Vec<String> {
        let mut shared = Vec::new();
        if self.port.abs_diff(other.port) < PORTS_BETWEEN {
            shared.push(format!("ports {} and {} are fewer than {PORTS_BETWEEN} apart", self.port, other.port));
        }
        if self.workspace == other.workspace {
            shared.push("the workspace".to_owned());
        }
        let theirs: Vec<&String> = other.credentials.values().collect();
        shared.extend(
            self.credentials.iter().filter(|(_, secret)| theirs.contains(secret)).map(|(path, _)| format!("the account of {path}")),
        );
        shared
    }
}

/// Gathers what an account is recognised by.
fn collect(value: &Value, path: &str, into: &mut BTreeMap<String, String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match value {
            Value::String(secret) if matches!(name.as_str(), "botToken" | "token" | "appToken" | "account") => {
                drop(into.insert(path, secret.clone()));
            }
            Value::Object(_) => collect(value, &path, into),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_two_gateways_share_is_named() {
        let facts = |state: &str, root: &Value| Facts::from(Path::new(state), root);
        let main = facts("/h/.verso", &json!({"channels": {"telegram": {"botToken": "1:a"}}}));
        let same =
            facts("/h/.verso-b", &json!({"gateway": {"port": 18_795}, "channels": {"telegram": {"accounts": {"x": {"botToken": "1:a"}}}}}));
        let shared = main.shared_with(&same).join("; ");
        assert!(shared.contains("fewer than 20 apart") && shared.contains("channels.telegram.botToken"), "{shared}");
        let apart = facts("/h/.verso-c", &json!({"gateway": {"port": 19_789}}));
        assert!(main.shared_with(&apart).is_empty());
    }
}
