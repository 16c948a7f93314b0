//! Notes of which programs run, so that the next incarnation ends what this one could not: it was killed, they were not.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process_group};

/// The notes: one file for each process group, named after it. Clones write the same.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    pub(super) fn new(folder: PathBuf) -> Self {
        if let Err(error) = verso_kit::files::create_private_dir(&folder) {
            tracing::warn!(folder = %folder.display(), error = &error as &dyn std::error::Error, "programs cannot be noted down");
        }
        Self { folder }
    }

    /// Notes a program that was just started.
    pub(super) fn note(&self, pid: i32) {
        let Some(identity) = identity(pid) else { return };
        if let Err(error) = std::fs::write(self.file(pid), identity) {
            tracing::warn!(pid, error = &error as &dyn std::error::Error, "a program could not be noted down");
        }
    }

    /// Strikes a program out that has ended.
    pub(super) fn strike(&self, pid: i32) {
        match std::fs::remove_file(self.file(pid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(pid, error = &error as &dyn std::error::Error, "a note of an ended program stays");
            }
            _ => {}
        }
    }

    /// Ends what is still running, and forgets it.
    pub(super) fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()) {
                end(pid, &path);
                self.strike(pid);
            }
        }
    }

    fn file(&self, pid: i32) -> PathBuf {
        self.folder.join(pid.to_string())
    }
}

/// Notes of programs that are not an agent's: servers of tools. Clones write the same.
#[derive(Debug, Clone)]
pub struct Notes(Ledger);

/// A note of a running program; dropping it strikes the note out.
#[derive(Debug)]
pub struct Noted {
    ledger: Ledger,
    pid: i32,
}

impl Notes {
    /// Opens the notes in `folder`, and ends what an earlier incarnation has left running by them.
    pub fn open(folder: PathBuf) -> Self {
        let ledger = Ledger::new(folder);
        ledger.sweep();
        Self(ledger)
    }

    /// Notes a process group that was just started.
    pub fn note(&self, pid: i32) -> Noted {
        self.0.note(pid);
        Noted { ledger: self.0.clone(), pid }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.ledger.strike(self.pid);
    }
}

/// Ends a program if it is the one that was noted: a number may belong to somebody else by now.
fn end(pid: i32, note: &Path) {
    let noted = std::fs::read_to_string(note).ok();
    if noted.is_none() || noted != identity(pid) {
        return;
    }
    tracing::info!(pid, "a program of an earlier incarnation is ended");
    if let Some(group) = Pid::from_raw(pid)
        && let Err(error) = kill_process_group(group, Signal::KILL)
    {
        tracing::warn!(pid, error = &error as &dyn std::error::Error, "a program of an earlier incarnation could not be ended");
    }
}

/// Says which process a number means: since when it runs, in which start of the system, as whom.
fn identity(pid: i32) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: the 20th field is when it began, the 3rd its group.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (group, began) = (fields.get(2)?, fields.get(19)?);
    let owner = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}/{began}/{group}/{owner}", boot.trim()))
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn sec_57_only_the_process_that_was_noted_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().to_owned());
        let mut noted = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let mut other = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let (first, second) = (noted.id().cast_signed(), other.id().cast_signed());
        ledger.note(first);
        // As if the number had been given to somebody else since.
        std::fs::copy(ledger.file(first), ledger.file(second)).unwrap();
        Ledger::new(folder.path().to_owned()).sweep();
        assert!(!noted.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "a process that was never noted was ended");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
