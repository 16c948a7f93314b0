//! Messages that come while their session is busy: what becomes of them, how long they are waited for, and how many may wait.

mod gather;
mod words;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub(super) use gather::{Gathered, gather, make_room, steer, waits};
pub(crate) use words::dropped;

/// The quiet that several messages are waited for to become one, unless configured, in milliseconds.
const DEBOUNCE_MS_DEFAULT: u64 = 1_000;

/// Messages that may wait in one session, unless configured.
const CAP_DEFAULT: usize = 20;

/// What becomes of a message that comes while its session is busy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// The turn that is under way hears it between two of its steps; too late for that, it is a turn of its own.
    Steer,
    /// A turn of its own, later.
    Followup,
    /// One turn together with the others that wait.
    #[default]
    Collect,
    /// Both: the turn that is under way hears it, and it is a turn of its own.
    SteerBacklog,
    /// What is under way is stopped, and what waits is given up.
    Interrupt,
}

impl Mode {
    /// Reads a mode in any of its spellings.
    pub(crate) fn parse(raw: &str) -> Option<Self> {
        Some(match raw.trim().to_lowercase().as_str() {
            "steer" | "queue" | "queued" => Self::Steer,
            "followup" | "follow-up" | "followups" | "follow-ups" => Self::Followup,
            "collect" | "coalesce" => Self::Collect,
            "steer-backlog" | "steer+backlog" | "steer_backlog" => Self::SteerBacklog,
            "interrupt" | "interrupts" | "abort" => Self::Interrupt,
            _ => return None,
        })
    }

    /// Returns the word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Steer => "steer",
            Self::Followup => "followup",
            Self::Collect => "collect",
            Self::SteerBacklog => "steer-backlog",
            Self::Interrupt => "interrupt",
        }
    }
}

/// Which message makes room when too many wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Drops {
    /// The oldest.
    Old,
    /// The new one: it is refused.
    New,
    /// The oldest, and a line of it is told with the next.
    #[default]
    Summarize,
}

impl Drops {
    /// Reads a policy in any of its spellings.
    pub(crate) fn parse(raw: &str) -> Option<Self> {
        Some(match raw.trim().to_lowercase().as_str() {
            "old" | "oldest" => Self::Old,
            "new" | "newest" => Self::New,
            "summarize" | "summary" => Self::Summarize,
            _ => return None,
        })
    }

    /// Returns the word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
            Self::Summarize => "summarize",
        }
    }
}

/// How one message is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queue {
    pub(crate) mode: Mode,
    pub(crate) debounce_ms: u64,
    pub(crate) cap: usize,
    pub(crate) drops: Drops,
}

/// What somebody has said about it: with one message, or for a session. What is left out is decided elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) mode: Option<Mode>,
    pub(crate) debounce_ms: Option<u64>,
    pub(crate) cap: Option<usize>,
    pub(crate) drops: Option<Drops>,
}

impl Wishes {
    fn or(self, other: Self) -> Self {
        Self {
            mode: self.mode.or(other.mode),
            debounce_ms: self.debounce_ms.or(other.debounce_ms),
            cap: self.cap.or(other.cap),
            drops: self.drops.or(other.drops),
        }
    }
}

/// The section `messages.queue`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Section {
    /// `steer`, `followup`, `collect`, `steer-backlog` or `interrupt`. Default: `collect`.
    mode: Option<String>,
    /// The quiet that is waited for, in milliseconds. Default: 1000.
    debounce_ms: Option<u64>,
    /// Messages that may wait in a session. Default: 20.
    cap: Option<usize>,
    /// `old`, `new` or `summarize`. Default: `summarize`.
    drop: Option<String>,
    /// The mode by channel.
    by_channel: HashMap<String, String>,
    /// The quiet by channel, in milliseconds.
    debounce_ms_by_channel: HashMap<String, u64>,
}

impl Section {
    /// Decides how a message is queued: its own words count before its session's, those before its channel's, those before everybody's.
    pub(crate) fn resolve(&self, inline: Wishes, session: Wishes, channel: Option<&str>) -> Queue {
        let of_channel = Wishes {
            mode: channel.and_then(|channel| self.by_channel.get(channel)).and_then(|mode| Mode::parse(mode)),
            debounce_ms: channel.and_then(|channel| self.debounce_ms_by_channel.get(channel)).copied(),
            ..Wishes::default()
        };
        let of_all = Wishes {
            mode: self.mode.as_deref().and_then(Mode::parse),
            debounce_ms: self.debounce_ms,
            cap: self.cap,
            drops: self.drop.as_deref().and_then(Drops::parse),
        };
        let all = inline.or(session).or(of_channel).or(of_all);
        Queue {
            mode: all.mode.unwrap_or_default(),
            debounce_ms: all.debounce_ms.unwrap_or(DEBOUNCE_MS_DEFAULT),
            cap: all.cap.unwrap_or(CAP_DEFAULT).max(1),
            drops: all.drops.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_messages_own_words_count_before_its_sessions_its_channels_and_everybodys() {
        let section: Section = serde_json::from_value(json!({
            "mode": "followup", "debounceMs": 50, "cap": 3, "drop": "old", "byChannel": {"irc": "steer+backlog"}, "debounceMsByChannel": {"irc": 9},
        }))
        .unwrap();
        let (none, mode) = (Wishes::default(), |mode| Wishes { mode: Some(mode), ..Wishes::default() });
        let found = |inline, session, channel| {
            let queue = section.resolve(inline, session, channel);
            (queue.mode, queue.debounce_ms)
        };
        assert_eq!(found(none, none, None), (Mode::Followup, 50));
        assert_eq!(found(none, none, Some("irc")), (Mode::SteerBacklog, 9));
        assert_eq!(found(none, mode(Mode::Steer), Some("irc")), (Mode::Steer, 9));
        assert_eq!(found(mode(Mode::Interrupt), mode(Mode::Steer), Some("irc")), (Mode::Interrupt, 9));
        let usual = Section::default().resolve(none, none, Some("irc"));
        assert_eq!(usual, Queue { mode: Mode::Collect, debounce_ms: 1_000, cap: 20, drops: Drops::Summarize });
        assert_eq!(section.resolve(Wishes { cap: Some(0), ..none }, none, None).cap, 1);
    }

    #[test]
    fn modes_have_several_spellings() {
        for (raw, mode) in [
            ("queue", Mode::Steer),
            ("Queued", Mode::Steer),
            ("interrupts", Mode::Interrupt),
            ("abort", Mode::Interrupt),
            ("coalesce", Mode::Collect),
            ("follow-ups", Mode::Followup),
            ("steer_backlog", Mode::SteerBacklog),
        ] {
            assert_eq!(Mode::parse(raw), Some(mode), "{raw}");
            assert_eq!(Mode::parse(mode.as_str()), Some(mode));
        }
        assert_eq!((Mode::parse("bogus"), Drops::parse("none")), (None, None));
    }
}
