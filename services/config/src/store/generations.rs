//! Earlier states of the file, numbered, so that there is a way back.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Serialize;
use verso_kit::files::create_private_dir;

use super::content_hash;
use super::disk::{Fs, write_whole};

/// How many are kept.
pub const GENERATIONS_MAX: usize = 20;

/// The ending of their names.
const ENDING: &str = ".json5";

/// An earlier state of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// Counts up; never used twice.
    pub number: u64,
    /// Hexadecimal SHA-256 of the text.
    pub hash: String,
    /// When it was written, in milliseconds since 1970.
    pub written_at_ms: u64,
    /// Its size.
    pub size_bytes: u64,
    /// Where it is.
    #[serde(skip)]
    pub path: PathBuf,
}

/// Lists them, the newest first. What cannot be read is left out.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Generation>> {
    let mut found: Vec<Generation> = numbers(folder)?.into_iter().filter_map(|(number, path)| read(number, path)).collect();
    found.sort_by_key(|generation| std::cmp::Reverse(generation.number));
    Ok(found)
}

pub(super) fn latest(folder: &Path) -> Option<Generation> {
    let mut numbers = numbers(folder).ok()?;
    numbers.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    numbers.into_iter().find_map(|(number, path)| read(number, path))
}

/// Keeps a text and returns its number; the oldest make room.
pub(super) fn keep(fs: &dyn Fs, folder: &Path, text: &str) -> io::Result<u64> {
    create_private_dir(folder)?;
    let mut numbers = numbers(folder)?;
    numbers.sort_by_key(|(number, _)| *number);
    let next = numbers.last().map_or(1, |(number, _)| number + 1);
    write_whole(fs, &folder.join(format!("{next:08}{ENDING}")), text.as_bytes())?;
    let too_many = (numbers.len() + 1).saturating_sub(GENERATIONS_MAX);
    for (_, path) in numbers.into_iter().take(too_many) {
        fs.remove(&path)?;
    }
    Ok(next)
}

fn read(number: u64, path: PathBuf) -> Option<Generation> {
    let text = std::fs::read_to_string(&path).ok()?;
    let modified = path.metadata().and_then(|found| found.modified()).ok()?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let written_at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Some(Generation { number, hash: content_hash(&text), written_at_ms, size_bytes: text.len() as u64, path })
}

fn numbers(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let number = |path: &Path| path.file_name()?.to_str()?.strip_suffix(ENDING)?.parse().ok();
    Ok(entries.flatten().filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect())
}
