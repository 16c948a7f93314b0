//! `verso status`: everything at a glance. A gateway that is down is a finding, not a failure.

mod report;

use std::time::Instant;

use serde_json::{Value, json};
use verso_proto::edge::v1::{HealthResponse, StatusResponse};
use verso_proto::supervisor::v1::ServiceInfo;

use super::{Session, health, security, services, words};
use crate::args::Status;
use crate::client::{Connection, Mode, Server, Target};
use crate::output::{self, Style, Table, Tone, watched};
use crate::units::{Control, Platform, Scope};

/// What was found.
struct Report {
    target: Target,
    /// What the gateway says, or why it does not.
    gateway: Result<Answers, String>,
    /// The processes; none when the gateway is not on this machine, or not running.
    services: Option<Vec<ServiceInfo>>,
}

/// What the gateway says.
struct Answers {
    server: Server,
    latency_ms: u128,
    status: Value,
    health: Value,
    usage: Option<Value>,
}

pub(super) async fn run(session: &Session, arguments: &Status) -> anyhow::Result<()> {
    let target = Target::find(session, &arguments.target)?;
    let gateway = watched("Asking the gateway", ask(session, arguments)).await.map_err(|error| format!("{error:#}"));
    let services = if target.is_elsewhere { None } else { services::list(session).await.ok() };
    let report = Report { target, gateway, services };
    let deep = arguments.deep || arguments.verbose;
    if arguments.json {
        return Ok(output::document(&report.document(session, deep))?);
    }
    if arguments.all {
        return report::print(session, &report).await;
    }
    report.print(session, deep)
}

async fn ask(session: &Session, arguments: &Status) -> anyhow::Result<Answers> {
    let timeout = arguments.patience.timeout;
    let started = Instant::now();
    let mut connection = Connection::open(session, &arguments.target, timeout, Mode::Cli).await?;
    let latency_ms = started.elapsed().as_millis();
    let status = connection.call("status", json!({}), timeout).await?;
    let health = connection.call("health", json!({}), timeout).await?;
    let usage = if arguments.usage { Some(connection.call("usage.cost", json!({"days": 30}), timeout).await?) } else { None };
    Ok(Answers { server: connection.server(), latency_ms, status, health, usage })
}

impl Report {
    fn document(&self, session: &Session, deep: bool) -> Value {
        let answers = self.gateway.as_ref().ok();
        let mut document = answers.and_then(|answers| answers.status.as_object().cloned()).unwrap_or_default();
        let server = answers.map(|answers| &answers.server);
        let name = rustix::system::uname();
        let release = name.release().to_string_lossy();
        let platform = std::env::consts::OS;
        document.insert(
            "os".to_owned(),
            json!({
                "platform": platform, "arch": std::env::consts::ARCH, "release": release,
                "label": format!("{platform} {release} ({})", std::env::consts::ARCH),
            }),
        );
        document.insert(
            "gateway".to_owned(),
            json!({
                "mode": self.target.mode, "url": self.target.url, "urlSource": self.target.source, "misconfigured": false,
                "reachable": answers.is_some(), "connectLatencyMs": answers.map(|answers| answers.latency_ms),
                "self": server.map(|server| json!({"host": server.host, "version": server.version, "uptimeMs": server.uptime_ms})),
                "error": self.gateway.as_ref().err(),
            }),
        );
        document.insert("services".to_owned(), json!(self.services));
        document.insert("gatewayService".to_owned(), service(session));
        document.insert("securityAudit".to_owned(), security::report(&security::findings(session)));
        // Whoever installed this program replaces it.
        let deps = json!({"manager": "none", "status": "ok", "lockfilePath": null, "markerPath": null, "reason": null});
        document.insert(
            "update".to_owned(),
            json!({"root": null, "installKind": "binary", "packageManager": "none", "deps": deps, "registry": {"latestVersion": null}}),
        );
        document.insert("updateChannel".to_owned(), json!("stable"));
        document.insert("updateChannelSource".to_owned(), json!("default"));
        if let Some(usage) = answers.and_then(|answers| answers.usage.as_ref()) {
            document.insert("usage".to_owned(), usage.clone());
        }
        if deep {
            document.insert("health".to_owned(), json!(answers.map(|answers| &answers.health)));
        }
        Value::Object(document)
    }

