//! Mending one damaged file of the state folder: from what can be read of it, or from the last copy of it. What was damaged is moved aside.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use verso_kit::clock::Clock;

use super::copy::is_database;
use super::salvage::{Salvaged, salvage};
use super::{BackupError, at, name, read};
use crate::digest::digest_of;

/// What SQLite keeps beside a database, by the end of its name; it belongs to it.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// How long a database may be locked by its writer.
const BUSY: Duration = Duration::from_secs(5);

/// What became of a damaged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// Where the damaged file is now.
    pub aside: PathBuf,
    /// What is in its place.
    pub by: Mending,
}

/// What is in the place of a damaged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mending {
    /// What could be read of it.
    Salvaged(Salvaged),
    /// The copy of a backup.
    PutBack {
        /// The backup.
        backup: PathBuf,
        /// When it was taken, in milliseconds since 1970.
        created_at_ms: i64,
    },
    /// Nothing: there was nothing to be read, and no copy. Its owner begins afresh.
    Nothing,
}

/// Says what is wrong with a database or a document of the state folder; none when nothing is, or there is no such file.
pub fn damage(path: &Path) -> Option<String> {
    let length = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(error.to_string()),
    };
    if length == 0 {
        return Some("it is empty".to_owned());
    }
    if is_database(path) {
        return match ask(path) {
            Ok(answer) => (answer != "ok").then_some(answer),
            Err(error) => Some(error.to_string()),
        };
    }
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice::<Value>(&bytes).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// Its owner may be writing it, so the look takes its log into account.
fn ask(path: &Path) -> rusqlite::Result<String> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.busy_timeout(BUSY)?;
    database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
}

/// Mends the file `name` of a state folder, which its owner must not be using. Nothing is removed.
pub fn mend(state_dir: &Path, file: &Path, clock: &Clock) -> Result<Mended, BackupError> {
    let path = state_dir.join(file);
    let aside = move_aside(&path, clock)?;
    let half = beside(&path, ".mending");
    let salvaged = if is_database(&path) { salvage(&aside, &half) } else { None };
    let by = match salvaged {
        Some(salvaged) => Mending::Salvaged(salvaged),
        None => match last_copy(state_dir, file) {
            Some((backup, created_at_ms)) => {
                verso_kit::files::write_atomic(&half, &fs::read(backup.join("files").join(file)).map_err(at(&backup))?, 0o600)
                    .map_err(at(&half))?;
                Mending::PutBack { backup, created_at_ms }
            }
            None => Mending::Nothing,
        },
    };
    if by != Mending::Nothing {
        File::open(&half).and_then(|file| file.sync_all()).map_err(at(&half))?;
        fs::rename(&half, &path).map_err(at(&path))?;
    }
    Ok(Mended { aside, by })
}

/// Moves a file and what belongs to it.
fn move_aside(path: &Path, clock: &Clock) -> Result<PathBuf, BackupError> {
    let stamp = name(clock.now_ms());
    let mut aside = beside(path, &format!(".damaged-{stamp}"));
    for number in 2.. {
        if !aside.exists() {
            break;
        }
        aside = beside(path, &format!(".damaged-{stamp}-{number}"));
    }
    fs::rename(path, &aside).map_err(at(path))?;
    for ending in BESIDE {
        match fs::rename(beside(path, ending), beside(&aside, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(path)(error)),
            _ => {}
        }
    }
    Ok(aside)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Finds the newest backup whose copy of the file is as it was taken.
fn last_copy(state_dir: &Path, file: &Path) -> Option<(PathBuf, i64)> {
    let backups = fs::read_dir(state_dir.join("backups")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut known: Vec<_> = backups.filter_map(|path| read(&path).ok().map(|manifest| (path, manifest))).collect();
    known.sort_by_key(|(_, manifest)| std::cmp::Reverse(manifest.created_at_ms));
    known.into_iter().find_map(|(path, manifest)| {
        let entry = manifest.files.iter().find(|entry| entry.path == file)?;
        let copy = path.join("files").join(file);
        let (bytes, sha256) = digest_of(&copy).ok()?;
        (bytes == entry.bytes && sha256 == entry.sha256 && damage(&copy).is_none()).then_some((path, manifest.created_at_ms))
    })
}

#[cfg(test)]
mod tests;
