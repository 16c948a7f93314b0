//! What a chat network has to be able to do to be one of ours.

use std::time::Duration;

use futures_util::future::BoxFuture;
use verso_kit::CancellationToken;

use crate::link::Link;
use crate::message::{Address, Attached, Incoming, Part, Receipt};
use crate::text::Rich;

/// What a network can show besides plain messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ability {
    /// A message can be changed after it was sent.
    Edits,
    /// A message can be marked with an emoji.
    Reactions,
    /// Pictures and other files.
    Media,
    /// Questions with answers to choose from.
    Polls,
    /// Buttons below a message.
    Buttons,
}

/// How many characters a network takes at once, and how it counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// In a message, in UTF-16 units; the configuration may say less.
    pub(crate) text_units_max: usize,
    /// Below a picture or file.
    pub(crate) caption_units_max: usize,
}

/// The room of networks that say nothing else.
const ROOM_DEFAULT: Room = Room { text_units_max: 4_000, caption_units_max: 1_024 };

/// One account of a network, while it runs.
pub(crate) trait Adapter: std::fmt::Debug + Send + Sync {
    /// Returns what the network can show.
    fn abilities(&self) -> &[Ability] {
        &[]
    }

    /// Returns how much fits into a message.
    fn room(&self) -> Room {
        ROOM_DEFAULT
    }

    /// Returns how it receives, such as `polling` or `webhook`, for those who ask.
    fn mode(&self) -> Option<&'static str> {
        None
    }

    /// Receives until `stop`, or until something is wrong that a new start may mend.
    fn receive<'a>(&'a self, link: &'a Link, stop: &'a CancellationToken) -> BoxFuture<'a, Result<(), Fault>>;

    /// Returns how long a chat is to be left alone because it was written to often just now.
    fn pause(&self, _to: &Address) -> Option<Duration> {
        None
    }

    /// Sends one message. Only what [`Self::abilities`] names is asked for.
    fn send<'a>(&'a self, part: &'a Part) -> BoxFuture<'a, Result<Receipt, Refusal>>;

    /// The same, with the name of the sending: where [`Self::repeats`], a second one with the same name is the same sending.
    fn deliver<'a>(&'a self, _id: &'a str, part: &'a Part) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        self.send(part)
    }

    /// Whether a sending that may have happened can be repeated without anybody seeing two messages.
    fn repeats(&self) -> bool {
        false
    }

    /// Changes a message that was sent to what `part` says.
    fn edit<'a>(&'a self, _message_id: &'a str, _part: &'a Part) -> BoxFuture<'a, Result<(), Refusal>> {
        never("this network cannot change a message")
    }

    /// Takes a message back that was sent.
    fn remove<'a>(&'a self, _to: &'a Address, _message_id: &'a str) -> BoxFuture<'a, Result<(), Refusal>> {
        never("this network cannot take a message back")
    }

    /// Marks somebody's message with an emoji, or takes the mark back.
    fn react<'a>(&'a self, _to: &'a Address, _message_id: &'a str, _emoji: Option<&'a str>) -> BoxFuture<'a, Result<(), Refusal>> {
        never("this network has no reactions")
    }

    /// Fetches what came along with a message: at most `bytes_max` bytes, refused before more than that is read.
    fn fetch<'a>(&'a self, _media: &'a Attached, _bytes_max: usize) -> BoxFuture<'a, Result<Vec<u8>, Refusal>> {
        never("this network has no media")
    }

    /// Shows that an answer is being written, if the network can.
    fn typing<'a>(&'a self, _to: &'a Address) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Shows whoever wrote a message that it was read, if the network and the account do that.
    fn mark_read<'a>(&'a self, _message: &'a Incoming) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Asks the network whether the account is well.
    fn probe(&self) -> BoxFuture<'_, Result<Wellbeing, Fault>>;

    /// Ends what is left of the account when it does not run any more.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Returns how formatted text is written there.
    fn render(&self, rich: &Rich) -> String;

    /// Returns after how long without any sign of life the account is started anew.
    fn silence_max(&self) -> Duration;

    /// Returns the id of the process that the account has of its own.
    fn process(&self) -> Option<i32> {
        None
    }

    /// Reads where somebody wants to send something.
    fn address(&self, target: &str, thread: Option<&str>) -> Option<Address>;
}

/// What a network says of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wellbeing {
    /// What the account is called there.
    pub(crate) name: String,
    /// How it receives: `polling`, `webhook`, …
    pub(crate) mode: Option<&'static str>,
    /// The network's own facts: `bot` and `webhook` are shown to clients.
    pub(crate) details: serde_json::Map<String, serde_json::Value>,
}

fn never<'a, T: Send + 'a>(reason: &'static str) -> BoxFuture<'a, Result<T, Refusal>> {
    Box::pin(std::future::ready(Err(Refusal::Never(reason.to_owned()))))
}

/// Why an account stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The network cannot be reached, or does not keep the connection.
    #[error("{0}")]
    Network(String),
    /// The network does not accept the account.
    #[error("{0}")]
    Account(String),
    /// The account waits for its owner to link it.
    #[error("{0}")]
    Unlinked(String),
    /// What came in could not be kept.
    #[error("{0}")]
    Storage(String),
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The network did not get it, or said that it wants it later.
    #[error("{reason}")]
    Later {
        /// Why.
        reason: String,
        /// When, if it said so.
        after: Option<Duration>,
    },
    /// The network does not want it.
    #[error("{0}")]
    Never(String),
    /// The network may have it, or not.
    #[error("{0}")]
    Unknown(String),
}
