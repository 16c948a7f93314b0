//! From the network's messages to those of the contract.

#[cfg(test)]
mod tests;

use verso_proto::adapter::v1::{ChatKind, Inbound, InboundKind};
use whatsapp_rust::Jid;
use whatsapp_rust::proto_helpers::MessageExt as _;
use whatsapp_rust::wacore::types::events::InboundMessage;
use whatsapp_rust::wacore::types::message::MessageInfo;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type as Protocol;

use crate::account::{Me, shown};
use crate::files;

/// Characters of a quoted message that are told with the one that quotes it.
const QUOTED_CHARS_MAX: usize = 1_000;

/// Who is who in a message, hidden ids resolved.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) me: Me,
    pub(crate) sender: Jid,
    pub(crate) chat: Jid,
    /// What people call the group.
    pub(crate) title: Option<String>,
    /// The account's owner writes to himself: nobody is mentioned there.
    pub(crate) self_chat: bool,
}

/// Whether a message is for us at all, whoever wrote it.
pub(crate) fn concerns(message: &InboundMessage, me: &Me) -> bool {
    let source = &message.info.source;
    let broadcast = source.chat.server == whatsapp_rust::Server::Broadcast || source.chat.server == whatsapp_rust::Server::Newsletter;
    // What the account itself wrote concerns it only in the chat with itself.
    !broadcast && (!source.is_from_me || (!source.is_group && me.is(&source.chat)))
}

/// Reads a message. None when nobody needs to know of it.
pub(crate) fn read(message: &InboundMessage, who: &Who) -> Option<Inbound> {
    told(&message.info, message.message.get_base_message(), who)
}

fn told(info: &MessageInfo, base: &wa::Message, who: &Who) -> Option<Inbound> {
    let (kind, text, target) = said(base)?;
    let media = files::attached(base).filter(|_| kind == InboundKind::Message);
    let mut words = text;
    let mut add = |line: &str| words = if words.is_empty() { line.to_owned() } else { format!("{words}\n{line}") };
    if let Some(media) = &media {
        add(files::placeholder(media.kind()));
    }
    if kind == InboundKind::Message {
        for thing in things(base) {
            add(&thing);
        }
    }
    if words.trim().is_empty() {
        return None;
    }
    let context = context(base);
    if let Some(context) = context.filter(|_| kind == InboundKind::Message) {
        words.push_str(&quoted(context).unwrap_or_default());
    }
    let group = info.source.chat.is_group_chat();
    let mentioned =
        !group || kind == InboundKind::Reaction || (!who.self_chat && context.is_some_and(|context| mentions(context, &who.me)));
    let name = Some(info.push_name.clone()).filter(|name| !name.is_empty());
    Some(Inbound {
        event: format!("{}:{}:{}", shown(&who.chat), shown(&who.sender), info.id),
        kind: kind.into(),
        chat: if group { ChatKind::Group } else { ChatKind::Direct }.into(),
        peer: shown(&who.chat),
        thread: None,
        title: who.title.clone().filter(|_| group),
        sender: shown(&who.sender),
        sender_name: name,
        text: words,
        message_id: Some(target.unwrap_or_else(|| info.id.clone())),
        mentioned,
        at_ms: info.timestamp.timestamp_millis(),
        media: media.into_iter().collect(),
        position: None,
        album: None,
        may_go_on: false,
        traceparent: None,
    })
}

/// Tells groups from everything else.
trait IsGroup {
    fn is_group_chat(&self) -> bool;
}

impl IsGroup for Jid {
    fn is_group_chat(&self) -> bool {
        self.server == whatsapp_rust::Server::Group
    }
}

/// Returns what kind of message it is, its words, and the message that it is about if that is another one.
fn said(base: &wa::Message) -> Option<(InboundKind, String, Option<String>)> {
    if let Some(reaction) = base.reaction_message.as_option() {
        let target = reaction.key.as_option()?.id.clone()?;
        // What was taken back is not told.
        let emoji = reaction.text.as_ref().filter(|emoji| !emoji.is_empty())?;
        return Some((InboundKind::Reaction, format!("[reacted to message {target} with {emoji}]"), Some(target)));
    }
    if let Some(protocol) = base.protocol_message.as_option() {
        let target = protocol.key.as_option().and_then(|key| key.id.clone());
        return match protocol.r#type {
            Some(Protocol::MessageEdit) => {
                let text = own_words(protocol.edited_message.as_option()?)?;
                Some((InboundKind::Edit, text, target))
            }
            Some(Protocol::Revoke) => Some((InboundKind::Service, format!("[took message {} back]", target.as_deref()?), target)),
            _ => None,
        };
    }
    if base.poll_update_message.is_set() {
        return None;
    }
    Some((InboundKind::Message, own_words(base).unwrap_or_default(), None))
}

