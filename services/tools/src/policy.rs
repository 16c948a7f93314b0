//! Which tools a turn may use: a pipeline of filters, each of which can only take tools away.

use std::collections::BTreeMap;

use serde::Deserialize;

#[cfg(test)]
mod tests;

/// What a subagent may never use: it has nobody to talk to and nothing to administer.
const SUBAGENT_DENIED: [&str; 11] = [
    "sessions_list",
    "sessions_history",
    "sessions_send",
    "sessions_spawn",
    "session_status",
    "gateway",
    "agents_list",
    "cron",
    "memory_search",
    "memory_get",
    "whatsapp_login",
];

/// What a sandboxed session may use unless configured.
const SANDBOX_ALLOWED: [&str; 12] = [
    "exec",
    "process",
    "read",
    "write",
    "edit",
    "apply_patch",
    "image",
    "sessions_list",
    "sessions_history",
    "sessions_send",
    "sessions_spawn",
    "session_status",
];

/// What a sandboxed session may not use unless configured.
const SANDBOX_DENIED: [&str; 6] = ["browser", "canvas", "nodes", "cron", "gateway", "message"];

/// Tools that clients may not invoke over HTTP, whatever the configuration says about agents.
const HTTP_DENIED: [&str; 21] = [
    "exec",
    "spawn",
    "shell",
    "fs_write",
    "fs_delete",
    "fs_move",
    "apply_patch",
    "terminal",
    "portal",
    "sessions_spawn",
    "sessions_send",
    "conversations_list",
    "conversations_send",
    "conversations_turn",
    "automations",
    "cron",
    "gateway",
    "plugins",
    "nodes",
    "computer",
    "mobile_ui",
];

/// Tools of the agent's own host, which no HTTP caller is offered at all.
const CODING: [&str; 6] = ["exec", "process", "read", "write", "edit", "apply_patch"];

/// A set of rules about tools, as configured in many places.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct Rules {
    /// `minimal`, `coding`, `messaging` or `full`.
    pub profile: Option<String>,
    /// Only these.
    pub allow: Option<Vec<String>>,
    /// These too, beside what the profile has.
    pub also_allow: Option<Vec<String>>,
    /// None of these.
    pub deny: Option<Vec<String>>,
    /// Rules for a provider, or for one of its models.
    pub by_provider: BTreeMap<String, Rules>,
}

/// Whose turn the tools are for.
#[derive(Debug, Clone, Default)]
pub struct Situation<'a> {
    /// The model's provider.
    pub provider: &'a str,
    /// The model.
    pub model: &'a str,
    /// The section `tools`.
    pub global: Rules,
    /// The agent's own section.
    pub agent: Rules,
    /// What the group that the session belongs to says, and what it says about the sender. Found by the session's own ids, never by
    /// what a message claims.
    pub group: Vec<Rules>,
    /// The rules for sandboxed sessions, if this is one. Without any, the built-in ones.
    pub sandbox: Option<Rules>,
    /// The rules for subagents, if this is one.
    pub subagent: Option<Rules>,
}

impl Situation<'_> {
    /// Returns those of `names` that may be used, in their order.
    pub fn permitted(&self, names: &[&str]) -> Vec<String> {
        let mut stages: Vec<Stage> = Vec::new();
        stages.extend(profile(&self.global, &self.agent));
        for rules in [&self.global, &self.agent] {
            if let Some(own) = self.of_provider(rules) {
                stages.extend(profile(own, &Rules::default()));
            }
        }
        for rules in [&self.global, &self.agent] {
            stages.push(Stage::lists(rules, names));
            stages.extend(self.of_provider(rules).map(|own| Stage::lists(own, names)));
        }
        stages.extend(self.group.iter().map(|rules| Stage::lists(rules, names)));
        if let Some(rules) = &self.sandbox {
            stages.push(with_defaults(rules, Some(&SANDBOX_ALLOWED), &SANDBOX_DENIED, names));
        }
        if let Some(rules) = &self.subagent {
            stages.push(with_defaults(rules, None, &SUBAGENT_DENIED, names));
        }
        let kept = names.iter().filter(|name| stages.iter().all(|stage| stage.lets(name)));
        kept.map(|name| (*name).to_owned()).collect()
    }

    /// Rules for one model count before those for its provider.
    fn of_provider<'a>(&self, rules: &'a Rules) -> Option<&'a Rules> {
        let full = format!("{}/{}", self.provider, self.model);
        let find = |wanted: &str| rules.by_provider.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, rules)| rules);
        find(&full).or_else(|| find(self.provider))
    }
}

/// Whether a client may invoke a tool over HTTP. `compat` gives the older, wider set; `denied` and `allowed` edit it.
pub fn http_permits(name: &str, compat: bool, denied: &[String], allowed: &[String]) -> bool {
    let name = canonical(name);
    let listed = |list: &[String]| list.iter().any(|other| canonical(other) == name);
    if CODING.contains(&name.as_str()) || listed(denied) {
        return false;
    }
    compat || listed(allowed) || !HTTP_DENIED.contains(&name.as_str())
}

