//! Directives: settings between other words, which hold for the message, or, with no other words, for the session.

use super::Who;
use crate::runs::{Drops, QueueMode, QueueWishes};

/// A setting, and what was said about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// None: the word alone, which asks how it is.
    pub(super) raw: Option<String>,
}

/// What was said about queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct QueueAsked {
    pub(super) wishes: QueueWishes,
    /// Everything that was set is to be forgotten.
    pub(super) clear: bool,
}

/// What was said about programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ExecAsked {
    pub(super) host: Option<String>,
    pub(super) security: Option<String>,
    pub(super) ask: Option<String>,
    pub(super) node: Option<String>,
}

/// The directives of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) think: Option<Asked>,
    pub(super) verbose: Option<Asked>,
    pub(super) reasoning: Option<Asked>,
    pub(super) elevated: Option<Asked>,
    pub(super) model: Option<Asked>,
    pub(super) exec: Option<ExecAsked>,
    pub(super) queue: Option<QueueAsked>,
}

impl Directives {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Takes the directives that `who` may give out of a message. Returns them, and the rest.
pub(super) fn take(message: &str, who: &Who) -> (Directives, String) {
    let mut found = Directives::default();
    let mut text = message.to_owned();
    if !who.authorized {
        return (found, text);
    }
    found.think = one(&mut text, &["thinking", "think", "t"], is_level);
    found.verbose = one(&mut text, &["verbose", "v"], is_level);
    found.reasoning = one(&mut text, &["reasoning", "reason"], is_level);
    found.model = one(&mut text, &["model"], is_model);
    found.queue = queue(&mut text);
    // These could widen what programs may do.
    if who.owns {
        found.elevated = one(&mut text, &["elevated", "elev"], is_level);
        found.exec = exec(&mut text);
    }
    let rest = if found.is_empty() { message.to_owned() } else { text.trim().to_owned() };
    (found, rest)
}

fn is_level(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '-'
}

fn is_model(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._:@/-#+".contains(c)
}

/// Finds `/name` as a word of its own. Returns where it begins, and where what follows it begins.
fn find(text: &str, names: &[&str]) -> Option<(usize, usize)> {
    let lower = text.to_ascii_lowercase();
    let mut from = 0;
    while let Some(place) = lower[from..].find('/').map(|place| from + place) {
        from = place + 1;
        if !text[..place].chars().next_back().is_none_or(char::is_whitespace) {
            continue;
        }
        for name in names {
            let Some(after) = lower[place + 1..].strip_prefix(name) else { continue };
            if after.is_empty() || after.starts_with(':') || after.starts_with(char::is_whitespace) {
                let end = place + 1 + name.len();
                return Some((place, end + usize::from(after.starts_with(':'))));
            }
        }
    }
    None
}

/// Joins what stands before and behind something that was taken out.
fn join(before: &str, after: &str) -> String {
    let (before, after) = (before.trim_end(), after.trim_start());
    if before.is_empty() || after.is_empty() { format!("{before}{after}") } else { format!("{before} {after}") }
}

fn one(text: &mut String, names: &[&str], part: fn(char) -> bool) -> Option<Asked> {
    let (start, end) = find(text, names)?;
    let behind = text[end..].trim_start_matches([' ', '\t']);
    let length = behind.find(|c| !part(c)).unwrap_or(behind.len());
    // Half a word is none.
    let whole = behind[length..].chars().next().is_none_or(char::is_whitespace);
    let length = if whole { length } else { 0 };
    let raw = (length > 0).then(|| behind[..length].to_owned());
    *text = join(&text[..start], &behind[length..]);
    Some(Asked { raw })
}

/// Takes words as long as `known` knows them.
fn words(text: &mut String, names: &[&str], mut known: impl FnMut(&str) -> bool) -> bool {
    let Some((start, end)) = find(text, names) else { return false };
    let mut behind = text[end..].trim_start();
    while let Some(word) = behind.split_whitespace().next() {
        if !known(word) {
            break;
        }
        behind = behind[word.len()..].trim_start();
    }
    *text = join(&text[..start], behind);
    true
}

fn queue(text: &mut String) -> Option<QueueAsked> {
    let mut asked = QueueAsked::default();
    let wishes = &mut asked.wishes;
    let mut clear = false;
    let known = |word: &str| {
        if let Some(mode) = QueueMode::parse(word).filter(|_| wishes.mode.is_none()) {
            wishes.mode = Some(mode);
            return true;
        }
        if matches!(word.to_lowercase().as_str(), "default" | "reset" | "clear") {
            clear = true;
            return true;
        }
        let Some((name, value)) = word.split_once([':', '=']) else { return false };
        match name.to_lowercase().as_str() {
            "debounce" => wishes.debounce_ms = milliseconds(value),
            "cap" => wishes.cap = value.parse().ok().filter(|cap| *cap > 0),
            "drop" => wishes.drops = Drops::parse(value),
            _ => return false,
        }
        true
    };
    let found = words(text, &["queue"], known);
    asked.clear = clear;
    found.then_some(asked)
}

fn exec(text: &mut String) -> Option<ExecAsked> {
    let mut asked = ExecAsked::default();
    let known = |word: &str| {
        let Some((name, value)) = word.split_once([':', '=']) else { return false };
        let place = match name.to_lowercase().as_str() {
            "host" => &mut asked.host,
            "security" => &mut asked.security,
            "ask" => &mut asked.ask,
            "node" => &mut asked.node,
            _ => return false,
        };
        *place = Some(value.to_owned());
        true
    };
    words(text, &["exec"], known).then_some(asked)
}

/// Reads `2s`, `1500ms`, `1m`; a number alone is milliseconds.
fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim().to_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    let ms = number * factor;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within an hour")]
    (0.0..=3_600_000.0).contains(&ms).then_some(ms as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Who {
        Who { authorized: true, manages: true, owns: true, ..Who::default() }
    }

    fn level(raw: &str) -> Asked {
        Asked { raw: Some(raw.to_owned()) }
    }

    #[test]
    fn directives_are_taken_out_of_a_text() {
        for (message, think, rest) in [
            ("/think high do it", Some(level("high")), "do it"),
            ("/t: low", Some(level("low")), ""),
            ("/think bogus x", Some(level("bogus")), "x"),
            ("/thinkhard x", None, "/thinkhard x"),
            ("path/think high", None, "path/think high"),
            ("please /THINK medium now", Some(level("medium")), "please now"),
            ("/think", Some(Asked::default()), ""),
            ("/think 3.5x", Some(Asked::default()), "3.5x"),
        ] {
            let (found, text) = take(message, &owner());
            assert_eq!((found.think, text.as_str()), (think, rest), "{message:?}");
        }
    }

    #[test]
    fn queues_are_described_until_the_first_word_that_is_none_of_theirs() {
        let (found, rest) = take("/queue steer debounce:2s cap:5 drop:old hi", &owner());
        let wishes = QueueWishes { mode: Some(QueueMode::Steer), debounce_ms: Some(2_000), cap: Some(5), drops: Some(Drops::Old) };
        assert_eq!((found.queue, rest.as_str()), (Some(QueueAsked { wishes, clear: false }), "hi"));
        let (found, rest) = take("/queue bogus", &owner());
        assert_eq!((found.queue, rest.as_str()), (Some(QueueAsked::default()), "bogus"));
        assert!(take("/queue default", &owner()).0.queue.unwrap().clear);
        for (text, ms) in [("2s", Some(2_000)), ("1.5s", Some(1_500)), ("250", Some(250)), ("1m", Some(60_000)), ("x", None), ("9h", None)]
        {
            assert_eq!(milliseconds(text), ms, "{text}");
        }
    }

    #[test]
    fn sec_20_only_an_owner_says_how_programs_are_run() {
        let (found, rest) = take("/exec security=full ask=off go /elevated full", &owner());
        let exec = ExecAsked { security: Some("full".to_owned()), ask: Some("off".to_owned()), ..ExecAsked::default() };
        assert_eq!((found.exec, found.elevated, rest.as_str()), (Some(exec), Some(level("full")), "go"));
        let sender = Who { owns: false, ..owner() };
        for message in ["/exec security=full ask=off go", "/elevated full"] {
            assert_eq!(take(message, &sender), (Directives::default(), message.to_owned()));
        }
        assert_eq!(take("/think high", &Who::default()), (Directives::default(), "/think high".to_owned()));
    }
}
