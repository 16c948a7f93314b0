//! What the main session of the gateway's agent hears of beacons.

use tracing::warn;
use verso_kit::peer::{Caller, Peer};
use verso_proto::agent::v1::SystemEventAddRequest;
use verso_proto::presence::v1::Entry;

/// Devices say with these reasons that nothing has happened.
const ROUTINE: [&str; 2] = ["periodic", "heartbeat"];

/// Returns the line that a beacon is worth. `before` is what was known of the device, `now` what is.
///
/// A device that describes itself is news only when something but its idle time has changed; any other text always is.
pub(crate) fn line(text: &str, before: Option<&Entry>, now: &Entry) -> Option<String> {
    let describes = text.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("node:"));
    if !describes {
        return Some(text.to_owned());
    }
    let reason = now.reason.as_deref().unwrap_or_default().to_lowercase();
    let routine = ROUTINE.iter().any(|word| reason.starts_with(word));
    let facts = |entry: &Entry| [&entry.host, &entry.ip, &entry.version, &entry.mode, &entry.reason].map(Clone::clone);
    let changed = before.is_none_or(|before| facts(before) != facts(now));
    (changed && !routine).then(|| text.to_owned())
}

/// Passes a line on. A beacon is not refused because nobody listens to it.
pub(crate) async fn pass_on(agent: &Peer, text: String) {
    let request = SystemEventAddRequest { text, session_key: String::new(), context_key: None };
    if let Err(status) = agent.call(request, &Caller::default()).await {
        warn!(error = &status as &dyn std::error::Error, "the agent service did not hear of a system event");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: &str, reason: &str) -> Entry {
        Entry { mode: Some(mode.to_owned()), reason: Some(reason.to_owned()), ..Entry::default() }
    }

    #[test]
    fn a_device_is_news_when_it_has_changed() {
        let known = entry("local", "launch");
        for (text, before, now, expected) in [
            ("the door is open", Some(&known), &known, true),
            ("Node: mac", None, &known, true),
            ("Node: mac", Some(&known), &known, false),
            ("node: mac", Some(&known), &entry("remote", "launch"), true),
            ("Node: mac", None, &entry("local", "periodic"), false),
        ] {
            assert_eq!(line(text, before, now).is_some(), expected, "{text} {before:?} {now:?}");
        }
    }
}
