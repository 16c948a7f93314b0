//! `verso sessions`: the conversations that the gateway keeps.

use serde_json::{Value, json};

use super::Session;
use super::remote::{Remote, ask, members, text};
use crate::args::{Reach, Sessions, SessionsGroup, SessionsList};
use crate::failure::Failure;
use crate::output::{self, As, Column, Tone};

const SESSIONS: [Column; 5] = [
    Column("Session", &["/key"], As::Text),
    Column("Kind", &["/kind"], As::Text),
    Column("Used", &["/updatedAt"], As::Ago),
    Column("Model", &["/model"], As::Text),
    Column("Tokens", &["/totalTokens"], As::Text),
];

/// What scripts read of a row, in their order.
const MEMBERS: [&str; 16] = [
    "key",
    "kind",
    "updatedAt",
    "sessionId",
    "systemSent",
    "abortedLastRun",
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "responseUsage",
    "groupActivation",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "model",
];

pub(super) async fn run(session: &Session, group: &SessionsGroup) -> anyhow::Result<()> {
    let reach = &group.reach;
    match &group.command {
        None => list(session, reach, &group.list).await,
        Some(Sessions::List(arguments)) => list(session, reach, arguments).await,
        Some(Sessions::Preview { key, limit }) => {
            ask(session, reach, "sessions.preview", json!({"keys": [key], "limit": limit}), previewed).await
        }
        Some(Sessions::Reset { key }) => {
            ask(session, reach, "sessions.reset", json!({"key": key}), |_, payload| format!("Reset {}", text(payload, "/key"))).await
        }
        Some(Sessions::Delete { key, keep_transcript }) => {
            let params = json!({"key": key, "deleteTranscript": !keep_transcript});
            let words = |_: &Remote<'_>, payload: &Value| {
                if payload["deleted"] == true { format!("Deleted {}", text(payload, "/key")) } else { format!("There is no session {key}") }
            };
            ask(session, reach, "sessions.delete", params, words).await
        }
        Some(Sessions::Compact { key, max_lines }) => {
            let params = members([("key", json!(key)), ("maxLines", json!(max_lines))]);
            ask(session, reach, "sessions.compact", params, |_, payload| compacted(payload)).await
        }
    }
}

async fn list(session: &Session, reach: &Reach, arguments: &SessionsList) -> anyhow::Result<()> {
    let active = arguments.active.as_deref().map(minutes).transpose()?;
    let params = members([
        ("activeMinutes", json!(active)),
        ("agentId", json!(arguments.agent)),
        ("search", json!(arguments.search)),
        ("limit", json!(arguments.limit)),
        ("includeGlobal", json!(true)),
        ("includeUnknown", json!(true)),
    ]);
    let mut remote = Remote::open(session, reach).await?;
    let payload = remote.call("sessions.list", params).await?;
    let now_ms = remote.reader().now_ms;
    let rows: Vec<Value> = payload["sessions"].as_array().into_iter().flatten().map(|row| shown(row, now_ms)).collect();
    let document = json!({"path": payload["path"], "count": payload["count"], "activeMinutes": active, "sessions": rows});
    remote.answer(&document, || {
        let head = format!("Session store: {}\n", output::plain(&payload["path"]));
        head + &remote.section("Sessions", &payload, "/sessions", &SESSIONS)
    })
}

fn shown(row: &Value, now_ms: i64) -> Value {
    let mut shown = members(MEMBERS.iter().map(|name| (*name, row[name].clone())));
    shown["ageMs"] = json!(row["updatedAt"].as_i64().map(|then| now_ms - then));
    shown["contextTokens"] = row["contextTokens"].clone();
    shown
}

fn minutes(text: &str) -> Result<u32, Failure> {
    let minutes = text.parse().ok().filter(|minutes| *minutes > 0);
    minutes.ok_or_else(|| Failure::new("--active must be a positive integer (minutes)"))
}

fn previewed(remote: &Remote<'_>, payload: &Value) -> String {
    let mut lines = Vec::new();
    for preview in payload["previews"].as_array().into_iter().flatten() {
        lines.push(remote.session.style.paint(Tone::Accent, format!("{} ({})", text(preview, "/key"), text(preview, "/status"))));
        for item in preview["items"].as_array().into_iter().flatten() {
            lines.push(format!("{}: {}", text(item, "/role"), output::plain(&item["text"])));
        }
    }
    lines.join("\n")
}

fn compacted(payload: &Value) -> String {
    let key = text(payload, "/key");
    match (payload["compacted"] == true, payload["reason"].as_str()) {
        (true, _) => format!("Compacted {key}: {} lines kept", output::plain(&payload["kept"])),
        (false, Some(reason)) => format!("{key} was not compacted: {reason}"),
        (false, None) => format!("{key} is short enough: {} lines", output::plain(&payload["kept"])),
    }
}
