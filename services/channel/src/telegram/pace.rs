//! How often the Bot API lets a bot write: what is sent faster is refused, so it is not tried.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Messages that a bot may send to all chats together, each second.
const ALL_A_SECOND: f64 = 30.0;

/// Messages that a group takes each minute.
const GROUP_A_MINUTE: f64 = 20.0;

/// Messages that a private chat takes each second, after some that may come at once.
const PRIVATE_A_SECOND: f64 = 1.0;
const PRIVATE_AT_ONCE: f64 = 10.0;

/// Chats that are remembered; those that may be written to freely are forgotten first.
const CHATS_MAX: usize = 4_096;

/// Who was written to how often just now.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    all: Bucket,
    chats: HashMap<String, Bucket>,
}

/// What may be sent at once, and comes back with time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    most: f64,
    a_second: f64,
    at: Instant,
}

impl Bucket {
    fn new(most: f64, a_second: f64, now: Instant) -> Self {
        Self { left: most, most, a_second, at: now }
    }

    fn refill(&mut self, now: Instant) {
        self.left = (self.left + now.saturating_duration_since(self.at).as_secs_f64() * self.a_second).min(self.most);
        self.at = now;
    }

    /// Returns how long it takes until one more may be sent.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        self.refill(now);
        (self.left < 1.0).then(|| Duration::from_secs_f64((1.0 - self.left) / self.a_second))
    }
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { all: Bucket::new(ALL_A_SECOND, ALL_A_SECOND, Instant::now()), chats: HashMap::new() }) }
    }

    /// Returns how long a chat is to be left alone.
    pub(super) fn pause(&self, chat: &str) -> Option<Duration> {
        self.pause_at(chat, Instant::now())
    }

    fn pause_at(&self, chat: &str, now: Instant) -> Option<Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let of_chat = state.chats.get_mut(chat).and_then(|bucket| bucket.pause(now));
        of_chat.max(state.all.pause(now))
    }

    /// Notes that a chat was written to.
    pub(super) fn sent(&self, chat: &str) {
        self.sent_at(chat, Instant::now());
    }

    fn sent_at(&self, chat: &str, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.chats.len() >= CHATS_MAX && !state.chats.contains_key(chat) {
            state.chats.retain(|_, bucket| {
                bucket.refill(now);
                bucket.left < bucket.most
            });
        }
        let group = chat.starts_with('-');
        let (most, a_second) = if group { (GROUP_A_MINUTE, GROUP_A_MINUTE / 60.0) } else { (PRIVATE_AT_ONCE, PRIVATE_A_SECOND) };
        let bucket = state.chats.entry(chat.to_owned()).or_insert_with(|| Bucket::new(most, a_second, now));
        bucket.refill(now);
        bucket.left -= 1.0;
        state.all.refill(now);
        state.all.left -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_that_was_written_to_often_is_left_alone_and_the_others_are_not() {
        let (pace, mut now) = (Pace::new(), Instant::now());
        for _ in 0..10 {
            assert_eq!(pace.pause_at("1", now), None);
            pace.sent_at("1", now);
        }
        assert!(pace.pause_at("1", now).is_some_and(|pause| pause <= Duration::from_secs(1)));
        assert_eq!(pace.pause_at("2", now), None);
        now += Duration::from_secs(1);
        assert_eq!(pace.pause_at("1", now), None);
        for _ in 0..20 {
            pace.sent_at("-5", now);
            now += Duration::from_millis(100);
        }
        assert!(pace.pause_at("-5", now).is_some_and(|pause| pause < Duration::from_secs(3)), "a group takes twenty a minute");
    }
}
