//! Paths of keys, as operators write them: `agents.list[0].id`, `models.providers["my.provider"]`, `a\.b`.

use std::fmt;

use serde_json::Value;

/// A longer path is no path, in steps.
const STEPS_MAX: usize = 64;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key, or a place in a list when it is a number and there is a list.
    Key(String),
    /// A place in a list.
    Index(usize),
}

/// A path from the root of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPath(Vec<Step>);

impl KeyPath {
    /// Reads a path. None when it is empty or a bracket is not closed.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut steps, mut key, mut pending) = (Vec::new(), String::new(), false);
        let mut letters = text.trim().chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => {
                    key.push(letters.next()?);
                    pending = true;
                }
                '.' => {
                    if pending {
                        steps.push(Step::Key(std::mem::take(&mut key)));
                        pending = false;
                    } else if steps.is_empty() {
                        return None;
                    }
                }
                '[' => {
                    if std::mem::take(&mut pending) {
                        steps.push(Step::Key(std::mem::take(&mut key)));
                    }
                    let inside: String = letters.by_ref().take_while(|letter| *letter != ']').collect();
                    let inside = inside.trim();
                    let quoted = inside.strip_prefix(['"', '\'']).and_then(|rest| rest.strip_suffix(['"', '\'']));
                    steps.push(match (quoted, inside.parse()) {
                        (Some(name), _) => Step::Key(name.to_owned()),
                        (None, Ok(index)) => Step::Index(index),
                        (None, Err(_)) if inside.is_empty() => return None,
                        (None, Err(_)) => Step::Key(inside.to_owned()),
                    });
                }
                other => {
                    key.push(other);
                    pending = true;
                }
            }
        }
        if pending {
            steps.push(Step::Key(key));
        }
        (!steps.is_empty() && steps.len() <= STEPS_MAX).then_some(Self(steps))
    }

    /// Makes a path of keys.
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect())
    }

    /// Returns the steps.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Returns the path of a key inside.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        Self(self.0.iter().cloned().chain([Step::Key(name.to_owned())]).collect())
    }

    /// Finds the value at the path.
    pub fn find<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(root, |value, step| step.of(value))
    }
}

impl Step {
    pub(crate) fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match (self, value) {
            (Self::Key(key), Value::Object(members)) => members.get(key),
            (Self::Key(key), Value::Array(items)) => items.get(key.parse::<usize>().ok()?),
            (Self::Index(index), Value::Array(items)) => items.get(*index),
            (Self::Index(index), Value::Object(members)) => members.get(&index.to_string()),
            _ => None,
        }
    }

    /// The key that it means in an object.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Key(key) => key.clone(),
            Self::Index(index) => index.to_string(),
        }
    }

    /// The place that it means in a list.
    pub(crate) fn index(&self) -> Option<usize> {
        match self {
            Self::Key(key) => key.parse().ok(),
            Self::Index(index) => Some(*index),
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(formatter, "[{index}]")?,
                Step::Key(key) => {
                    let key = key.replace('\\', "\\\\").replace('.', "\\.").replace('[', "\\[");
                    write!(formatter, "{}{key}", if at == 0 { "" } else { "." })?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write() {
        for (text, shown) in [
            ("gateway.port", "gateway.port"),
            ("agents.list[0].id", "agents.list[0].id"),
            ("models.providers[\"my.provider\"].apiKey", "models.providers.my\\.provider.apiKey"),
            ("models.providers[openai].apiKey", "models.providers.openai.apiKey"),
            ("a\\.b.c", "a\\.b.c"),
        ] {
            assert_eq!(KeyPath::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "  ", ".a", "a[]", "a\\"] {
            assert_eq!(KeyPath::parse(text), None, "{text}");
        }
    }

    #[test]
    fn finds_a_value_in_objects_and_lists() {
        let root = serde_json::json!({"a": [{"b.c": 1}]});
        assert_eq!(KeyPath::parse("a.0.b\\.c").unwrap().find(&root), Some(&1.into()));
        assert_eq!(KeyPath::parse("a[1]").unwrap().find(&root), None);
    }
}
