//! Another executable for the services, one after the other.
//!
//! What was looked at is what runs: the file is copied into the state folder first, and the copy is checked and started. A service that
//! does not come up goes back to the earlier executable, and so do those that had come up before: one version runs at a time.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use verso_proto::supervisor::v1::{ServicesUpdateRequest, ServicesUpdateResponse};

use crate::error::Error;
use crate::fleet::Fleet;
use crate::service_name::ServiceName;

/// The largest executable, in bytes.
const EXECUTABLE_BYTES_MAX: u64 = 4 << 30;

/// How long an executable may take to say its version.
const VERSION_WAIT: Duration = Duration::from_secs(10);

/// Executables that are kept: the present one, and the one before.
const KEPT_MAX: usize = 2;

/// A process that was forked while the copy was written holds it open until it has begun its own program.
const BUSY_RETRIES: u32 = 20;

/// See [`BUSY_RETRIES`].
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Where the progress goes.
pub(crate) type Progress = mpsc::Sender<Result<ServicesUpdateResponse, Error>>;

/// An executable that may be started.
#[derive(Debug)]
struct Verified {
    path: PathBuf,
    version: String,
    sha256: String,
}

/// Has every service run another executable, and says how it goes.
pub(crate) async fn run(fleet: Fleet, request: ServicesUpdateRequest, progress: Progress) {
    if fleet.rolling.swap(true, Ordering::AcqRel) {
        say(&progress, Err(Error::Rolling)).await;
        return;
    }
    let folder = fleet.shared.launcher.run_dir().join("executables");
    let wanted = (PathBuf::from(request.executable), request.sha256);
    match verify(wanted, folder).await {
        Err(error) => say(&progress, Err(error)).await,
        Ok(verified) => {
            info!(version = verified.version, sha256 = verified.sha256, "updating the services");
            let detail = format!("version {}, sha256 {}", verified.version, verified.sha256);
            say(&progress, Ok(step("verified", None, Some(detail)))).await;
            let outcome = roll(&fleet, &verified.path, &progress).await;
            if outcome.step == "done" && request.install {
                let (new, installed) = (verified.path.clone(), fleet.shared.launcher.installed().to_owned());
                let put = tokio::task::spawn_blocking(move || install(&new, &installed)).await;
                say(&progress, Ok(put.unwrap_or_else(|error| step("not-installed", None, Some(error.to_string()))))).await;
            }
            say(&progress, Ok(outcome)).await;
        }
    }
    fleet.rolling.store(false, Ordering::Release);
}

/// Restarts one service after the other, the edge last.
async fn roll(fleet: &Fleet, executable: &Path, progress: &Progress) -> ServicesUpdateResponse {
    let mut updated: Vec<(ServiceName, PathBuf)> = Vec::new();
    for name in fleet.names() {
        let earlier = fleet.shared.launcher.run_as(name, executable.to_owned());
        say(progress, Ok(step("starting", Some(name), None))).await;
        let Err(error) = fleet.restart(name.as_str()).await else {
            say(progress, Ok(step("serving", Some(name), None))).await;
            updated.push((name, earlier));
            continue;
        };
        let why = error.to_string();
        warn!(service = %name, why, "the service does not come up with the new executable; going back");
        updated.push((name, earlier));
        for (name, earlier) in updated.into_iter().rev() {
            fleet.shared.launcher.run_as(name, earlier);
            let back = fleet.restart(name.as_str()).await.err().map(|error| error.to_string());
            let word = if back.is_none() { "rolled-back" } else { "down" };
            say(progress, Ok(step(word, Some(name), back))).await;
        }
        return step("abandoned", Some(name), Some(why));
    }
    info!("all services run the new executable");
    step("done", None, None)
}

async fn say(progress: &Progress, what: Result<ServicesUpdateResponse, Error>) {
    // Whoever asked may have gone; the update goes on to its end all the same.
    drop(progress.send(what).await);
}

fn step(step: &str, service: Option<ServiceName>, detail: Option<String>) -> ServicesUpdateResponse {
    ServicesUpdateResponse { step: step.to_owned(), service: service.map(|name| name.as_str().to_owned()), detail }
}

/// Copies the file, and makes sure that the copy is what the caller has looked at, and a gateway.
async fn verify((path, sha256): (PathBuf, String), folder: PathBuf) -> Result<Verified, Error> {
    let copied = tokio::task::spawn_blocking(move || copy(&path, &sha256, &folder)).await;
    let (path, sha256) = copied.map_err(|error| Error::Executable(io::Error::other(error).to_string()))??;
    let version = version_of(&path).await?;
    Ok(Verified { path, version, sha256 })
}

fn copy(path: &Path, expected: &str, folder: &Path) -> Result<(PathBuf, String), Error> {
    let refuse = |why: String| Error::Executable(format!("{}: {why}", path.display()));
    let failed = |error: io::Error| refuse(error.to_string());
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let (user, mode) = (rustix::process::geteuid().as_raw(), meta.mode());
    if !meta.is_file() || mode & 0o111 == 0 {
        return Err(refuse("is no executable file".to_owned()));
    }
    if meta.uid() != user && meta.uid() != 0 {
        return Err(refuse("belongs to another user".to_owned()));
    }
    if mode & 0o022 != 0 {
        return Err(refuse("can be written by others: chmod go-w it first".to_owned()));
    }
    verso_kit::files::create_private_dir(folder).map_err(failed)?;
    let mut target = tempfile::Builder::new().permissions(Permissions::from_mode(0o500)).tempfile_in(folder).map_err(failed)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut source = file.take(EXECUTABLE_BYTES_MAX);
    loop {
        let count = source.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
        target.write_all(&buffer[..count]).map_err(failed)?;
    }
    target.as_file().sync_all().map_err(failed)?;
    let sha256 = hex::encode(digest.finalize());
    if !expected.is_empty() && !expected.eq_ignore_ascii_case(&sha256) {
        return Err(refuse(format!("is not what was to be installed: its sha256 is {sha256}")));
    }
    let kept = folder.join(&sha256[..16]);
    target.persist(&kept).map_err(|error| failed(error.error))?;
    forget_oldest(folder, &kept);
    Ok((kept, sha256))
}

