//! What the Bot API tells: updates, as far as they are read here.

#![allow(clippy::struct_field_names, reason = "the names of the Bot API")]

use serde::Deserialize;
use serde_json::Value;

/// The bot itself.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Me {
    pub(super) id: i64,
    pub(super) username: Option<String>,
}

/// A message that was sent.
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    pub(super) message_id: i64,
    pub(super) poll: Option<SentPoll>,
}

/// A poll that was sent.
#[derive(Debug, Deserialize)]
pub(super) struct SentPoll {
    pub(super) id: String,
}

/// A file that the Bot API holds.
#[derive(Debug, Deserialize)]
pub(super) struct Held {
    pub(super) file_path: Option<String>,
}

/// One update.
#[derive(Debug, Deserialize)]
pub(super) struct Update {
    pub(super) update_id: i64,
    pub(super) message: Option<Message>,
    pub(super) edited_message: Option<Message>,
    pub(super) callback_query: Option<CallbackQuery>,
    pub(super) message_reaction: Option<Reaction>,
    pub(super) poll_answer: Option<PollAnswer>,
}

impl Update {
    /// Reads an update; none when it is of a kind that is not read here.
    pub(super) fn read(raw: Value) -> Option<Self> {
        serde_json::from_value(raw).inspect_err(|error| tracing::warn!(%error, "an update cannot be read and is passed over")).ok()
    }
}

/// Somebody pressed a button.
#[derive(Debug, Deserialize)]
pub(super) struct CallbackQuery {
    pub(super) id: String,
    pub(super) from: User,
    pub(super) message: Option<Message>,
    pub(super) data: Option<String>,
}

/// Somebody marked a message, or took a mark back.
#[derive(Debug, Deserialize)]
pub(super) struct Reaction {
    pub(super) chat: Chat,
    pub(super) message_id: i64,
    /// Missing when it was done in the name of a chat.
    pub(super) user: Option<User>,
    #[serde(default)]
    pub(super) date: i64,
    #[serde(default)]
    pub(super) old_reaction: Vec<Emoji>,
    #[serde(default)]
    pub(super) new_reaction: Vec<Emoji>,
}

/// A mark.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Emoji {
    pub(super) emoji: Option<String>,
    custom_emoji_id: Option<String>,
}

/// Somebody chose answers of a poll.
#[derive(Debug, Deserialize)]
pub(super) struct PollAnswer {
    pub(super) poll_id: String,
    /// Missing when it was done in the name of a chat.
    pub(super) user: Option<User>,
    #[serde(default)]
    pub(super) option_ids: Vec<usize>,
}

/// A message.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) message_id: i64,
    pub(super) from: Option<User>,
    pub(super) chat: Chat,
    #[serde(default)]
    pub(super) date: i64,
    pub(super) message_thread_id: Option<i64>,
    #[serde(default)]
    pub(super) is_topic_message: bool,
    pub(super) media_group_id: Option<String>,
    pub(super) text: Option<String>,
    pub(super) caption: Option<String>,
    #[serde(default)]
    pub(super) entities: Vec<Entity>,
    #[serde(default)]
    pub(super) caption_entities: Vec<Entity>,
    pub(super) reply_to_message: Option<Box<Message>>,
    pub(super) quote: Option<Quote>,
    pub(super) forward_origin: Option<Origin>,
    #[serde(default)]
    pub(super) photo: Vec<File>,
    pub(super) document: Option<File>,
    pub(super) animation: Option<File>,
    pub(super) voice: Option<File>,
    pub(super) audio: Option<File>,
    pub(super) video: Option<File>,
    pub(super) video_note: Option<File>,
    pub(super) sticker: Option<File>,
    pub(super) location: Option<Location>,
    pub(super) venue: Option<Venue>,
    pub(super) contact: Option<Contact>,
    #[serde(default)]
    pub(super) new_chat_members: Vec<User>,
    pub(super) left_chat_member: Option<User>,
    pub(super) new_chat_title: Option<String>,
    pub(super) migrate_to_chat_id: Option<i64>,
}

/// The part of a message that another one quotes.
#[derive(Debug, Deserialize)]
pub(super) struct Quote {
    pub(super) text: String,
}

/// Where a forwarded message was first written.
#[derive(Debug, Deserialize)]
pub(super) struct Origin {
    #[serde(default)]
    pub(super) date: i64,
    pub(super) sender_user: Option<User>,
    pub(super) sender_user_name: Option<String>,
    pub(super) sender_chat: Option<Chat>,
    pub(super) chat: Option<Chat>,
}

/// A file of any kind, or one size of a picture.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct File {
    pub(super) file_id: String,
    pub(super) file_name: Option<String>,
    pub(super) mime_type: Option<String>,
    pub(super) file_size: Option<u64>,
    pub(super) emoji: Option<String>,
    #[serde(default)]
    pub(super) is_animated: bool,
    #[serde(default)]
    pub(super) is_video: bool,
}

/// A place.
#[derive(Debug, Deserialize)]
pub(super) struct Location {
    pub(super) latitude: f64,
    pub(super) longitude: f64,
}

/// A place with a name.
#[derive(Debug, Deserialize)]
pub(super) struct Venue {
    pub(super) title: String,
    pub(super) address: String,
}

/// Somebody's telephone number.
#[derive(Debug, Deserialize)]
pub(super) struct Contact {
    pub(super) phone_number: String,
    pub(super) first_name: String,
}

/// Somebody.
#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) is_bot: bool,
    first_name: Option<String>,
    last_name: Option<String>,
}

impl User {
    /// Returns what people call him.
    pub(super) fn name(&self) -> Option<String> {
        let names = [self.first_name.as_deref(), self.last_name.as_deref()];
        let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
        Some(name).filter(|name| !name.trim().is_empty())
    }
}

/// A chat.
#[derive(Debug, Deserialize)]
pub(super) struct Chat {
    pub(super) id: i64,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) is_forum: bool,
}

/// Something special in a text. Offsets count UTF-16 units.
#[derive(Debug, Deserialize)]
pub(super) struct Entity {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) offset: usize,
    pub(super) length: usize,
    pub(super) user: Option<User>,
    pub(super) url: Option<String>,
}
