//! Putting a backup back.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use verso_kit::clock::Clock;
use verso_kit::files;

use super::{BackupError, LEFT_OUT, Summary, at, name, read, verify};
use crate::error::Error;
use crate::lock::{self, Lock};

/// What was done.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// What was put back.
    pub backup: Summary,
    /// Where what was there before is now; none when there was nothing.
    pub moved_aside: Option<PathBuf>,
}

/// Puts a backup in the place of a state folder's content. Nothing is removed: what was there is moved aside.
pub async fn restore(from: &Path, state_dir: &Path, clock: &Clock) -> Result<Restored, BackupError> {
    let backup = verify(from)?;
    files::create_private_dir(&state_dir.join("run")).map_err(at(state_dir))?;
    let holder = lock::this_process(&state_dir.join("verso.json"), &state_dir.join("run"), clock);
    // Held to the end: no gateway starts on half a state.
    let _lock = Lock::acquire(state_dir, Duration::ZERO, &holder).await.map_err(|error| match error {
        Error::AlreadyRunning { .. } => BackupError::Running(state_dir.to_owned()),
        other => at(state_dir)(std::io::Error::other(other)),
    })?;
    let staged = state_dir.join("run/restore");
    drop(fs::remove_dir_all(&staged));
    stage(from, &staged).inspect_err(|_| drop(fs::remove_dir_all(&staged)))?;
    // What comes back may have been claimed by higher numbers than were given out here: the next start counts on from the clock.
    match fs::remove_file(state_dir.join("run/epochs.json")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(&state_dir.join("run/epochs.json"))(error)),
        _ => {}
    }
    let moved_aside = move_aside(state_dir, clock)?;
    for entry in fs::read_dir(&staged).map_err(at(&staged))? {
        let entry = entry.map_err(at(&staged))?;
        let target = state_dir.join(entry.file_name());
        fs::rename(entry.path(), &target).map_err(at(&target))?;
    }
    fs::remove_dir(&staged).map_err(at(&staged))?;
    File::open(state_dir).and_then(|folder| folder.sync_all()).map_err(at(state_dir))?;
    Ok(Restored { backup, moved_aside })
}

/// Copies the backup beside the state, where a full disk is noticed before anything has changed.
fn stage(from: &Path, staged: &Path) -> Result<(), BackupError> {
    files::create_private_dir(staged).map_err(at(staged))?;
    for entry in read(from)?.files {
        let (source, target) = (from.join("files").join(&entry.path), staged.join(&entry.path));
        if let Some(folder) = target.parent() {
            files::create_private_dir(folder).map_err(at(folder))?;
        }
        fs::copy(&source, &target).map_err(at(&target))?;
        fs::set_permissions(&target, Permissions::from_mode(entry.mode & 0o700)).map_err(at(&target))?;
        File::open(&target).and_then(|file| file.sync_all()).map_err(at(&target))?;
    }
    Ok(())
}

fn move_aside(state_dir: &Path, clock: &Clock) -> Result<Option<PathBuf>, BackupError> {
    let aside = state_dir.join("backups").join(format!("before-{}", name(clock.now_ms())));
    let mut moved = None;
    for entry in fs::read_dir(state_dir).map_err(at(state_dir))? {
        let entry = entry.map_err(at(state_dir))?;
        if LEFT_OUT.iter().any(|left_out| entry.file_name() == *left_out) {
            continue;
        }
        files::create_private_dir(&aside).map_err(at(&aside))?;
        let target = aside.join(entry.file_name());
        fs::rename(entry.path(), &target).map_err(at(&target))?;
        moved = Some(aside.clone());
    }
    Ok(moved)
}
