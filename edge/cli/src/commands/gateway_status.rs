//! `verso gateway status`: configuration, port and whether the gateway answers.

use std::process::ExitCode;

use serde_json::{Value, json};
use verso_kit::clock::Clock;
use verso_kit::telemetry::{self, Logging};

use super::{Session, gateway_service, services};
use crate::args::GatewayStatus;
use crate::client::{Connection, Mode, Server, Target};
use crate::config::Gateway;
use crate::gateway::Bind;
use crate::output::{self, Tone};
use crate::ports::Port;

/// Hints that fit on a screen.
const ERROR_LINES_MAX: usize = 12;

/// What was found.
struct Report {
    target: Target,
    bind: Bind,
    host: String,
    port: u16,
    found: Option<Port>,
    /// None when the gateway was not asked.
    answer: Option<Result<Server, String>>,
    services: Value,
    log_file: String,
}

pub(super) async fn run(session: &Session, arguments: &GatewayStatus) -> anyhow::Result<ExitCode> {
    let section = Gateway::of(&session.snapshot.file);
    let port = section.effective_port(&session.snapshot.env);
    let bind = section.bind.as_deref().and_then(Bind::parse).unwrap_or(Bind::Loopback);
    let logging: Logging = session.snapshot.file.section("logging").unwrap_or_default();
    let answer = if arguments.no_probe { None } else { Some(probe(session, arguments).await.map_err(|error| format!("{error:#}"))) };
    let report = Report {
        target: Target::find(session, &arguments.target)?,
        bind,
        host: bind
            .hosts(section.custom_bind_host.as_deref())
            .ok()
            .and_then(|hosts| hosts.first().map(ToString::to_string))
            .unwrap_or_default(),
        port,
        found: Port::inspect(port).ok(),
        answer,
        services: services::list(session).await.map_or(Value::Null, |services| json!(services)),
        log_file: telemetry::log_file(&logging, &session.instance.state_dir, &Clock::system()).display().to_string(),
    };
    if arguments.json {
        output::document(&report.document(session))?;
    } else {
        report.print(session)?;
    }
    let unanswered = matches!(report.answer, Some(Err(_)) | None);
    Ok(if arguments.require_rpc && unanswered { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn probe(session: &Session, arguments: &GatewayStatus) -> anyhow::Result<Server> {
    let timeout = arguments.patience.timeout;
    let mut connection = Connection::open(session, &arguments.target, timeout, Mode::Probe).await?;
    connection.call("status", json!({}), timeout).await?;
    Ok(connection.server())
}

impl Report {
    fn document(&self, session: &Session) -> Value {
        let instance = &session.instance;
        let snapshot = &session.snapshot;
        let mut config = json!({"path": instance.config_path, "exists": instance.config_path.exists(), "valid": snapshot.is_valid()});
        if !snapshot.is_valid() {
            config["issues"] = json!(snapshot.problems.iter().chain(&snapshot.legacy).collect::<Vec<_>>());
        }
        let server = self.answer.as_ref().and_then(|answer| answer.as_ref().ok());
        let mut document = json!({
            "service": gateway_service::document(session),
            "config": {"cli": config, "daemon": config},
            "gateway": {
                "bindMode": self.bind.as_str(), "bindHost": self.host, "port": self.port, "portSource": "env/config",
                "probeUrl": self.target.url, "version": server.map(|server| &server.version),
            },
            "port": self.port_document(),
            "extraServices": [],
            "services": self.services,
            "cli": {"version": env!("CARGO_PKG_VERSION")},
            "logFile": self.log_file,
        });
        match &self.answer {
            Some(Ok(server)) => {
                document["rpc"] =
                    json!({"ok": true, "url": self.target.url, "server": {"version": server.version, "connId": server.conn_id}});
            }
            Some(Err(error)) => document["rpc"] = json!({"ok": false, "error": error, "url": self.target.url}),
            None => {}
        }
        document
    }

    fn port_document(&self) -> Value {
        let Some(found) = &self.found else { return json!({"port": self.port, "status": "unknown", "listeners": [], "hints": []}) };
        let status = if found.is_busy() { "busy" } else { "free" };
        let hints = found.hints();
        json!({"port": self.port, "status": status, "listeners": found.listeners, "hints": hints})
    }

    fn print(&self, session: &Session) -> anyhow::Result<()> {
        let (instance, style) = (&session.instance, session.style);
        output::line(format!("File logs: {}", self.log_file))?;
        let validity = match (instance.config_path.exists(), session.snapshot.is_valid()) {
            (false, _) => style.paint(Tone::Muted, "missing"),
            (true, true) => style.paint(Tone::Good, "valid"),
            (true, false) => style.paint(Tone::Bad, "invalid"),
        };
        output::line(format!("Config (cli): {} ({validity})", instance.short(&instance.config_path)))?;
        if !session.snapshot.is_valid() {
            output::line(session.snapshot.complaint(instance))?;
        }
        output::line(format!("Gateway: bind={} ({}), port={} (env/config)", self.bind.as_str(), self.host, self.port))?;
        output::line(format!("Probe target: {}", self.target.url))?;
        match &self.answer {
            Some(Ok(server)) => output::line(format!("RPC probe: {} (version {})", style.paint(Tone::Good, "ok"), server.version))?,
            Some(Err(error)) => {
                output::line(format!("RPC probe: {}", style.paint(Tone::Bad, "failed")))?;
                for line in error.lines().take(ERROR_LINES_MAX) {
                    output::line(format!("  {line}"))?;
                }
                self.print_port()?;
            }
            None => {}
        }
        Ok(())
    }

    fn print_port(&self) -> std::io::Result<()> {
        let Some(found) = self.found.as_ref().filter(|found| found.is_busy()) else {
            return output::line(format!("Port {} is free: no gateway listens on it.", self.port));
        };
        output::line(format!("Port {} is already in use.", self.port))?;
        for listener in &found.listeners {
            output::line(format!("- pid {}: {} ({})", listener.pid, listener.command, listener.address))?;
        }
        found.hints().iter().try_for_each(|hint| output::line(format!("- {hint}")))
    }
}
