//! `auth-profiles.json`: credentials, their order, and how they fare. Others write it too, so that what is not understood stays.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use verso_kit::config::Secret;
use verso_kit::files;

use super::Fate;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) checked_at_ms: i64,
    pub(super) modified: Option<SystemTime>,
    pub(super) profiles: Vec<Profile>,
    /// By provider.
    pub(super) order: HashMap<String, Vec<String>>,
}

/// A credential.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) id: String,
    pub(super) provider: String,
    pub(super) kind: &'static str,
    pub(super) secret: Secret<String>,
    pub(super) expires_at_ms: Option<i64>,
}

/// Reads a file, unless it is as old as `known`. None: nothing new.
pub(super) fn read(path: &Path, known: Option<SystemTime>) -> Option<(Book, HashMap<String, Fate>)> {
    let Ok(modified) = std::fs::metadata(path).and_then(|metadata| metadata.modified()) else {
        // What was there is gone; what never was is no news.
        return known.map(|_| (Book::default(), HashMap::new()));
    };
    if known == Some(modified) {
        return None;
    }
    let text = std::fs::read(path).ok()?;
    let Ok(file) = serde_json::from_slice::<Value>(&text) else {
        tracing::warn!(path = %path.display(), "the file of credentials is not JSON, and is not used");
        return None;
    };
    let members = |name: &str| file.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let profiles = members("profiles").iter().filter_map(|(id, profile)| read_profile(id, profile)).collect();
    let order = members("order").iter().map(|(provider, ids)| (provider.clone(), texts(ids))).collect();
    let fates = members("usageStats").iter().map(|(id, stats)| (id.clone(), read_fate(stats))).collect();
    Some((Book { checked_at_ms: 0, modified: Some(modified), profiles, order }, fates))
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn read_profile(id: &str, profile: &Value) -> Option<Profile> {
    let text = |name: &str| profile.get(name).and_then(Value::as_str).map(str::to_owned);
    let (kind, secret) = match profile.get("type").or_else(|| profile.get("mode")).and_then(Value::as_str)? {
        "api_key" => ("api_key", text("key")?),
        "token" => ("token", text("token")?),
        "oauth" => ("oauth", text("access")?),
        _ => return None,
    };
    let provider = text("provider").or_else(|| id.split_once(':').map(|(provider, _)| provider.to_owned()))?;
    let expires_at_ms = profile.get("expires").and_then(Value::as_i64).filter(|expires| *expires > 0);
    Some(Profile { id: id.to_owned(), provider, kind, secret: Secret::new(secret), expires_at_ms })
}

fn read_fate(stats: &Value) -> Fate {
    let number = |name: &str| stats.get(name).and_then(Value::as_i64).unwrap_or(0);
    let reason = stats.get("disabledReason").and_then(Value::as_str).map(str::to_owned);
    Fate {
        errors: u32::try_from(number("errorCount")).unwrap_or(0),
        until_ms: number("cooldownUntil").max(number("disabledUntil")),
        reason,
        last_failure_ms: number("lastFailureAt"),
        last_used_ms: number("lastUsed"),
    }
}

/// A change of the credentials themselves.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// An API key takes its place.
    Key { id: String, provider: String, key: Secret<String> },
    /// These go, with what is known of them.
    Forget { ids: Vec<String> },
    /// A provider's are tried in this order.
    Order { provider: String, ids: Vec<String> },
}

/// Changes a file, or makes it. Everything that the change is not about stays as it is.
pub(super) fn change(path: &Path, change: &Change) -> io::Result<()> {
    let mut file: Value = match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => json!({"version": 1}),
        Err(error) => return Err(error),
    };
    let all = file.as_object_mut().ok_or(io::ErrorKind::InvalidData)?;
    let mut part = |name: &str, work: &mut dyn FnMut(&mut Map<String, Value>)| {
        let members = all.entry(name).or_insert_with(|| json!({})).as_object_mut();
        members.map(work).ok_or(io::ErrorKind::InvalidData)
    };
    match change {
        Change::Key { id, provider, key } => {
            part("profiles", &mut |profiles| {
                profiles.insert(id.clone(), json!({"type": "api_key", "provider": provider, "key": key.expose()}));
            })?;
            // How the old one fared says nothing of the new one.
            part("usageStats", &mut |stats| drop(stats.remove(id)))?;
        }
        Change::Forget { ids } => {
            for name in ["profiles", "usageStats"] {
                part(name, &mut |members| members.retain(|id, _| !ids.contains(id)))?;
            }
        }
        Change::Order { provider, ids } if ids.is_empty() => part("order", &mut |order| drop(order.remove(provider)))?,
        Change::Order { provider, ids } => part("order", &mut |order| drop(order.insert(provider.clone(), json!(ids))))?,
    }
    if let Some(folder) = path.parent() {
        files::create_private_dir(folder)?;
    }
    files::write_atomic(path, format!("{file:#}\n").as_bytes(), 0o600)
}

/// Writes down how a credential fares. Everything else in the file stays as it is.
pub(super) fn note(path: &Path, id: &str, fate: &Fate) -> io::Result<()> {
    let mut file: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let stats = file.as_object_mut().ok_or(io::ErrorKind::InvalidData)?.entry("usageStats").or_insert_with(|| json!({}));
    let stats = stats.as_object_mut().ok_or(io::ErrorKind::InvalidData)?;
    let one = stats.entry(id).or_insert_with(|| json!({}));
    let Some(one) = one.as_object_mut() else { return Err(io::ErrorKind::InvalidData.into()) };
    write_fate(one, fate);
    files::write_atomic(path, format!("{file:#}\n").as_bytes(), 0o600)
}

fn write_fate(stats: &mut Map<String, Value>, fate: &Fate) {
    let disabled = fate.reason.as_deref() == Some("billing");
    for name in ["cooldownUntil", "disabledUntil", "disabledReason"] {
        stats.remove(name);
    }
    stats.insert("errorCount".to_owned(), json!(fate.errors));
    if fate.until_ms > 0 {
        stats.insert(if disabled { "disabledUntil" } else { "cooldownUntil" }.to_owned(), json!(fate.until_ms));
    }
    if disabled {
        stats.insert("disabledReason".to_owned(), json!("billing"));
    }
    for (name, at_ms) in [("lastFailureAt", fate.last_failure_ms), ("lastUsed", fate.last_used_ms)] {
        if at_ms > 0 {
            stats.insert(name.to_owned(), json!(at_ms));
        }
    }
}
