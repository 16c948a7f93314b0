//! Changes to the text of a file that leave alone what they are not about: comments, order, quotes, `${VAR}`.

mod syntax;

use serde_json::{Map, Value};
use verso_kit::config::{FILE_BYTES_MAX, parse};

use crate::key_path::{KeyPath, Step};
use syntax::Tree;

/// Why a text cannot be changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EditError {
    /// The text is not JSON5, or not an object.
    #[error("{0}")]
    Syntax(String),
    /// Nothing is at the path.
    #[error("Config path not found: {0}")]
    NotFound(String),
    /// The path leads through something that holds no keys, or past the end of a list.
    #[error("{0} cannot be set: what is above it is neither an object nor a list that reaches so far")]
    NoContainer(String),
    /// The change cannot be made without changing something else, for instance where a key is there twice.
    #[error("the file cannot be changed at this place without changing more; edit it by hand")]
    NotLossless,
    /// The text would be larger than a configuration may be.
    #[error("the configuration would be larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
}

/// Returns what a string becomes; none leaves it. Comments have no path.
pub(crate) type Change<'c> = dyn FnMut(Option<&[Step]>, &str) -> Option<String> + 'c;

/// The text of a file and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    text: String,
    value: Value,
}

impl Document {
    /// Reads a text. A blank one is an empty object.
    pub fn parse(text: &str) -> Result<Self, EditError> {
        if u64::try_from(text.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            return Err(EditError::TooLarge);
        }
        let text = if text.trim().is_empty() { "{}\n" } else { text };
        let value = parse(text).map_err(|reason| EditError::Syntax(format!("JSON5 parse failed: {reason}")))?;
        if !value.is_object() {
            return Err(EditError::Syntax("the configuration must be an object".to_owned()));
        }
        Ok(Self { text: text.to_owned(), value })
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns what it means.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Sets the value at a path. Objects on the way are made.
    pub fn set(&self, path: &KeyPath, value: &Value) -> Result<Self, EditError> {
        let mut wanted = self.value.clone();
        put(&mut wanted, path.steps(), value.clone()).ok_or_else(|| EditError::NoContainer(path.to_string()))?;
        self.become_value(&wanted)
    }

    /// Removes what is at a path.
    pub fn unset(&self, path: &KeyPath) -> Result<Self, EditError> {
        let not_found = || EditError::NotFound(path.to_string());
        let mut wanted = self.value.clone();
        take(&mut wanted, path.steps()).ok_or_else(not_found)?;
        self.become_value(&wanted)
    }

    /// Lays a JSON merge patch over it.
    pub fn merge(&self, patch: &Value, replace_paths: &[KeyPath]) -> Result<Self, EditError> {
        let mut wanted = self.value.clone();
        for path in replace_paths {
            if path.find(patch).is_some_and(|value| !value.is_null()) {
                // What is not there any more cannot shine through.
                drop(take(&mut wanted, path.steps()));
            }
        }
        merge_patch(&mut wanted, patch);
        self.become_value(&wanted)
    }

    /// Changes as little of the text as makes it mean `wanted`.
    fn become_value(&self, wanted: &Value) -> Result<Self, EditError> {
        if *wanted == self.value {
            return Ok(self.clone());
        }
        let tree = Tree::parse(&self.text)?;
        tree.assign(&self.value, wanted);
        let text = tree.text();
        // The proof that nothing else was touched, whatever the syntax tree did.
        match Self::parse(&text) {
            Ok(changed) if changed.value == *wanted => Ok(changed),
            Err(EditError::TooLarge) => Err(EditError::TooLarge),
            _ => Err(EditError::NotLossless),
        }
    }

    /// Replaces strings wherever `change` returns another one; also comments, which have no path.
    pub(crate) fn rewrite(&self, change: &mut Change<'_>) -> Result<String, EditError> {
        let tree = Tree::parse(&self.text)?;
        tree.rewrite(change);
        Ok(tree.text())
    }
}

/// Lays a JSON merge patch over a value: null removes, objects are laid over each other, anything else replaces.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(members) = target.as_object_mut() else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(members.shift_remove(name)),
            value => merge_patch(members.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

fn put(target: &mut Value, steps: &[Step], value: Value) -> Option<()> {
    let [step, rest @ ..] = steps else {
        *target = value;
        return Some(());
    };
    let inner = match target {
        Value::Object(members) => members.entry(step.key()).or_insert_with(|| Value::Object(Map::new())),
        Value::Array(items) => {
            let index = step.index().filter(|index| *index <= items.len())?;
            if index == items.len() {
                items.push(Value::Object(Map::new()));
            }
            items.get_mut(index)?
        }
        _ => return None,
    };
    put(inner, rest, value)
}

fn take(target: &mut Value, steps: &[Step]) -> Option<Value> {
    match (steps, target) {
        ([step], Value::Object(members)) => members.shift_remove(&step.key()),
        ([step], Value::Array(items)) => step.index().filter(|index| *index < items.len()).map(|index| items.remove(index)),
        ([step, rest @ ..], Value::Object(members)) => take(members.get_mut(&step.key())?, rest),
        ([step, rest @ ..], Value::Array(items)) => take(items.get_mut(step.index()?)?, rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "// mine\n{\n  gateway: { port: 0x10, /* why */ bind: 'lan', auth: {token: '${TOKEN}'} },\n  // the list\n  \"agents\": {\n    list: [\n      {id: 'a'}, // first\n      {id: 'b'},\n    ],\n  },\n}\n";

    fn set(path: &str, value: &Value) -> String {
        Document::parse(FILE).unwrap().set(&KeyPath::parse(path).unwrap(), value).unwrap().text().to_owned()
    }

    #[test]
    fn changes_one_value_and_nothing_else() {
        assert_eq!(set("gateway.port", &json!(7)), FILE.replace("0x10", "7"));
        assert_eq!(set("agents.list[1].id", &json!("c")), FILE.replace("'b'", "\"c\""));
        assert_eq!(set("gateway.port", &json!(16)), FILE, "the same value keeps its form");
    }

    #[test]
    fn adds_and_removes_keys_between_comments() {
        let added = set("gateway.reload.mode", &json!("hot"));
        assert!(added.contains("/* why */ bind: 'lan'") && added.contains("${TOKEN}") && added.contains("// first"), "{added}");
        let document = Document::parse(&added).unwrap();
        assert_eq!(document.value()["gateway"]["reload"]["mode"], "hot");
        let removed = document.unset(&KeyPath::parse("gateway.reload").unwrap()).unwrap();
        assert_eq!(removed.value(), Document::parse(FILE).unwrap().value());
        assert!(removed.text().contains("// the list"), "{}", removed.text());
        let fewer = removed.unset(&KeyPath::parse("agents.list[0]").unwrap()).unwrap();
        assert_eq!(fewer.value()["agents"]["list"], json!([{"id": "b"}]));
        let more = set("agents.list[2].id", &json!("z"));
        assert!(more.contains("{id: 'b'}"), "{more}");
    }

    #[test]
    fn a_merge_patch_removes_by_null_and_replaces_lists() {
        let patch = json!({"gateway": {"bind": null, "port": 9}, "agents": {"list": [{"id": "a"}]}});
        let merged = Document::parse(FILE).unwrap().merge(&patch, &[]).unwrap();
        assert_eq!(merged.value(), &json!({"gateway": {"port": 9, "auth": {"token": "${TOKEN}"}}, "agents": {"list": [{"id": "a"}]}}));
        assert!(merged.text().starts_with("// mine\n{\n  gateway: { port: 9"), "{}", merged.text());
        let patch = json!({"gateway": {"auth": {"mode": "none"}}});
        let replaced = Document::parse(FILE).unwrap().merge(&patch, &[KeyPath::parse("gateway.auth").unwrap()]).unwrap();
        assert_eq!(replaced.value()["gateway"]["auth"], json!({"mode": "none"}));
    }

    #[test]
    fn says_what_is_in_the_way() {
        let document = Document::parse(FILE).unwrap();
        let error = |path: &str| document.set(&KeyPath::parse(path).unwrap(), &json!(1)).unwrap_err().to_string();
        assert!(error("gateway.port.x").starts_with("gateway.port.x cannot be set"), "{}", error("gateway.port.x"));
        assert!(error("agents.list[9].id").contains("cannot be set"));
        assert_eq!(document.unset(&KeyPath::parse("a.b").unwrap()).unwrap_err().to_string(), "Config path not found: a.b");
        let twice = Document::parse("{a: 1, a: 2}").unwrap();
        assert_eq!(twice.set(&KeyPath::of(["a"]), &json!(3)), Err(EditError::NotLossless));
        assert!(Document::parse("[]").is_err() && Document::parse("{").is_err());
    }

    #[test]
    fn an_empty_file_gets_its_first_key() {
        let made = Document::parse("").unwrap().set(&KeyPath::parse("gateway.mode").unwrap(), &json!("local")).unwrap();
        assert_eq!(made.value(), &json!({"gateway": {"mode": "local"}}));
    }
}
