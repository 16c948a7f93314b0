//! `verso channels adapter`: for authors of adapters.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::json;
use verso_adapter::check::{self, Finding, Subject, Verdict};
use verso_adapter::{Limits, Program, START_TIMEOUT};

use super::Session;
use crate::args::{Adapter, AdapterCheck, AdapterExec, Reach};
use crate::failure::Failure;
use crate::output::{self, Style, Tone};

/// What an adapter sees of our environment.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// Becomes an adapter; returns why it could not.
pub(super) fn exec(arguments: &AdapterExec) -> std::io::Error {
    let limits = Limits { memory_mib: arguments.memory_mib, descriptors: arguments.descriptors };
    let error = limits.exec(arguments.parent, &arguments.command);
    let program = arguments.command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    std::io::Error::new(error.kind(), format!("{program}: {error}"))
}

pub(super) async fn run(session: &Session, reach: &Reach, command: &Adapter) -> anyhow::Result<()> {
    match command {
        Adapter::Proto => Ok(output::part(verso_proto::ADAPTER_PROTO)?),
        Adapter::Check(arguments) => check(session, reach, arguments).await,
    }
}

async fn check(session: &Session, reach: &Reach, arguments: &AdapterCheck) -> anyhow::Result<()> {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&arguments.settings).context("--settings is no JSON object")?;
    let folder = tempfile::Builder::new().prefix("verso-check-").tempdir().context("there is no place for temporary files")?;
    let program = Program {
        command: arguments.command.clone(),
        environment: environment(session, &arguments.env)?,
        limits: Limits { memory_mib: arguments.memory_mib, ..Limits::default() },
        verso: std::env::current_exe().context("this program does not know where it is")?,
        channel: "check".to_owned(),
        account: arguments.account.clone(),
        folder: folder.path().join("state"),
        sockets: folder.path().join("run"),
        start_timeout: START_TIMEOUT,
        telemetry: None,
    };
    let inbound = arguments.inbound.as_ref().map(|command| ["sh", "-c", command].map(str::to_owned).to_vec());
    let subject =
        Subject { program, settings_json: arguments.settings.clone(), inbound, to: arguments.to.clone(), patience: reach.timeout };
    let style = session.style;
    let mut unprinted = None;
    let findings = check::run(&subject, |finding| {
        if !reach.json && unprinted.is_none() {
            unprinted = output::line(line(style, finding)).err();
        }
    })
    .await;
    unprinted.map_or(Ok(()), Err)?;
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    let skipped = findings.iter().filter(|finding| finding.verdict == Verdict::Skip).count();
    if reach.json {
        output::document(&json!({"ok": failed == 0, "failed": failed, "skipped": skipped, "findings": findings}))?;
    } else {
        output::line(format!("{} kept, {failed} broken, {skipped} not tried", findings.len() - failed - skipped))?;
    }
    if failed == 0 { Ok(()) } else { Err(Failure::silent().into()) }
}

fn line(style: Style, finding: &Finding) -> String {
    let (word, tone) = match finding.verdict {
        Verdict::Pass => ("kept", Tone::Good),
        Verdict::Fail => ("BROKEN", Tone::Bad),
        Verdict::Skip => ("not tried", Tone::Muted),
    };
    let reason = finding.reason.as_ref().map(|reason| format!("\n    {reason}")).unwrap_or_default();
    format!("{:<11} {:<10} {}{reason}", style.paint(tone, word), finding.rule, finding.about)
}

fn environment(session: &Session, own: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let env = &session.snapshot.env;
    let mut all: BTreeMap<String, String> =
        INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), env.get(name)?.to_owned()))).collect();
    for entry in own {
        let (name, value) = entry.split_once('=').with_context(|| format!("--env {entry} is not NAME=VALUE"))?;
        all.insert(name.to_owned(), value.to_owned());
    }
    Ok(all)
}
