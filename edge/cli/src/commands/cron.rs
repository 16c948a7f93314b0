//! `verso cron`: what the gateway does by the clock.

mod job;

use serde_json::{Value, json};

use super::Session;
use super::remote::{Remote, ask, members, text};
use crate::args::{Cron, Group};
use crate::output::{self, As, Column};

const JOBS: [Column; 7] = [
    Column("Id", &["/id"], As::Text),
    Column("Name", &["/name"], As::Text),
    Column("When", &["/when"], As::Text),
    Column("On", &["/enabled"], As::Yes),
    Column("Next", &["/state/nextRunAtMs"], As::Time),
    Column("Last", &["/state/lastRunAtMs"], As::Ago),
    Column("Result", &["/state/lastStatus"], As::Text),
];

pub(super) async fn run(session: &Session, group: &Group<Cron>) -> anyhow::Result<()> {
    let reach = &group.reach;
    // Everything but the list is data in either form.
    let data = |_: &Remote<'_>, payload: &Value| serde_json::to_string_pretty(payload).unwrap_or_default();
    match group.command.as_ref().unwrap_or(&Cron::List { all: false }) {
        Cron::Status => ask(session, reach, "cron.status", json!({}), data).await,
        Cron::List { all } => ask(session, reach, "cron.list", json!({"includeDisabled": all}), listed).await,
        Cron::Add { job, name, disabled } => {
            let params = job::added(job, name, *disabled)?;
            let mut remote = Remote::open(session, reach).await?;
            let payload = remote.call("cron.add", params).await?;
            output::document(&payload)?;
            let status = remote.call("cron.status", json!({})).await.unwrap_or_default();
            if status["enabled"] == false {
                output::notice("warning: the scheduler is turned off (cron.enabled); the job will not run until it is on.");
            }
            Ok(())
        }
        Cron::Edit { .. } => {
            let Some(Cron::Edit { id, job, .. }) = &group.command else { return Ok(()) };
            let patch = job::edited(job, group.command.as_ref())?;
            ask(session, reach, "cron.update", json!({"id": id, "patch": patch}), data).await
        }
        Cron::Rm { id } => ask(session, reach, "cron.remove", json!({"id": id}), data).await,
        Cron::Enable { id } => ask(session, reach, "cron.update", json!({"id": id, "patch": {"enabled": true}}), data).await,
        Cron::Disable { id } => ask(session, reach, "cron.update", json!({"id": id, "patch": {"enabled": false}}), data).await,
        Cron::Run { id, force } => {
            let params = members([("id", json!(id)), ("mode", if *force { json!("force") } else { json!("due") })]);
            ask(session, reach, "cron.run", params, data).await
        }
        Cron::Runs { id, limit } => ask(session, reach, "cron.runs", json!({"id": id, "limit": limit}), data).await,
    }
}

fn listed(remote: &Remote<'_>, payload: &Value) -> String {
    let mut payload = payload.clone();
    for job in payload["jobs"].as_array_mut().into_iter().flatten() {
        job["when"] = json!(when(&job["schedule"]));
    }
    remote.section("Jobs", &payload, "/jobs", &JOBS)
}

fn when(schedule: &Value) -> String {
    match text(schedule, "/kind") {
        "at" => format!("at {}", output::plain(schedule.get("at").unwrap_or(&schedule["atMs"]))),
        "every" => format!("every {}", schedule["everyMs"].as_i64().map_or_else(|| "?".to_owned(), output::span)),
        "cron" => {
            let zone = schedule["tz"].as_str().map(|zone| format!(" ({zone})")).unwrap_or_default();
            format!("cron {}{zone}", text(schedule, "/expr"))
        }
        _ => "-".to_owned(),
    }
}
