//! `verso gateway probe` and `verso gateway usage-cost`.

use std::time::Instant;

use serde_json::{Value, json};
use verso_kit::clock::Clock;

use super::Session;
use super::remote::{Remote, ask};
use crate::args::{Probe, UsageCost};
use crate::client::{Connection, Mode, Target};
use crate::failure::Failure;
use crate::output::{self, As, Column, Tone};

const DAYS: [Column; 5] = [
    Column("Day", &["/date"], As::Text),
    Column("Input", &["/input"], As::Text),
    Column("Output", &["/output"], As::Text),
    Column("Tokens", &["/totalTokens"], As::Text),
    Column("Cost", &["/totalCost"], As::Text),
];

/// Looks whether a gateway answers, and what it says of itself.
pub(super) async fn run(session: &Session, arguments: &Probe) -> anyhow::Result<()> {
    let started = Instant::now();
    let target = Target::find(session, &arguments.target)?;
    let found = look(session, arguments).await;
    let ok = found.is_ok();
    let id = if target.is_elsewhere { "explicit" } else { "localLoopback" };
    let mut one = json!({"id": id, "kind": id, "url": target.url, "active": true, "tunnel": null});
    match &found {
        Ok(found) => {
            if let (Some(one), Some(found)) = (one.as_object_mut(), found.as_object()) {
                one.extend(found.clone());
            }
        }
        Err(error) => one["connect"] = json!({"ok": false, "latencyMs": null, "error": format!("{error:#}"), "close": null}),
    }
    let local = (!target.is_elsewhere).then_some(&target.url);
    let document = json!({
        "ok": ok, "ts": Clock::system().now_ms(), "durationMs": started.elapsed().as_millis(),
        "timeoutMs": arguments.timeout.as_millis(), "primaryTargetId": ok.then_some(id), "warnings": [],
        "network": {"localLoopbackUrl": local}, "targets": [one],
    });
    if arguments.json {
        output::document(&document)?;
    } else {
        let style = session.style;
        match &found {
            Ok(found) => {
                let words =
                    format!("reachable ({}ms, version {})", found["connect"]["latencyMs"], output::plain(&found["self"]["version"]));
                output::line(format!("{}: {}", target.url, style.paint(Tone::Good, words)))?;
            }
            Err(error) => output::line(format!("{}: {}\n{error:#}", target.url, style.paint(Tone::Bad, "not reachable")))?,
        }
    }
    if ok { Ok(()) } else { Err(Failure::silent().into()) }
}

async fn look(session: &Session, arguments: &Probe) -> anyhow::Result<Value> {
    let started = Instant::now();
    let mut connection = Connection::open(session, &arguments.target, arguments.timeout, Mode::Probe).await?;
    let latency_ms = started.elapsed().as_millis();
    let server = connection.server();
    let mut found = json!({
        "connect": {"ok": true, "latencyMs": latency_ms, "error": null, "close": null},
        "self": {"host": server.host, "version": server.version, "uptimeMs": server.uptime_ms},
    });
    for (member, method) in [("health", "health"), ("summary", "status"), ("presence", "system-presence")] {
        found[member] = connection.call(method, json!({}), arguments.timeout).await.unwrap_or_default();
    }
    Ok(found)
}

pub(super) async fn usage_cost(session: &Session, arguments: &UsageCost) -> anyhow::Result<()> {
    ask(session, &arguments.reach, "usage.cost", json!({"days": arguments.days}), |remote: &Remote<'_>, payload| {
        let totals = &payload["totals"];
        let head = format!("Tokens: {} · Cost: {}", totals["totalTokens"], totals["totalCost"]);
        format!("{head}\n{}", remote.section("Days", payload, "/daily", &DAYS))
    })
    .await
}
