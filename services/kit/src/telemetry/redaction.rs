//! Takes secrets out of what is logged. No setting turns that off.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex, RegexBuilder};

/// What is shorter is not shown at all; of what is longer, the ends are.
const SHOWN_CHARS_MIN: usize = 18;

/// Whatever the first group catches is a secret; without a group, all of it.
const PATTERNS: [&str; 12] = [
    r#"\b[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)\b\s*[=:]\s*["']?([^\s"'\\,;&]+)"#,
    r#"(?i)\b(?:api_?key|access_?token|refresh_?token|token|secret|password|passwd)=["']?([^\s"'\\,;&#]+)"#,
    r#""(?:apiKey|token|secret|password|passwd|accessToken|refreshToken|botToken)"\s*:\s*"([^"]+)""#,
    r#"--(?:api-key|token|secret|password|passwd)[=\s]+["']?([^\s"']+)"#,
    r#"(?i)Authorization["']?\s*[:=]\s*["']?(?:Bearer|Basic)\s+([A-Za-z0-9._\-+=/]+)"#,
    r"\bBearer\s+([A-Za-z0-9._\-+=/]{18,})",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]+?-----END [A-Z ]*PRIVATE KEY-----",
    r"\b((?:sk|pplx|xapp|xox[baprs])-[A-Za-z0-9_-]{10,})",
    r"\b((?:ghp|gsk|npm)_[A-Za-z0-9]{10,})",
    r"\b(github_pat_[A-Za-z0-9_]{20,})",
    r"\b(AIza[0-9A-Za-z_-]{20,})",
    r"\b(\d{6,}:[A-Za-z0-9_-]{20,})",
];

static BUILT_IN: LazyLock<Vec<Regex>> =
    LazyLock::new(|| PATTERNS.iter().map(|pattern| Regex::new(pattern).expect("the tests compile every pattern")).collect());

/// Takes secrets out of texts.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    own: Vec<Regex>,
}

impl Redactor {
    /// With further patterns, plain or `/pattern/flags`; those that cannot be used are left out.
    pub(super) fn new(patterns: &[String]) -> Self {
        Self { own: patterns.iter().filter_map(|pattern| compile(pattern)).collect() }
    }

    /// Returns the text without its secrets.
    pub(super) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut cleaned = Cow::Borrowed(text);
        for pattern in BUILT_IN.iter().chain(&self.own) {
            if let Cow::Owned(changed) = pattern.replace_all(&cleaned, masked) {
                cleaned = Cow::Owned(changed);
            }
        }
        cleaned
    }
}

/// Whether a field of this name holds nothing else than a secret.
pub(super) fn is_secret(field: &str) -> bool {
    matches!(field, "token" | "password" | "secret" | "api_key" | "apiKey" | "authorization" | "bot_token")
}

/// Shows as much of a secret as tells it from another one.
pub(super) fn mask(secret: &str) -> String {
    let letters: Vec<char> = secret.chars().collect();
    if letters.len() < SHOWN_CHARS_MIN {
        return "***".to_owned();
    }
    let ends = |range: &[char]| range.iter().collect::<String>();
    format!("{}…{}", ends(&letters[..6]), ends(&letters[letters.len() - 4..]))
}

fn masked(found: &Captures<'_>) -> String {
    let whole = found.get_match();
    if whole.as_str().starts_with("-----BEGIN") {
        let lines: Vec<&str> = whole.as_str().lines().collect();
        return format!("{}\n…redacted…\n{}", lines[0], lines[lines.len() - 1]);
    }
    let secret = found.get(1).unwrap_or(whole);
    let (before, after) = (&whole.as_str()[..secret.start() - whole.start()], &whole.as_str()[secret.end() - whole.start()..]);
    // What another pattern has masked already stays as it is.
    let shown =
        if secret.as_str() == "***" || secret.as_str().contains('…') { secret.as_str().to_owned() } else { mask(secret.as_str()) };
    format!("{before}{shown}{after}")
}

fn compile(pattern: &str) -> Option<Regex> {
    let (body, flags) = match pattern.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) {
        Some((body, flags)) => (body, flags),
        None => (pattern, ""),
    };
    if body.is_empty() {
        return None;
    }
    RegexBuilder::new(body).case_insensitive(flags.contains('i')).multi_line(flags.contains('m')).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_16_no_form_of_a_secret_is_written() {
        let redactor = Redactor::new(&["/acct-[0-9]+/i".to_owned(), "(".to_owned()]);
        for (text, shown) in [
            ("OPENAI_API_KEY=abcdefghijklmnopqrstuv", "OPENAI_API_KEY=abcdef…stuv"),
            ("url http://h/?token=short1&x=1", "url http://h/?token=***&x=1"),
            (r#"{"apiKey": "0123456789abcdefghij"}"#, r#"{"apiKey": "012345…ghij"}"#),
            ("verso gateway --token hunter2 --port 1", "verso gateway --token *** --port 1"),
            ("Authorization: Bearer abc", "Authorization: Bearer ***"),
            ("got Bearer abcdefghijklmnopqrst.", "got Bearer abcdef…rst."),
            ("sk-abcdefghijklmnop", "sk-abc…mnop"),
            ("xoxb-1234567890-abc", "xoxb-1…-abc"),
            ("ghp_abcdefghijklmnopqrst", "ghp_ab…qrst"),
            ("bot 1234567:AAAAAAAAAAAAAAAAAAAAAAAAA started", "bot 123456…AAAA started"),
            ("ACCT-123 is mine", "*** is mine"),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
                "-----BEGIN PRIVATE KEY-----\n…redacted…\n-----END PRIVATE KEY-----",
            ),
        ] {
            assert_eq!(redactor.clean(text), shown);
        }
        assert!(is_secret("token") && !is_secret("session"));
    }

    #[test]
    fn what_holds_no_secret_is_not_touched() {
        let redactor = Redactor::default();
        for text in
            ["session agent:main:main started", "listening on ws://127.0.0.1:18789 (PID 12)", "2026-01-01T00:00:00Z", "tokens used: 12"]
        {
            assert!(matches!(redactor.clean(text), Cow::Borrowed(_)), "{text}");
        }
    }
}
