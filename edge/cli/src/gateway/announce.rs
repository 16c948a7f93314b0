//! What `verso gateway` prints when it has started: the lines that scripts wait for, and how a person goes on.

use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::oneshot;
use verso_kit::clock::Clock;
use verso_kit::telemetry::{self, Logging};
use verso_supervisor::{Listening, ServiceName};

use super::credentials::Origin;
use super::start::Order;
use crate::output::{self, Style, Tone};

/// What to print, as far as it is known before the start.
#[derive(Debug)]
pub(super) struct Announcement {
    style: Style,
    state: String,
    config: String,
    secret_label: &'static str,
    secret: String,
    /// What a shell puts in place of the secret; none when there is nothing to present.
    secret_for_shell: Option<String>,
    program: String,
    profile: String,
    log_file: PathBuf,
    log_file_short: String,
    completions: bool,
}

impl Announcement {
    /// Collects what there is to say. The secret itself is not part of it.
    pub(super) fn of(order: &Order<'_>) -> anyhow::Result<Self> {
        let (instance, snapshot) = (order.instance, order.snapshot);
        let logging: Logging = snapshot.file.section("logging")?;
        let log_file = telemetry::log_file(&logging, &instance.state_dir, &Clock::system());
        let http = verso_gateway::Config::load(&snapshot.file, &snapshot.env)?.http;
        let (variable, key, secret_label) = match order.credentials.mode.as_str() {
            "password" => ("$VERSO_GATEWAY_PASSWORD", "password", "Password"),
            _ => ("$VERSO_GATEWAY_TOKEN", "token", "Token"),
        };
        let config = instance.short(&instance.config_path);
        let origin = &order.credentials.origin;
        let secret_for_shell = match origin {
            Origin::Flag | Origin::Config | Origin::Environment => Some(variable.to_owned()),
            Origin::Stored(path) => Some(format!("$(cat {})", instance.short(path))),
            Origin::Open => None,
        };
        Ok(Self {
            style: Style::of_stdout(&snapshot.env, order.no_color),
            state: instance.short(&instance.state_dir),
            config,
            secret_label,
            secret: origin.words(instance, key, variable),
            secret_for_shell,
            program: program(),
            profile: instance.profile.command("").trim_start_matches("verso").trim().to_owned(),
            log_file_short: instance.short(&log_file),
            log_file,
            completions: http.endpoints.chat_completions.enabled.unwrap_or(true),
        })
    }

    /// Prints each part when it has become true, and returns where the gateway is once it works. That nobody reads it stops no gateway.
    pub(super) async fn print(
        self,
        listening: oneshot::Receiver<Listening>,
        ready: oneshot::Receiver<Vec<ServiceName>>,
    ) -> Option<Listening> {
        let listening = listening.await.ok()?;
        drop(self.print_listening(&listening));
        let services = ready.await.ok()?;
        drop(self.print_ready(&listening, &services));
        Some(listening)
    }

    fn print_listening(&self, listening: &Listening) -> io::Result<()> {
        let pid = rustix::process::getpid().as_raw_pid();
        for (index, address) in listening.public.iter().enumerate() {
            let suffix = if index == 0 { format!(" (PID {pid})") } else { String::new() };
            log_line("gateway", &format!("listening on ws://{address}{suffix}"))?;
        }
        if let Some(canvas) = listening.canvas {
            log_line("canvas", &format!("host mounted at http://{canvas}/__verso__/canvas/"))?;
        }
        log_line("gateway", &format!("log file: {}", self.log_file.display()))
    }

    fn print_ready(&self, listening: &Listening, services: &[ServiceName]) -> io::Result<()> {
        let names: Vec<&str> = services.iter().map(|name| name.as_str()).collect();
        log_line("gateway", &format!("services ready: {}", names.join(" ")))?;
        match listening.public.first() {
            Some(address) => self.print_guide(*address),
            None => Ok(()),
        }
    }

    fn print_guide(&self, mut address: std::net::SocketAddr) -> io::Result<()> {
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let version = env!("CARGO_PKG_VERSION");
        output::line(format!("\n{}", self.style.paint(Tone::Accent, format!("Verso {version} is ready."))))?;
        let command = |rest: &str| {
            [self.program.as_str(), self.profile.as_str(), rest].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        };
        let rows = [
            ("WebSocket", format!("ws://{address}")),
            ("HTTP", format!("http://{address}")),
            (self.secret_label, self.secret.clone()),
            ("State", self.state.clone()),
            ("Config", self.config.clone()),
            ("Log", self.log_file_short.clone()),
            ("Talk", command("agent --message \"hello\"")),
            ("Look", command("status")),
        ];
        for (label, value) in rows {
            output::line(format!("  {} {value}", self.style.paint(Tone::Muted, format!("{label:<10}"))))?;
        }
        if self.completions {
            let authorization = self.secret_for_shell.as_ref().map(|secret| format!("-H \"Authorization: Bearer {secret}\" "));
            output::line(format!(
                "  {} curl http://{address}/v1/chat/completions {}-H 'Content-Type: application/json' \\\n             \
                 -d '{{\"model\": \"verso\", \"messages\": [{{\"role\": \"user\", \"content\": \"hello\"}}]}}'",
                self.style.paint(Tone::Muted, format!("{:<10}", "OpenAI API")),
                authorization.unwrap_or_default(),
            ))?;
        }
        output::line(format!("  {} Ctrl-C\n", self.style.paint(Tone::Muted, format!("{:<10}", "Stop"))))
    }
}

fn log_line(subsystem: &str, message: &str) -> io::Result<()> {
    let now = jiff::Timestamp::from_millisecond(Clock::system().now_ms()).unwrap_or_default();
    output::line(format!("{now:.3} [{subsystem}] {message}"))
}

/// How a shell in this folder calls this program: a fresh build is not on the path.
fn program() -> String {
    let found = || {
        let executable = std::env::current_exe().ok()?;
        let folder = std::env::current_dir().ok()?;
        let below = executable.strip_prefix(folder).ok().filter(|path| path.starts_with("target"))?;
        Some(Path::new(".").join(below).display().to_string())
    };
    found().unwrap_or_else(|| "verso".to_owned())
}
