//! From an update of the Bot API to a message in the terms that all networks share.

#[cfg(test)]
mod tests;

use jiff::Timestamp;

use super::updates::{CallbackQuery, Chat, Entity, File, Me, Message, Origin, PollAnswer, Reaction, Update, User};
use crate::mentions::Mentions;
use crate::message::{Address, Attached, ChatKind, EventKind, Incoming, MediaKind};

/// The topic of a forum that messages without one belong to.
pub(super) const GENERAL_TOPIC: &str = "1";

/// A text of so many UTF-16 units may be the beginning of a longer one that the sender's program has cut.
const CUT_UNITS: usize = 4_000;

/// Reads updates for one bot.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) me: Me,
    pub(super) mentions: Mentions,
}

/// A poll that the account has sent.
#[derive(Debug)]
pub(super) struct KnownPoll {
    pub(super) to: Address,
    pub(super) options: Vec<String>,
}

impl Reader {
    /// Returns the message that an update is, if it is one for somebody. Votes need what is known of their poll.
    pub(super) fn incoming(&self, update: Update, poll: Option<&KnownPoll>) -> Option<Incoming> {
        let event = format!("update:{}", update.update_id);
        if let Some(query) = update.callback_query {
            return button(event, query);
        }
        if let Some(message) = update.message {
            return self.message(event, &message);
        }
        if let Some(message) = update.edited_message {
            let edited = self.message(event, &message)?;
            let said = format!("[edited message {}] {}", message.message_id, edited.text);
            return Some(Incoming { kind: EventKind::Edit, text: said, media: Vec::new(), may_go_on: false, ..edited });
        }
        if let Some(reaction) = update.message_reaction {
            return self.reaction(event, &reaction);
        }
        vote(event, &update.poll_answer?, poll?)
    }

    fn message(&self, event: String, message: &Message) -> Option<Incoming> {
        let sender = message.from.as_ref().filter(|from| !from.is_bot && from.id != self.me.id)?;
        if let Some(said) = message.service() {
            return in_chat(event, EventKind::Service, message, sender, said);
        }
        let media = message.media();
        let text = self.without_own_name(message.words(&media)?)?;
        let mentioned = self.is_mentioned(message, &text);
        let own = message.text.as_deref().unwrap_or_default();
        let may_go_on = own.encode_utf16().count() >= CUT_UNITS && !own.starts_with('/');
        let incoming = in_chat(event, EventKind::Message, message, sender, text)?;
        let mentioned = mentioned || incoming.chat == ChatKind::Direct;
        Some(Incoming { mentioned, media, may_go_on, album: message.media_group_id.clone(), ..incoming })
    }

    /// A command may name the bot that it is for: ours is taken out, and one for another bot is nobody's here.
    fn without_own_name(&self, text: String) -> Option<String> {
        let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        let Some((command, name)) = word.strip_prefix('/').and_then(|word| word.split_once('@')) else { return Some(text) };
        let ours = self.me.username.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        ours.then(|| format!("/{command}{rest}"))
    }

    fn is_mentioned(&self, message: &Message, text: &str) -> bool {
        let by_name = self.me.username.as_ref().map(|name| format!("@{}", name.to_lowercase()));
        let units: Vec<u16> = message.own_text().encode_utf16().collect();
        let by_entity = message.all_entities().any(|entity| match entity.kind.as_str() {
            "text_mention" => entity.user.as_ref().is_some_and(|user| user.id == self.me.id),
            "mention" => {
                let name = units.get(entity.offset..entity.offset.saturating_add(entity.length)).map(String::from_utf16_lossy);
                name.map(|name| name.to_lowercase()) == by_name
            }
            // Others' names were sorted out before.
            "bot_command" => units.get(entity.offset..entity.offset.saturating_add(entity.length)).is_some_and(|word| word.contains(&64)),
            _ => false,
        });
        let by_reply = message.reply_to_message.as_ref().and_then(|quoted| quoted.from.as_ref()).is_some_and(|from| from.id == self.me.id);
        by_entity || by_reply || self.mentions.found_in(text)
    }

