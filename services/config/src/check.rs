//! What is wrong with a file: unknown keys, values of the wrong type, and keys that do not go together.

use serde::Serialize;
use serde_json::{Map, Value};
use verso_kit::config::is_protected;

use crate::near::nearest;
use crate::rules;
use crate::table::{Kind, Node, ROOT};

/// More problems than this are not listed: a file of another product would have thousands.
const PROBLEMS_MAX: usize = 100;

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The dotted path of the key; `<root>` for the whole file.
    pub path: String,
    /// What is wrong with it. Never repeats a value: it may be a secret.
    pub message: String,
}

impl Problem {
    /// Words a problem.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// Lists what is wrong with a configuration whose included files are in their places. Variables may be replaced or not.
pub fn check(root: &Value) -> Vec<Problem> {
    let mut checker = Checker { path: String::new(), found: Vec::new() };
    match root {
        Value::Object(members) => checker.object(members, &ROOT),
        _ => checker.note("must be an object"),
    }
    protected(root, &mut checker.found);
    rules::check(root, &mut checker.found);
    checker.found.truncate(PROBLEMS_MAX);
    checker.found
}

/// Lists what is not wrong, but will not do what it says.
pub fn warnings(root: &Value) -> Vec<Problem> {
    rules::warnings(root)
}

struct Checker {
    path: String,
    found: Vec<Problem>,
}

impl Checker {
    fn note(&mut self, message: impl Into<String>) {
        let path = if self.path.is_empty() { "<root>" } else { &self.path };
        self.found.push(Problem::new(path, message));
    }

    fn value(&mut self, value: &Value, node: &Node) {
        match value {
            Value::Object(members) if node.is_object() => self.object(members, node),
            Value::Array(items) if node.item.is_some() => {
                let item = node.item.as_deref().unwrap_or(node);
                for (index, value) in items.iter().enumerate() {
                    self.below(&format!("[{index}]"), |checker| checker.value(value, item));
                }
            }
            _ if node.kinds.iter().any(|kind| kind.takes(value)) => {}
            _ => self.wrong(value, node),
        }
    }

    fn object(&mut self, members: &Map<String, Value>, node: &Node) {
        for (name, value) in members {
            match node.field(name) {
                Some(field) => {
                    let step = if self.path.is_empty() { name.clone() } else { format!(".{name}") };
                    self.below(&step, |checker| checker.value(value, field));
                }
                None if self.path.is_empty() && crate::legacy::is_legacy(name) => {}
                None if self.path == "gateway" && name == "token" => {}
                None => {
                    let hint = nearest(name, node.fields.iter().map(|(known, _)| known.as_str()));
                    let hint = hint.map(|known| format!(" (did you mean \"{known}\"?)")).unwrap_or_default();
                    self.note(format!("Unrecognized key: \"{name}\"{hint}"));
                }
            }
        }
    }

    fn wrong(&mut self, value: &Value, node: &Node) {
        let mut accepted: Vec<String> = node.kinds.iter().map(Kind::words).collect();
        if node.is_object() {
            accepted.push("an object".to_owned());
        }
        if node.item.is_some() {
            accepted.push("a list".to_owned());
        }
        let is = match value {
            Value::Null => ", not null",
            Value::Bool(_) => ", not true or false",
            Value::Number(_) if accepted.iter().any(|words| words.contains("number")) => "",
            Value::Number(_) => ", not a number",
            Value::String(_) if accepted.iter().any(|words| words.contains("number") || words.contains("true")) => ", not a string",
            Value::String(_) => "",
            Value::Array(_) => ", not a list",
            Value::Object(_) => ", not an object",
        };
        let words = node.kinds.iter().find_map(|kind| if let Kind::Word(words) = kind { Some(words) } else { None });
        let near = words.zip(value.as_str()).and_then(|(words, text)| nearest(text, words.iter().copied()));
        let hint = near.map(|word| format!(" (did you mean \"{word}\"?)")).unwrap_or_default();
        self.note(format!("must be {}{is}{hint}", accepted.join(" or ")));
    }

    fn below(&mut self, step: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(step);
        check(self);
        self.path.truncate(length);
    }
}

/// Variables that a file may not set.
fn protected(root: &Value, found: &mut Vec<Problem>) {
    let Some(section) = root.get("env").and_then(Value::as_object) else { return };
    let vars = section.get("vars").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| ("env.vars", name));
    for (path, name) in vars.chain(section.keys().filter(|name| !["vars", "shellEnv"].contains(&name.as_str())).map(|name| ("env", name))) {
        if is_protected(name) {
            found.push(Problem::new(format!("{path}.{name}"), "this variable cannot be set by the configuration"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(value: &Value) -> Vec<String> {
        check(value).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_the_nearest_key_at_any_depth() {
        assert_eq!(words(&json!({"gatway": {}})), ["<root>: Unrecognized key: \"gatway\" (did you mean \"gateway\"?)"]);
        assert_eq!(
            words(&json!({"agents": {"list": [{"id": "a", "tools": {"exec": {"securty": "full"}}}]}})),
            ["agents.list[0].tools.exec: Unrecognized key: \"securty\" (did you mean \"security\"?)"]
        );
        assert_eq!(words(&json!({"gateway": {"tls": {"qqqq": 1}}})), ["gateway.tls: Unrecognized key: \"qqqq\""]);
    }

    #[test]
    fn says_what_a_key_takes_and_not_what_it_got() {
        let found = words(&json!({
            "gateway": {"port": "s3cret-value", "bind": "lann", "auth": {"token": 7}, "reload": {"debounceMs": -1}},
            "agents": [], "browser": {"color": "reddish"}, "channels": {"telegram": {"commands": {"native": "yes"}}},
        }));
        assert_eq!(
            found,
            [
                "gateway.port: must be a whole number from 1 to 65535, not a string",
                "gateway.bind: must be one of \"auto\", \"lan\", \"loopback\", \"custom\", \"tailnet\" (did you mean \"lan\"?)",
                "gateway.auth.token: must be a string, not a number",
                "gateway.reload.debounceMs: must be a whole number of at least 0",
                "agents: must be an object, not a list",
                "browser.color: must be a colour such as \"#FF4500\"",
                "channels.telegram.commands.native: must be true or false or one of \"auto\", not a string",
            ]
        );
    }

    #[test]
    fn accepts_maps_extensions_references_and_both_forms_of_a_model() {
        let file = json!({
            "$schema": "x", "meta": {"lastTouchedVersion": "1"}, "bindings": [{"agentId": "a", "match": {"channel": "telegram"}}],
            "channels": {"matrix": {"anything": [1]}, "telegram": {"accounts": {"b": {"botToken": "${TOKEN}", "allowFrom": [1, "2"]}}}},
            "agents": {"defaults": {"model": "a/b", "heartbeat": {"every": "1h30m"}}, "list": [{"id": "a", "model": {"primary": "c/d"}}]},
            "gateway": {"bind": "${BIND}"}, "env": {"vars": {"A": "1"}, "B": "2", "shellEnv": {"enabled": true}},
            "broadcast": {"strategy": "parallel", "group": ["a"]},
        });
        assert_eq!(words(&file), Vec::<String>::new());
    }

    #[test]
    fn sec_49_refuses_variables_that_steer_the_product() {
        let found = words(&json!({"env": {"vars": {"VERSO_STATE_DIR": "/x"}, "PATH": "/y"}}));
        assert_eq!(
            found,
            [
                "env.vars.VERSO_STATE_DIR: this variable cannot be set by the configuration",
                "env.PATH: this variable cannot be set by the configuration"
            ]
        );
    }
}
