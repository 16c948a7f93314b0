//! The log file: one a day unless the configuration names one, of bounded size, and old ones removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::Logging;
use crate::clock::Clock;
use crate::files;

/// How long daily files are kept, in days, unless `logging.retentionDays` says otherwise.
const RETENTION_DAYS_DEFAULT: u32 = 7;

/// How large a file may become, in bytes, unless `logging.maxFileBytes` says otherwise. What it held then is kept once beside it.
const FILE_BYTES_MAX_DEFAULT: u64 = 200 << 20;

/// How many records are written between two looks at the file's size: other processes write to it too.
const RECORDS_BETWEEN_LOOKS: u32 = 64;

const DAY: Duration = Duration::from_hours(24);

/// The file that records are appended to. All processes append to the same one; a record is one write, so records never mix.
#[derive(Debug)]
pub(super) struct Rolling {
    state_dir: PathBuf,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    logging: Logging,
    path: PathBuf,
    file: Option<File>,
    records_until_look: u32,
}

impl Rolling {
    /// Prepares to write where `logging` says.
    pub(super) fn new(logging: &Logging, state_dir: &Path, clock: Clock) -> Self {
        let state = State { logging: logging.clone(), path: PathBuf::new(), file: None, records_until_look: 0 };
        Self { state_dir: state_dir.to_owned(), clock, state: Mutex::new(state) }
    }

    /// Opens the file, to say at once whether it can be written.
    pub(super) fn open(&self) -> io::Result<PathBuf> {
        let mut state = self.state();
        self.roll(&mut state)?;
        Ok(state.path.clone())
    }

    /// Writes where `logging` says from now on.
    pub(super) fn follow(&self, logging: &Logging) {
        let mut state = self.state();
        (state.logging, state.file) = (logging.clone(), None);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that the file of now is open.
    fn roll(&self, state: &mut State) -> io::Result<()> {
        let path = super::log_file(&state.logging, &self.state_dir, &self.clock);
        if state.file.is_none() || path != state.path {
            state.file = Some(append_to(&path)?);
            state.path = path;
            state.records_until_look = 0;
            if state.logging.file.is_none() {
                prune(&state.path, state.logging.retention_days.unwrap_or(RETENTION_DAYS_DEFAULT), &self.clock);
            }
        }
        if state.records_until_look == 0 {
            state.records_until_look = RECORDS_BETWEEN_LOOKS;
            Self::look(state)?;
        }
        state.records_until_look -= 1;
        Ok(())
    }

    /// Moves a file that is too large aside, unless another process has done so.
    fn look(state: &mut State) -> io::Result<()> {
        let bytes_max = state.logging.max_file_bytes.unwrap_or(FILE_BYTES_MAX_DEFAULT);
        let Some(file) = &state.file else { return Ok(()) };
        let ours = file.metadata()?;
        let is_in_place = fs::metadata(&state.path).is_ok_and(|there| there.ino() == ours.ino() && there.dev() == ours.dev());
        if is_in_place && ours.len() < bytes_max {
            return Ok(());
        }
        if is_in_place {
            // Two processes may have seen that it is too large; the second one finds another file in its place.
            flock(file, FlockOperation::LockExclusive)?;
            if fs::metadata(&state.path).is_ok_and(|there| there.ino() == ours.ino()) {
                fs::rename(&state.path, aside(&state.path))?;
            }
        }
        state.file = Some(append_to(&state.path)?);
        Ok(())
    }
}

impl Write for &Rolling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        self.roll(&mut state)?;
        state.file.as_mut().map_or(Ok(bytes.len()), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        files::create_private_dir(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// `verso-2026-01-31.log` becomes `verso-2026-01-31.old.log`; an earlier one is replaced.
fn aside(path: &Path) -> PathBuf {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{name}.old{ending}"))
}

/// Removes daily files that are too old. Nobody waits for that, so what cannot be removed stays.
fn prune(path: &Path, days: u32, clock: &Clock) {
    let Some(folder) = path.parent() else { return };
    let age_max_ms = i64::try_from((DAY * days).as_millis()).unwrap_or(i64::MAX);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ends_like_a_log = Path::new(&name).extension().is_some_and(|ending| ending == "log");
        let is_daily = ends_like_a_log && name.strip_prefix("verso-").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let changed = entry.metadata().and_then(|found| found.modified()).ok();
        let changed_ms = changed.and_then(|at| i64::try_from(at.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok());
        if is_daily && changed_ms.is_some_and(|at_ms| clock.now_ms() - at_ms > age_max_ms) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_is_full_is_kept_once_and_the_next_record_begins_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.log");
        let logging = Logging { file: Some(path.clone()), max_file_bytes: Some(100), ..Logging::default() };
        let (one, two) = (Rolling::new(&logging, folder.path(), Clock::system()), Rolling::new(&logging, folder.path(), Clock::system()));
        for at in 0..RECORDS_BETWEEN_LOOKS * 2 {
            writeln!(&one, "one {at}").unwrap();
            writeln!(&two, "two {at}").unwrap();
        }
        assert_eq!(names(folder.path()), ["own.log", "own.old.log"]);
        let kept = fs::read_to_string(&path).unwrap() + &fs::read_to_string(folder.path().join("own.old.log")).unwrap();
        assert!(kept.contains("one 127") && kept.contains("two 127"), "the newest are there");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn every_day_has_a_file_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        fs::create_dir(&logs).unwrap();
        for name in ["verso-2001-01-01.log", "verso-audit.log", "other.txt"] {
            fs::write(logs.join(name), "x").unwrap();
        }
        let soon_ms = i64::try_from((DAY * 8).as_millis()).unwrap() + Clock::system().now_ms();
        let rolling = Rolling::new(&Logging::default(), folder.path(), Clock::fixed(soon_ms));
        writeln!(&rolling, "x").unwrap();
        let found = names(&logs);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(!found.contains(&"verso-2001-01-01.log".to_owned()) && found.contains(&"verso-audit.log".to_owned()));
    }

    #[test]
    fn another_file_is_followed_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| Logging { file: Some(folder.path().join(name)), ..Logging::default() };
        let rolling = Rolling::new(&at("a.log"), folder.path(), Clock::system());
        writeln!(&rolling, "one").unwrap();
        rolling.follow(&at("b.log"));
        writeln!(&rolling, "two").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("b.log")).unwrap(), "two\n");
    }
}