fn own_words(message: &wa::Message) -> Option<String> {
    let message = message.get_base_message();
    message.text_content().or_else(|| message.get_caption()).map(str::to_owned)
}

/// Returns what a message holds besides words and files.
fn things(base: &wa::Message) -> Vec<String> {
    let mut things = Vec::new();
    if let Some(place) = base.location_message.as_option() {
        let (latitude, longitude) = (place.degrees_latitude.unwrap_or_default(), place.degrees_longitude.unwrap_or_default());
        let name = place.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        things.push(format!("[location {latitude:.6}, {longitude:.6}{name}]"));
    }
    if let Some(contact) = base.contact_message.as_option() {
        let vcard = contact.vcard.as_deref().unwrap_or_default();
        let number = vcard.lines().find(|line| line.starts_with("TEL")).and_then(|line| line.rsplit(':').next()).unwrap_or_default();
        things.push(format!("[contact: {} {number}]", contact.display_name.as_deref().unwrap_or_default()).replace(" ]", "]"));
    }
    let polls = [&base.poll_creation_message, &base.poll_creation_message_v2, &base.poll_creation_message_v3];
    if let Some(poll) = polls.into_iter().find_map(|poll| poll.as_option()) {
        let options: Vec<&str> = poll.options.iter().filter_map(|option| option.option_name.as_deref()).collect();
        things.push(format!("[poll: {} — {}]", poll.name.as_deref().unwrap_or_default(), options.join("; ")));
    }
    things
}

/// Returns what a message says of others: what it quotes, and whom it mentions.
pub(crate) fn context(base: &wa::Message) -> Option<&wa::ContextInfo> {
    let found = [
        base.extended_text_message.as_option().map(|message| &message.context_info),
        base.image_message.as_option().map(|message| &message.context_info),
        base.video_message.as_option().map(|message| &message.context_info),
        base.audio_message.as_option().map(|message| &message.context_info),
        base.document_message.as_option().map(|message| &message.context_info),
        base.sticker_message.as_option().map(|message| &message.context_info),
        base.contact_message.as_option().map(|message| &message.context_info),
        base.location_message.as_option().map(|message| &message.context_info),
    ];
    found.into_iter().flatten().find_map(|context| context.as_option())
}

/// Whether the account is named, or quoted.
fn mentions(context: &wa::ContextInfo, me: &Me) -> bool {
    let own = |id: &String| id.parse().is_ok_and(|id: Jid| me.is(&id));
    context.mentioned_jid.iter().any(own) || (context.stanza_id.is_some() && context.participant.as_ref().is_some_and(own))
}

fn quoted(context: &wa::ContextInfo) -> Option<String> {
    let id = context.stanza_id.as_ref()?;
    let message = context.quoted_message.as_option()?.get_base_message();
    let file = || files::attached(message).map(|media| files::placeholder(media.kind()).to_owned());
    let text: String = own_words(message).or_else(file)?.chars().take(QUOTED_CHARS_MAX).collect();
    let author = context.participant.as_ref().and_then(|id| id.parse::<Jid>().ok()).map_or_else(|| "somebody".to_owned(), |id| shown(&id));
    Some(format!("\n\n[Replying to {author} id:{id}]\n{text}\n[/Replying]"))
}

/// Returns what somebody voted for, in words, as a message about a poll of this account.
pub(crate) fn vote(message: &InboundMessage, who: &Who, chosen: &[String]) -> Option<Inbound> {
    let poll = message.message.get_base_message().poll_update_message.as_option()?;
    let target = poll.poll_creation_message_key.as_option()?.id.clone()?;
    let words = if chosen.is_empty() { "[took a vote back]".to_owned() } else { format!("[voted for: {}]", chosen.join("; ")) };
    let said = wa::Message { conversation: Some(words), ..wa::Message::default() };
    let inbound = told(&message.info, &said, who)?;
    Some(Inbound { kind: InboundKind::Vote.into(), message_id: Some(target), mentioned: true, ..inbound })
}
