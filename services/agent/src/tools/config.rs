//! What the configuration says about tools: the section `tools`, and what agents and groups have of their own.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use verso_kit::config::{self, File};
use verso_tools::exec;
use verso_tools::policy::Rules;
use verso_tools::sandbox::container;
use verso_tools::web::{FetchConfig, SearchConfig};

use super::ExecWishes;
use crate::keys::{AgentId, SessionKey};

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Config {
    pub(super) tools: Tools,
    agents: Agents,
    /// By channel, then by group.
    groups: BTreeMap<String, BTreeMap<String, Group>>,
    /// `agents.defaults.memorySearch`.
    pub(super) memory: Memory,
    /// Whether an agent may restart services.
    pub(super) restarts: bool,
    /// The networks that are configured.
    pub(super) channels: Vec<String>,
}

/// The section `tools`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Tools {
    #[serde(flatten)]
    pub(super) rules: Rules,
    pub(super) exec: exec::Config,
    pub(super) sandbox: Inner,
    pub(super) subagents: Inner,
    pub(super) agent_to_agent: AgentToAgent,
    pub(super) web: Web,
    pub(super) message: CrossContext,
    elevated: Elevated,
}

/// The section `tools.elevated`, beside whose words count in which chat.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Elevated {
    /// Default: yes.
    enabled: Option<bool>,
}

/// How far programs leave the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elevation {
    /// What is not on the list is asked about.
    Asking,
    /// Nothing is asked.
    Free,
}

/// The section `tools.message`: who may be written to beside whoever is in the conversation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct CrossContext {
    allow_cross_context_send: bool,
    cross_context: Crossing,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Crossing {
    allow_within_provider: Option<bool>,
    allow_across_providers: bool,
    marker: Marker,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Marker {
    enabled: Option<bool>,
    prefix: Option<String>,
    suffix: Option<String>,
}

impl CrossContext {
    /// Whether other chats of the same network may be written to.
    pub(super) fn within(&self) -> bool {
        self.cross_context.allow_within_provider != Some(false)
    }

    /// Whether chats of other networks may be.
    pub(super) fn across(&self) -> bool {
        self.allow_cross_context_send || self.cross_context.allow_across_providers
    }

    /// Says where a message comes from, to people who are not in that conversation.
    pub(super) fn marked(&self, text: &str, channel: &str) -> String {
        let Marker { enabled, prefix, suffix } = &self.cross_context.marker;
        if *enabled == Some(false) {
            return text.to_owned();
        }
        let named = |text: &str| text.replace("{channel}", channel);
        let prefix = prefix.as_deref().map_or_else(|| format!("[from {channel}] "), named);
        format!("{prefix}{text}{}", suffix.as_deref().map(named).unwrap_or_default())
    }
}

/// The section `tools.web`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Web {
    pub(super) fetch: FetchConfig,
    pub(super) search: SearchConfig,
}

/// The section `memorySearch`, beside who computes vectors.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    pub(super) enabled: Option<bool>,
    pub(super) query: verso_tools::memory::Query,
}

/// A section that holds rules under `tools`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Inner {
    pub(super) tools: Rules,
}

/// The section `tools.agentToAgent`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct AgentToAgent {
    pub(super) enabled: bool,
    pub(super) allow: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Agents {
    defaults: Own,
    list: Vec<Own>,
}

/// What an agent has of its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Own {
    id: String,
    pub(super) tools: Tools,
    pub(super) sandbox: Sandbox,
    subagents: Subagents,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Subagents {
    allow_agents: Vec<String>,
}

/// The section `sandbox` of an agent, or of all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Sandbox {
    /// `off`, `non-main` or `all`.
    pub(super) mode: Option<String>,
    /// `none`, `ro` or `rw`.
    pub(super) workspace_access: Option<String>,
    /// `auto`, `docker`, `bubblewrap` or `kernel`. Default: `auto`.
    pub(super) backend: Option<String>,
    /// An agent's own takes the place of that for all, as a whole.
    pub(super) docker: Option<container::Config>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[serde(rename_all = "camelCase")]
