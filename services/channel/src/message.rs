//! What comes from a chat network, and what goes there, in terms that all networks share.
//!
//! Both are kept on the disk as JSON: a field that is added later has a default, so that what an earlier version kept can still be read.

use serde::{Deserialize, Serialize};
use verso_kit::trace;

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
    /// Somebody changed what he had written. The agent is told with the next message.
    Edit,
    /// Somebody marked a message with an emoji. The agent is told with the next message.
    Reaction,
    /// Somebody chose an answer of a poll. The agent is told with the next message.
    Vote,
    /// Somebody came or went, or the chat was changed. The agent is told with the next message.
    Service,
}

impl EventKind {
    /// Whether it is something that happened rather than something that was said: nobody is asked to answer it.
    pub(crate) fn is_note(self) -> bool {
        !matches!(self, Self::Message | Self::Button)
    }
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
    /// What came along with it. It is fetched once the message was let in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) media: Vec<Attached>,
    /// Messages that their sender sent as one, such as the pictures of an album, share this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) album: Option<String>,
    /// The last piece of a text that its sender's program has cut may be followed by the next one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) may_go_on: bool,
    /// The trace that another process received it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
}

impl Incoming {
    /// Makes a message in a chat of a kind, of which nothing else is known.
    pub(crate) fn new(event: String, kind: EventKind, place: (ChatKind, String), sender: String, text: String) -> Self {
        Self {
            event,
            kind,
            chat: place.0,
            peer: place.1,
            thread: None,
            title: None,
            sender,
            sender_name: None,
            text,
            message_id: None,
            mentioned: false,
            at_ms: 0,
            media: Vec::new(),
            album: None,
            may_go_on: false,
            traceparent: None,
        }
    }

    /// Returns what messages share that must stay in their order.
    pub(crate) fn order_key(&self) -> String {
        self.address().order_key()
    }

    /// Returns where an answer goes.
    pub(crate) fn address(&self) -> Address {
        Address { peer: self.peer.clone(), thread: self.thread.clone() }
    }
}

/// What a file is, as far as networks tell one from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MediaKind {
    Image,
    /// A picture that moves.
    Animation,
    Video,
    Audio,
    /// Something that was spoken.
    Voice,
    Document,
    Sticker,
}

impl MediaKind {
    /// Returns the word by which an agent is told of it.
    pub(crate) fn placeholder(self) -> &'static str {
        match self {
            Self::Image => "<media:image>",
            Self::Animation | Self::Video => "<media:video>",
            Self::Audio | Self::Voice => "<media:audio>",
            Self::Document => "<media:document>",
            Self::Sticker => "<media:sticker>",
        }
    }
}

/// What came along with a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attached {
    pub(crate) kind: MediaKind,
    /// What the adapter fetches it by.
    pub(crate) reference: String,
    /// As the network says; what the bytes are is looked at when they are there.
    pub(crate) mime_type: Option<String>,
    pub(crate) file_name: Option<String>,
    /// As the network says, in bytes.
    pub(crate) bytes: Option<u64>,
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

    /// Returns the chat that a key of order is of.
    pub(crate) fn of_order_key(key: &str) -> Self {
        match key.split_once(":topic:") {
            Some((peer, thread)) => Self { peer: peer.to_owned(), thread: Some(thread.to_owned()) },
            None => Self { peer: key.to_owned(), thread: None },
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
    /// What goes along; `text` stands below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media: Option<Enclosed>,
    /// Rows of buttons below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) buttons: Vec<Vec<Button>>,
    /// A question instead of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) poll: Option<Question>,
    /// The message that showed the beginning of this one while it was being written: it becomes this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<String>,
    /// The trace that it was written in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
}

impl Part {
    /// Makes a message of text.
    pub(crate) fn text(to: Address, text: String, plain: String) -> Self {
        let traceparent = trace::under_way().map(|trace| trace.to_string());
        Self { to, text, plain, reply_to: None, silent: false, media: None, buttons: Vec::new(), poll: None, replaces: None, traceparent }
    }
}

impl Part {
    /// What it is, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match (&self.poll, &self.media) {
            (Some(_), _) => "poll",
            (None, Some(_)) => "media",
            (None, None) => "text",
        }
    }
}

/// A file that goes out. Its bytes are in the service's own folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enclosed {
    /// The file's name in the folder of what goes out: see `crate::media`.
    pub(crate) file: String,
    pub(crate) kind: MediaKind,
    pub(crate) mime_type: String,
    /// What the receiver sees.
    pub(crate) file_name: String,
}

/// A button below a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Button {
    pub(crate) label: String,
    /// What pressing it says, as if its presser had written it.
    pub(crate) says: String,
}

/// A question with answers to choose from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) asks: String,
    pub(crate) options: Vec<String>,
    /// How many may be chosen.
    pub(crate) selections_max: u32,
    /// How long it is open, in seconds; for ever if the network lets it.
    pub(crate) open_seconds: Option<u32>,
    /// Whether nobody sees who chose what.
    pub(crate) anonymous: bool,
}

/// What a network calls a message that it has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) message_id: String,
    pub(crate) chat_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) poll_id: Option<String>,
    /// The answers of the poll, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) options: Vec<String>,
}

impl Receipt {
    /// Makes the receipt of a message.
    pub(crate) fn new(message_id: String, chat_id: String) -> Self {
        Self { message_id, chat_id, poll_id: None, options: Vec::new() }
    }
}
