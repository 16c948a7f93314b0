//! What clients remember at the gateway: small values by the person, or else by the device, that asks.
//!
//! Kept in `<state>/edge/preferences.json`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use verso_kit::clock::Clock;
use verso_kit::files;

use crate::fence::Fence;

/// Values that one call may change.
pub(crate) const CHANGES_MAX: usize = 32;

/// Values that are kept of one owner.
const ENTRIES_MAX: usize = 128;

/// Bytes of one value's JSON.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// Bytes of one key.
const KEY_BYTES_MAX: usize = 256;

/// Owners that are kept; the one that was heard of longest ago gives way.
const OWNERS_MAX: usize = 1_000;

/// Why preferences could not be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// One call changes too much at once.
    #[error("users.prefs.set accepts 1 to {CHANGES_MAX} entries")]
    TooManyChanges,
    /// The owner would have too many values.
    #[error("too many preferences (limit {ENTRIES_MAX})")]
    TooMany,
    /// A key is empty or too long.
    #[error("preference keys take 1 to {KEY_BYTES_MAX} bytes")]
    Key,
    /// A value is too large.
    #[error("preference {0} is too large (limit {VALUE_BYTES_MAX} bytes)")]
    TooLarge(String),
    /// The file could not be written.
    #[error("could not save preferences")]
    Save(#[source] io::Error),
}

/// The preferences of everybody.
#[derive(Debug)]
pub(crate) struct Preferences {
    owners: Mutex<BTreeMap<String, Owner>>,
    path: PathBuf,
    fence: Fence,
    clock: Clock,
}

/// What is kept of one person or device.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owner {
    /// When the gateway saw it first, in milliseconds since 1970.
    pub(crate) created_at_ms: i64,
    /// When something changed last.
    pub(crate) updated_at_ms: i64,
    #[serde(default)]
    entries: BTreeMap<String, Box<RawValue>>,
}

/// The key of a person.
pub(crate) fn person_key(user: &str) -> String {
    format!("user:{user}")
}

/// The key of a device.
pub(crate) fn device_key(device_id: &str) -> String {
    format!("device:{device_id}")
}