struct Group {
    tools: Option<Rules>,
    /// By the sender's own id on the network; `*` for everybody else.
    tools_by_sender: BTreeMap<String, Rules>,
}

/// The section `commands`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Commands {
    restart: Option<bool>,
}

impl Config {
    /// Reads it.
    pub(super) fn read(file: &File) -> Result<Self, config::Error> {
        let channels: BTreeMap<String, Value> = file.section("channels")?;
        let groups =
            |section: Value| section.get("groups").and_then(|groups| serde_json::from_value(groups.clone()).ok()).unwrap_or_default();
        let commands: Commands = file.section("commands")?;
        Ok(Self {
            memory: file.section("agents.defaults.memorySearch")?,
            restarts: commands.restart != Some(false),
            channels: channels.keys().filter(|name| *name != "defaults").map(|name| name.to_lowercase()).collect(),
            tools: file.section("tools")?,
            agents: file.section("agents")?,
            groups: channels.into_iter().map(|(channel, section)| (channel.to_lowercase(), groups(section))).collect(),
        })
    }

    /// Returns what an agent has of its own.
    pub(super) fn agent(&self, id: &str) -> Option<&Own> {
        self.agents.list.iter().find(|agent| AgentId::normalize(&agent.id).as_str() == id)
    }

    /// Returns an agent's sandbox: its own words before those for all.
    pub(super) fn sandbox(&self, id: &str) -> Sandbox {
        let own = self.agent(id).map(|agent| agent.sandbox.clone()).unwrap_or_default();
        let all = &self.agents.defaults.sandbox;
        Sandbox {
            mode: own.mode.or_else(|| all.mode.clone()),
            workspace_access: own.workspace_access.or_else(|| all.workspace_access.clone()),
            backend: own.backend.or_else(|| all.backend.clone()),
            docker: own.docker.or_else(|| all.docker.clone()),
        }
    }

    /// Returns how an agent may run programs in a session. What the session says can be stricter than the configuration, never looser.
    pub(super) fn exec_for(&self, id: &str, wishes: &ExecWishes) -> exec::Config {
        let mut exec = self.exec(id);
        let narrow = |all: Option<String>, own: &Option<String>, words: [&str; 3]| {
            let rank = |word: &str| words.iter().position(|known| *known == word);
            // Without a word of the configuration the usual one counts, which is the middle.
            let limit = all.as_deref().map_or(Some(1), |word| rank(word.trim()));
            let own = own.clone().filter(|own| rank(own).is_some_and(|own| limit.is_some_and(|limit| own <= limit)));
            own.or(all)
        };
        exec.security = narrow(exec.security.take(), &wishes.security, ["deny", "allowlist", "full"]);
        exec.ask = narrow(exec.ask.take(), &wishes.ask, ["always", "on-miss", "off"]);
        if self.elevation(id, wishes) == Some(Elevation::Free) {
            // The file of approvals has the last word all the same.
            (exec.security, exec.ask) = (Some("full".to_owned()), Some("off".to_owned()));
        }
        exec.host = wishes.host.clone().or(exec.host);
        exec.node = wishes.node.clone().or(exec.node);
        exec
    }

    /// Returns how far programs leave the sandbox because the session, or a message, says so. Only the owner's words count, and only where the
    /// configuration lets them.
    pub(super) fn elevation(&self, id: &str, wishes: &ExecWishes) -> Option<Elevation> {
        let on = |section: &Elevated| section.enabled != Some(false);
        let permitted = on(&self.tools.elevated) && self.agent(id).is_none_or(|agent| on(&agent.tools.elevated));
        if !wishes.by_owner || !permitted {
            return None;
        }
        match wishes.elevated.as_deref() {
            Some("full") => Some(Elevation::Free),
            Some("on" | "ask") => Some(Elevation::Asking),
            _ => None,
        }
    }

