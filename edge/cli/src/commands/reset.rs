//! `verso reset` and `verso uninstall`: what a gateway keeps is removed, after everything that could be in the way was looked at.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use verso_supervisor::Holder;

use super::{Session, setup};
use crate::args::{Reset, Uninstall};
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output::{self, can_ask, choose, confirm};
use crate::units::{Control, Scope};

/// What is removed with the scope `config+creds+sessions`, besides the configuration: names in the state folder.
const CREDENTIALS_AND_SESSIONS: [&str; 8] = ["credentials", "identity", "devices", "agent", "agents", "channel", ".env", "service.env"];

pub(super) fn reset(session: &Session, arguments: &Reset) -> anyhow::Result<()> {
    if arguments.non_interactive && !(arguments.yes && arguments.scope.is_some()) {
        return Err(Failure::new("Non-interactive mode requires --yes and --scope.").into());
    }
    let scope = match &arguments.scope {
        Some(scope) => scope.clone(),
        None if can_ask() => choose("How much?", &["config", "config+creds+sessions", "full"], "config")?,
        None => return Err(Failure::new("Nobody can be asked here; give --scope, and --yes when it is meant.").into()),
    };
    let instance = &session.instance;
    let mut doomed = config_files(instance);
    if scope != "config" {
        doomed.extend(CREDENTIALS_AND_SESSIONS.map(|name| instance.state_dir.join(name)));
    }
    if scope == "full" {
        doomed.extend(workspaces(session));
        doomed.push(instance.state_dir.clone());
    }
    meant(arguments.yes || arguments.dry_run, &format!("Remove {scope} of {}?", instance.short(&instance.state_dir)))?;
    if scope != "config" {
        stop(session, arguments.dry_run)?;
    }
    remove(instance, doomed, arguments.dry_run)?;
    if scope == "full" {
        output::line(format!("Next: {}", instance.command("onboard --install-daemon")))?;
    }
    Ok(())
}

/// What `verso onboard --reset` removes.
pub(super) fn remove_state(session: &Session) -> anyhow::Result<()> {
    stop(session, false)?;
    let mut doomed = config_files(&session.instance);
    doomed.extend(CREDENTIALS_AND_SESSIONS.map(|name| session.instance.state_dir.join(name)));
    remove(&session.instance, doomed, false)
}

pub(super) fn uninstall(session: &Session, arguments: &Uninstall) -> anyhow::Result<()> {
    let instance = &session.instance;
    let (service, state, workspace) =
        (arguments.service || arguments.all, arguments.state || arguments.all, arguments.workspace || arguments.all);
    if !(service || state || workspace) {
        return Err(Failure::new("Say what to remove: --service, --state, --workspace or --all.").into());
    }
    if arguments.non_interactive && !arguments.yes {
        return Err(Failure::new("Non-interactive mode requires --yes.").into());
    }
    meant(arguments.yes || arguments.dry_run, &format!("Remove this gateway ({})?", instance.short(&instance.state_dir)))?;
    if service {
        let control = Control::of(instance, Scope::User);
        match control.installed() {
            None => output::line("No service is installed.")?,
            Some(installed) if arguments.dry_run => {
                output::line(format!("[dry-run] remove {}", instance.short(&installed.path)))?;
            }
            Some(installed) => {
                control.uninstall()?;
                output::line(format!("Removed {}", instance.short(&installed.path)))?;
            }
        }
    }
    let mut doomed = Vec::new();
    if workspace {
        doomed.extend(workspaces(session));
    }
    if state {
        doomed.extend(config_files(instance));
        doomed.push(instance.state_dir.clone());
    }
    if !doomed.is_empty() {
        stop(session, arguments.dry_run)?;
        remove(instance, doomed, arguments.dry_run)?;
    }
    Ok(output::line("This program stays; remove it the way that it was installed.")?)
}

fn meant(known: bool, question: &str) -> anyhow::Result<()> {
    if known {
        return Ok(());
    }
    if !can_ask() {
        return Err(Failure::new("Nobody can be asked here; add --yes when it is meant.").into());
    }
    if confirm(question)? { Ok(()) } else { Err(Failure::new("Nothing was removed.").into()) }
}

/// Stops the service; a gateway that runs without one must be stopped by whoever runs it.
fn stop(session: &Session, dry_run: bool) -> anyhow::Result<()> {
    let instance = &session.instance;
    let control = Control::of(instance, Scope::User);
    if control.installed().is_some() && !dry_run {
        // Where the system cannot be asked, what follows finds out whether anything runs.
        drop(control.act("stop"));
    }
    match Holder::of(&instance.state_dir) {
        Some(holder) if !dry_run => {
            Err(Failure::new(format!("A gateway is running here (pid {}). Stop it first: kill -TERM {}", holder.pid, holder.pid)).into())
        }
        _ => Ok(()),
    }
}

fn config_files(instance: &Instance) -> Vec<PathBuf> {
    let beside = |ending: &str| {
        let mut name = instance.config_path.file_name().unwrap_or_default().to_owned();
        name.push(ending);
        instance.config_path.with_file_name(name)
    };
    vec![instance.config_path.clone(), beside(".generations"), beside(".lock"), beside(".new")]
}

fn workspaces(session: &Session) -> Vec<PathBuf> {
    let mut found = vec![setup::default_workspace(session)];
    let list = session.snapshot.file.value().pointer("/agents/list").and_then(Value::as_array);
    found.extend(list.into_iter().flatten().filter_map(|agent| agent.get("workspace")?.as_str()).map(PathBuf::from));
    found.dedup();
    found
}

fn remove(instance: &Instance, doomed: Vec<PathBuf>, dry_run: bool) -> anyhow::Result<()> {
    // All of it or none: nothing is removed before everything may be.
    for path in &doomed {
        refuse_what_is_not_ours(path, instance)?;
    }
    for path in doomed {
        let found = match path.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        if dry_run {
            output::line(format!("[dry-run] remove {}", instance.short(&path)))?;
            continue;
        }
        // A link is removed, not what it leads to.
        if found.is_dir() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
        output::line(format!("Removed {}", instance.short(&path)))?;
    }
    Ok(())
}

/// A folder that holds the home folder, or is it, was never the gateway's.
fn refuse_what_is_not_ours(path: &Path, instance: &Instance) -> Result<(), Failure> {
    let home = instance.env.get("HOME").map(PathBuf::from);
    let depth = path.components().filter(|part| matches!(part, Component::Normal(_))).count();
    let climbs = path.components().any(|part| part == Component::ParentDir);
    let holds_home = home.is_some_and(|home| home.starts_with(path));
    if depth < 2 || climbs || !path.is_absolute() || holds_home {
        return Err(Failure::new(format!("Refusing to remove {}: it is not this gateway's alone.", path.display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use verso_kit::config::Env;

    use super::*;
    use crate::profile::Profile;

    #[test]
    fn what_holds_more_than_a_gateway_is_never_removed() {
        let env = Env::from_pairs([("HOME", "/home/me"), ("VERSO_STATE_DIR", "/home/me/.verso")]);
        let instance = Instance::new(Profile::default(), env);
        for path in ["/", "/home", "/home/me", "/home/me/", "/etc", "relative", "/home/me/.verso/../.."] {
            assert!(refuse_what_is_not_ours(Path::new(path), &instance).is_err(), "{path}");
        }
        refuse_what_is_not_ours(Path::new("/home/me/.verso"), &instance).unwrap();
    }
}