impl Preferences {
    /// Reads the preferences of a state folder; without a file there are none.
    pub(crate) fn open(state_dir: &std::path::Path, fence: Fence, clock: Clock) -> io::Result<Self> {
        let path = state_dir.join("edge/preferences.json");
        let owners = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { owners: Mutex::new(owners), path, fence, clock })
    }

    /// Returns the owner's values as a JSON object: all, or those with these keys.
    pub(crate) async fn get(&self, owner: &str, keys: &[String]) -> String {
        let owners = self.owners.lock().await;
        let entries = owners.get(owner).map(|owner| &owner.entries);
        let wanted = |key: &&String| keys.is_empty() || keys.contains(key);
        let found: BTreeMap<_, _> = entries.into_iter().flatten().filter(|(key, _)| wanted(key)).collect();
        serde_json::to_string(&found).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Changes values; `null` removes one.
    pub(crate) async fn set(&self, owner: &str, changes: BTreeMap<String, Box<RawValue>>) -> Result<(), Error> {
        if changes.is_empty() || changes.len() > CHANGES_MAX {
            return Err(Error::TooManyChanges);
        }
        for (key, value) in &changes {
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(Error::Key);
            }
            if value.get().len() > VALUE_BYTES_MAX {
                return Err(Error::TooLarge(key.clone()));
            }
        }
        self.change(owner, |entries| {
            for (key, value) in changes {
                if value.get() == "null" {
                    entries.remove(&key);
                } else {
                    entries.insert(key, value);
                }
            }
        })
        .await
        .map(drop)
    }

    /// Returns the owner's record; the first call makes it.
    pub(crate) async fn record(&self, owner: &str) -> Result<Owner, Error> {
        if let Some(known) = self.owners.lock().await.get(owner) {
            return Ok(known.clone());
        }
        self.change(owner, |_| {}).await
    }

    /// Forgets an owner.
    pub(crate) async fn forget(&self, owner: &str) -> Result<(), Error> {
        let mut owners = self.owners.lock().await;
        if owners.contains_key(owner) {
            let mut changed = owners.clone();
            changed.remove(owner);
            self.save(&changed).await?;
            *owners = changed;
        }
        Ok(())
    }

    async fn change(&self, owner: &str, change: impl FnOnce(&mut BTreeMap<String, Box<RawValue>>)) -> Result<Owner, Error> {
        let now_ms = self.clock.now_ms();
        let mut owners = self.owners.lock().await;
        let mut changed = owners.clone();
        let new = || Owner { created_at_ms: now_ms, updated_at_ms: now_ms, entries: BTreeMap::new() };
        let record = changed.entry(owner.to_owned()).or_insert_with(new);
        change(&mut record.entries);
        record.updated_at_ms = now_ms;
        if record.entries.len() > ENTRIES_MAX {
            return Err(Error::TooMany);
        }
        let record = record.clone();
        if changed.len() > OWNERS_MAX {
            let oldest = changed.iter().min_by_key(|(_, owner)| owner.updated_at_ms).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| changed.remove(&oldest));
        }
        self.save(&changed).await?;
        *owners = changed;
        Ok(record)
    }

    async fn save(&self, owners: &BTreeMap<String, Owner>) -> Result<(), Error> {
        let bytes = serde_json::to_vec(owners).map_err(|error| Error::Save(io::Error::other(error)))?;
        let (path, fence) = (self.path.clone(), self.fence.clone());
        let write = move || {
            let _others_wait = fence.enter()?;
            files::write_atomic(&path, &bytes, 0o600)
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other).flatten().map_err(Error::Save)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(pairs: &[(&str, &str)]) -> BTreeMap<String, Box<RawValue>> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), RawValue::from_string((*value).to_owned()).unwrap())).collect()
    }

    #[tokio::test]
    async fn values_outlive_a_restart_and_null_removes_one() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Preferences::open(folder.path(), Fence::new(folder.path(), 1), Clock::fixed(7)).unwrap();
        let preferences = open();
        preferences.set("device:a", changes(&[("theme", "{\"dark\":true}"), ("x", "1")])).await.unwrap();
        preferences.set("device:a", changes(&[("x", "null")])).await.unwrap();
        let preferences = open();
        assert_eq!(preferences.get("device:a", &[]).await, "{\"theme\":{\"dark\":true}}");
        assert_eq!(preferences.get("device:a", &["y".to_owned()]).await, "{}");
        assert_eq!(preferences.get("device:b", &[]).await, "{}", "nobody else's business");
        preferences.forget("device:a").await.unwrap();
        assert_eq!(open().get("device:a", &[]).await, "{}");
    }

    #[tokio::test]
    async fn a_change_beyond_a_limit_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let preferences = Preferences::open(folder.path(), Fence::new(folder.path(), 1), Clock::fixed(7)).unwrap();
        let long = format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX));
        assert!(matches!(preferences.set("a", changes(&[("k", &long)])).await, Err(Error::TooLarge(_))));
        assert!(matches!(preferences.set("a", changes(&[("", "1")])).await, Err(Error::Key)));
        assert!(matches!(preferences.set("a", BTreeMap::new()).await, Err(Error::TooManyChanges)));
        for start in (0..ENTRIES_MAX).step_by(CHANGES_MAX) {
            let many: Vec<_> = (start..start + CHANGES_MAX).map(|number| format!("k{number}")).collect();
            preferences.set("a", changes(&many.iter().map(|key| (key.as_str(), "1")).collect::<Vec<_>>())).await.unwrap();
        }
        assert!(matches!(preferences.set("a", changes(&[("one more", "1")])).await, Err(Error::TooMany)));
        assert_eq!(preferences.get("a", &["one more".to_owned()]).await, "{}");
    }
}
