//! `--dev`: everything that a gateway needs, made on the spot, and moved aside on request.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context as _;
use serde_json::json;
use verso_kit::clock::Clock;
use verso_kit::files;
use verso_supervisor::Holder;

use crate::failure::Failure;
use crate::instance::Instance;
use crate::output;

/// The files that agents expect in their folder.
const WORKSPACE: [(&str, &str); 5] = [
    ("AGENTS.md", "# Working agreement\n\nThis folder belongs to the dev profile. Everything in it is for trying things out.\n"),
    ("SOUL.md", "# Character\n\nFriendly, brief and exact. Says so when something is not known.\n"),
    ("TOOLS.md", "# Tools\n\nNotes about the tools on this machine go here.\n"),
    ("IDENTITY.md", "# Identity\n\n- Name: Verso\n- Emoji: 📖\n"),
    ("USER.md", "# User\n\nWho the agent talks to: add a name, a language and a time zone.\n"),
];

/// Makes what is missing; first moves everything aside when `reset` says so. Tells whether the configuration is new.
pub(super) fn prepare(instance: &Instance, reset: bool) -> anyhow::Result<bool> {
    let workspace = workspace(instance);
    if reset {
        move_aside(instance, &workspace)?;
    }
    let missing = !instance.config_path.exists();
    if missing {
        write_config(instance, &workspace).with_context(|| format!("could not write {}", instance.config_path.display()))?;
        output::notice(format!("Dev config ready: {}", instance.short(&instance.config_path)));
    }
    if fill(&workspace).with_context(|| format!("could not prepare {}", workspace.display()))? {
        output::notice(format!("Dev workspace ready: {}", instance.short(&workspace)));
    }
    Ok(missing)
}

fn write_config(instance: &Instance, workspace: &Path) -> io::Result<()> {
    files::create_private_dir(&instance.state_dir)?;
    if let Some(folder) = instance.config_path.parent() {
        fs::create_dir_all(folder)?;
    }
    let workspace = workspace.display().to_string();
    let config = json!({
        "gateway": {"mode": "local", "bind": "loopback"},
        "agents": {
            "defaults": {"workspace": workspace, "skipBootstrap": true},
            "list": [{
                "id": "dev", "default": true, "workspace": workspace,
                "identity": {"name": "Verso", "theme": "calm and exact", "emoji": "📖"},
            }],
        },
    });
    let mut text = serde_json::to_string_pretty(&config)?;
    text.push('\n');
    files::write_atomic(&instance.config_path, text.as_bytes(), 0o600)
}

/// Writes the files that are not there, and tells whether any was missing.
fn fill(workspace: &Path) -> io::Result<bool> {
    fs::create_dir_all(workspace)?;
    let mut written = false;
    for (name, text) in WORKSPACE {
        let path = workspace.join(name);
        if !path.exists() {
            files::write_atomic(&path, text.as_bytes(), 0o644)?;
            written = true;
        }
    }
    Ok(written)
}

/// `~/verso-dev`; a state folder that somebody chose has its workspace inside instead.
fn workspace(instance: &Instance) -> PathBuf {
    match instance.env.get("HOME").map(Path::new) {
        Some(home) if instance.state_dir == home.join(".verso-dev") => home.join("verso-dev"),
        _ => instance.state_dir.join("workspace"),
    }
}

fn move_aside(instance: &Instance, workspace: &Path) -> anyhow::Result<()> {
    if let Some(holder) = Holder::of(&instance.state_dir) {
        let text = format!("The dev gateway is running (pid {}). Stop it before you reset it.", holder.pid);
        return Err(Failure::new(text).into());
    }
    let stamp = Clock::system().now_ms();
    let state = |name: &str| instance.state_dir.join(name);
    for path in [instance.config_path.clone(), state("credentials"), state("agent"), state("agents"), workspace.to_owned()] {
        let mut name = path.clone().into_os_string();
        name.push(format!(".trash-{stamp}"));
        match fs::rename(&path, &name) {
            Ok(()) => output::notice(format!("Moved aside: {}", instance.short(Path::new(&name)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("could not move {} aside", path.display())),
        }
    }
    Ok(())
}
