//! The JSON Schema of the file, and what forms show, both out of the table.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::key_path::{KeyPath, Step};
use crate::sensitive::is_sensitive;
use crate::table::{Kind, Node, ROOT};

/// Sections that most people never need.
const ADVANCED: [&str; 8] = ["meta", "wizard", "diagnostics", "nodeHost", "plugins", "memory", "$schema", "update"];

/// What is told of a key that nobody reads.
const NO_EFFECT: &str = "(Accepted from older files; no effect.)";

/// What a form shows for one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hint {
    /// The name that people read.
    pub label: String,
    /// What the key does, or that it does nothing.
    pub help: String,
    /// The section that it belongs to; none for a section itself.
    pub group: Option<String>,
    /// The place among its siblings.
    pub order: usize,
    /// Most people never need it.
    pub advanced: bool,
    /// Its value is a secret.
    pub sensitive: bool,
    /// What it is by default.
    pub placeholder: Option<String>,
}

/// Returns the JSON Schema of the whole file.
pub fn schema() -> Value {
    let mut schema = of(&ROOT);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "Verso configuration".into();
    schema
}

/// Returns the hints of every key, by its dotted path; `*` stands for any key and for the items of a list.
pub fn hints() -> BTreeMap<String, Hint> {
    let mut found = BTreeMap::new();
    collect("", &ROOT, &mut found);
    found
}

/// Returns the schema and the children of one key; none when there is no such key.
pub fn lookup(path: &str) -> Option<(Value, Vec<(String, bool)>)> {
    let path = KeyPath::parse(path)?;
    let node = path.steps().iter().try_fold(&*ROOT, |node, step| match step {
        Step::Key(key) if key == "*" => node.item.as_deref().or(node.any.as_deref()),
        Step::Key(key) => node.field(key),
        Step::Index(_) => node.item.as_deref(),
    })?;
    let has_more = |node: &Node| node.is_object() || node.item.is_some();
    let mut children: Vec<(String, bool)> = node.fields.iter().map(|(name, field)| (name.clone(), has_more(field))).collect();
    children.extend(node.any.iter().chain(&node.item).map(|inner| ("*".to_owned(), has_more(inner))));
    Some((of(node), children))
}

fn of(node: &Node) -> Value {
    let mut forms: Vec<Value> = node.kinds.iter().map(Kind::schema).collect();
    if node.is_object() {
        let properties: Map<String, Value> = node.fields.iter().map(|(name, field)| (name.clone(), of(field))).collect();
        let others = node.any.as_deref().map_or(Value::Bool(false), of);
        forms.push(json!({"type": "object", "properties": properties, "additionalProperties": others}));
    }
    if let Some(item) = &node.item {
        forms.push(json!({"type": "array", "items": of(item)}));
    }
    let mut schema = match forms.len() {
        1 => forms.remove(0),
        _ => json!({"anyOf": forms}),
    };
    let help = help(node);
    if !help.is_empty() {
        schema["description"] = help.into();
    }
    if let Some(default) = &node.default {
        schema["default"] = default.clone();
    }
    schema
}

fn collect(path: &str, node: &Node, found: &mut BTreeMap<String, Hint>) {
    let inner = node.any.iter().chain(&node.item).map(|inner| ("*", &**inner));
    for (order, (name, field)) in node.fields.iter().map(|(name, field)| (name.as_str(), field)).chain(inner).enumerate() {
        let place = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let section = place.split('.').next().unwrap_or_default();
        let steps: Vec<Step> = place.split('.').map(|key| Step::Key(key.to_owned())).collect();
        if name != "*" || !field.about.is_empty() {
            found.insert(
                place.clone(),
                Hint {
                    label: label(name),
                    help: help(field),
                    group: (!path.is_empty()).then(|| label(section)),
                    order,
                    advanced: ADVANCED.contains(&section),
                    sensitive: is_sensitive(&steps) && field.kinds.iter().any(|kind| matches!(kind, Kind::Text | Kind::Object)),
                    placeholder: field.default.as_ref().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
                },
            );
        }
        collect(&place, field, found);
    }
}

/// Returns what people are told of a key.
fn help(node: &Node) -> String {
    let told = if node.without_effect { [node.about, NO_EFFECT].join(" ") } else { node.about.to_owned() };
    told.trim().to_owned()
}

/// `maxBodyBytes` reads as "Max body bytes".
fn label(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for letter in name.trim_start_matches('$').chars() {
        if words.is_empty() {
            words.extend(letter.to_uppercase());
        } else if letter.is_uppercase() {
            words.push(' ');
            words.extend(letter.to_lowercase());
        } else {
            words.push(letter);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_and_the_check_agree() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for (file, valid) in [
            (json!({"gateway": {"port": 1, "auth": {"mode": "token"}}}), true),
            (json!({"gateway": {"port": "x"}}), false),
            (json!({"gateway": {"prt": 1}}), false),
            (json!({"channels": {"pigeon": {"x": 1}, "telegram": {"groups": {"*": {"requireMention": true}}}}}), true),
            (json!({"agents": {"list": [{"id": "a", "model": {"primary": "p/m", "fallbacks": []}}]}}), true),
            (json!({"agents": {"list": [{"id": "a", "model": 7}]}}), false),
            (json!({"tools": {"media": {"image": {"models": [{"provider": "p"}]}}}}), true),
        ] {
            assert_eq!(validator.is_valid(&file), valid, "{file}");
            assert_eq!(crate::check(&file).is_empty(), valid, "{file}");
        }
    }

    #[test]
    fn hints_mark_secrets_and_defaults() {
        let hints = hints();
        assert!(hints["gateway.auth.token"].sensitive && hints["channels.slack.signingSecret"].sensitive);
        assert!(!hints["agents.defaults.contextTokens"].sensitive);
        assert_eq!(hints["gateway.port"].placeholder.as_deref(), Some("18789"));
        assert_eq!(hints["gateway.controlUi.allowedOrigins"].label, "Allowed origins");
        assert_eq!(hints["gateway.port"].group.as_deref(), Some("Gateway"));
    }

    #[test]
    fn keys_that_nobody_reads_say_so() {
        let hints = hints();
        let said = |path: &str| hints[path].help.ends_with(NO_EFFECT);
        assert!(said("browser.enabled") && said("agents.defaults.contextPruning.mode") && said("channels.slack.mode"));
        assert!(!said("gateway.port") && !said("channels.slack.mediaRetentionHours") && !said("messages.tts.openai.voice"));
        let (schema, _) = lookup("agents.list.*.agentDir").unwrap();
        assert_eq!(schema["description"], format!("The folder of its own state. {NO_EFFECT}"));
    }

    #[test]
    fn one_key_can_be_looked_up() {
        let (schema, children) = lookup("agents.list.*.identity").unwrap();
        assert_eq!(schema["type"], "object");
        assert!(children.contains(&("emoji".to_owned(), false)));
        assert!(lookup("agents.nonsense").is_none());
    }
}
