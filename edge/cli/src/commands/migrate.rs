//! `verso migrate`: what another gateway has kept becomes this one's, and the other way round.

use anyhow::bail;
use indicatif::ProgressBar;
use verso_supervisor::Holder;

use super::Session;
use crate::args::{Export, Migrate, Openclaw};
use crate::output;

/// Sessions that are named one by one; of more, the number is told.
const NAMED_MAX: usize = 20;

pub(super) fn run(session: &Session, command: &Migrate) -> anyhow::Result<()> {
    match command {
        Migrate::Openclaw(arguments) => openclaw(session, arguments),
        Migrate::Export(arguments) => export(session, arguments),
    }
}

fn export(session: &Session, arguments: &Export) -> anyhow::Result<()> {
    let report = verso_agent::export(&session.instance.state_dir, &arguments.dir)?;
    if arguments.json {
        return Ok(output::document(&report)?);
    }
    let (sessions, jobs) = (report.sessions.len(), report.jobs.len());
    Ok(output::line(format!("Wrote {sessions} sessions and {jobs} jobs to {}.", arguments.dir.display()))?)
}

fn openclaw(session: &Session, arguments: &Openclaw) -> anyhow::Result<()> {
    let state_dir = &session.instance.state_dir;
    if !arguments.dry_run && Holder::of(state_dir).is_some() {
        bail!("a gateway is using {}: stop it first, or look with --dry-run", state_dir.display());
    }
    if !arguments.dir.join("agents").is_dir() {
        bail!("{} is no OpenClaw state folder: it has no folder agents", arguments.dir.display());
    }
    let watched = !arguments.json && output::stdout_is_terminal();
    let bar = if watched { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let report = verso_agent::import(state_dir, &arguments.dir, arguments.dry_run, &mut |key| {
        bar.set_message(key.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();
    let report = report?;
    if arguments.json {
        return Ok(output::document(&report)?);
    }
    let messages: u64 = report.sessions.iter().map(|taken| taken.messages).sum();
    let verb = if report.dry_run { "Would take" } else { "Took" };
    output::line(format!("{verb} {} sessions with {messages} messages.", report.sessions.len()))?;
    for taken in report.sessions.iter().take(NAMED_MAX) {
        output::line(format!("  {} ({} messages)", taken.key, taken.messages))?;
    }
    if !report.jobs.is_empty() {
        output::line(format!("{verb} {} jobs.", report.jobs.len()))?;
    }
    for path in &report.credentials {
        output::line(format!("{verb} credentials: {path}"))?;
    }
    for left in &report.left {
        output::line(format!("Left: {} ({})", left.what, left.why))?;
    }
    for (kind, count) in &report.dropped_lines {
        output::line(format!("Dropped lines: {count} of {kind}"))?;
    }
    if report.unreadable_lines > 0 {
        output::line(format!("Unreadable lines: {}", report.unreadable_lines))?;
    }
    for left in &report.elsewhere {
        output::line(format!("Not taken: {}: {}", left.what, left.why))?;
    }
    Ok(())
}
