//! The log as the rescue reads it: from the file, so it needs no other process.

use std::io;
use std::path::Path;

use serde_json::Value;
use verso_kit::clock::Clock;
use verso_kit::config::File;
use verso_kit::telemetry::{Logging, Tail};
use verso_proto::edge::v1::LogsTailRequest;
use verso_proto::supervisor::v1::{ServicesLogsRequest, ServicesLogsResponse};

/// Reads what was added after the cursor, or the end of the log.
pub(crate) fn read(config: &Value, state_dir: &Path, clock: &Clock, request: &ServicesLogsRequest) -> io::Result<ServicesLogsResponse> {
    let logging: Logging = File::from_value(config.clone()).section("logging").unwrap_or_default();
    // The limit is for what is shown: another service's lines must not take the place of those that were asked for.
    let limit = if request.name.is_some() { Some(LINES_MAX) } else { request.limit };
    let asked = LogsTailRequest { cursor: request.cursor, limit, max_bytes: request.max_bytes };
    let found = Tail::current(&logging, state_dir, clock).read(&asked)?;
    let is_wanted = |line: &String| request.name.as_ref().is_none_or(|name| is_of(line, name));
    let mut lines: Vec<String> = found.lines.into_iter().filter(is_wanted).collect();
    let limit = request.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LINES);
    lines.drain(..lines.len().saturating_sub(limit));
    Ok(ServicesLogsResponse {
        file: found.file,
        cursor: found.cursor,
        size: found.size,
        lines,
        truncated: found.truncated,
        reset: found.reset,
    })
}

/// Lines when the caller does not say how many.
const LINES: usize = 500;

/// The most lines that are looked through for those of one service.
const LINES_MAX: i64 = 100_000;

/// Whether a service wrote the line, or the supervisor wrote it about the service.
fn is_of(line: &str, name: &str) -> bool {
    let Ok(record) = serde_json::from_str::<Value>(line) else { return false };
    record["_meta"]["service"] == name || record["1"]["service"] == name
}
