//! `verso security audit`: what lets others in, and what can be closed at once. Findings are no failure of the command.

mod config;
mod files;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use verso_kit::clock::Clock;

use super::Session;
use crate::args::{SecurityAudit, Target};
use crate::client::{self, Connection, Mode};
use crate::output::{self, Style, Tone};

/// How long the gateway may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Critical,
    Warn,
    Info,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    pub(super) check_id: String,
    pub(super) severity: Severity,
    pub(super) title: String,
    pub(super) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remediation: Option<String>,
}

impl Finding {
    fn new(severity: Severity, id: impl Into<String>, title: &str, detail: impl Into<String>) -> Self {
        Self { check_id: id.into(), severity, title: title.to_owned(), detail: detail.into(), remediation: None }
    }

    fn mended_by(self, remediation: impl Into<String>) -> Self {
        Self { remediation: Some(remediation.into()), ..self }
    }
}

/// Everything that was found, the worst first.
pub(super) fn findings(session: &Session) -> Vec<Finding> {
    let mut found = config::findings(session);
    found.extend(files::findings(session));
    found.sort_by_key(|finding| finding.severity);
    found
}

/// The findings as scripts know them.
pub(super) fn report(findings: &[Finding]) -> Value {
    let mut summary = BTreeMap::from([("critical", 0), ("warn", 0), ("info", 0)]);
    for finding in findings {
        let name = match finding.severity {
            Severity::Critical => "critical",
            Severity::Warn => "warn",
            Severity::Info => "info",
        };
        *summary.entry(name).or_default() += 1;
    }
    json!({"ts": Clock::system().now_ms(), "summary": summary, "findings": findings})
}

pub(super) async fn run(session: &Session, arguments: &SecurityAudit) -> anyhow::Result<()> {
    let fixed = arguments.fix.then(|| fix(session));
    let after;
    let session = if arguments.fix {
        after = session.again();
        &after
    } else {
        session
    };
    let mut found = findings(session);
    let deep = if arguments.deep { Some(probe(session, &mut found).await) } else { None };
    found.sort_by_key(|finding| finding.severity);
    let mut document = report(&found);
    if let Some(deep) = &deep {
        document["deep"] = deep.clone();
    }
    if arguments.json {
        return Ok(output::document(&fixed.map_or_else(|| document.clone(), |fix| json!({"fix": fix, "report": document})))?);
    }
    if let Some(fix) = &fixed {
        for line in fix["changes"].as_array().into_iter().chain(fix["actions"].as_array()).flatten().filter_map(Value::as_str) {
            output::line(format!("Fixed: {line}"))?;
        }
        for line in fix["errors"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            output::notice(format!("Not fixed: {line}"));
        }
    }
    print(session, &found, &document)?;
    if !arguments.deep {
        output::line(format!("Run deeper: {}", session.instance.command("security audit --deep")))?;
    }
    Ok(())
}

/// Prints findings for people.
fn print(session: &Session, found: &[Finding], document: &Value) -> anyhow::Result<()> {
    let count = |name: &str| document["summary"][name].as_u64().unwrap_or_default();
    output::line(format!("Security audit: {} critical, {} warn, {} info", count("critical"), count("warn"), count("info")))?;
    for (severity, heading, tone) in
        [(Severity::Critical, "CRITICAL", Tone::Bad), (Severity::Warn, "WARN", Tone::Warning), (Severity::Info, "INFO", Tone::Muted)]
    {
        let of_severity: Vec<&Finding> = found.iter().filter(|finding| finding.severity == severity).collect();
        if of_severity.is_empty() {
            continue;
        }
        output::line(format!("\n{}", session.style.paint(tone, heading)))?;
        for finding in of_severity {
            output::line(words(session.style, finding))?;
        }
    }
    Ok(())
}

fn words(style: Style, finding: &Finding) -> String {
    let fix =
        finding.remediation.as_ref().map(|fix| format!("\n  {}", style.paint(Tone::Muted, format!("Fix: {fix}")))).unwrap_or_default();
    format!("{}: {}\n  {}{fix}", finding.check_id, finding.title, finding.detail)
}

/// Asks the gateway that runs.
async fn probe(session: &Session, found: &mut Vec<Finding>) -> Value {
    let target = Target { url: None, token: None, password: None };
    let url = client::Target::find(session, &target).map(|target| target.url).unwrap_or_default();
    let outcome = Connection::open(session, &target, PATIENCE, Mode::Probe).await;
    let error = outcome.err().map(|error| format!("{error:#}").lines().next().unwrap_or_default().to_owned());
    if let Some(error) = &error {
        let finding = Finding::new(Severity::Warn, "gateway.probe_failed", "the gateway does not answer", error.clone());
        found.push(finding.mended_by(format!("Start it with: {}", session.instance.command("gateway"))));
    }
    json!({"gateway": {"attempted": true, "url": url, "ok": error.is_none(), "error": error, "close": null}})
}

/// Closes what needs no question.
fn fix(session: &Session) -> Value {
    let (mut changes, mut actions, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let written = config::close(session, &mut changes).map_err(|error| format!("{error:#}"));
    files::close(session, &mut actions, &mut errors);
    let config_written = *written.as_ref().unwrap_or(&false);
    errors.extend(written.err());
    json!({
        "ok": errors.is_empty(), "stateDir": session.instance.state_dir, "configPath": session.instance.config_path,
        "configWritten": config_written, "changes": changes, "actions": actions, "errors": errors,
    })
}
