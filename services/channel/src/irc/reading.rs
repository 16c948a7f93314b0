//! From a line of a server to a message in the terms that all networks share.

use irc_proto::{Message, Prefix};

use crate::mentions::Mentions;
use crate::message::{ChatKind, EventKind, Incoming};

/// What a line begins with that says what somebody does.
const ACTION: &str = "\u{1}ACTION ";

/// Returns what a channel's name begins with.
pub(super) fn is_channel(target: &str) -> bool {
    target.starts_with(['#', '&', '+', '!'])
}

/// Reads a message of somebody else.
pub(super) fn incoming(message: &Message, (target, text): (&str, &str), nick: &str, mentions: &Mentions, now_ms: i64) -> Option<Incoming> {
    let Some(Prefix::Nickname(from, user, host)) = &message.prefix else { return None };
    let action = text.strip_prefix(ACTION).map(|doing| format!("* {from} {}", doing.trim_end_matches('\u{1}')));
    let text = action.unwrap_or_else(|| text.to_owned());
    // A request of one client to another is not for an agent.
    if from.eq_ignore_ascii_case(nick) || text.trim().is_empty() || text.starts_with('\u{1}') {
        return None;
    }
    let tag = |name: &str| message.tags.iter().flatten().find(|tag| tag.0 == name).and_then(|tag| tag.1.clone());
    let group = is_channel(target);
    let sender = tag("account")
        .map_or_else(|| format!("{from}!{user}@{host}").to_lowercase(), |account| format!("account:{}", account.to_lowercase()));
    let event = tag("msgid").unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let place = if group { (ChatKind::Group, target.to_lowercase()) } else { (ChatKind::Direct, from.clone()) };
    Some(Incoming {
        title: group.then(|| target.to_owned()),
        sender_name: Some(from.clone()),
        mentioned: !group || names(&text, nick) || mentions.found_in(&text),
        at_ms: now_ms,
        ..Incoming::new(event, EventKind::Message, place, sender, text)
    })
}

/// Whether a line holds a nick as a word.
pub(super) fn names(text: &str, nick: &str) -> bool {
    let part_of_nick = |character: char| character.is_alphanumeric() || "-_[]\\`^{}|".contains(character);
    text.split(|character| !part_of_nick(character)).any(|word| word.eq_ignore_ascii_case(nick))
}
