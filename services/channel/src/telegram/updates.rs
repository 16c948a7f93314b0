//! What the Bot API tells: updates, as far as they are read here.

#![allow(clippy::struct_field_names, reason = "the names of the Bot API")]

#[cfg(test)]
mod tests;

use serde::Deserialize;
use serde_json::Value;

use crate::message::{ChatKind, EventKind, Incoming};

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
}

/// One update.
#[derive(Debug, Deserialize)]
pub(super) struct Update {
    update_id: i64,
    message: Option<Message>,
    pub(super) callback_query: Option<CallbackQuery>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CallbackQuery {
    pub(super) id: String,
    from: User,
    message: Option<Message>,
    data: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    message_id: i64,
    from: Option<User>,
    chat: Chat,
    #[serde(default)]
    date: i64,
    message_thread_id: Option<i64>,
    #[serde(default)]
    is_topic_message: bool,
    text: Option<String>,
    caption: Option<String>,
    #[serde(default)]
    entities: Vec<Entity>,
    #[serde(default)]
    caption_entities: Vec<Entity>,
    reply_to_message: Option<Box<Message>>,
    photo: Option<Value>,
    document: Option<Value>,
    voice: Option<Value>,
    audio: Option<Value>,
    video: Option<Value>,
    sticker: Option<Value>,
    location: Option<Location>,
}

#[derive(Debug, Deserialize)]
struct Location {
    latitude: f64,
    longitude: f64,
}

#[derive(Debug, Deserialize)]
struct User {
    id: i64,
    #[serde(default)]
    is_bot: bool,
    first_name: Option<String>,
    last_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Chat {
    id: i64,
    #[serde(rename = "type")]
    kind: Option<String>,
    title: Option<String>,
    #[serde(default)]
    is_forum: bool,
}

#[derive(Debug, Deserialize)]
struct Entity {
    #[serde(rename = "type")]
    kind: String,
    offset: usize,
    length: usize,
    user: Option<User>,
    url: Option<String>,
}

impl Update {
    /// Reads an update; none when it is of a kind that is not read here.
    pub(super) fn read(raw: Value) -> Option<Self> {
        serde_json::from_value(raw).inspect_err(|error| tracing::debug!(%error, "update is not read")).ok()
    }

    /// Returns the message that it is, if it is one for somebody.
    pub(super) fn incoming(self, me: &Me, mentions: &[String]) -> Option<Incoming> {
        let event = format!("update:{}", self.update_id);
        if let Some(query) = self.callback_query {
            let message = query.message?;
            let text = query.data.filter(|data| !data.trim().is_empty())?;
            let incoming = message.in_chat(event, EventKind::Button, &query.from, text)?;
            return Some(Incoming { mentioned: true, ..incoming });
        }
        let message = self.message?;
        let sender = message.from.as_ref().filter(|from| !from.is_bot && from.id != me.id)?;
        let text = message.words()?;
        let mentioned = message.mentions(me, mentions, &text);
        let incoming = message.in_chat(event, EventKind::Message, sender, text)?;
        Some(Incoming { mentioned: mentioned || incoming.chat == ChatKind::Direct, ..incoming })
    }
}

impl Message {
    fn in_chat(&self, event: String, kind: EventKind, sender: &User, text: String) -> Option<Incoming> {
        let chat = match self.chat.kind.as_deref() {
            Some("private") => ChatKind::Direct,
            Some("group" | "supergroup") => ChatKind::Group,
            // Channels have no sender, and a chat without a kind is not let in.
            _ => return None,
        };
        let topic = self.message_thread_id.filter(|_| self.is_topic_message);
        let general = (self.chat.is_forum && topic.is_none()).then_some(1);
        Some(Incoming {
            event,
            kind,
            chat,
            peer: self.chat.id.to_string(),
            thread: (chat == ChatKind::Group).then_some(()).and(topic.or(general)).map(|topic| topic.to_string()),
            title: self.chat.title.clone(),
            sender: sender.id.to_string(),
            sender_name: sender.name(),
            text,
            message_id: Some(self.message_id.to_string()),
            mentioned: false,
            at_ms: self.date.saturating_mul(1_000),
            media: Vec::new(),
            album: None,
            may_go_on: false,
        })
    }

    /// Returns what the message says, with what it quotes and a placeholder for what it holds besides.
    fn words(&self) -> Option<String> {
        let mut words = self.text.clone().or_else(|| self.caption.clone()).map(|text| self.with_links(&text)).unwrap_or_default();
        let placeholders = [
            (self.photo.is_some(), "<media:image>"),
            (self.video.is_some(), "<media:video>"),
            (self.voice.is_some() || self.audio.is_some(), "<media:audio>"),
            (self.document.is_some(), "<media:document>"),
            (self.sticker.is_some(), "<media:sticker>"),
        ];
        for (_, placeholder) in placeholders.into_iter().filter(|(there, _)| *there) {
            words = if words.is_empty() { placeholder.to_owned() } else { format!("{words}\n{placeholder}") };
        }
        if let Some(Location { latitude, longitude }) = self.location {
            words = format!("{words}[location {latitude:.6}, {longitude:.6}]");
        }
        if words.trim().is_empty() {
            return None;
        }
        let quoted = self.reply_to_message.as_ref().and_then(|quoted| {
            let text = quoted.text.clone().or_else(|| quoted.caption.clone())?;
            let name = quoted.from.as_ref().and_then(User::name).unwrap_or_else(|| "somebody".to_owned());
            Some(format!("\n\n[Replying to {name} id:{}]\n{text}\n[/Replying]", quoted.message_id))
        });
        Some(words + &quoted.unwrap_or_default())
    }

    /// A link behind a word is told with its address.
    fn with_links(&self, text: &str) -> String {
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut out = Vec::new();
        let mut at = 0;
        for entity in self.entities.iter().chain(&self.caption_entities) {
            let (Some(url), end) = (&entity.url, entity.offset.saturating_add(entity.length)) else { continue };
            if let Some(head) = units.get(at..end) {
                out.extend_from_slice(head);
                out.extend(format!(" ({url})").encode_utf16());
                at = end;
            }
        }
        out.extend_from_slice(units.get(at..).unwrap_or_default());
        String::from_utf16_lossy(&out)
    }

    fn mentions(&self, me: &Me, words: &[String], text: &str) -> bool {
        let lower = text.to_lowercase();
        let by_name = me.username.as_ref().map(|name| format!("@{}", name.to_lowercase()));
        let units: Vec<u16> = self.text.as_deref().or(self.caption.as_deref()).unwrap_or_default().encode_utf16().collect();
        let by_entity = self.entities.iter().chain(&self.caption_entities).any(|entity| match entity.kind.as_str() {
            "text_mention" => entity.user.as_ref().is_some_and(|user| user.id == me.id),
            "mention" => {
                let name = units.get(entity.offset..entity.offset.saturating_add(entity.length)).map(String::from_utf16_lossy);
                name.map(|name| name.to_lowercase()) == by_name
            }
            _ => false,
        });
        let by_reply = self.reply_to_message.as_ref().and_then(|quoted| quoted.from.as_ref()).is_some_and(|from| from.id == me.id);
        by_entity || by_reply || words.iter().any(|word| !word.is_empty() && lower.contains(word))
    }
}

impl User {
    fn name(&self) -> Option<String> {
        let names = [self.first_name.as_deref(), self.last_name.as_deref()];
        let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
        Some(name).filter(|name| !name.trim().is_empty())
    }
}