    fn reaction(&self, event: String, reaction: &Reaction) -> Option<Incoming> {
        let sender = reaction.user.as_ref().filter(|user| !user.is_bot && user.id != self.me.id)?;
        let new = reaction.new_reaction.iter().filter(|emoji| !reaction.old_reaction.contains(emoji));
        let added: Vec<&str> = new.map(|emoji| emoji.emoji.as_deref().unwrap_or("a custom emoji")).collect();
        // What was taken back is not told.
        let said = (!added.is_empty()).then(|| format!("[reacted to message {} with {}]", reaction.message_id, added.join(" ")))?;
        let chat = kind(&reaction.chat)?;
        Some(Incoming {
            message_id: Some(reaction.message_id.to_string()),
            title: reaction.chat.title.clone(),
            sender_name: sender.name(),
            mentioned: true,
            at_ms: reaction.date.saturating_mul(1_000),
            ..Incoming::new(event, EventKind::Reaction, (chat, reaction.chat.id.to_string()), sender.id.to_string(), said)
        })
    }
}

fn button(event: String, query: CallbackQuery) -> Option<Incoming> {
    let message = query.message?;
    let text = query.data.filter(|data| !data.trim().is_empty())?;
    let incoming = in_chat(event, EventKind::Button, &message, &query.from, text)?;
    // Somebody who presses a button speaks now, whenever its message was written.
    Some(Incoming { mentioned: true, ..incoming })
}

fn vote(event: String, answer: &PollAnswer, poll: &KnownPoll) -> Option<Incoming> {
    let sender = answer.user.as_ref().filter(|user| !user.is_bot)?;
    let chosen: Vec<&str> = answer.option_ids.iter().filter_map(|at| poll.options.get(*at)).map(String::as_str).collect();
    let said = if chosen.is_empty() { "[took a vote back]".to_owned() } else { format!("[voted for: {}]", chosen.join("; ")) };
    let chat = if poll.to.peer.starts_with('-') { ChatKind::Group } else { ChatKind::Direct };
    Some(Incoming {
        thread: poll.to.thread.clone(),
        sender_name: sender.name(),
        mentioned: true,
        ..Incoming::new(event, EventKind::Vote, (chat, poll.to.peer.clone()), sender.id.to_string(), said)
    })
}

/// What kind of chat it is. Channels have no sender, and a chat without a kind is not let in.
fn kind(chat: &Chat) -> Option<ChatKind> {
    match chat.kind.as_deref() {
        Some("private") => Some(ChatKind::Direct),
        Some("group" | "supergroup") => Some(ChatKind::Group),
        _ => None,
    }
}

fn in_chat(event: String, event_kind: EventKind, message: &Message, sender: &User, text: String) -> Option<Incoming> {
    let chat = kind(&message.chat)?;
    let topic = message.message_thread_id.filter(|_| message.is_topic_message).map(|topic| topic.to_string());
    let general = (message.chat.is_forum && topic.is_none()).then(|| GENERAL_TOPIC.to_owned());
    Some(Incoming {
        thread: topic.or(general).filter(|_| chat == ChatKind::Group),
        title: message.chat.title.clone(),
        sender_name: sender.name(),
        message_id: Some(message.message_id.to_string()),
        at_ms: message.date.saturating_mul(1_000),
        ..Incoming::new(event, event_kind, (chat, message.chat.id.to_string()), sender.id.to_string(), text)
    })
}

impl Message {
    fn own_text(&self) -> &str {
        self.text.as_deref().or(self.caption.as_deref()).unwrap_or_default()
    }

    fn all_entities(&self) -> impl Iterator<Item = &Entity> {
        self.entities.iter().chain(&self.caption_entities)
    }

    /// Returns what happened to the chat, if that is what the message tells.
    fn service(&self) -> Option<String> {
        let names =
            |users: &[User]| users.iter().map(|user| user.name().unwrap_or_else(|| user.id.to_string())).collect::<Vec<_>>().join(", ");
        if let Some(new_id) = self.migrate_to_chat_id {
            tracing::warn!(old = self.chat.id, new = new_id, "a group has a new id: its entry in channels.telegram.groups needs it");
            return Some(format!("[the group has the new id {new_id}]"));
        }
        if !self.new_chat_members.is_empty() {
            return Some(format!("[{} joined the group]", names(&self.new_chat_members)));
        }
        if let Some(gone) = &self.left_chat_member {
            return Some(format!("[{} left the group]", names(std::slice::from_ref(gone))));
        }
        self.new_chat_title.as_ref().map(|title| format!("[the group is now called {title}]"))
    }

