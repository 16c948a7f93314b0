//! What a model's words mean beyond what they say: silence, acknowledgement, reply tags, attachments.

mod blocks;
mod directives;
mod heartbeat;
mod silent;
mod untrusted;

pub(crate) use blocks::{Chunker, Section as Chunks};
pub(crate) use directives::parse;
pub(crate) use heartbeat::{Beat, message as without_ack, strip};
pub(crate) use silent::{is_silent, may_become_silent};
pub(crate) use untrusted::untrusted;

use verso_proto::agent::v1::Payload;

/// Returns what people see of a model's message; none if it says nothing to them.
pub(crate) fn payload(text: &str) -> Option<Payload> {
    let text = match without_ack(text) {
        Beat::Acknowledged => return None,
        Beat::Says(text) => text,
    };
    let parsed = parse(&text);
    let says = !parsed.text.is_empty() && !is_silent(&parsed.text);
    if !says && parsed.media.is_empty() {
        return None;
    }
    Some(Payload {
        text: if says { parsed.text } else { String::new() },
        media_url: parsed.media.first().cloned(),
        media_urls: if parsed.media.len() > 1 { parsed.media } else { Vec::new() },
        reply_to_id: parsed.reply_to_id,
        reply_to_current: parsed.reply_to_current.then_some(true),
        audio_as_voice: parsed.audio_as_voice.then_some(true),
    })
}

/// Returns the words that people see of a message that is not written to its end: what may become a tag or an attachment is no words yet.
pub(crate) fn draft(text: &str) -> String {
    let whole = match text.rfind("[[") {
        Some(start) if !text[start..].contains("]]") => &text[..start],
        _ => text.strip_suffix('[').unwrap_or(text),
    };
    let (before, line) = whole.rsplit_once('\n').unwrap_or(("", whole));
    let attaches = !line.trim().is_empty() && ("MEDIA:".starts_with(line.trim()) || line.trim_start().starts_with("MEDIA:"));
    visible(if attaches { before } else { whole })
}

/// Returns the words of a model's message that people see.
pub(crate) fn visible(text: &str) -> String {
    payload(text).map(|payload| payload.text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_shows_nothing_that_may_become_something_else() {
        for (text, seen) in [
            ("hi", "hi"),
            ("hi [[reply_to", "hi"),
            ("hi [", "hi"),
            ("[[reply_to_current]] yes", "yes"),
            ("see\nMED", "see"),
            ("see\nMEDIA:./a.pn", "see"),
            ("MEDIA:", ""),
            ("see\nMore", "see\nMore"),
        ] {
            assert_eq!(draft(text), seen, "{text:?}");
        }
    }

    #[test]
    fn a_payload_is_what_people_see() {
        for (text, seen) in
            [("hi", "hi"), ("NO_REPLY", ""), ("HEARTBEAT_OK", ""), ("[[reply_to_current]] yes", "yes"), ("HEARTBEAT_OK hi", "hi")]
        {
            assert_eq!(visible(text), seen, "{text:?}");
        }
        let media = payload("NO_REPLY\nMEDIA:https://x.y/a.png").unwrap();
        assert_eq!((media.text.as_str(), media.media_url.as_deref()), ("", Some("https://x.y/a.png")));
    }
}
