//! `skills.update`: the settings of a skill, which are part of the configuration.

use serde_json::{Map, Value, json};
use verso_config::SENTINEL;
use verso_proto::Json;
use verso_proto::edge::v1::{SkillsUpdateRequest, SkillsUpdateResponse};
use verso_protocol::{Code, ErrorShape};

use super::Local;
use super::config::on_disk;
use super::config::overlay::{NotLaid, Overlay};
use crate::dispatch::Asking;

pub(super) fn register(local: &mut Local) {
    local.on::<SkillsUpdateRequest, _, _>(update);
}

async fn update(asking: Asking, request: SkillsUpdateRequest) -> Result<SkillsUpdateResponse, ErrorShape> {
    let key = request.skill_key.trim().to_owned();
    if key.is_empty() {
        return Err(ErrorShape::invalid("invalid skills.update params: skillKey is empty"));
    }
    let changes = changes(&request);
    let (name, patch) = (key.clone(), json!({"skills": {"entries": {&key: changes.clone()}}}));
    let written = on_disk(move || {
        Ok(Overlay::new(&asking, patch).and_then(|overlay| {
            overlay.check()?;
            overlay.write()?;
            Ok(overlay.present().pointer("/skills/entries").and_then(|entries| entries.get(&name)).cloned())
        }))
    });
    let before = written.await?.map_err(|reason| match reason {
        NotLaid::Refused(problem) => ErrorShape::invalid(problem),
        NotLaid::Failed(problem) => ErrorShape::new(Code::Unavailable, problem),
    })?;
    let mut entry = before.unwrap_or_else(|| json!({}));
    merge(&mut entry, changes);
    cover(&mut entry);
    Ok(SkillsUpdateResponse { ok: true, skill_key: key, config: Some(Json { text: entry.to_string() }) })
}

/// Returns what is asked for as a merge patch: null takes away.
fn changes(request: &SkillsUpdateRequest) -> Value {
    let or_none = |value: &str| if value.trim().is_empty() { Value::Null } else { json!(value.trim()) };
    let mut changes = Map::new();
    if let Some(enabled) = request.enabled {
        changes.insert("enabled".to_owned(), json!(enabled));
    }
    if let Some(api_key) = &request.api_key {
        changes.insert("apiKey".to_owned(), or_none(api_key));
    }
    if !request.env.is_empty() {
        let env = request.env.iter().map(|(name, value)| (name.trim().to_owned(), or_none(value)));
        changes.insert("env".to_owned(), Value::Object(env.collect()));
    }
    Value::Object(changes)
}

fn merge(entry: &mut Value, changes: Value) {
    let (Value::Object(entry), Value::Object(changes)) = (entry, changes) else { return };
    for (name, change) in changes {
        match change {
            Value::Null => {
                entry.remove(&name);
            }
            Value::Object(_) => merge(entry.entry(name).or_insert_with(|| json!({})), change),
            value => {
                entry.insert(name, value);
            }
        }
    }
}

/// Nobody needs to read a secret back.
fn cover(entry: &mut Value) {
    if let Some(key) = entry.get_mut("apiKey") {
        *key = json!(SENTINEL);
    }
    if let Some(env) = entry.get_mut("env").and_then(Value::as_object_mut) {
        for value in env.values_mut() {
            *value = json!(SENTINEL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_values_take_away_and_secrets_are_covered() {
        let request = SkillsUpdateRequest {
            skill_key: "notes".to_owned(),
            enabled: Some(true),
            api_key: Some(String::new()),
            env: [("A".to_owned(), "one".to_owned()), ("B".to_owned(), " ".to_owned())].into(),
        };
        let mut entry = json!({"apiKey": "secret", "env": {"B": "two", "C": "three"}});
        merge(&mut entry, changes(&request));
        assert_eq!(entry, json!({"enabled": true, "env": {"A": "one", "C": "three"}}));
        cover(&mut entry);
        assert_eq!(entry["env"], json!({"A": SENTINEL, "C": SENTINEL}));
    }
}
