//! `verso doctor`: what is wrong with this gateway, and how to mend it. Findings are no failure of the command.

mod clients;
mod config;
mod damage;
mod files;
mod running;
mod state;

use serde::Serialize;
use serde_json::json;

use super::Session;
use crate::args::Doctor;
use crate::output::{self, Tone, watched};

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

/// Looks at everything, and mends what the flags allow.
pub(super) async fn checks(session: &Session, arguments: &Doctor) -> anyhow::Result<Vec<Check>> {
    let mended = if arguments.fix || arguments.generate_gateway_token { config::mend(session, arguments)? } else { Vec::new() };
    let again = session.again();
    let session = if mended.is_empty() { session } else { &again };
    let mut checks = mended;
    checks.extend(files::all(session, arguments.fix));
    checks.extend(damage::all(session, arguments).await);
    checks.extend(state::all(session));
    checks.extend(running::all(session, arguments).await);
    if let Some(client) = &arguments.client {
        checks.extend(clients::replay(session, client));
    }
    Ok(checks)
}

pub(super) async fn run(session: &Session, arguments: &Doctor) -> anyhow::Result<()> {
    let checks = watched("Looking at everything", checks(session, arguments)).await?;
    let ok = checks.iter().all(|check| check.status != Status::Error);
    if arguments.json {
        let without_effect = verso_config::without_effect(session.again().snapshot.file.value());
        return Ok(output::document(&json!({"ok": ok, "checks": checks, "withoutEffect": without_effect}))?);
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
