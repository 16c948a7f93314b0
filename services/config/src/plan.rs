//! What a change asks of the running processes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The processes, in the order in which they are restarted: the edge last, so that its clients come back to services that are ready.
pub const SERVICES: [&str; 6] = ["presence", "node", "channel", "agent", "canvas", "edge"];

/// What a process does about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It takes the change over while it runs.
    Hot,
    /// It is restarted.
    Restart,
}

/// What happens when the file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReloadMode {
    /// Nothing.
    Off,
    /// Every process that the change concerns is restarted.
    Restart,
    /// Only what can be taken over is.
    Hot,
    /// What can be taken over is; the other processes concerned are restarted.
    #[default]
    Hybrid,
}

/// The section `gateway.reload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What happens when the file changes.
    pub mode: ReloadMode,
    /// How long the file must have been left alone, in milliseconds.
    pub debounce_ms: u64,
}

impl Settings {
    /// Reads the section out of the whole file; what is not there or cannot be used is the default.
    pub fn of(root: &Value) -> Self {
        let mode = match root.pointer("/gateway/reload/mode").and_then(Value::as_str) {
            Some("off") => ReloadMode::Off,
            Some("restart") => ReloadMode::Restart,
            Some("hot") => ReloadMode::Hot,
            _ => ReloadMode::Hybrid,
        };
        let debounce_ms = root.pointer("/gateway/reload/debounceMs").and_then(Value::as_u64).unwrap_or(300).min(DEBOUNCE_MS_MAX);
        Self { mode, debounce_ms }
    }
}

/// A longer pause only looks like a broken reload, in milliseconds.
const DEBOUNCE_MS_MAX: u64 = 60_000;

/// What a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    /// These services, in this way.
    On(&'static [(&'static str, Action)]),
    /// Every service.
    All(Action),
    /// Something that only the start of the whole gateway does: it binds sockets and chooses services.
    Gateway,
}

const EDGE_HOT: Effect = Effect::On(&[("edge", Action::Hot)]);
const EDGE: Effect = Effect::On(&[("edge", Action::Restart)]);
const AGENT_HOT: Effect = Effect::On(&[("agent", Action::Hot)]);
const CHANNEL_HOT: Effect = Effect::On(&[("channel", Action::Hot)]);
const TALKING_HOT: Effect = Effect::On(&[("agent", Action::Hot), ("channel", Action::Hot)]);
const NODE_HOT: Effect = Effect::On(&[("node", Action::Hot)]);
const RUNNING_HOT: Effect = Effect::On(&[("agent", Action::Hot), ("node", Action::Hot)]);

/// The longest prefix counts, in names; `*` stands for any name. A section without a rule restarts everything.
const RULES: [(&str, Effect); 60] = [
    ("$schema", Effect::Nothing),
    ("meta", Effect::Nothing),
    ("wizard", Effect::Nothing),
    ("update", Effect::Nothing),
    ("gateway", Effect::Gateway),
    ("gateway.mode", Effect::Nothing),
    ("gateway.remote", Effect::Nothing),
    ("gateway.reload", Effect::Nothing),
    ("gateway.auth", EDGE_HOT),
    ("gateway.trustedProxies", EDGE_HOT),
    ("gateway.allowRealIpFallback", EDGE_HOT),
    ("gateway.controlUi", EDGE_HOT),
    ("gateway.http", EDGE_HOT),
    ("gateway.tools", EDGE_HOT),
    ("gateway.limits", EDGE),
    // The supervisor reads them itself, and holds running processes to them.
    ("gateway.budgets", Effect::Nothing),
    ("gateway.nodes", NODE_HOT),
    ("gateway.tailscale", Effect::Nothing),
    // How they are restarted is for the supervisor, which follows by itself.
    ("gateway.services", Effect::Nothing),
    ("gateway.services.presence.enabled", Effect::Gateway),
    ("gateway.services.node.enabled", Effect::Gateway),
    ("gateway.services.channel.enabled", Effect::Gateway),
    ("gateway.services.agent.enabled", Effect::Gateway),
    ("gateway.services.canvas.enabled", Effect::Gateway),
    ("canvasHost", Effect::On(&[("canvas", Action::Restart), ("edge", Action::Hot)])),
    ("canvasHost.enabled", Effect::Gateway),
    ("canvasHost.port", Effect::Gateway),
    ("channels", CHANNEL_HOT),
    // The agents read which tools a group has, and whether a chat may change the file.
    ("channels.*.groups", TALKING_HOT),
    ("channels.*.configWrites", TALKING_HOT),
    ("channels.*.accounts.*.groups", TALKING_HOT),
    ("channels.*.accounts.*.configWrites", TALKING_HOT),
    ("adapters", CHANNEL_HOT),
    ("web", CHANNEL_HOT),
    ("messages", TALKING_HOT),
    ("commands", TALKING_HOT),
    ("commands.restart", Effect::Nothing),
    ("broadcast", TALKING_HOT),
    ("bindings", TALKING_HOT),
    ("session", AGENT_HOT),
    ("session.sendPolicy", TALKING_HOT),
    ("agents", AGENT_HOT),
    ("tools", AGENT_HOT),
    ("tools.exec", RUNNING_HOT),
    ("models", AGENT_HOT),
    ("auth", AGENT_HOT),
    ("skills", AGENT_HOT),
    ("mcp", AGENT_HOT),
    ("memory", AGENT_HOT),
    ("talk", AGENT_HOT),
    ("media", AGENT_HOT),
    ("audio", AGENT_HOT),
    ("cron", AGENT_HOT),
    ("approvals", RUNNING_HOT),
    ("discovery", Effect::On(&[("presence", Action::Hot)])),
    ("hooks", EDGE_HOT),
    ("ui", EDGE_HOT),
    ("logging", Effect::All(Action::Hot)),
    // Exporters are built once a process, and its variables are given to a process when it starts.
    ("diagnostics", Effect::All(Action::Restart)),
    ("env", Effect::All(Action::Restart)),
];