    fn print(&self, session: &Session, deep: bool) -> anyhow::Result<()> {
        let style = session.style;
        output::line(style.paint(Tone::Accent, "Verso status"))?;
        let mut overview = Table::new(&["Item", "Value"]);
        let mut row = |item: &str, value: String| overview.row([item.to_owned(), value]);
        match &self.gateway {
            Ok(answers) => {
                row("Gateway", format!("{} · {} ({}ms)", self.target.url, style.paint(Tone::Good, "reachable"), answers.latency_ms));
                let uptime = answers.server.uptime_ms.map(|ms| format!(" · up {}", words::duration(ms))).unwrap_or_default();
                row("Version", format!("{}{uptime}", answers.server.version));
                let (status, health) = answers.parse()?;
                for (item, value) in facts(&status, &health) {
                    row(item, value);
                }
            }
            Err(_) => row("Gateway", format!("{} · {}", self.target.url, style.paint(Tone::Bad, "not reachable"))),
        }
        output::line(overview)?;
        if let Some(list) = &self.services {
            output::line(format!("\n{}\n{}", style.paint(Tone::Accent, "Services"), services::table(style, list)))?;
        }
        for problem in services::problems(self.services.as_deref().unwrap_or_default()) {
            output::line(style.paint(Tone::Warning, format!("(!) {problem}")))?;
        }
        match &self.gateway {
            Ok(answers) => answers.print(style, deep),
            Err(error) => Ok(output::line(format!("\n{error}"))?),
        }
    }
}

/// How the service of the operating system fares.
fn service(session: &Session) -> Value {
    let (label, loaded, not_loaded) = Platform::here().words();
    let control = Control::of(&session.instance, Scope::User);
    let installed = control.installed().is_some();
    let is_loaded = installed && control.is_loaded();
    let runtime = if installed { control.runtime().status } else { "not installed" };
    json!({
        "label": label, "installed": installed, "loadedText": if is_loaded { loaded } else { not_loaded }, "runtimeShort": runtime,
    })
}

impl Answers {
    fn parse(&self) -> anyhow::Result<(StatusResponse, HealthResponse)> {
        Ok((serde_json::from_value(self.status.clone())?, serde_json::from_value(self.health.clone())?))
    }

    fn print(&self, style: Style, deep: bool) -> anyhow::Result<()> {
        let (status, parsed) = self.parse()?;
        let mut channels = Table::new(&["Channel", "State"]);
        for id in &parsed.channel_order {
            if let Some(channel) = parsed.channels.get(id) {
                let (tone, state) = health::state(*channel);
                channels.row([parsed.channel_labels.get(id).unwrap_or(id).clone(), style.paint(tone, state)]);
            }
        }
        if !parsed.channel_order.is_empty() {
            output::line(format!("\n{}\n{channels}", style.paint(Tone::Accent, "Channels")))?;
        }
        let recent = status.sessions.map(|sessions| sessions.recent).unwrap_or_default();
        if !recent.is_empty() {
            let mut sessions = Table::new(&["Session", "Kind", "Age", "Model", "Tokens"]);
            for row in recent {
                let tokens = row.total_tokens.map_or_else(|| "-".to_owned(), |tokens| tokens.to_string());
                sessions.row([row.key, row.kind, words::age(row.age_ms), row.model.unwrap_or_else(|| "-".to_owned()), tokens]);
            }
            output::line(format!("\n{}\n{sessions}", style.paint(Tone::Accent, "Sessions")))?;
        }
        if deep {
            output::line(format!("\n{}", style.paint(Tone::Accent, "Health")))?;
            health::print(style, self.health.clone())?;
        }
        Ok(())
    }
}

fn facts(status: &StatusResponse, health: &HealthResponse) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(sessions) = &status.sessions {
        let model = sessions.defaults.as_ref().and_then(|defaults| defaults.model.clone());
        facts.push(("Model", model.unwrap_or_else(|| "none configured".to_owned())));
        facts.push(("Sessions", words::count(sessions.count, "session")));
    }
    let names =
        health.agents.iter().map(|agent| if agent.is_default { format!("{} (default)", agent.agent_id) } else { agent.agent_id.clone() });
    facts.push(("Agents", names.collect::<Vec<_>>().join(", ")));
    if !health.unavailable.is_empty() {
        facts.push(("Down", health.unavailable.join(", ")));
    }
    if !health.pressure.is_empty() {
        let words = health.pressure.iter().map(|(service, what)| format!("{service} ({what})"));
        facts.push(("Near its limits", words.collect::<Vec<_>>().join(", ")));
    }
    facts
}
