//! What one connection follows beyond what everybody hears.

use std::collections::BTreeMap;

use verso_protocol::Code;
use verso_protocol::ErrorShape;

/// What one connection can follow at once.
const TOPICS_MAX: usize = 256;

/// The list of sessions: `sessions.changed`, and every message.
pub(crate) const SESSIONS: &str = "sessions";

/// One session: its messages and tool calls.
pub(crate) fn session(key: &str) -> String {
    format!("session:{key}")
}

/// The chat of one session, for a node.
pub(crate) fn chat(key: &str) -> String {
    format!("chat:{key}")
}

/// What one connection follows.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// How the connection calls the session of a topic.
    topics: BTreeMap<String, String>,
    /// The number of the last event when this changed: what came before went by other rules.
    since_seq: u64,
}

impl Following {
    /// Follows a topic from now on, when the last event had the number `seq`.
    pub(crate) fn add(&mut self, topic: String, alias: String, seq: u64) -> Result<(), ErrorShape> {
        if self.topics.get(&topic) == Some(&alias) {
            return Ok(());
        }
        if self.topics.len() >= TOPICS_MAX && !self.topics.contains_key(&topic) {
            return Err(ErrorShape::new(Code::Unavailable, format!("a connection can follow {TOPICS_MAX} sessions at once")));
        }
        self.topics.insert(topic, alias);
        self.since_seq = seq;
        Ok(())
    }

    /// Follows a topic no more.
    pub(crate) fn remove(&mut self, topic: &str, seq: u64) {
        if self.topics.remove(topic).is_some() {
            self.since_seq = seq;
        }
    }

    /// Makes what came up to the number `seq` something that went by other rules.
    pub(crate) fn counts_from(&mut self, seq: u64) {
        self.since_seq = seq;
    }

    /// What is followed, and under which names.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&str, &str)> {
        self.topics.iter().map(|(topic, alias)| (topic.as_str(), alias.as_str()))
    }

    /// Follows what an earlier connection of the same client has followed.
    pub(crate) fn take_over(&mut self, earlier: &Self) {
        self.topics.extend(earlier.topics.iter().map(|(topic, alias)| (topic.clone(), alias.clone())));
    }

    pub(crate) fn any(&self, topics: &[String]) -> bool {
        topics.iter().any(|topic| self.topics.contains_key(topic))
    }

    /// How the connection calls the session whose chat it follows; none when it does not.
    pub(crate) fn chat_alias(&self, session_key: &str) -> Option<&str> {
        if self.topics.is_empty() { None } else { self.topics.get(&chat(session_key)).map(String::as_str) }
    }

    pub(crate) fn since_seq(&self) -> u64 {
        self.since_seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_can_only_follow_so_much() {
        let mut following = Following::default();
        for number in 0..TOPICS_MAX {
            following.add(session(&number.to_string()), String::new(), 1).unwrap();
        }
        assert!(following.add(session("one more"), String::new(), 2).is_err());
        following.add(session("0"), "again".to_owned(), 3).unwrap();
        assert_eq!(following.since_seq(), 3);
        following.remove(&session("1"), 4);
        following.add(session("one more"), String::new(), 5).unwrap();
        assert!(following.any(&[session("one more")]) && !following.any(&[session("1")]));
    }
}
