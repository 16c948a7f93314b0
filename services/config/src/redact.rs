//! Secrets out of what clients see, and back into what they send.

use std::collections::HashMap;

use serde_json::Value;

use crate::document::{Document, EditError};
use crate::key_path::{KeyPath, Step};
use crate::sensitive::{is_reference, is_sensitive, is_telling_address};

/// Stands for a secret. Clients know this word.
pub const SENTINEL: &str = "__OPENCLAW_REDACTED__";

/// A shorter secret is not looked for in other places: it would be found everywhere, in characters.
const ALIAS_CHARACTERS_MIN: usize = 6;

/// Knows the secrets of one configuration, in every form in which they may turn up.
#[derive(Clone, Default)]
pub struct Redactor {
    /// The longest first, so that one inside another does not break it.
    secrets: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Redactor").field("secrets", &self.secrets.len()).finish()
    }
}

impl Redactor {
    /// Learns the secrets of several views of one configuration.
    pub fn of<'v>(views: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut secrets = Vec::new();
        for view in views {
            collect(view, &mut Vec::new(), &mut secrets);
        }
        secrets.retain(|secret| secret.chars().count() >= ALIAS_CHARACTERS_MIN && !is_reference(secret) && secret != SENTINEL);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// Returns a view without its secrets.
    pub fn value(&self, view: &Value) -> Value {
        let mut view = view.clone();
        self.walk(&mut view, &mut Vec::new());
        view
    }

    /// Returns the text of a document without its secrets, in comments too.
    pub fn document(&self, document: &Document) -> Result<String, EditError> {
        document.rewrite(&mut |path, text| match path {
            Some(path) => self.string(path, text),
            None => self.comment(text),
        })
    }

    /// Returns any text without the secrets that are known.
    pub fn text(&self, text: &str) -> String {
        self.aliases(text).unwrap_or_else(|| text.to_owned())
    }

    /// Puts the secrets of `stored` back into a text that a client sends. Fails with the path of a sentinel for which nothing is stored.
    pub fn restore(&self, sent: &Document, stored: &Document) -> Result<String, RestoreError> {
        let mut comments = HashMap::new();
        stored
            .rewrite(&mut |path, text| {
                if path.is_none()
                    && let Some(hidden) = self.comment(text)
                {
                    comments.insert(hidden, text.to_owned());
                }
                None
            })
            .map_err(RestoreError::Edit)?;
        let mut lost = None;
        let text = sent.rewrite(&mut |path, text| match path {
            None => comments.get(text).cloned(),
            Some(path) => self.original(path, text, sent.value(), stored.value()).unwrap_or_else(|| {
                lost.get_or_insert_with(|| shown(path));
                None
            }),
        });
        match lost {
            Some(path) => Err(RestoreError::NothingStored(path)),
            None => text.map_err(RestoreError::Edit),
        }
    }

    /// The same for a patch, which is a value.
    pub fn restore_value(&self, sent: &Value, stored: &Value) -> Result<Value, RestoreError> {
        let document = Document::parse(&sent.to_string()).map_err(RestoreError::Edit)?;
        let stored = Document::parse(&stored.to_string()).map_err(RestoreError::Edit)?;
        let text = self.restore(&document, &stored)?;
        Ok(Document::parse(&text).map_err(RestoreError::Edit)?.value().clone())
    }

    /// The stored string for one with a sentinel: none inside if it needs no change, none outside if nothing is stored.
    #[allow(clippy::option_option, reason = "no change, and no original, are two things")]
    fn original(&self, path: &[Step], text: &str, sent: &Value, stored: &Value) -> Option<Option<String>> {
        if !text.contains(SENTINEL) {
            return Some(None);
        }
        let stored = counterpart(path, sent, stored)?;
        let (text_of_stored, is_text) = match stored {
            Value::String(text) => (text.clone(), true),
            Value::Number(number) => (number.to_string(), false),
            _ => return None,
        };
        let hidden = self.string(path, &text_of_stored)?;
        (hidden == text && is_text).then_some(Some(text_of_stored))
    }

