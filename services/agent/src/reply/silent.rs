//! The token by which a model says that it has nothing to say.

/// The token.
const TOKEN: &str = "NO_REPLY";

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether a message is to stay unsent: it begins with the token, or ends with it as a word.
pub(crate) fn is_silent(text: &str) -> bool {
    let begins = text.trim_start().strip_prefix(TOKEN).is_some_and(|rest| !rest.starts_with(is_word));
    let core = text.trim_end_matches(|c: char| !is_word(c));
    let ends = core.strip_suffix(TOKEN).is_some_and(|before| !before.ends_with(is_word));
    begins || ends
}

/// Whether a message that is still being written may turn out to begin with the token.
pub(crate) fn may_become_silent(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || TOKEN.starts_with(text) || is_silent(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_silence() {
        let silent =
            ["NO_REPLY", " NO_REPLY\n", "NO_REPLY.", "`NO_REPLY`", "ok NO_REPLY", "bye NO_REPLY.", "done NO_REPLY)", "NO_REPLY bye"];
        for text in silent {
            assert!(is_silent(text), "{text:?}");
        }
        for text in ["NO_REPLYX", "NO_REPLY_X", "xNO_REPLY", "no_reply", ""] {
            assert!(!is_silent(text), "{text:?}");
        }
        assert!(may_become_silent("NO_") && !may_become_silent("NOPE"));
    }
}
