//! Which agent a message from a chat network is for, and which conversation it belongs to.

#[cfg(test)]
mod tests;

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::keys::AgentId;

/// The account of a network that names none.
const DEFAULT_ACCOUNT: &str = "default";

/// How direct chats become conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DirectScope {
    /// All of them are the agent's main conversation.
    #[default]
    Main,
    /// One a person.
    PerPeer,
    /// One a person and network.
    PerChannelPeer,
    /// One a person, network and account.
    PerAccountChannelPeer,
}

/// One of `bindings`: messages that match are for an agent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Binding {
    pub(crate) agent_id: String,
    #[serde(rename = "match")]
    pub(crate) matches: Match,
}

/// What a binding matches.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Match {
    pub(crate) channel: String,
    /// None: the default account; `*`: every account.
    pub(crate) account_id: Option<String>,
    pub(crate) peer: Option<MatchPeer>,
    pub(crate) guild_id: Option<String>,
    pub(crate) team_id: Option<String>,
}

/// A chat.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MatchPeer {
    pub(crate) kind: String,
    pub(crate) id: String,
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) channel: &'a str,
    pub(crate) account: &'a str,
    /// `dm`, `group` or `channel`.
    pub(crate) kind: &'a str,
    pub(crate) peer: &'a str,
    pub(crate) thread: Option<&'a str>,
}

/// The rules, as configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routing {
    pub(crate) bindings: Vec<Binding>,
    pub(crate) direct_scope: DirectScope,
    /// People by one name, with what networks call them.
    pub(crate) identity_links: BTreeMap<String, Vec<String>>,
}

impl Routing {
    /// Returns the agent that a binding names; none without a binding that matches. The most particular binding wins.
    pub(crate) fn agent(&self, origin: &Origin<'_>) -> Option<AgentId> {
        let fits = |binding: &&Binding| {
            let Match { channel, account_id, .. } = &binding.matches;
            let account = account_id.as_deref().map(str::trim).filter(|account| !account.is_empty());
            let account_fits = match account {
                None => origin.account == DEFAULT_ACCOUNT,
                Some("*") => true,
                Some(account) => account == origin.account,
            };
            channel.trim().eq_ignore_ascii_case(origin.channel) && account_fits
        };
        let is_peer = |binding: &&Binding, id: &str| {
            binding.matches.peer.as_ref().is_some_and(|peer| peer.kind.trim().eq_ignore_ascii_case(origin.kind) && peer.id == id)
        };
        let broad = |binding: &&Binding| {
            let Match { peer, guild_id, team_id, .. } = &binding.matches;
            peer.is_none() && guild_id.is_none() && team_id.is_none()
        };
        let everywhere = |binding: &&Binding| binding.matches.account_id.as_deref().map(str::trim) == Some("*");
        let candidates: Vec<&Binding> = self.bindings.iter().filter(fits).collect();
        let first = |test: &dyn Fn(&&Binding) -> bool| candidates.iter().copied().find(|binding| test(binding));
        let topic = origin.thread.map(|thread| format!("{}:topic:{thread}", origin.peer));
        let chosen = topic
            .as_ref()
            .and_then(|topic| first(&|binding| is_peer(binding, topic)))
            .or_else(|| first(&|binding| is_peer(binding, origin.peer)))
            .or_else(|| first(&|binding| broad(binding) && !everywhere(binding)))
            .or_else(|| first(&|binding| broad(binding) && everywhere(binding)));
        chosen.map(|binding| AgentId::normalize(&binding.agent_id))
    }

    /// Returns the key of the conversation within its agent; none means the main one.
    pub(crate) fn conversation(&self, origin: &Origin<'_>) -> Option<String> {
        let peer = origin.peer.trim().to_lowercase();
        let channel = origin.channel.trim().to_lowercase();
        let thread = |base: String, mark: &str| match origin.thread {
            Some(thread) => format!("{base}:{mark}:{}", thread.to_lowercase()),
            None => base,
        };
        if origin.kind != "dm" {
            return Some(thread(format!("{channel}:{}:{peer}", origin.kind), "topic"));
        }
        if peer.is_empty() || self.direct_scope == DirectScope::Main {
            return None;
        }
        let person = self.person(&channel, &peer).unwrap_or(peer);
        Some(match self.direct_scope {
            DirectScope::Main => return None,
            DirectScope::PerPeer => format!("dm:{person}"),
            DirectScope::PerChannelPeer => format!("{channel}:dm:{person}"),
            DirectScope::PerAccountChannelPeer => format!("{channel}:{}:dm:{person}", origin.account.trim().to_lowercase()),
        })
    }

    /// Returns the one name of somebody whom networks call differently.
    fn person(&self, channel: &str, peer: &str) -> Option<String> {
        let on_network = format!("{channel}:{peer}");
        let is_him = |id: &String| [peer, on_network.as_str()].contains(&id.trim().to_lowercase().as_str());
        self.identity_links.iter().find(|(_, ids)| ids.iter().any(is_him)).map(|(name, _)| name.trim().to_lowercase())
    }
}
