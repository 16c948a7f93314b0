//! Codes by which somebody asks to be let in.

use rand::seq::IndexedRandom as _;

/// Letters and digits that nobody mistakes for another.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Characters of a code.
const CODE_CHARS: usize = 8;

/// Returns a new code.
pub(crate) fn code() -> String {
    let mut random = rand::rng();
    (0..CODE_CHARS).filter_map(|_| ALPHABET.choose(&mut random)).map(|letter| char::from(*letter)).collect()
}

/// Returns what somebody reads who is not known yet.
pub(crate) fn offer(label: &str, channel: &str, sender: &str, code: &str) -> String {
    format!(
        "This assistant does not know you yet.\n\nYour {label} id: `{sender}`\n\nPairing code: `{code}`\n\nThe owner can let you in with:\n\n`verso pairing approve {channel} {code}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_eight_clear_characters_and_differ() {
        let codes: std::collections::HashSet<String> = (0..200).map(|_| code()).collect();
        assert_eq!(codes.len(), 200);
        assert!(codes.iter().all(|code| code.len() == CODE_CHARS && code.bytes().all(|byte| ALPHABET.contains(&byte))));
    }
}
