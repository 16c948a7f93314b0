//! The token by which a model says that nothing needs attention.

/// The token.
pub(crate) const ACK_TOKEN: &str = "HEARTBEAT_OK";

/// What a message says once the token is taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing needs attention.
    Acknowledged,
    Says(String),
}

/// Reads the answer to a heartbeat: a token with few words beside it is an acknowledgement.
pub(crate) fn strip(text: &str, ack_chars_max: usize) -> Beat {
    strip_with(text, Some(ack_chars_max))
}

/// Reads any other message: only the token alone is an acknowledgement.
pub(crate) fn message(text: &str) -> Beat {
    if text.contains(ACK_TOKEN) { strip_with(text, None) } else { Beat::Says(text.trim().to_owned()) }
}

fn strip_with(text: &str, ack_chars_max: Option<usize>) -> Beat {
    let text = text.trim();
    if text.is_empty() {
        return Beat::Acknowledged;
    }
    let plain = without_markup(text);
    let taken = off_the_ends(text).filter(|rest| !rest.is_empty()).or_else(|| off_the_ends(&plain));
    match taken {
        // The token is missing, or stands in the middle: these are words like any others.
        None => Beat::Says(text.to_owned()),
        Some(rest) if rest.is_empty() => Beat::Acknowledged,
        Some(rest) if ack_chars_max.is_some_and(|max| rest.chars().count() <= max) => Beat::Acknowledged,
        Some(rest) => Beat::Says(rest),
    }
}

/// Takes the token off both ends, as often as it is there; none if it is at neither.
fn off_the_ends(text: &str) -> Option<String> {
    let mut rest = text.trim();
    while let Some(shorter) = rest.strip_prefix(ACK_TOKEN).or_else(|| rest.strip_suffix(ACK_TOKEN)) {
        rest = shorter.trim();
    }
    (rest.len() < text.trim().len()).then(|| rest.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Leaves out HTML tags, and what Markdown puts around words.
fn without_markup(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let Some(length) = rest[start..].find('>') else { break };
        plain.push_str(&rest[..start]);
        plain.push(' ');
        rest = &rest[start + length + 1..];
    }
    plain.push_str(rest);
    let plain = plain.replace("&nbsp;", " ");
    plain.trim().trim_matches(['*', '`', '~', '_']).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_an_acknowledgement_from_an_alert() {
        let long = "x".repeat(301);
        let fits = format!("HEARTBEAT_OK{}", "x".repeat(300));
        let too_long = format!("HEARTBEAT_OK {long}");
        let ok = || Beat::Acknowledged;
        let says = |text: &str| Beat::Says(text.to_owned());
        for (text, max, expected) in [
            ("HEARTBEAT_OK", 300, ok()),
            ("**HEARTBEAT_OK**", 300, ok()),
            ("<b>HEARTBEAT_OK</b>", 300, ok()),
            ("", 300, ok()),
            ("HEARTBEAT_OK all fine", 300, ok()),
            ("all fine HEARTBEAT_OK", 300, ok()),
            (&fits, 300, ok()),
            (&too_long, 300, says(&long)),
            ("mid HEARTBEAT_OK mid", 300, says("mid HEARTBEAT_OK mid")),
            ("HEARTBEAT_OK hi", 0, says("hi")),
            ("HEARTBEAT_OK.", 0, says(".")),
            ("the disk is full", 300, says("the disk is full")),
        ] {
            assert_eq!(strip(text, max), expected, "{text:?} {max}");
        }
        assert_eq!((message("HEARTBEAT_OK hi"), message("HEARTBEAT_OK")), (says("hi"), ok()));
    }
}