    fn walk(&self, value: &mut Value, path: &mut Vec<Step>) {
        match value {
            Value::String(text) => {
                if let Some(hidden) = self.string(path, text) {
                    *text = hidden;
                }
            }
            Value::Number(_) if is_sensitive(path) => *value = SENTINEL.into(),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push(Step::Index(index));
                    self.walk(item, path);
                    path.pop();
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    path.push(Step::Key(name.clone()));
                    self.walk(member, path);
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The string without its secret; none if it has none.
    fn string(&self, path: &[Step], text: &str) -> Option<String> {
        if text.is_empty() || is_reference(text) {
            return None;
        }
        // Numbers reach this as text; a harmless one stays.
        if is_sensitive(path) || is_telling_address(text) {
            return Some(SENTINEL.to_owned());
        }
        self.aliases(text)
    }

    /// Secrets that stand somewhere else too.
    fn aliases(&self, text: &str) -> Option<String> {
        let mut hidden = text.to_owned();
        for secret in self.secrets.iter().filter(|secret| text.contains(*secret)) {
            hidden = hidden.replace(secret, SENTINEL);
        }
        (hidden != text).then_some(hidden)
    }

    /// A comment may hold a secret that was in use once: `// token: "old"`.
    fn comment(&self, text: &str) -> Option<String> {
        let lower = text.to_lowercase();
        let marks = ["token", "password", "secret", "apikey", "api_key", "api-key", "authorization", "bearer "];
        let telling = lower.contains([':', '=']) && marks.iter().any(|mark| lower.contains(mark));
        if telling || lower.split_whitespace().any(is_telling_address) {
            return Some(if text.starts_with("//") { format!("// {SENTINEL}") } else { format!("/* {SENTINEL} */") });
        }
        self.aliases(text)
    }
}

/// Why secrets cannot be put back.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RestoreError {
    /// There is a sentinel where nothing is stored.
    #[error("{0}: a redacted value was sent, but nothing is stored that it could stand for")]
    NothingStored(String),
    /// The text cannot be read.
    #[error(transparent)]
    Edit(EditError),
}

fn collect(value: &Value, path: &mut Vec<Step>, found: &mut Vec<String>) {
    match value {
        Value::String(text) if is_sensitive(path) || is_telling_address(text) => found.push(text.clone()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Step::Index(index));
                collect(item, path, found);
                path.pop();
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                path.push(Step::Key(name.clone()));
                collect(member, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

/// What is stored at the place that a client means: items of a list are known by their ids, where they have any.
fn counterpart<'v>(path: &[Step], mut sent: &'v Value, mut stored: &'v Value) -> Option<&'v Value> {
    for step in path {
        let next = step.of(sent)?;
        stored = match (next.get("id").and_then(Value::as_str), stored) {
            (Some(id), Value::Array(items)) => items.iter().find(|item| item.get("id").and_then(Value::as_str) == Some(id))?,
            _ => step.of(stored)?,
        };
        sent = next;
    }
    Some(stored)
}

fn shown(path: &[Step]) -> String {
    path.iter().fold(String::new(), |text, step| match step {
        Step::Index(index) => format!("{text}[{index}]"),
        Step::Key(key) if text.is_empty() => key.clone(),
        Step::Key(key) => format!("{text}.{key}"),
    })
}

/// Whether a path, as operators write it, leads to a secret.
impl KeyPath {
    /// Whether the value at the path is a secret.
    pub fn is_sensitive(&self) -> bool {
        is_sensitive(self.steps())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "{\n  // password: hunter22 (old)\n  gateway: {auth: {token: 'tok-123456', password: \"${PW}\"}}, // tok-123456 is new\n  \
         agents: {list: [{id: 'a', name: 'x tok-123456 y'}, {id: 'b'}]},\n  models: {providers: {p: {baseUrl: 'https://u:pw@h', \
         headers: {X: 'h-secret'}, apiKey: 'key-a'}, q: {apiKey: 'key-b'}}},\n  channels: {irc: {token: 12345}},\n}\n";

    fn seen() -> (Document, Redactor, String) {
        let document = Document::parse(FILE).unwrap();
        let redactor = Redactor::of([document.value()]);
        let text = redactor.document(&document).unwrap();
        (document, redactor, text)
    }

    #[test]
    fn sec_60_no_view_shows_a_secret() {
        let (document, redactor, text) = seen();
        let view = redactor.value(document.value()).to_string();
        for secret in ["tok-123456", "hunter22", "u:pw", "h-secret", "key-a", "key-b", "12345"] {
            assert!(!text.contains(secret), "{secret}: {text}");
            assert!(!view.contains(secret), "{secret}: {view}");
        }
        assert!(text.contains("${PW}") && text.contains("id: 'b'"), "{text}");
        assert_eq!(redactor.text("bad value tok-123456 at line 3"), format!("bad value {SENTINEL} at line 3"));
    }

    #[test]
    fn what_comes_back_is_what_was_stored() {
        let (document, redactor, text) = seen();
        // Numbers come back as text; the sentinel for one has no original of its kind.
        let sent = text.replace(&format!("channels: {{irc: {{token: \"{SENTINEL}\"}}}}"), "channels: {irc: {token: 12345}}");
        let sent = Document::parse(&sent).unwrap();
        let restored = Document::parse(&redactor.restore(&sent, &document).unwrap()).unwrap();
        assert_eq!(restored.value(), document.value());
        assert!(restored.text().contains("// password: hunter22 (old)"), "{}", restored.text());
    }

    #[test]
    fn a_moved_item_keeps_its_own_secret_and_an_invented_one_is_refused() {
        let stored = Document::parse("{list: [{id: 'a', token: 'one-one'}, {id: 'b', token: 'two-two'}]}").unwrap();
        let redactor = Redactor::of([stored.value()]);
        let sent = Document::parse(&format!("{{list: [{{id: 'b', token: '{SENTINEL}'}}, {{id: 'a', token: '{SENTINEL}'}}]}}")).unwrap();
        let restored = Document::parse(&redactor.restore(&sent, &stored).unwrap()).unwrap();
        assert_eq!(restored.value()["list"][0]["token"], "two-two");
        let sent = Document::parse(&format!("{{other: {{token: '{SENTINEL}'}}}}")).unwrap();
        assert_eq!(redactor.restore(&sent, &stored), Err(RestoreError::NothingStored("other.token".to_owned())));
    }
}
