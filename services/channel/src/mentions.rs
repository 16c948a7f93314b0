//! What counts as a mention of an account besides the network's own way.

use regex::{Regex, RegexBuilder};

/// Patterns that are looked for.
const PATTERNS_MAX: usize = 64;

/// How large a pattern may become, in bytes.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// Characters that are not seen, and hide a name from a pattern.
const INVISIBLE: [char; 6] = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{ad}'];

/// Patterns of mentions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mentions {
    patterns: Vec<Regex>,
}

impl Mentions {
    /// Reads patterns: regular expressions that look at no case. One that is none stands for its own words.
    pub(crate) fn new<'a>(patterns: impl Iterator<Item = &'a String>) -> Self {
        let build = |pattern: &str| RegexBuilder::new(pattern).case_insensitive(true).size_limit(PATTERN_BYTES_MAX).build();
        let read = |pattern: &String| {
            build(pattern).or_else(|error| {
                tracing::warn!(%error, "a pattern of mentions is no regular expression and stands for its own words");
                build(&regex::escape(pattern))
            })
        };
        let patterns = patterns.filter(|pattern| !pattern.trim().is_empty()).take(PATTERNS_MAX);
        Self { patterns: patterns.filter_map(|pattern| read(pattern).ok()).collect() }
    }

    /// Whether a text mentions the account.
    pub(crate) fn found_in(&self, text: &str) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let seen = text.replace(INVISIBLE, "");
        self.patterns.iter().any(|pattern| pattern.is_match(&seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_see_what_people_see() {
        let patterns = [r"\bverso\b".to_owned(), "hey (".to_owned(), "  ".to_owned()];
        let mentions = Mentions::new(patterns.iter());
        for (text, found) in [("VERSO, hi", true), ("ver\u{200b}so", true), ("versos", false), ("Hey (you)", true), ("", false)] {
            assert_eq!(mentions.found_in(text), found, "{text:?}");
        }
    }
}