    /// Returns what came along with the message.
    fn media(&self) -> Vec<Attached> {
        let attached = |kind: MediaKind, file: &File, mime_type: Option<&str>| Attached {
            kind,
            reference: file.file_id.clone(),
            mime_type: file.mime_type.clone().or_else(|| mime_type.map(str::to_owned)),
            file_name: file.file_name.clone(),
            bytes: file.file_size,
        };
        // The largest of its sizes comes last.
        let photo = self.photo.last().map(|file| attached(MediaKind::Image, file, Some("image/jpeg")));
        let sticker = self.sticker.as_ref().filter(|file| !file.is_animated && !file.is_video);
        let sticker = sticker.map(|file| attached(MediaKind::Sticker, file, Some("image/webp")));
        let one = |kind: MediaKind, file: Option<&File>| file.map(|file| attached(kind, file, None));
        let animation = one(MediaKind::Animation, self.animation.as_ref());
        // An animation is told as a document, too, for older programs.
        let document = one(MediaKind::Document, self.document.as_ref()).filter(|_| animation.is_none());
        let rest = [
            one(MediaKind::Video, self.video.as_ref().or(self.video_note.as_ref())),
            one(MediaKind::Voice, self.voice.as_ref()),
            one(MediaKind::Audio, self.audio.as_ref()),
        ];
        [photo, animation, document, sticker].into_iter().chain(rest).flatten().collect()
    }

    /// Returns what the message says, with what it quotes and a placeholder for what it holds besides.
    fn words(&self, media: &[Attached]) -> Option<String> {
        let mut words = self.with_links(self.own_text());
        let mut add = |line: String| words = if words.is_empty() { line } else { format!("{words}\n{line}") };
        for attached in media {
            add(attached.kind.placeholder().to_owned());
        }
        if let Some(sticker) = &self.sticker {
            let emoji = sticker.emoji.as_deref().unwrap_or("no emoji");
            add(format!("[sticker: {emoji}]"));
        }
        if let Some(venue) = &self.venue {
            add(format!("[place: {}, {}]", venue.title, venue.address));
        }
        if let Some(location) = &self.location {
            add(format!("[location {:.6}, {:.6}]", location.latitude, location.longitude));
        }
        if let Some(contact) = &self.contact {
            add(format!("[contact: {} {}]", contact.first_name, contact.phone_number));
        }
        if words.trim().is_empty() {
            return None;
        }
        if let Some(origin) = &self.forward_origin {
            words = format!("[Forwarded from {} at {}]\n{words}", origin.name(), iso(origin.date));
        }
        Some(words + &self.quoted().unwrap_or_default())
    }

    fn quoted(&self) -> Option<String> {
        let answered = self.reply_to_message.as_ref()?;
        let name = answered.from.as_ref().and_then(User::name).unwrap_or_else(|| "somebody".to_owned());
        if let Some(quote) = &self.quote {
            return Some(format!("\n\n[Quoting {name} id:{}]\n{}\n[/Quoting]", answered.message_id, quote.text));
        }
        let text = answered.words(&answered.media())?;
        Some(format!("\n\n[Replying to {name} id:{}]\n{text}\n[/Replying]", answered.message_id))
    }

    /// A link behind a word is told with its address.
    fn with_links(&self, text: &str) -> String {
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut out = Vec::new();
        let mut at = 0;
        for entity in self.all_entities() {
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
}

impl Origin {
    fn name(&self) -> String {
        let chat = self.sender_chat.as_ref().or(self.chat.as_ref()).and_then(|chat| chat.title.clone());
        let user = self.sender_user.as_ref().and_then(User::name).or_else(|| self.sender_user_name.clone());
        user.or(chat).unwrap_or_else(|| "somebody".to_owned())
    }
}

fn iso(at_s: i64) -> String {
    Timestamp::from_second(at_s).unwrap_or_default().to_string()
}
