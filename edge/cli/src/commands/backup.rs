//! `verso backup`: copies of everything that the gateway keeps.

use serde_json::json;
use verso_kit::clock::Clock;
use verso_supervisor::backup::{self, Summary};

use super::Session;
use crate::args::Backup;
use crate::failure::Failure;
use crate::gateway::runtime;
use crate::output;

pub(super) fn run(session: &Session, command: &Backup) -> anyhow::Result<()> {
    let (instance, clock) = (&session.instance, Clock::system());
    match command {
        Backup::Create { to, json } => {
            let to = to.as_ref().map(std::path::absolute).transpose()?;
            let taken = backup::create(&instance.state_dir, to, &clock).map_err(|error| refused(&error))?;
            // A configuration elsewhere is not a part of the state folder.
            let config = (!instance.config_path.starts_with(&instance.state_dir)).then(|| instance.config_path.clone());
            if *json {
                return Ok(output::document(&json!({"backup": taken, "configNotIncluded": config}))?);
            }
            for path in &taken.skipped {
                output::notice(format!("Not copied, as it is a link or no file: {}", path.display()));
            }
            if let Some(path) = config {
                output::notice(format!("Not copied, as it is outside of the state folder: {}", path.display()));
            }
            Ok(output::line(format!("{} in {}", words(&taken), taken.path.display()))?)
        }
        Backup::Verify { from, json } => {
            let sound = backup::verify(from).map_err(|error| refused(&error))?;
            if *json {
                return Ok(output::document(&json!({"ok": true, "backup": sound}))?);
            }
            Ok(output::line(format!("The backup is whole: {}", words(&sound)))?)
        }
        Backup::Restore { from, json } => {
            let restored = runtime()?.block_on(backup::restore(from, &instance.state_dir, &clock)).map_err(|error| refused(&error))?;
            if *json {
                return Ok(output::document(&restored)?);
            }
            let aside = restored.moved_aside.map(|path| format!("\nWhat was there before is in {}", path.display())).unwrap_or_default();
            Ok(output::line(format!("Put back: {}{aside}", words(&restored.backup)))?)
        }
    }
}

fn words(summary: &Summary) -> String {
    format!("{} files, {} KiB", summary.files, summary.bytes.div_ceil(1024))
}

fn refused(error: &backup::BackupError) -> anyhow::Error {
    let mut words = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        words = format!("{words}: {cause}");
    }
    Failure::new(words).into()
}
