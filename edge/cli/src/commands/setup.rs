//! `verso setup`: what a gateway needs, made as far as it is missing. What is there is not touched.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use verso_config::{KeyPath, Store};
use verso_kit::files;

use super::{Session, onboard};
use crate::args::Setup;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output::{self, Tone};
use crate::workspace;

/// The bytes of a token that is made.
const TOKEN_BYTES: usize = 24;

pub(super) fn run(session: &Session, arguments: &Setup) -> anyhow::Result<()> {
    if arguments.wizard {
        return onboard::ask_everything(session);
    }
    let instance = &session.instance;
    let is_new = !instance.config_path.exists();
    files::create_private_dir(&instance.state_dir)?;
    let mut wanted = vec![(vec!["gateway", "mode"], json!(arguments.mode.as_deref().unwrap_or("local")))];
    if let Some(folder) = &arguments.workspace {
        wanted.push((vec!["agents", "defaults", "workspace"], json!(std::path::absolute(folder)?)));
    }
    match (arguments.mode.as_deref(), &arguments.remote_url) {
        (Some("remote"), None) => return Err(Failure::new("--mode remote requires --remote-url").into()),
        (_, Some(url)) => wanted.push((vec!["gateway", "remote", "url"], json!(url))),
        _ => {}
    }
    if let Some(token) = &arguments.remote_token {
        wanted.push((vec!["gateway", "remote", "token"], json!(token)));
    }
    // A gateway has a secret from the start, also on this machine alone.
    if arguments.mode.as_deref() != Some("remote") && !has_secret(session) {
        wanted.push((vec!["gateway", "auth", "token"], json!(new_token())));
    }
    let asked = arguments.mode.is_some() || arguments.workspace.is_some() || arguments.remote_url.is_some();
    let changed = write(instance, &wanted, asked)?;
    let folder = arguments.workspace.clone().map_or_else(|| Ok(default_workspace(session)), std::path::absolute)?;
    workspace::make(&folder)?;
    let sessions = instance.state_dir.join("agent");
    files::create_private_dir(&sessions)?;
    if arguments.json {
        return Ok(output::document(&json!({
            "ok": true, "config": instance.config_path, "configWritten": changed, "workspace": folder, "sessions": sessions,
        }))?);
    }
    let config = instance.short(&instance.config_path);
    output::line(if is_new || changed { format!("Wrote {config}") } else { format!("Config OK: {config}") })?;
    output::line(format!("Workspace OK: {}", instance.short(&folder)))?;
    output::line(format!("Sessions OK: {}", instance.short(&sessions)))?;
    Ok(output::line(session.style.paint(Tone::Muted, format!("Next: {}", instance.command("gateway"))))?)
}

/// Lays keys into the file: those that are missing, or all of them. Returns whether the file is another now.
pub(super) fn write(instance: &Instance, wanted: &[(Vec<&str>, Value)], replace: bool) -> anyhow::Result<bool> {
    let store = Store::new(&instance.config_path, &instance.env);
    let written = store.change(
        |_| Ok(()),
        |document| {
            let mut document = document.clone();
            for (path, value) in wanted {
                let key = KeyPath::of(path.iter().copied());
                // A secret or a choice that is there is somebody's own.
                if replace && path[..] != ["gateway", "auth", "token"] || key.find(document.value()).is_none() {
                    document = document.set(&key, value)?;
                }
            }
            Ok(document.text().to_owned())
        },
    );
    Ok(written.map_err(super::config::refused)?.changed)
}

fn has_secret(session: &Session) -> bool {
    let section = crate::config::Gateway::of(&session.snapshot.file);
    let env = &session.snapshot.env;
    section.auth.token.is_some()
        || section.auth.password.is_some()
        || section.auth.mode.is_some_and(|mode| mode != "token")
        || env.get("VERSO_GATEWAY_TOKEN").is_some()
        || env.get("VERSO_GATEWAY_PASSWORD").is_some()
}

/// A token that nobody guesses: hexadecimal.
pub(super) fn new_token() -> String {
    hex::encode(rand::random::<[u8; TOKEN_BYTES]>())
}

/// The folder that the default agent works in.
pub(super) fn default_workspace(session: &Session) -> PathBuf {
    let configured = session.snapshot.file.value().pointer("/agents/defaults/workspace").and_then(Value::as_str).map(PathBuf::from);
    match (configured, session.instance.env.get("HOME")) {
        (Some(folder), Some(home)) if folder.starts_with("~") => Path::new(home).join(folder.components().skip(1).collect::<PathBuf>()),
        (Some(folder), _) => folder,
        (None, _) => session.instance.state_dir.join("workspace"),
    }
}
