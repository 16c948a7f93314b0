//! Which sessions take messages: `session.sendPolicy`.

use serde::Deserialize;

use crate::keys::{self, SessionKey};

/// The marks of a place in a session's key, and what kind of chat each stands for.
const PLACES: [(&str, Chat); 4] = [("group", Chat::Group), ("channel", Chat::Channel), ("dm", Chat::Direct), ("direct", Chat::Direct)];

/// What keys of sessions begin with in which nobody chats.
const NO_CHATS: [&str; 4] = ["cron", "hook", "subagent", "acp"];

/// What a rule, or the policy as a whole, says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    #[default]
    Allow,
    Deny,
}

/// The section `session.sendPolicy`. What is set on a session itself counts before it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SendPolicy {
    /// What holds when no rule matches. Default: `allow`.
    default: Word,
    rules: Vec<Rule>,
}

/// One of the rules. Without an action it allows.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Rule {
    action: Word,
    #[serde(rename = "match")]
    matches: Match,
}

/// What a rule matches: whatever it does not name, it does not ask about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Match {
    channel: Option<String>,
    /// `direct`, `group` or `channel`.
    chat_type: Option<String>,
    /// With `agent:<id>:` or without.
    key_prefix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chat {
    Direct,
    Group,
    Channel,
}

impl SendPolicy {
    /// Whether a message to the session `key` is refused. `channel`: the network that the message names, else that of the session; without
    /// either, the key's own. One rule that denies decides; then one that allows; then the default.
    pub(crate) fn denies(&self, key: &SessionKey, channel: Option<&str>) -> bool {
        let place = Place::of(key);
        let channel = named(channel).or_else(|| place.channel.map(str::to_owned));
        let mut matching = self.rules.iter().filter(|rule| rule.matches.fits(key, channel.as_deref(), place.chat)).peekable();
        if matching.peek().is_none() {
            return self.default == Word::Deny;
        }
        matching.any(|rule| rule.action == Word::Deny)
    }
}

impl Match {
    fn fits(&self, key: &SessionKey, channel: Option<&str>, chat: Option<Chat>) -> bool {
        let is_channel = |wanted: String| channel == Some(wanted.as_str());
        let is_chat = |wanted: String| {
            // A word that means nothing matches nothing.
            PLACES.iter().any(|(word, kind)| *word == wanted && chat == Some(*kind))
        };
        let begins = |wanted: String| {
            let key = key.as_str().to_lowercase();
            key.starts_with(&wanted) || keys::parse(&key).is_some_and(|(_, rest)| rest.starts_with(&wanted))
        };
        named(self.channel.as_deref()).is_none_or(is_channel)
            && named(self.chat_type.as_deref()).is_none_or(is_chat)
            && named(self.key_prefix.as_deref()).is_none_or(begins)
    }
}

/// Where a session's key says that its messages come from.
struct Place<'a> {
    channel: Option<&'a str>,
    /// None: nobody chats in it.
    chat: Option<Chat>,
}

impl<'a> Place<'a> {
    fn of(key: &'a SessionKey) -> Self {
        let rest = keys::parse(key.as_str()).map_or(key.as_str(), |(_, rest)| rest);
        // `dm:<person>`, `<channel>:<place>:<id>`, or `<channel>:<account>:dm:<person>`.
        let parts: Vec<&str> = rest.splitn(4, ':').collect();
        let chat = |part: usize| PLACES.iter().find(|(word, _)| parts.get(part) == Some(word)).map(|(_, chat)| *chat);
        if NO_CHATS.contains(&parts[0]) {
            return Self { channel: None, chat: None };
        }
        if let Some(chat) = chat(0).filter(|_| parts.len() > 1) {
            return Self { channel: None, chat: Some(chat) };
        }
        match chat(1).filter(|_| parts.len() > 2).or_else(|| chat(2).filter(|_| parts.len() > 3)) {
            Some(chat) => Self { channel: Some(parts[0]), chat: Some(chat) },
            None => Self { channel: None, chat: Some(Chat::Direct) },
        }
    }
}

/// A word as it is compared; none if it says nothing.
fn named(word: Option<&str>) -> Option<String> {
    word.map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn denies(policy: Value, key: &str, channel: Option<&str>) -> bool {
        serde_json::from_value::<SendPolicy>(policy).unwrap().denies(&SessionKey::stored(key), channel)
    }

    #[test]
    fn one_rule_that_denies_decides_then_one_that_allows_then_the_default() {
        let rule = |action: &str, prefix: &str| json!({"action": action, "match": {"keyPrefix": prefix}});
        let both = json!({"default": "allow", "rules": [rule("allow", "test"), rule("deny", "te")]});
        assert!(denies(both.clone(), "agent:main:test", None), "whichever comes first");
        assert!(!denies(both, "agent:main:other", None));
        let closed = json!({"default": "deny", "rules": [rule("allow", "test")]});
        assert!(!denies(closed.clone(), "agent:main:test", None) && denies(closed, "agent:main:other", None));
        assert!(!denies(json!({}), "agent:main:main", None), "without a policy everything is taken");
        assert!(!denies(json!({"default": "deny", "rules": [{"match": {}}]}), "global", None), "a rule without an action allows");
    }

    #[test]
    fn a_prefix_fits_the_key_with_its_agent_and_without() {
        for (prefix, fits) in [("cron:", true), ("agent:main:cron:", true), (" CRON: ", true), ("agent:other:", false), ("ron:", false)] {
            let policy = json!({"rules": [{"action": "deny", "match": {"keyPrefix": prefix}}]});
            assert_eq!(denies(policy, "agent:main:cron:job-1", None), fits, "{prefix}");
        }
    }

    #[test]
    fn the_channel_is_the_messages_else_the_keys() {
        let policy = || json!({"rules": [{"action": "deny", "match": {"channel": "Discord"}}]});
        assert!(denies(policy(), "agent:main:main", Some("discord")));
        assert!(denies(policy(), "agent:main:discord:group:1", None) && denies(policy(), "agent:main:discord:dm:1", None));
        assert!(denies(policy(), "agent:main:discord:work:dm:1", None));
        assert!(!denies(policy(), "agent:main:telegram:group:1", None) && !denies(policy(), "agent:main:main", None));
        assert!(!denies(policy(), "agent:main:discord:group:1", Some("telegram")), "what the message names comes first");
    }

    #[test]
    fn the_kind_of_chat_comes_from_the_key() {
        for (key, chat) in [
            ("agent:main:telegram:group:-1:topic:7", "group"),
            ("agent:main:slack:channel:c1", "channel"),
            ("agent:main:main", "direct"),
            ("agent:main:telegram:work:dm:1", "direct"),
            ("agent:main:dm:group", "direct"),
            ("agent:main:cron:job:run:1", "none"),
            ("agent:main:subagent:group:1", "none"),
        ] {
            for wanted in ["group", "channel", "direct", "crowd"] {
                let policy = json!({"rules": [{"action": "deny", "match": {"chatType": wanted}}]});
                assert_eq!(denies(policy, key, None), chat == wanted, "{key} {wanted}");
            }
        }
    }
}
