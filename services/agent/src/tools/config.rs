//! What the configuration says about tools: the section `tools`, and what agents and groups have of their own.

mod elevated;
mod groups;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use verso_kit::config::{self, File};
use verso_tools::exec;
use verso_tools::policy::Rules;
use verso_tools::sandbox::container;
use verso_tools::web::{FetchConfig, SearchConfig};

use super::ExecWishes;
use super::sessions::Visibility;
use crate::keys::AgentId;
use elevated::Elevated;
pub(super) use elevated::Elevation;
use groups::Groups;

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Config {
    pub(super) tools: Tools,
    agents: Agents,
    /// By channel.
    groups: BTreeMap<String, Groups>,
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
    sessions: SessionTools,
    elevated: Elevated,
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

/// The section `tools.sessions`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct SessionTools {
    /// `self`, `tree`, `agent` or `all`. Default: `all`.
    visibility: Option<String>,
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
    /// `spawned` or `all`. Default: `spawned`.
    session_tools_visibility: Option<String>,
    /// An agent's own takes the place of that for all, as a whole.
    pub(super) docker: Option<container::Config>,
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
        let commands: Commands = file.section("commands")?;
        Ok(Self {
            memory: file.section("agents.defaults.memorySearch")?,
            restarts: commands.restart != Some(false),
            channels: channels.keys().filter(|name| *name != "defaults").map(|name| name.to_lowercase()).collect(),
            tools: file.section("tools")?,
            agents: file.section("agents")?,
            groups: channels.into_iter().map(|(channel, section)| (channel.to_lowercase(), Groups::read(&section))).collect(),
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
            session_tools_visibility: own.session_tools_visibility.or_else(|| all.session_tools_visibility.clone()),
            docker: own.docker.or_else(|| all.docker.clone()),
        }
    }

    /// Returns the rules for an agent's tools in a sandbox: each list is its own, if it has one, else that for all.
    pub(super) fn sandbox_rules(&self, id: &str) -> Rules {
        let own = self.agent(id).map(|agent| agent.tools.sandbox.tools.clone()).unwrap_or_default();
        let all = &self.tools.sandbox.tools;
        Rules {
            allow: own.allow.or_else(|| all.allow.clone()),
            also_allow: own.also_allow.or_else(|| all.also_allow.clone()),
            deny: own.deny.or_else(|| all.deny.clone()),
            ..all.clone()
        }
    }

    /// Returns which sessions the tools of an agent's session may see.
    pub(super) fn visibility(&self, id: &str, sandboxed: bool) -> Visibility {
        let configured = self.tools.sessions.visibility.as_deref().map_or(Visibility::All, Visibility::parse);
        let confined = sandboxed && self.sandbox(id).session_tools_visibility.as_deref().map(str::trim) != Some("all");
        if confined { configured.min(Visibility::Tree) } else { configured }
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
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(super) fn config(value: Value) -> Config {
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
    fn an_agents_own_lists_for_sandboxes_take_the_place_of_those_for_all() {
        let config = config(json!({
            "tools": {"sandbox": {"tools": {"allow": ["read", "exec"], "deny": ["write"]}}},
            "agents": {"list": [{"id": "kept", "tools": {"sandbox": {"tools": {"deny": ["exec"]}}}}]},
        }));
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let (own, all) = (config.sandbox_rules("kept"), config.sandbox_rules("main"));
        assert_eq!((own.allow, own.deny), (list(&["read", "exec"]), list(&["exec"])));
        assert_eq!((all.allow, all.deny), (list(&["read", "exec"]), list(&["write"])));
    }

    #[test]
    fn sec_69_what_tools_see_of_sessions_is_what_both_keys_let_them() {
        let seen = |visibility: Value, of_sandboxes: Value, sandboxed| {
            let config = config(json!({
                "tools": {"sessions": {"visibility": visibility}},
                "agents": {"defaults": {"sandbox": {"sessionToolsVisibility": of_sandboxes}}},
            }));
            config.visibility("main", sandboxed)
        };
        for (word, outside, spawned) in [
            (json!(null), Visibility::All, Visibility::Tree),
            (json!("all"), Visibility::All, Visibility::Tree),
            (json!("agent"), Visibility::Agent, Visibility::Tree),
            (json!("tree"), Visibility::Tree, Visibility::Tree),
            (json!("self"), Visibility::Own, Visibility::Own),
            (json!("sideways"), Visibility::Own, Visibility::Own),
        ] {
            let found = (
                seen(word.clone(), json!(null), false),
                seen(word.clone(), json!(null), true),
                seen(word.clone(), json!("spawned"), true),
                seen(word.clone(), json!("all"), true),
            );
            assert_eq!(found, (outside, spawned, spawned, outside), "{word}");
        }
    }

    #[test]
    fn sec_69_agents_reach_each_other_only_when_both_are_allowed() {
        let closed = config(json!({"tools": {"agentToAgent": {"allow": ["*"]}}}));
        assert!(closed.may_reach("main", "main") && !closed.may_reach("main", "second"));
        let open = config(json!({"tools": {"agentToAgent": {"enabled": true, "allow": ["main", "second"]}}}));
        assert!(open.may_reach("main", "second") && !open.may_reach("main", "third") && !open.may_reach("third", "main"));
    }
}
