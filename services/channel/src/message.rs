//! What comes from a chat network, and what goes there, in terms that all networks share.

use serde::{Deserialize, Serialize};

/// What kind of chat a message belongs to. A message without one is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChatKind {
    /// Two people, one of which is us.
    Direct,
    /// Several people.
    Group,
}

/// How a message came about. All kinds pass the same policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EventKind {
    /// Somebody wrote it.
    Message,
    /// Somebody pressed a button.
    Button,
}

/// A message from a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incoming {
    /// The network's own id, unique within the account for ever.
    pub(crate) event: String,
    pub(crate) kind: EventKind,
    pub(crate) chat: ChatKind,
    /// The person of a direct chat, or the group: an id that cannot be taken over.
    pub(crate) peer: String,
    /// A topic of the group.
    pub(crate) thread: Option<String>,
    /// What people call the group.
    pub(crate) title: Option<String>,
    /// Who wrote it: an id that cannot be taken over.
    pub(crate) sender: String,
    /// What people call him.
    pub(crate) sender_name: Option<String>,
    pub(crate) text: String,
    /// The message's name in its chat, to be quoted by.
    pub(crate) message_id: Option<String>,
    /// Whether the account is spoken to.
    pub(crate) mentioned: bool,
    /// In milliseconds since 1970.
    pub(crate) at_ms: i64,
}

impl Incoming {
    /// Returns what messages share that must stay in their order.
    pub(crate) fn order_key(&self) -> String {
        self.address().order_key()
    }

    /// Returns where an answer goes.
    pub(crate) fn address(&self) -> Address {
        Address { peer: self.peer.clone(), thread: self.thread.clone() }
    }
}

/// A chat, as a network names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) peer: String,
    pub(crate) thread: Option<String>,
}

impl Address {
    /// Returns what messages share that must stay in their order.
    pub(crate) fn order_key(&self) -> String {
        match &self.thread {
            Some(thread) => format!("{}:topic:{thread}", self.peer),
            None => self.peer.clone(),
        }
    }
}

/// A message to a network: at most as long as the network takes at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) to: Address,
    /// As the network formats text.
    pub(crate) text: String,
    /// The same without formatting, in case the network does not take it.
    pub(crate) plain: String,
    /// The message to quote.
    pub(crate) reply_to: Option<String>,
    /// Without a sound.
    pub(crate) silent: bool,
}

/// What a network calls a message that it has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) message_id: String,
    pub(crate) chat_id: String,
}
