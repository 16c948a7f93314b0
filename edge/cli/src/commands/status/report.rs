//! `verso status --all`: everything that helps somebody else to help. It holds no secret, so that it can be pasted.

use serde_json::Value;
use verso_kit::clock::Clock;
use verso_kit::telemetry::{Logging, Tail};
use verso_proto::edge::v1::LogsTailRequest;

use super::super::doctor::{self, Status};
use super::super::logs::record::Record;
use super::super::{Session, security, services};
use super::Report;
use crate::args::Doctor;
use crate::output::{self, Style, Table, Tone};

/// How many lines of the log are shown.
const LOG_LINES: i64 = 20;

pub(super) async fn print(session: &Session, report: &Report) -> anyhow::Result<()> {
    let (style, instance) = (session.style, &session.instance);
    output::line(style.paint(Tone::Accent, "Verso status report"))?;
    let document = report.document(session, true);
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
    let mut overview = Table::new(&["Item", "Value"]);
    for (item, value) in [
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("OS", text("/os/label")),
        ("Runtime", format!("verso {}", env!("CARGO_PKG_VERSION"))),
        ("Profile", instance.profile.name().unwrap_or("default").to_owned()),
        (
            "Config",
            format!("{} ({})", instance.short(&instance.config_path), if session.snapshot.is_valid() { "valid" } else { "invalid" }),
        ),
        ("State", instance.short(&instance.state_dir)),
        (
            "Gateway",
            format!("{} · {}", text("/gateway/url"), if document["gateway"]["reachable"] == true { "reachable" } else { "not reachable" }),
        ),
        ("Gateway service", text("/gatewayService/runtimeShort")),
        ("Update", text("/update/installKind")),
    ] {
        overview.row([item.to_owned(), value]);
    }
    let count = |name: &str| document["securityAudit"]["summary"][name].as_u64().unwrap_or_default();
    overview.row(["Security".to_owned(), format!("{} critical, {} warn, {} info", count("critical"), count("warn"), count("info"))]);
    output::line(overview)?;
    if let Some(list) = &report.services {
        output::line(format!("\n{}\n{}", style.paint(Tone::Accent, "Services"), services::table(style, list)))?;
    }
    if let Ok(answers) = &report.gateway {
        answers.print(style, true)?;
    }
    output::line(format!("\n{}", style.paint(Tone::Accent, "Security")))?;
    for finding in security::findings(session).iter().filter(|finding| finding.severity != security::Severity::Info) {
        output::line(format!("{}: {}", finding.check_id, finding.detail))?;
    }
    diagnosis(session, style).await?;
    log(session)
}

async fn diagnosis(session: &Session, style: Style) -> anyhow::Result<()> {
    output::line(format!("\n{}", style.paint(Tone::Accent, "Diagnosis")))?;
    let checks = doctor::checks(session, &Doctor::looking()).await?;
    let wrong: Vec<_> = checks.iter().filter(|check| check.status != Status::Ok).collect();
    if wrong.is_empty() {
        output::line("nothing is wrong")?;
    }
    for check in wrong {
        output::line(format!("{}: {}", check.id, check.message))?;
    }
    Ok(())
}

/// The log was written without secrets.
fn log(session: &Session) -> anyhow::Result<()> {
    let logging: Logging = session.snapshot.file.section("logging").unwrap_or_default();
    let tail = Tail::current(&logging, &session.instance.state_dir, &Clock::system());
    let found = tail.read(&LogsTailRequest { limit: Some(LOG_LINES), ..LogsTailRequest::default() })?;
    output::line(format!("\n{}", session.style.paint(Tone::Accent, format!("Log ({})", session.instance.short(found.file.as_ref())))))?;
    for line in &found.lines {
        output::line(Record::parse(line).map_or_else(|| line.clone(), |record| record.render(Style::plain(), false)))?;
    }
    Ok(())
}
