//! What was checked before, as long as it is used.

use std::collections::HashMap;

use bytes::Bytes;

/// Tokens of one kind that are remembered; those that were used longest ago go first.
const CHECKED_MAX: usize = 16_384;

/// A token that was not used for this long is checked again, in milliseconds; one that was used within half of it is not. Every
/// connection has its own, and nobody says when it is gone.
const UNUSED_MS_MAX: i64 = 120_000;

/// Remembers in two generations: what the older one has is forgotten unless it is used before the younger one takes its place.
#[derive(Debug)]
pub(super) struct Checked<T> {
    young: HashMap<Bytes, T>,
    old: HashMap<Bytes, T>,
    young_since_ms: i64,
}

impl<T> Default for Checked<T> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_since_ms: 0 }
    }
}

impl<T: Clone> Checked<T> {
    /// Returns what was found out about a token.
    pub(super) fn get(&mut self, token: &[u8], now_ms: i64) -> Option<T> {
        let age_ms = now_ms - self.young_since_ms;
        // A clock that was set back ages it too.
        if !(0..UNUSED_MS_MAX / 2).contains(&age_ms) {
            self.age();
            if !(0..UNUSED_MS_MAX).contains(&age_ms) {
                self.old.clear();
            }
            self.young_since_ms = now_ms;
        }
        if let Some(known) = self.young.get(token) {
            return Some(known.clone());
        }
        let (token, known) = self.old.remove_entry(token)?;
        self.remember(token, known.clone());
        Some(known)
    }

    /// Remembers what was found out.
    pub(super) fn insert(&mut self, token: &[u8], found: T) {
        self.remember(Bytes::copy_from_slice(token), found);
    }

    fn remember(&mut self, token: Bytes, found: T) {
        if self.young.len() >= CHECKED_MAX / 2 {
            self.age();
        }
        self.young.insert(token, found);
    }

    fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_what_is_used_and_forgets_the_rest() {
        let mut checked = Checked::default();
        assert_eq!(checked.get(b"used", 1), None);
        checked.insert(b"used", 1);
        checked.insert(b"left", 2);
        for turn in 1..5 {
            assert_eq!(checked.get(b"used", turn * UNUSED_MS_MAX / 2), Some(1));
        }
        assert_eq!(checked.get(b"left", 5 * UNUSED_MS_MAX / 2), None);
        assert_eq!(checked.young.len() + checked.old.len(), 1);
        assert_eq!(checked.get(b"used", 9 * UNUSED_MS_MAX / 2), None, "nobody called for as long");
    }

    #[test]
    fn remembers_a_bounded_number() {
        let mut checked = Checked::default();
        for token in 0..3 * CHECKED_MAX {
            checked.insert(&token.to_be_bytes(), token);
        }
        assert!(checked.young.len() + checked.old.len() <= CHECKED_MAX);
        assert_eq!(checked.get(&(3 * CHECKED_MAX - 1).to_be_bytes(), 0), Some(3 * CHECKED_MAX - 1));
    }
}