/// Sections that no process of this build reads.
const UNREAD: [&str; 3] = ["browser", "nodeHost", "plugins"];

/// What a change comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What each process does; those that do nothing are left out.
    pub services: BTreeMap<&'static str, Action>,
    /// The paths that only a start of the whole gateway takes over.
    pub gateway: Vec<String>,
    /// The paths that no running process cares about.
    pub unnoticed: Vec<String>,
    /// The paths that nobody knows anything about: every service is restarted for them.
    pub unknown: Vec<String>,
    /// The paths whose change is not carried out, by the mode.
    pub ignored: Vec<String>,
}

impl Plan {
    /// Works out what these changed paths ask for.
    pub fn of(changed: &[String], mode: ReloadMode) -> Self {
        let mut plan = Self::default();
        for path in changed {
            plan.add(path, mode);
        }
        plan
    }

    /// Whether no process has to do anything.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.gateway.is_empty()
    }

    /// The services that do this.
    pub fn doing(&self, action: Action) -> Vec<&'static str> {
        SERVICES.into_iter().filter(|name| self.services.get(name) == Some(&action)).collect()
    }

    fn add(&mut self, path: &str, mode: ReloadMode) {
        let wanted: Vec<(&'static str, Action)> = match effect_of(path) {
            Some(Effect::Nothing) => return self.unnoticed.push(path.to_owned()),
            _ if mode == ReloadMode::Off => return self.ignored.push(path.to_owned()),
            Some(Effect::Gateway) if mode == ReloadMode::Hot => return self.ignored.push(path.to_owned()),
            Some(Effect::Gateway) => return self.gateway.push(path.to_owned()),
            Some(Effect::On(services)) => services.to_vec(),
            Some(Effect::All(action)) => SERVICES.map(|name| (name, action)).to_vec(),
            None => {
                self.unknown.push(path.to_owned());
                SERVICES.map(|name| (name, Action::Restart)).to_vec()
            }
        };
        for (name, action) in wanted {
            match (mode, action) {
                (ReloadMode::Hot, Action::Restart) => {
                    if !self.ignored.iter().any(|ignored| ignored == path) {
                        self.ignored.push(path.to_owned());
                    }
                }
                (ReloadMode::Restart, _) => drop(self.services.insert(name, Action::Restart)),
                (_, action) => {
                    let present = self.services.entry(name).or_insert(action);
                    *present = action.max(*present);
                }
            }
        }
    }
}

/// Says for the reference page what a change of the key does.
pub(crate) fn effect(path: &str) -> String {
    let list = |services: &[(&str, Action)]| {
        let word = |action: &Action| if *action == Action::Hot { "hot" } else { "restart" };
        services.iter().map(|(name, action)| format!("{name}: {}", word(action))).collect::<Vec<_>>().join(", ")
    };
    match effect_of(path) {
        Some(Effect::Nothing) => "nothing".to_owned(),
        Some(Effect::Gateway) => "at the next start".to_owned(),
        Some(Effect::On(services)) => list(services),
        Some(Effect::All(Action::Hot)) => "all: hot".to_owned(),
        Some(Effect::All(Action::Restart)) | None => "all: restart".to_owned(),
    }
}

