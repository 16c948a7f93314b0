//! Copying files and databases that others are writing.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::{BackupError, Entry, FILES_MAX, FORMAT, LEFT_OUT, Manifest, at};
use crate::digest::digest_of;

/// Pages of a database that are copied at once; its writer goes on in between.
const PAGES: i32 = 512;

/// The pause in between.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a database may be locked by its writer.
const BUSY: Duration = Duration::from_secs(10);

/// What SQLite keeps beside a database; it is in the copy.
const BESIDE: [&str; 3] = ["sqlite-wal", "sqlite-shm", "sqlite-journal"];

/// Copies everything that is state.
pub(super) fn all(state_dir: &Path, to: &Path, created_at_ms: i64) -> Result<Manifest, BackupError> {
    let (mut paths, mut skipped) = (Vec::new(), Vec::new());
    walk(state_dir, Path::new(""), &mut paths, &mut skipped)?;
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let (source, target) = (state_dir.join(&path), to.join("files").join(&path));
        if let Some(folder) = target.parent() {
            verso_kit::files::create_private_dir(folder).map_err(at(folder))?;
        }
        let mode = match copy(&source, &target) {
            Ok(mode) => mode,
            // It was removed since the folder was listed.
            Err(BackupError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let (bytes, sha256) = digest_of(&target).map_err(at(&target))?;
        files.push(Entry { path, bytes, mode, sha256 });
    }
    Ok(Manifest { format: FORMAT, created_at_ms, state_dir: state_dir.to_owned(), files, skipped })
}

/// Whether the file is a database of ours.
pub(super) fn is_database(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sqlite")
}

/// Asks SQLite whether a database is sound.
pub(super) fn check_database(path: &Path) -> Result<(), BackupError> {
    let broken = |why: &dyn std::fmt::Display| BackupError::Database { path: path.to_owned(), why: why.to_string() };
    // Immutable: a look must not change what is looked at.
    let uri = format!("file:{}?immutable=1", path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags).map_err(|error| broken(&error))?;
    let answer: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(|error| broken(&error))?;
    if answer == "ok" { Ok(()) } else { Err(broken(&answer)) }
}

fn walk(root: &Path, below: &Path, files: &mut Vec<PathBuf>, skipped: &mut Vec<PathBuf>) -> Result<(), BackupError> {
    let folder = root.join(below);
    for entry in fs::read_dir(&folder).map_err(at(&folder))? {
        let entry = entry.map_err(at(&folder))?;
        let (name, path) = (entry.file_name(), below.join(entry.file_name()));
        let kind = entry.file_type().map_err(at(&folder))?;
        let left_out = below.as_os_str().is_empty() && LEFT_OUT.iter().any(|left_out| name == *left_out);
        let beside = path.extension().is_some_and(|extension| BESIDE.iter().any(|beside| extension == *beside));
        if left_out || beside {
            continue;
        }
        if kind.is_dir() {
            walk(root, &path, files, skipped)?;
        } else if kind.is_file() {
            files.push(path);
        } else {
            // A link may lead anywhere, also to what is no state of ours.
            skipped.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(BackupError::TooMany(root.to_owned()));
        }
    }
    Ok(())
}

/// Copies one file and returns its mode.
fn copy(source: &Path, target: &Path) -> Result<u32, BackupError> {
    let mode = fs::symlink_metadata(source).map_err(at(source))?.permissions().mode() & 0o777;
    if is_database(source) {
        copy_database(source, target)?;
    } else {
        copy_file(source, target)?;
    }
    fs::set_permissions(target, Permissions::from_mode(mode & 0o700)).map_err(at(target))?;
    File::open(target).and_then(|file| file.sync_all()).map_err(at(target))?;
    Ok(mode)
}

fn copy_file(source: &Path, target: &Path) -> Result<(), BackupError> {
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let mut from = fs::OpenOptions::new().read(true).custom_flags(nofollow).open(source).map_err(at(source))?;
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(at(source))?;
    if source.extension().is_some_and(|extension| extension == "jsonl") {
        // Its last line may be half written.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    }
    let mut to = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(at(target))?;
    to.write_all(&bytes).map_err(at(target))
}

fn copy_database(source: &Path, target: &Path) -> Result<(), BackupError> {
    let failed = |error: rusqlite::Error| BackupError::Database { path: source.to_owned(), why: error.to_string() };
    let from = Connection::open_with_flags(source, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    from.busy_timeout(BUSY).map_err(failed)?;
    let mut to = Connection::open(target).map_err(failed)?;
    Backup::new(&from, &mut to).map_err(failed)?.run_to_completion(PAGES, PAUSE, None).map_err(failed)?;
    // One file, without a log beside it.
    to.pragma_update(None, "journal_mode", "DELETE").map_err(failed)?;
    to.close().map_err(|(_, error)| failed(error))?;
    check_database(target)
}