/// One filter.
#[derive(Debug, Default)]
struct Stage {
    /// None: everything.
    allow: Option<Vec<String>>,
    deny: Vec<String>,
}

impl Stage {
    fn lists(rules: &Rules, known: &[&str]) -> Self {
        let mut allow = expand(rules.allow.as_deref().unwrap_or_default());
        if !allow.is_empty() && !allow.iter().any(|pattern| known.iter().any(|name| matches(pattern, name))) {
            tracing::warn!(list = ?rules.allow, "a list of allowed tools names none that there is, and is ignored");
            allow.clear();
        }
        if allow.iter().any(|pattern| pattern == "exec") {
            allow.push("apply_patch".to_owned());
        }
        // What is allowed beside a profile narrows nothing by itself.
        let allow = (!allow.is_empty()).then(|| allow.into_iter().chain(expand(rules.also_allow.as_deref().unwrap_or_default())).collect());
        Self { allow, deny: expand(rules.deny.as_deref().unwrap_or_default()) }
    }

    fn lets(&self, name: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|pattern| matches(pattern, name));
        !listed(&self.deny) && self.allow.as_ref().is_none_or(|allow| listed(allow))
    }
}

/// The agent's profile counts before that of all agents.
fn profile(global: &Rules, agent: &Rules) -> Option<Stage> {
    let name = agent.profile.as_deref().or(global.profile.as_deref())?;
    let tools: &[&str] = match name.trim().to_ascii_lowercase().as_str() {
        "minimal" => &["session_status"],
        "coding" => &["group:fs", "group:runtime", "group:sessions", "group:memory", "image"],
        "messaging" => &["group:messaging", "sessions_list", "sessions_history", "sessions_send", "session_status"],
        "full" => return None,
        other => {
            tracing::warn!(profile = other, "there is no such tool profile; the smallest is used");
            &["session_status"]
        }
    };
    let base = tools.iter().map(|name| (*name).to_owned());
    let more = [global, agent].into_iter().flat_map(|rules| rules.also_allow.iter().flatten().cloned());
    Some(Stage { allow: Some(expand(&base.chain(more).collect::<Vec<_>>())), deny: Vec::new() })
}

fn with_defaults(rules: &Rules, allowed: Option<&[&str]>, denied: &[&str], known: &[&str]) -> Stage {
    let own = Stage::lists(rules, known);
    let words = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let more = expand(rules.also_allow.as_deref().unwrap_or_default());
    let explicit = rules.allow.as_ref().is_some_and(|allow| !allow.is_empty());
    // What is allowed by name is not denied by default.
    let deny = if rules.deny.is_some() {
        own.deny
    } else {
        let named = if explicit { own.allow.clone().unwrap_or_default() } else { more.clone() };
        words(denied).into_iter().filter(|name| !named.iter().any(|pattern| matches(pattern, name))).collect()
    };
    let allow = if explicit { own.allow } else { allowed.map(|list| words(list).into_iter().chain(more).collect()) };
    Stage { allow, deny }
}

/// Puts the members in place of groups.
fn expand(list: &[String]) -> Vec<String> {
    list.iter()
        .flat_map(|name| {
            let name = canonical(name);
            match name.strip_prefix("group:") {
                Some(group) => members(group).iter().map(|member| (*member).to_owned()).collect(),
                None => vec![name],
            }
        })
        .collect()
}

fn members(group: &str) -> &'static [&'static str] {
    match group {
        "memory" => &["memory_search", "memory_get"],
        "web" => &["web_search", "web_fetch"],
        "fs" => &["read", "write", "edit", "apply_patch"],
        "runtime" => &["exec", "process"],
        "sessions" => &["sessions_list", "sessions_history", "sessions_send", "sessions_spawn", "session_status"],
        "ui" => &["browser", "canvas"],
        "automation" => &["cron", "gateway"],
        "messaging" => &["message"],
        "nodes" => &["nodes"],
        "openclaw" | "verso" => &[
            "browser",
            "canvas",
            "nodes",
            "cron",
            "message",
            "gateway",
            "agents_list",
            "sessions_list",
            "sessions_history",
            "sessions_send",
            "sessions_spawn",
            "session_status",
            "memory_search",
            "memory_get",
            "web_search",
            "web_fetch",
            "image",
        ],
        // Tools of MCP servers are called `mcp__server__tool`.
        "plugins" => &["mcp__*"],
        _ => &[],
    }
}

fn canonical(name: &str) -> String {
    match name.trim().to_ascii_lowercase().as_str() {
        "bash" => "exec".to_owned(),
        "apply-patch" => "apply_patch".to_owned(),
        other => other.to_owned(),
    }
}

/// Whether a name fits a pattern in which `*` stands for anything.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    if !pattern.contains('*') {
        return rest.is_empty();
    }
    let mut last = "";
    for part in parts {
        last = part;
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    // The last part is to be at the end: what follows its first find may hold it again.
    last.is_empty() || name.ends_with(last)
}
