//! `verso health` and `verso gateway health`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use verso_proto::channel::v1::ChannelSummary;
use verso_proto::edge::v1::HealthResponse;

use super::{Session, words};
use crate::args::{GatewayHealth, Health, Target};
use crate::client::{Connection, Mode, print_transport_error};
use crate::output::{self, Style, Tone};

pub(super) async fn run(session: &Session, arguments: &Health) -> anyhow::Result<()> {
    let params = if arguments.verbose { json!({"probe": true}) } else { json!({}) };
    let (payload, _) = fetch(session, &arguments.target, arguments.patience.timeout, params).await.inspect_err(|error| {
        drop(print_transport_error(error, arguments.json));
    })?;
    if arguments.json {
        return Ok(output::document(&payload)?);
    }
    print(session.style, payload)
}

pub(super) async fn run_gateway(session: &Session, arguments: &GatewayHealth) -> anyhow::Result<()> {
    let (payload, took) = fetch(session, &arguments.target, arguments.patience.timeout, json!({})).await.inspect_err(|error| {
        drop(print_transport_error(error, arguments.json));
    })?;
    if arguments.json {
        return Ok(output::document(&payload)?);
    }
    output::line(session.style.paint(Tone::Accent, "Gateway Health"))?;
    output::line(format!("{} ({}ms)", session.style.paint(Tone::Good, "OK"), took.as_millis()))?;
    print_channels(session.style, &serde_json::from_value(payload)?)
}

async fn fetch(session: &Session, target: &Target, timeout: Duration, params: Value) -> anyhow::Result<(Value, Duration)> {
    let started = Instant::now();
    let mut connection = Connection::open(session, target, timeout, Mode::Cli).await?;
    let payload = connection.call("health", params, timeout).await?;
    Ok((payload, started.elapsed()))
}

/// Prints health for people.
pub(super) fn print(style: Style, payload: Value) -> anyhow::Result<()> {
    let health: HealthResponse = serde_json::from_value(payload)?;
    print_channels(style, &health)?;
    let agents: Vec<String> =
        health.agents.iter().map(|agent| format!("{}{}", agent.agent_id, if agent.is_default { " (default)" } else { "" })).collect();
    output::line(format!("Agents: {}", agents.join(", ")))?;
    let beats: Vec<String> = health
        .agents
        .iter()
        .filter_map(|agent| {
            agent.heartbeat.as_ref().map(|beat| format!("{} ({})", if beat.enabled { &beat.every } else { "off" }, agent.agent_id))
        })
        .collect();
    output::line(format!("Heartbeat interval: {}", beats.join(", ")))?;
    for agent in &health.agents {
        let Some(sessions) = &agent.sessions else { continue };
        let entries = if sessions.count == 1 { "1 entry".to_owned() } else { format!("{} entries", sessions.count) };
        output::line(format!("Session store ({}): {} ({entries})", agent.agent_id, sessions.path))?;
        for recent in &sessions.recent {
            output::line(format!("- {} ({})", recent.key, words::age(recent.age_ms)))?;
        }
    }
    if !health.unavailable.is_empty() {
        output::line(style.paint(Tone::Warning, format!("Not answering: {}", health.unavailable.join(", "))))?;
    }
    for (service, what) in &health.pressure {
        output::line(style.paint(Tone::Warning, format!("Near its limits: {service} ({what})")))?;
    }
    Ok(())
}

fn print_channels(style: Style, health: &HealthResponse) -> anyhow::Result<()> {
    for id in &health.channel_order {
        let Some(channel) = health.channels.get(id) else { continue };
        let label = health.channel_labels.get(id).map_or(id.as_str(), String::as_str);
        let (tone, words) = state(*channel);
        output::line(format!("{label}: {}", style.paint(tone, words)))?;
    }
    Ok(())
}

/// Words how a channel fares.
pub(super) fn state(channel: ChannelSummary) -> (Tone, &'static str) {
    match (channel.configured, channel.linked, channel.running) {
        (false, _, _) => (Tone::Muted, "not configured"),
        (true, Some(true), _) => (Tone::Good, "linked"),
        (true, Some(false), _) => (Tone::Warning, "not linked"),
        (true, None, Some(true)) => (Tone::Good, "running"),
        (true, None, _) => (Tone::Muted, "configured"),
    }
}
