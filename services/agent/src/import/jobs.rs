//! The jobs of another gateway.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use verso_kit::clock::Clock;
use verso_proto::agent::v1::CronJob;

use super::{Left, Report};
use crate::cron;
use crate::error::Error;
use crate::store;

/// Takes the jobs of a file, if there is one.
pub(super) fn take(target: &store::Import, path: &Path, report: &mut Report) -> Result<(), Error> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(()) };
    let mut left = |what: &str, why: String| report.left.push(Left { what: what.to_owned(), why });
    let parsed = verso_kit::config::parse(&text).unwrap_or_default();
    let Value::Array(jobs) = parsed["jobs"].clone() else {
        left(&path.display().to_string(), "the list of jobs cannot be read".to_owned());
        return Ok(());
    };
    let now_ms = Clock::system().now_ms();
    for raw in jobs {
        let name = raw["name"].as_str().or(raw["id"].as_str()).unwrap_or("a job without a name").to_owned();
        let job = match read(raw, now_ms) {
            Ok(job) => job,
            Err(why) => {
                left(&name, why);
                continue;
            }
        };
        if target.knows_job(&job.id)? {
            left(&name, "a job with this id is here already".to_owned());
            continue;
        }
        target.take_job(&job)?;
        report.jobs.push(job.id);
    }
    Ok(())
}

fn read(mut raw: Value, now_ms: i64) -> Result<CronJob, String> {
    if let Some(payload) = raw["payload"].as_object_mut()
        && let Some(provider) = payload.remove("provider")
    {
        payload.entry("channel").or_insert(provider);
    }
    deliver(&mut raw);
    if let Some(job) = raw.as_object_mut() {
        job.entry("state").or_insert_with(|| Value::Object(Map::new()));
        job.entry("updatedAtMs").or_insert(now_ms.into());
        job.entry("createdAtMs").or_insert(now_ms.into());
        job.entry("enabled").or_insert(true.into());
    }
    let job: CronJob = serde_json::from_value(raw).map_err(|error| format!("it cannot be read: {error}"))?;
    if job.id.trim().is_empty() {
        return Err("it has no id".to_owned());
    }
    cron::adopt(job, now_ms).map_err(|error| error.to_string())
}

/// Newer versions say beside the payload where a result goes.
fn deliver(raw: &mut Value) {
    let delivery = raw["delivery"].take();
    let Some(payload) = raw["payload"].as_object_mut().filter(|_| delivery.is_object()) else { return };
    payload.entry("deliver").or_insert((delivery["mode"] == "announce").into());
    for name in ["channel", "to"] {
        if delivery[name].is_string() {
            payload.entry(name).or_insert(delivery[name].clone());
        }
    }
}