fn effect_of(path: &str) -> Option<Effect> {
    let below = |prefix: &str| {
        let mut names = path.split('.');
        prefix.split('.').all(|wanted| names.next().is_some_and(|name| wanted == "*" || wanted == name))
    };
    if UNREAD.iter().any(|prefix| below(prefix)) {
        return Some(Effect::Nothing);
    }
    RULES.iter().filter(|(prefix, _)| below(prefix)).max_by_key(|(prefix, _)| prefix.split('.').count()).map(|(_, effect)| *effect)
}

/// Lists the dotted paths at which two configurations differ. Lists are compared whole.
pub fn changed_paths(before: &Value, after: &Value) -> Vec<String> {
    let mut found = BTreeSet::new();
    differ("", before, after, &mut found);
    found.into_iter().collect()
}

fn differ(path: &str, before: &Value, after: &Value, found: &mut BTreeSet<String>) {
    let empty = Value::Object(serde_json::Map::new());
    let (before, after) = match (before, after) {
        (Value::Null, Value::Object(_)) => (&empty, after),
        (Value::Object(_), Value::Null) => (before, &empty),
        both => both,
    };
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for name in old.keys().chain(new.keys()) {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                differ(&below, old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null), found);
            }
        }
        (old, new) if old == new => {}
        _ => drop(found.insert(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(paths: &[&str], mode: ReloadMode) -> Plan {
        Plan::of(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>(), mode)
    }

    #[test]
    fn differences_are_named_by_the_innermost_path() {
        let before = json!({"a": {"b": 1, "c": [1]}, "d": 1, "e": {}});
        let after = json!({"a": {"b": 2, "c": [1, 2]}, "f": {"g": {"h": 1}}, "e": {}});
        assert_eq!(changed_paths(&before, &after), ["a.b", "a.c", "d", "f.g.h"]);
    }

    #[test]
    fn the_longest_prefix_decides() {
        let hybrid = |path: &str| plan(&[path], ReloadMode::Hybrid);
        assert_eq!(hybrid("gateway.auth.token").doing(Action::Hot), ["edge"]);
        assert_eq!(hybrid("gateway.port").gateway, ["gateway.port"]);
        assert_eq!(hybrid("gateway.portal").gateway, ["gateway.portal"], "a prefix ends at a dot");
        assert_eq!(hybrid("channels.telegram.botToken").doing(Action::Hot), ["channel"]);
        for path in ["channels.telegram.groups.-1.tools.deny", "channels.irc.accounts.work.configWrites"] {
            assert_eq!(hybrid(path).doing(Action::Hot), ["channel", "agent"], "{path}");
        }
        assert_eq!(hybrid("logging.level").doing(Action::Hot).len(), 6);
        assert!(hybrid("meta.lastTouchedAt").is_empty());
        assert_eq!(hybrid("env.vars.A").doing(Action::Restart).last(), Some(&"edge"), "the edge last");
        assert_eq!(hybrid("invented.key").unknown, ["invented.key"]);
        assert_eq!(hybrid("invented.key").doing(Action::Restart).len(), 6, "what nobody knows may concern everybody");
    }

    #[test]
    fn modes_change_what_is_done() {
        let paths = ["gateway.auth.token", "agents.list", "gateway.port"];
        assert_eq!(plan(&paths, ReloadMode::Off).ignored.len(), 3);
        let hot = plan(&paths, ReloadMode::Hot);
        assert_eq!((hot.doing(Action::Hot), hot.doing(Action::Restart).len()), (vec!["agent", "edge"], 0));
        assert_eq!(hot.ignored, ["gateway.port"]);
        assert_eq!(plan(&["canvasHost.root"], ReloadMode::Hot).ignored, ["canvasHost.root"]);
        assert_eq!(plan(&paths, ReloadMode::Restart).doing(Action::Restart), ["agent", "edge"]);
        let both = plan(&["agents.list", "hooks.token", "gateway.limits.pingMs"], ReloadMode::Hybrid);
        assert_eq!((both.doing(Action::Hot), both.doing(Action::Restart)), (vec!["agent"], vec!["edge"]));
    }

    #[test]
    fn every_section_has_a_rule() {
        let known = crate::hints().keys().filter(|path| !path.contains('.')).cloned().collect::<Vec<_>>();
        let without: Vec<String> = known.into_iter().filter(|section| effect_of(section).is_none()).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn settings_have_defaults_and_limits() {
        let settings = Settings::of(&json!({"gateway": {"reload": {"mode": "hot", "debounceMs": 9_999_999}}}));
        assert_eq!(settings, Settings { mode: ReloadMode::Hot, debounce_ms: DEBOUNCE_MS_MAX });
        assert_eq!(Settings::of(&json!({})), Settings { mode: ReloadMode::Hybrid, debounce_ms: 300 });
    }
}
