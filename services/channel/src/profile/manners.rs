//! What holds for the accounts of all networks: `messages`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use verso_kit::config::File;

use crate::adapter::Fault;

/// Where the reaction that says "seen" is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AckScope {
    /// In groups, where the account is mentioned.
    #[default]
    GroupMentions,
    /// In groups.
    GroupAll,
    /// In direct chats.
    Direct,
    /// Everywhere.
    All,
    /// Nowhere.
    Off,
}

/// `messages`, as far as it is about chats.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Manners {
    inbound: Inbound,
    pub(super) group_chat: GroupChat,
    pub(super) ack_reaction: Option<String>,
    pub(super) ack_reaction_scope: AckScope,
    pub(crate) remove_ack_after_reply: bool,
    pub(super) response_prefix: Option<String>,
    /// What the agents call themselves, by their ids.
    #[serde(skip)]
    identities: BTreeMap<String, String>,
    #[serde(skip)]
    debounce: Duration,
}

/// The prefix that is made of an agent's name.
pub(super) const AUTO: &str = "auto";

/// `agents`, as far as an answer says who gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Agents {
    list: Vec<AgentEntry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AgentEntry {
    id: String,
    identity: Identity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Identity {
    name: Option<String>,
}

/// `messages.inbound`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Inbound {
    debounce_ms: u64,
    by_channel: BTreeMap<String, u64>,
}

/// `messages.groupChat`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct GroupChat {
    pub(super) mention_patterns: Option<Vec<String>>,
    pub(super) history_limit: Option<usize>,
}

impl Manners {
    pub(super) fn read(file: &File, channel: &str) -> Result<Self, Fault> {
        let mut manners: Self = file.section("messages").map_err(|error| Fault::Account(error.to_string()))?;
        let wait_ms = manners.inbound.by_channel.get(channel).copied().unwrap_or(manners.inbound.debounce_ms);
        manners.debounce = Duration::from_millis(wait_ms);
        let agents: Agents = file.section("agents").map_err(|error| Fault::Account(error.to_string()))?;
        manners.identities = agents.list.into_iter().filter_map(|agent| Some((agent.id.to_lowercase(), agent.identity.name?))).collect();
        Ok(manners)
    }

    /// Returns what stands before an answer of an agent, its name filled in. What is not known here stays as it is written.
    pub(super) fn prefix(&self, template: &str, agent: &str) -> String {
        let name = self.identities.get(&agent.to_lowercase()).map(|name| name.trim()).filter(|name| !name.is_empty());
        if template.trim() == AUTO {
            return name.map(|name| format!("[{name}]")).unwrap_or_default();
        }
        let filled = ["{identity.name}", "{identityName}", "{identityname}"]
            .into_iter()
            .fold(template.to_owned(), |text, variable| name.map_or_else(|| text.clone(), |name| text.replace(variable, name)));
        filled.trim().to_owned()
    }

    /// Returns how long further messages of one sender are waited for.
    pub(crate) fn debounce(&self) -> Duration {
        self.debounce
    }
}
