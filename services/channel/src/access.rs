//! Who is listened to. Only ids count that a network never gives to somebody else; everything that comes in passes here, whatever kind it is.

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::message::{ChatKind, EventKind, Incoming};
use crate::profile::{Buttons, DirectPolicy, Group, GroupPolicy, Profile};

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// An agent reads it.
    Admit {
        /// Whether the sender may give commands.
        authorized: bool,
    },
    /// It is only kept as what was said in the group.
    Overhear,
    /// The sender is told how to be let in.
    OfferPairing,
    /// Nothing.
    Ignore(&'static str),
}

/// Decides about a message. `paired` says whether its sender was let in by a code; that opens direct chats and nothing else.
pub(crate) fn judge(profile: &Profile, incoming: &Incoming, paired: bool) -> Verdict {
    judge_with(profile, incoming, paired, None)
}

/// Whether the verdict hangs on whether the group wants the account to be mentioned: its own conversation may say otherwise than the
/// configuration.
pub(crate) fn hangs_on_mention(incoming: &Incoming, verdict: Verdict) -> bool {
    let undecided = matches!(verdict, Verdict::Overhear | Verdict::Admit { .. });
    undecided && incoming.chat == ChatKind::Group && incoming.kind == EventKind::Message && !incoming.mentioned
}

/// The same, where the group's conversation says whether the account must be mentioned.
pub(crate) fn judge_with(profile: &Profile, incoming: &Incoming, paired: bool, must_mention: Option<bool>) -> Verdict {
    if incoming.sender.trim().is_empty() || incoming.peer.trim().is_empty() {
        return Verdict::Ignore("it does not say who sent it");
    }
    let verdict = match incoming.chat {
        ChatKind::Direct => direct(profile, incoming, paired),
        ChatKind::Group => group(profile, incoming, must_mention),
    };
    match incoming.kind {
        EventKind::Button => button(profile, incoming, verdict),
        // Only who says something asks to be let in.
        kind if kind.is_note() && verdict == Verdict::OfferPairing => Verdict::Ignore("the sender is not known"),
        _ => verdict,
    }
}

/// Whether the configuration names the sender himself. Who was let in by a code, or by a group's list, has not the owner's authority.
pub(crate) fn owns(profile: &Profile, incoming: &Incoming) -> bool {
    names(profile.allow_from.as_deref().unwrap_or_default(), &incoming.sender)
}

/// A button says something in the name of who presses it, who is not always who was asked.
fn button(profile: &Profile, incoming: &Incoming, verdict: Verdict) -> Verdict {
    let Verdict::Admit { authorized } = verdict else {
        return if verdict == Verdict::OfferPairing { Verdict::Ignore("the sender is not known") } else { verdict };
    };
    let heard = match profile.buttons() {
        Buttons::Off => false,
        Buttons::Dm => incoming.chat == ChatKind::Direct,
        Buttons::Group => incoming.chat == ChatKind::Group,
        Buttons::All => true,
        Buttons::Allowlist => authorized,
    };
    match (heard, authorized || !is_command(&incoming.text)) {
        (true, true) => verdict,
        (false, _) => Verdict::Ignore("buttons are not listened to here"),
        (true, false) => Verdict::Ignore("the sender may not give commands"),
    }
}

/// Whether a text is a command rather than words for a model.
pub(crate) fn is_command(text: &str) -> bool {
    text.trim_start().strip_prefix('/').is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_alphabetic()))
}

fn direct(profile: &Profile, incoming: &Incoming, paired: bool) -> Verdict {
    let listed = profile.allow_from.as_deref().unwrap_or_default();
    let named = names(listed, &incoming.sender);
    let admit = Verdict::Admit { authorized: named || paired };
    match profile.dm_policy.unwrap_or_default() {
        DirectPolicy::Disabled => Verdict::Ignore("direct messages are turned off"),
        DirectPolicy::Open if named || paired || has_wildcard(listed) => admit,
        DirectPolicy::Allowlist if named => admit,
        DirectPolicy::Open | DirectPolicy::Allowlist => Verdict::Ignore("the sender is not in allowFrom"),
        DirectPolicy::Pairing if named || paired => admit,
        DirectPolicy::Pairing => Verdict::OfferPairing,
    }
}

fn group(profile: &Profile, incoming: &Incoming, told: Option<bool>) -> Verdict {
    let groups = profile.groups.as_ref().filter(|groups| !groups.is_empty());
    let own = groups.and_then(|groups| groups.get(&incoming.peer));
    let all = groups.and_then(|groups| groups.get("*"));
    let topic = incoming.thread.as_deref().and_then(|thread| own.or(all)?.topics.get(thread));
    // What is said of the topic comes before what is said of its group, and that before what is said of all.
    let places = [topic, own, all];
    let first = |switch: fn(&Group) -> Option<bool>| places.into_iter().flatten().find_map(switch);
    if first(|group| group.enabled) == Some(false) {
        return Verdict::Ignore("the group is turned off");
    }
    let policy = places.into_iter().flatten().find_map(|group| group.policy).or(profile.group_policy).unwrap_or_default();
    if policy == GroupPolicy::Disabled {
        return Verdict::Ignore("groups are turned off");
    }
    let own_list = places.into_iter().flatten().find_map(|group| group.allow_from.as_deref());
    let usual = profile.group_allow_from.as_deref().or(profile.allow_from.as_deref()).unwrap_or_default();
    let listed = own_list.unwrap_or(usual);
    let named = names(listed, &incoming.sender);
    let must_be_listed = policy == GroupPolicy::Allowlist || own_list.is_some();
    if must_be_listed && !named && !has_wildcard(listed) {
        return Verdict::Ignore("the sender is not in groupAllowFrom");
    }
    if groups.is_some() && own.is_none() && all.is_none() {
        return Verdict::Ignore("the group is not in groups");
    }
    let must_mention = told.or_else(|| first(|group| group.require_mention)).unwrap_or(true);
    // A command of somebody who may give commands need not name whom it is for.
    let commands = named && incoming.kind == EventKind::Message && is_command(&incoming.text);
    if must_mention && !incoming.mentioned && !commands {
        return Verdict::Overhear;
    }
    // A wildcard lets people talk; it gives nobody the owner's authority.
    Verdict::Admit { authorized: named }
}

fn has_wildcard(listed: &[Value]) -> bool {
    listed.iter().any(|entry| entry.as_str().is_some_and(|entry| entry.trim() == "*"))
}

/// Whether a list names an id: as it is, as a number, or with the network's name before it. Telephone numbers are written in many ways.
pub(crate) fn names(listed: &[Value], id: &str) -> bool {
    let number = id.strip_prefix('+').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let same = |text: &str| text == id || number.is_some_and(|number| digits(text).as_deref() == Some(number));
    listed.iter().any(|entry| match entry {
        Value::String(text) => same(bare(text)),
        Value::Number(number) => same(&number.to_string()),
        _ => false,
    })
}

/// Returns the digits of a telephone number; none when it is none.
fn digits(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    text.chars().all(|letter| letter.is_ascii_digit() || "+ -().".contains(letter)).then_some(digits)
}

fn bare(entry: &str) -> &str {
    let entry = entry.trim();
    match entry.split_once(':') {
        Some((network, id)) if matches!(network.to_ascii_lowercase().as_str(), "telegram" | "tg" | "irc" | "whatsapp") => id.trim(),
        _ => entry,
    }
}
