//! The defaults that a configuration is shown with.

use serde_json::{Map, Value};

/// Returns the configuration with the defaults that other programs expect to see in it.
pub fn with_defaults(mut root: Value) -> Value {
    let Some(members) = root.as_object_mut() else { return root };
    if let Some(session) = members.get_mut("session").and_then(Value::as_object_mut)
        && session.contains_key("mainKey")
    {
        session.insert("mainKey".to_owned(), "main".into());
    }
    if members.contains_key("logging") {
        set(members, &["logging", "redactSensitive"], "tools".into());
    }
    set(members, &["messages", "ackReactionScope"], "group-mentions".into());
    set(members, &["agents", "defaults", "maxConcurrent"], 4.into());
    set(members, &["agents", "defaults", "subagents", "maxConcurrent"], 8.into());
    set(members, &["agents", "defaults", "compaction", "mode"], "safeguard".into());
    set(members, &["commands", "native"], "auto".into());
    set(members, &["commands", "nativeSkills"], "auto".into());
    let providers = members.get_mut("models").and_then(|models| models.get_mut("providers")).and_then(Value::as_object_mut);
    for provider in providers.into_iter().flat_map(|providers| providers.iter_mut().map(|(_, provider)| provider)) {
        provider.get_mut("models").and_then(Value::as_array_mut).into_iter().flatten().for_each(model);
    }
    root
}

fn model(model: &mut Value) {
    let Some(model) = model.as_object_mut() else { return };
    let window = model.get("contextWindow").and_then(Value::as_u64).unwrap_or(200_000);
    let defaults = [
        ("reasoning", false.into()),
        ("input", vec!["text"].into()),
        ("cost", serde_json::json!({"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0})),
        ("contextWindow", window.into()),
        ("maxTokens", window.min(8192).into()),
    ];
    for (name, value) in defaults {
        model.entry(name).or_insert(value);
    }
}

/// Sets a value unless there is one, and makes the objects on the way. Something else on the way is left alone.
fn set(members: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => drop(members.entry(*name).or_insert(value)),
        [name, rest @ ..] => {
            if let Some(inner) = members.entry(*name).or_insert_with(|| Value::Object(Map::new())).as_object_mut() {
                set(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn adds_what_is_missing_and_replaces_nothing() {
        let shown = with_defaults(json!({
            "agents": {"defaults": {"maxConcurrent": 9}}, "session": {"mainKey": "other"},
            "models": {"providers": {"p": {"models": [{"id": "m", "contextWindow": 4096}]}}},
        }));
        assert_eq!(shown["agents"]["defaults"]["maxConcurrent"], 9);
        assert_eq!(shown["session"]["mainKey"], "main");
        assert_eq!(shown["models"]["providers"]["p"]["models"][0]["maxTokens"], 4096);
        assert!(shown.get("logging").is_none());
    }
}
