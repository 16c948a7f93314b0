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
    pub(crate) ack_reaction_scope: AckScope,
    pub(crate) remove_ack_after_reply: bool,
    #[serde(skip)]
    debounce: Duration,
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
        Ok(manners)
    }

    /// Returns how long further messages of one sender are waited for.
    pub(crate) fn debounce(&self) -> Duration {
        self.debounce
    }
}