    /// Returns how an agent may run programs. Its own words can be stricter than those for all, never looser.
    pub(super) fn exec(&self, id: &str) -> exec::Config {
        let mut exec = self.tools.exec.clone();
        let Some(own) = self.agent(id).map(|agent| &agent.tools.exec) else { return exec };
        let rank = |words: [&str; 3], word: &str| words.iter().position(|known| *known == word.trim());
        let stricter = |words: [&str; 3], all: Option<String>, own: Option<&String>| match (all, own) {
            (Some(all), Some(own)) => Some(if rank(words, own) < rank(words, &all) { own.clone() } else { all }),
            (all, own) => all.or_else(|| own.cloned()),
        };
        exec.security = stricter(["deny", "allowlist", "full"], exec.security.take(), own.security.as_ref());
        exec.ask = stricter(["always", "on-miss", "off"], exec.ask.take(), own.ask.as_ref());
        exec.timeout_sec = own.timeout_sec.or(exec.timeout_sec);
        exec.background_ms = own.background_ms.or(exec.background_ms);
        exec.host = own.host.clone().or(exec.host);
        exec.node = own.node.clone().or(exec.node);
        exec
    }

    /// Returns which agents an agent may start: itself, and those that it is allowed.
    pub(super) fn spawnable(&self, id: &str) -> Vec<String> {
        let allowed = self.agent(id).map(|agent| agent.subagents.allow_agents.clone()).unwrap_or_default();
        std::iter::once(id.to_owned()).chain(allowed).collect()
    }

    /// Whether an agent may see and address another one's sessions.
    pub(super) fn may_reach(&self, agent: &str, other: &str) -> bool {
        let listed = |id: &str| self.tools.agent_to_agent.allow.iter().any(|name| name == "*" || AgentId::normalize(name).as_str() == id);
        agent == other || (self.tools.agent_to_agent.enabled && listed(agent) && listed(other))
    }

