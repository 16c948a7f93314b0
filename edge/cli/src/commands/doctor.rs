//! `verso doctor`: what is wrong with this gateway, and how to mend it. Findings are no failure of the command.

mod files;
mod running;

use serde::Serialize;
use serde_json::json;

use super::Session;
use crate::args::Doctor;
use crate::output::{self, Tone};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Warn,
    Error,
    Fixed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) status: Status,
    pub(super) message: String,
    /// Why it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) explanation: Option<&'static str>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

impl Check {
    pub(super) fn ok(id: &'static str, message: impl Into<String>) -> Self {
        Self { id, status: Status::Ok, message: message.into(), explanation: None, fix: None }
    }

    pub(super) fn wrong(id: &'static str, status: Status, message: impl Into<String>) -> Self {
        Self { status, ..Self::ok(id, message) }
    }

    pub(super) fn because(self, explanation: &'static str) -> Self {
        Self { explanation: Some(explanation), ..self }
    }

    pub(super) fn mended_by(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

pub(super) async fn run(session: &Session, arguments: &Doctor) -> anyhow::Result<()> {
    let mut checks = files::all(session, arguments.fix);
    checks.extend(running::all(session, arguments.deep).await);
    let ok = checks.iter().all(|check| check.status != Status::Error);
    if arguments.json {
        return Ok(output::document(&json!({"ok": ok, "checks": checks}))?);
    }
    for check in &checks {
        let (tone, word) = match check.status {
            Status::Ok => (Tone::Good, "ok"),
            Status::Warn => (Tone::Warning, "warn"),
            Status::Error => (Tone::Bad, "error"),
            Status::Fixed => (Tone::Accent, "fixed"),
        };
        output::line(format!("{} {}: {}", session.style.paint(tone, format!("{word:<5}")), check.id, check.message))?;
        if check.status != Status::Ok {
            for line in [check.explanation.map(str::to_owned), check.fix.as_ref().map(|fix| format!("Fix: {fix}"))].into_iter().flatten() {
                output::line(format!("      {}", session.style.paint(Tone::Muted, line)))?;
            }
        }
    }
    Ok(output::line("Doctor complete.")?)
}
