//! `gateway.tailscale`: publishes the port in the tailnet, through the command line of this machine's Tailscale.
//!
//! A tailnet that cannot be reached is a warning: the gateway itself works without it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;
use tracing::{info, warn};
use verso_gateway::TailscaleMode;
use verso_kit::config::Env;

use super::bind::Bind;
use crate::args::Run;
use crate::config::Snapshot;
use crate::failure::Failure;

/// How long one command may take.
const WAIT: Duration = Duration::from_secs(15);

/// Where the app for macOS keeps the program.
const OF_THE_APP: &str = "/Applications/Tailscale.app/Contents/MacOS/Tailscale";

/// What is published, and how long.
#[derive(Debug, Clone)]
pub(super) struct Publication {
    program: PathBuf,
    verb: &'static str,
    reset_on_exit: bool,
}

impl Publication {
    /// Works it out of flags and configuration; none when nothing is to be published.
    pub(super) fn of(snapshot: &Snapshot, flags: &Run, bind: Bind, auth_mode: &str) -> Result<Option<Self>, Failure> {
        let section = crate::config::Gateway::of(&snapshot.file).tailscale;
        let mode = match flags.tailscale.as_deref() {
            Some(word) => parsed(word).ok_or_else(|| Failure::new("Invalid --tailscale (use \"off\", \"serve\", or \"funnel\")"))?,
            None => section.mode,
        };
        let refuse = |text: &str| Err(Failure::refusal(text, &snapshot.env));
        let verb = match mode {
            TailscaleMode::Off => return Ok(None),
            _ if !bind.is_local() => return refuse("tailscale serve/funnel requires gateway bind=loopback (127.0.0.1)"),
            TailscaleMode::Funnel if auth_mode != "password" => {
                return refuse(
                    "tailscale funnel requires gateway auth mode=password (set gateway.auth.password or VERSO_GATEWAY_PASSWORD)",
                );
            }
            TailscaleMode::Serve => "serve",
            TailscaleMode::Funnel => "funnel",
        };
        let reset_on_exit = flags.tailscale_reset_on_exit || section.reset_on_exit;
        Ok(Some(Self { program: program(&snapshot.env), verb, reset_on_exit }))
    }

    /// The word by which the edge knows that it is published, whatever its file says.
    pub(super) fn mode(&self) -> &'static str {
        self.verb
    }

    /// Publishes the port.
    pub(super) async fn publish(&self, port: u16) {
        match self.run(&[self.verb, "--bg", "--yes", &port.to_string()]).await {
            Ok(_) => {
                let url = self.name().await.map_or_else(|| "unknown".to_owned(), |name| format!("https://{name}/"));
                info!(url, "published in the tailnet");
            }
            Err(reason) => warn!(reason, "tailscale {} failed: the gateway is reachable without it only", self.verb),
        }
    }

    /// Takes the publication back, where that is wanted.
    pub(super) async fn take_back(&self) {
        if self.reset_on_exit
            && let Err(reason) = self.run(&[self.verb, "reset"]).await
        {
            warn!(reason, "tailscale {} reset failed", self.verb);
        }
    }

    /// The name of this machine in the tailnet.
    async fn name(&self) -> Option<String> {
        let status: Value = serde_json::from_slice(&self.run(&["status", "--json"]).await.ok()?).ok()?;
        Some(status.pointer("/Self/DNSName")?.as_str()?.trim_end_matches('.').to_owned())
    }

    /// Runs the program; once more as root, where root may be had without a question and this user may not do it.
    async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let refused = match output(Command::new(&self.program).args(arguments)).await {
            Err(reason) if is_about_rights(&reason) => reason,
            ended => return ended,
        };
        let again = output(Command::new("sudo").arg("-n").arg(&self.program).args(arguments)).await;
        again.map_err(|_| refused)
    }
}

fn parsed(word: &str) -> Option<TailscaleMode> {
    serde_json::from_value(word.into()).ok()
}

fn is_about_rights(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["access denied", "permission denied", "operation not permitted", "must be root"].iter().any(|words| reason.contains(words))
}

async fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match timeout(WAIT, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no end within {} s", WAIT.as_secs())),
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(format!("{}: {first}", output.status))
}

/// The program on the path, or the app's.
fn program(env: &Env) -> PathBuf {
    let on_path = env
        .get("PATH")
        .and_then(|path| std::env::split_paths(path).map(|folder| folder.join("tailscale")).find(|candidate| candidate.is_file()));
    on_path.or_else(|| Some(PathBuf::from(OF_THE_APP)).filter(|path| Path::is_file(path))).unwrap_or_else(|| PathBuf::from("tailscale"))
}