    /// Returns the rules of the group that a session belongs to, and those for the sender. Which group that is, the session's own key
    /// says; who the sender is, the network.
    pub(super) fn group_rules(&self, key: &SessionKey, sender: Option<&str>) -> Vec<Rules> {
        let Some((_, rest)) = crate::keys::parse(key.as_str()) else { return Vec::new() };
        let mut parts = rest.splitn(3, ':');
        let (Some(channel), Some("group" | "channel"), Some(id)) = (parts.next(), parts.next(), parts.next()) else { return Vec::new() };
        let Some(groups) = self.groups.get(channel) else { return Vec::new() };
        // A thread is part of its group.
        let id = id.split(":thread:").next().unwrap_or(id);
        let own = groups.iter().find(|(name, _)| name.eq_ignore_ascii_case(id)).map(|(_, group)| group);
        let Some(group) = own.or_else(|| groups.get("*")) else { return Vec::new() };
        let senders = &group.tools_by_sender;
        // What somebody calls himself counts for nothing: only whole ids are compared.
        let senders_own = sender.and_then(|sender| senders.get(sender)).or_else(|| senders.get("*"));
        senders_own.or(group.tools.as_ref()).cloned().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> Config {
        Config::read(&File::from_value(value)).unwrap()
    }

    #[test]
    fn an_agents_own_words_are_never_looser() {
        let config = config(json!({
            "tools": {"exec": {"security": "allowlist", "ask": "on-miss"}, "deny": ["cron"]},
            "agents": {"list": [{"id": "loose", "tools": {"exec": {"security": "full", "ask": "off"}}}, {"id": "strict", "tools": {"exec": {"security": "deny", "ask": "always"}}}]},
        }));
        let words = |id| {
            let exec = config.exec(id);
            (exec.security.unwrap(), exec.ask.unwrap())
        };
        assert_eq!(words("loose"), ("allowlist".to_owned(), "on-miss".to_owned()));
        assert_eq!(words("strict"), ("deny".to_owned(), "always".to_owned()));
        assert_eq!(config.tools.rules.deny, Some(vec!["cron".to_owned()]));
    }

    #[test]
    fn a_session_is_never_looser_than_the_configuration() {
        let (silent, open) = (config(json!({})), config(json!({"tools": {"exec": {"security": "full", "ask": "off"}}})));
        let words = |config: &Config, security: &str, ask: &str| {
            let wishes = ExecWishes { security: Some(security.to_owned()), ask: Some(ask.to_owned()), ..ExecWishes::default() };
            let exec = config.exec_for("main", &wishes);
            (exec.security, exec.ask)
        };
        let some = |security: &str, ask: &str| (Some(security.to_owned()), Some(ask.to_owned()));
        assert_eq!(words(&silent, "full", "off"), (None, None));
        assert_eq!(words(&silent, "deny", "always"), some("deny", "always"));
        assert_eq!(words(&open, "allowlist", "on-miss"), some("allowlist", "on-miss"));
        assert_eq!(words(&open, "bogus", "off"), some("full", "off"));
    }

    #[test]
    fn sec_55_only_the_owners_words_lead_programs_out_of_a_sandbox() {
        let open = config(json!({"agents": {"list": [{"id": "kept", "tools": {"elevated": {"enabled": false}}}]}}));
        let shut = config(json!({"tools": {"elevated": {"enabled": false}}}));
        let wishes = |level: &str, by_owner| ExecWishes { elevated: Some(level.to_owned()), by_owner, ..ExecWishes::default() };
        assert_eq!(open.elevation("main", &wishes("on", true)), Some(Elevation::Asking));
        assert_eq!(open.elevation("main", &wishes("full", true)), Some(Elevation::Free));
        for (config, agent, wishes) in [
            (&open, "main", wishes("full", false)),
            (&open, "main", wishes("off", true)),
            (&open, "kept", wishes("full", true)),
            (&shut, "main", wishes("full", true)),
        ] {
            assert_eq!(config.elevation(agent, &wishes), None, "{agent} {wishes:?}");
        }
        let exec = open.exec_for("main", &wishes("full", true));
        assert_eq!((exec.security.as_deref(), exec.ask.as_deref()), (Some("full"), Some("off")));
    }

    #[test]
    fn sec_67_a_groups_rules_are_found_by_the_sessions_own_key() {
        let config = config(
            json!({"channels": {"telegram": {"groups": {"-100": {"tools": {"deny": ["exec"]}}, "*": {"tools": {"allow": ["read"]}}}}}}),
        );
        let rules = |key: &str| config.group_rules(&SessionKey::stored(key), None);
        assert_eq!(rules("agent:main:telegram:group:-100")[0].deny, Some(vec!["exec".to_owned()]));
        assert_eq!(rules("agent:main:telegram:group:-100:thread:7")[0].deny, Some(vec!["exec".to_owned()]));
        assert_eq!(rules("agent:main:telegram:group:-1")[0].allow, Some(vec!["read".to_owned()]));
        for key in ["agent:main:main", "agent:main:discord:group:-100", "agent:main:telegram:dm:-100"] {
            assert!(rules(key).is_empty(), "{key}");
        }
    }

    #[test]
    fn sec_67_a_senders_rules_come_before_the_groups_and_only_for_his_whole_id() {
        let by_sender = json!({"42": {"deny": []}, "*": {"allow": ["session_status"]}});
        let group = json!({"tools": {"deny": ["exec"]}, "toolsBySender": by_sender});
        let config = config(json!({"channels": {"telegram": {"groups": {"-100": group, "-200": {"tools": {"deny": ["read"]}}}}}}));
        let rules = |group: &str, sender| config.group_rules(&SessionKey::stored(&format!("agent:main:telegram:group:{group}")), sender);
        assert_eq!(rules("-100", Some("42"))[0].deny, Some(vec![]));
        for sender in [None, Some("4"), Some("421"), Some("Forty Two")] {
            assert_eq!(rules("-100", sender)[0].allow, Some(vec!["session_status".to_owned()]), "{sender:?}");
        }
        assert_eq!(rules("-200", Some("42"))[0].deny, Some(vec!["read".to_owned()]));
    }

    #[test]
    fn sec_69_agents_reach_each_other_only_when_both_are_allowed() {
        let closed = config(json!({"tools": {"agentToAgent": {"allow": ["*"]}}}));
        assert!(closed.may_reach("main", "main") && !closed.may_reach("main", "second"));
        let open = config(json!({"tools": {"agentToAgent": {"enabled": true, "allow": ["main", "second"]}}}));
        assert!(open.may_reach("main", "second") && !open.may_reach("main", "third") && !open.may_reach("third", "main"));
    }
}