/// Removes executables that nobody goes back to.
fn forget_oldest(folder: &Path, newest: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut others: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path != newest).collect();
    others.sort_by_key(|path| std::cmp::Reverse(path.metadata().and_then(|meta| meta.modified()).ok()));
    for path in others.into_iter().skip(KEPT_MAX - 1) {
        // One that stays costs nothing but room.
        drop(fs::remove_file(path));
    }
}

/// Asks an executable for its version: what cannot say one is no gateway, or not for this machine.
async fn version_of(path: &Path) -> Result<String, Error> {
    let refuse = |why: String| Error::Executable(format!("{}: {why}", path.display()));
    let mut tries = 0;
    let output = loop {
        let mut command = Command::new(path);
        command.arg("--version").env_clear().stdin(Stdio::null()).kill_on_drop(true);
        match timeout(VERSION_WAIT, command.output()).await {
            Err(_) => return Err(refuse("does not say its version in time".to_owned())),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_RETRIES => {
                tries += 1;
                sleep(BUSY_PAUSE).await;
            }
            Ok(Err(error)) => return Err(refuse(error.to_string())),
            Ok(Ok(output)) => break output,
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let is_version = text.split('.').count() == 3 && text.len() < 64 && text.starts_with(|first: char| first.is_ascii_digit());
    if output.status.success() && is_version { Ok(text) } else { Err(refuse("does not say a version: it is no gateway".to_owned())) }
}

/// Puts the executable where the next start of the gateway finds it, and keeps the earlier one beside it.
fn install(new: &Path, installed: &Path) -> ServicesUpdateResponse {
    let put = || -> io::Result<()> {
        let folder = installed.parent().ok_or(io::ErrorKind::NotFound)?;
        let mode = installed.metadata()?.permissions();
        let mut target = tempfile::NamedTempFile::new_in(folder)?;
        io::copy(&mut File::open(new)?, &mut target)?;
        target.as_file().set_permissions(mode)?;
        target.as_file().sync_all()?;
        let previous = installed.with_extension("previous");
        match fs::remove_file(&previous) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::hard_link(installed, &previous)?,
        }
        target.persist(installed).map_err(|error| error.error)?;
        Ok(())
    };
    match put() {
        Ok(()) => step("installed", None, Some(installed.display().to_string())),
        Err(error) => step("not-installed", None, Some(format!("{}: {error}", installed.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    fn script(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    async fn verified(path: &Path, sha256: &str, folder: &Path) -> Result<Verified, String> {
        verify((path.to_owned(), sha256.to_owned()), folder.join("executables")).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn takes_what_was_looked_at_and_nothing_that_others_can_change() {
        let folder = tempfile::tempdir().unwrap();
        let good = script(folder.path(), "good", "#!/bin/sh\necho 9.8.7\n", 0o755);
        let first = verified(&good, "", folder.path()).await.unwrap();
        assert_eq!(first.version, "9.8.7");
        verified(&good, &first.sha256.to_uppercase(), folder.path()).await.unwrap();
        fs::write(&good, "#!/bin/sh\necho 6.6.6\n").unwrap();
        let other = verified(&good, &first.sha256, folder.path()).await.unwrap_err();
        assert!(other.contains("is not what was to be installed"), "{other}");
        assert_eq!(version_of(&first.path).await.unwrap(), "9.8.7", "the copy does not change with the file");
        for (name, text, mode, why) in [
            ("plain", "#!/bin/sh\necho 1.2.3\n", 0o644, "is no executable file"),
            ("open", "#!/bin/sh\necho 1.2.3\n", 0o777, "can be written by others"),
            ("other", "#!/bin/sh\necho hello\n", 0o755, "does not say a version"),
            ("broken", "#!/bin/sh\necho 1.2.3\nexit 1\n", 0o755, "does not say a version"),
        ] {
            let refusal = verified(&script(folder.path(), name, text, mode), "", folder.path()).await.unwrap_err();
            assert!(refusal.contains(why), "{name}: {refusal}");
        }
        assert!(fs::read_dir(folder.path().join("executables")).unwrap().count() <= KEPT_MAX);
    }

    #[test]
    fn the_earlier_executable_stays_beside_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (installed, new) = (folder.path().join("verso"), folder.path().join("new"));
        fs::write(&installed, "old").unwrap();
        fs::write(&new, "new").unwrap();
        assert_eq!(install(&new, &installed).step, "installed");
        assert_eq!(fs::read_to_string(&installed).unwrap(), "new");
        assert_eq!(fs::read_to_string(folder.path().join("verso.previous")).unwrap(), "old");
        assert_eq!(install(&new, &folder.path().join("missing/verso")).step, "not-installed");
    }
}
