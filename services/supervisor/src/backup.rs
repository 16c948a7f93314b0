//! Backups of a state folder: taken while the gateway runs, checked against their own list, put back while it does not.
//!
//! A backup is a folder: `manifest.json` names every file with its size, mode and SHA-256; the files are below `files/`. Databases are
//! copied by SQLite itself, so a copy is one moment of the database whatever is written meanwhile.

mod copy;
mod mend;
mod restore;
mod salvage;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use verso_kit::clock::Clock;
use verso_kit::files;

use crate::digest::digest_of;
pub use mend::{Mended, Mending, damage, mend};
pub use restore::{Restored, restore};
pub use salvage::Salvaged;

/// What is not state: sockets and locks, earlier backups, and logs.
const LEFT_OUT: [&str; 3] = ["run", "backups", "logs"];

/// The shape of a backup.
const FORMAT: u32 = 1;

/// The list of a backup, in bytes; more was not written by us.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Files of one backup. A folder with more is not a gateway's.
const FILES_MAX: usize = 1_000_000;

/// Why there is no backup, or it was not put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("could not use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A database cannot be copied, or its copy is broken.
    #[error("could not copy the database {path}: {why}")]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// The folder is there already.
    #[error("{0} exists already; name another folder")]
    Exists(PathBuf),
    /// The folder holds no backup that this version can read.
    #[error("{path} is no backup: {why}")]
    NotABackup {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The backup is not what its list says.
    #[error("the backup is damaged: {}", .0.join("; "))]
    Damaged(Vec<String>),
    /// A gateway works on the state folder.
    #[error("a gateway is running in {0}; stop it first")]
    Running(PathBuf),
    /// The state folder holds more than a gateway's.
    #[error("{0} holds more files than a gateway's state folder can")]
    TooMany(PathBuf),
}

/// The list of a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The shape of the backup.
    pub format: u32,
    /// When it was taken, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// The state folder that it was taken of.
    pub state_dir: PathBuf,
    /// Its files, in the order of their names.
    pub files: Vec<Entry>,
    /// What was left out although it is no file that is left out on purpose: links, and what is neither a file nor a folder.
    pub skipped: Vec<PathBuf>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is below the state folder.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its permissions.
    pub mode: u32,
    /// Its hexadecimal SHA-256.
    pub sha256: String,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The backup.
    pub path: PathBuf,
    /// How many files it has.
    pub files: usize,
    /// What they come to.
    pub bytes: u64,
    /// When it was taken.
    pub created_at_ms: i64,
    /// What was left out.
    pub skipped: Vec<PathBuf>,
}

/// Copies a state folder to `to`, or to a new folder below its `backups`. What is half done when it fails is removed.
pub fn create(state_dir: &Path, to: Option<PathBuf>, clock: &Clock) -> Result<Summary, BackupError> {
    let created_at_ms = clock.now_ms();
    let to = to.unwrap_or_else(|| state_dir.join("backups").join(name(created_at_ms)));
    if to.exists() {
        return Err(BackupError::Exists(to));
    }
    let half = to.with_extension("part");
    let taken = fill(state_dir, &half, created_at_ms).and_then(|manifest| {
        fs::rename(&half, &to).map_err(at(&to))?;
        Ok(manifest)
    });
    if taken.is_err() {
        drop(fs::remove_dir_all(&half));
    }
    Ok(summary(&to, &taken?))
}

fn fill(state_dir: &Path, half: &Path, created_at_ms: i64) -> Result<Manifest, BackupError> {
    files::create_private_dir(&half.join("files")).map_err(at(half))?;
    let manifest = copy::all(state_dir, half, created_at_ms)?;
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| at(half)(error.into()))?;
    files::write_atomic(&half.join("manifest.json"), &text, 0o600).map_err(at(half))?;
    Ok(manifest)
}

/// Makes sure that a backup is whole: every file is there, is what the list says, and every database is sound.
pub fn verify(from: &Path) -> Result<Summary, BackupError> {
    let manifest = read(from)?;
    let mut problems = Vec::new();
    for entry in &manifest.files {
        let path = from.join("files").join(&entry.path);
        match digest_of(&path) {
            Ok((bytes, sha256)) if bytes == entry.bytes && sha256 == entry.sha256 => {}
            Ok(_) => problems.push(format!("{} is not what was backed up", entry.path.display())),
            Err(error) => problems.push(format!("{}: {error}", entry.path.display())),
        }
        if copy::is_database(&path)
            && let Err(error) = copy::check_database(&path)
        {
            problems.push(error.to_string());
        }
    }
    if problems.is_empty() { Ok(summary(from, &manifest)) } else { Err(BackupError::Damaged(problems)) }
}

/// Reads the list of a backup, and refuses one that would reach out of the folder.
fn read(from: &Path) -> Result<Manifest, BackupError> {
    let path = from.join("manifest.json");
    let no_backup = |why: &dyn std::fmt::Display| BackupError::NotABackup { path: from.to_owned(), why: why.to_string() };
    let bytes = fs::metadata(&path).map_err(|error| no_backup(&error))?.len();
    if bytes > MANIFEST_BYTES_MAX {
        return Err(no_backup(&"its list is too long"));
    }
    let manifest: Manifest = serde_json::from_slice(&fs::read(&path).map_err(at(&path))?).map_err(|error| no_backup(&error))?;
    if manifest.format != FORMAT {
        return Err(no_backup(&format!("its format is {}, and this version knows {FORMAT}", manifest.format)));
    }
    let mut seen = BTreeSet::new();
    for entry in &manifest.files {
        let inside = entry.path.components().all(|part| matches!(part, Component::Normal(_))) && !entry.path.as_os_str().is_empty();
        let first = entry.path.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
        if !inside || LEFT_OUT.contains(&first.as_str()) || !seen.insert(&entry.path) {
            return Err(no_backup(&format!("its list names {}", entry.path.display())));
        }
    }
    Ok(manifest)
}

fn summary(path: &Path, manifest: &Manifest) -> Summary {
    Summary {
        path: path.to_owned(),
        files: manifest.files.len(),
        bytes: manifest.files.iter().map(|entry| entry.bytes).sum(),
        created_at_ms: manifest.created_at_ms,
        skipped: manifest.skipped.clone(),
    }
}

fn name(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    at.strftime("%Y%m%d-%H%M%S").to_string()
}

fn at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |source| BackupError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
