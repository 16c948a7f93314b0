//! The surfaces of all sessions, in memory and on disk: one file a session, replaced as a whole.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::message::{Message, read_loosely};
use super::surfaces::{BYTES_MAX, Session, Surfaces as _};
use crate::error::Refused;

/// How many sessions have surfaces; the one that was touched longest ago makes room.
const SESSIONS_MAX: usize = 256;

/// How much of a file is more than any session says.
const FILE_BYTES_MAX: u64 = (BYTES_MAX as u64) * 2;

/// The surfaces. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: Arc<PathBuf>,
    sessions: Arc<Mutex<HashMap<String, Kept>>>,
    /// One change at a time, so that what is on disk is what was applied last.
    changing: Arc<tokio::sync::Mutex<u64>>,
}

#[derive(Debug, Clone)]
struct Kept {
    surfaces: Arc<Session>,
    /// Grows with each change of any session.
    touched: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    session_key: String,
    messages: Vec<Value>,
}

impl Store {
    /// Reads what is in `folder`. A file that cannot be read is left alone, with a line in the log. It blocks.
    pub(crate) fn open(folder: PathBuf) -> Self {
        let mut found: Vec<(SystemTime, String, Session)> = Vec::new();
        for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            match load(&path) {
                Ok(loaded) => found.push(loaded),
                Err(reason) => warn!(file = %path.display(), reason, "surfaces unreadable"),
            }
        }
        found.sort_by_key(|(changed, ..)| *changed);
        let newest = found.into_iter().rev().take(SESSIONS_MAX).enumerate();
        let last = u64::try_from(SESSIONS_MAX).unwrap_or(u64::MAX);
        let sessions = newest.map(|(age, (_, key, surfaces))| {
            (key, Kept { surfaces: Arc::new(surfaces), touched: last.saturating_sub(u64::try_from(age).unwrap_or(last)) })
        });
        let sessions = Arc::new(Mutex::new(sessions.collect()));
        Self { folder: Arc::new(folder), sessions, changing: Arc::new(tokio::sync::Mutex::new(last)) }
    }

    /// The surfaces of a session.
    pub(crate) fn get(&self, session: &str) -> Arc<Session> {
        self.sessions().get(session).map(|kept| Arc::clone(&kept.surfaces)).unwrap_or_default()
    }

    /// Applies messages to a session's surfaces, all or none; they are on disk when this returns.
    pub(crate) async fn apply(&self, session: &str, messages: &[Message]) -> Result<Arc<Session>, Refused> {
        let mut touched = self.changing.lock().await;
        let mut changed = self.get(session).as_ref().clone();
        changed.apply(messages)?;
        self.save(session, &changed).await?;
        *touched += 1;
        let changed = Arc::new(changed);
        let evicted = {
            let mut sessions = self.sessions();
            sessions.insert(session.to_owned(), Kept { surfaces: Arc::clone(&changed), touched: *touched });
            let oldest = sessions.iter().min_by_key(|(_, kept)| kept.touched).map(|(key, _)| key.clone());
            oldest.filter(|_| sessions.len() > SESSIONS_MAX).inspect(|key| drop(sessions.remove(key)))
        };
        if let Some(evicted) = evicted {
            self.save(&evicted, &Session::new()).await?;
        }
        Ok(changed)
    }

    /// Takes a session's surfaces away, also from the disk.
    pub(crate) async fn reset(&self, session: &str) -> Result<(), Refused> {
        let _changing = self.changing.lock().await;
        self.save(session, &Session::new()).await?;
        self.sessions().remove(session);
        Ok(())
    }

    async fn save(&self, session: &str, surfaces: &Session) -> Result<(), Refused> {
        let path = self.folder.join(file_name(session));
        let file = File { session_key: session.to_owned(), messages: surfaces.messages() };
        let folder = Arc::clone(&self.folder);
        let saving = move || {
            if file.messages.is_empty() {
                return match fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                };
            }
            verso_kit::files::create_private_dir(&folder)?;
            verso_kit::files::write_atomic(&path, serde_json::to_string(&file)?.as_bytes(), 0o600)
        };
        let saved = tokio::task::spawn_blocking(saving).await.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped)));
        saved.map_err(Refused::Save)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(path: &Path) -> Result<(SystemTime, String, Session), String> {
    let facts = fs::metadata(path).map_err(|error| error.to_string())?;
    if facts.len() > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file: File = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let mut surfaces = Session::new();
    surfaces.apply(&read_loosely(file.messages)).map_err(|error| error.to_string())?;
    Ok((facts.modified().unwrap_or(SystemTime::UNIX_EPOCH), file.session_key, surfaces))
}

/// Keys hold whatever their channels say, so they are no names of files.
fn file_name(session: &str) -> String {
    let digest = Sha256::digest(session.as_bytes());
    hex::encode(&digest[..16]) + ".json"
}
