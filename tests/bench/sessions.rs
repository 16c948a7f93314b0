//! What long and many conversations cost: reading the end of one, and the memory of whoever keeps them.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tokio::time::Instant;
use verso_client::Client;
use verso_tests::{Gateway, process};

use crate::report::Report;
use crate::usage::{mib, quantile, us};

/// Messages of the long conversation, and of the short one: as many as are read at once.
const LONG: usize = 100_000;
const SHORT: usize = 100;

/// How often each is read: in turns, so that a busy moment of the machine meets both.
const READS: usize = 100;

/// Conversations of one message.
const SESSIONS: usize = 10_000;

/// The size of one transcript, in bytes, and of each of its messages.
const LARGE_BYTES: usize = 100 << 20;
const LARGE_MESSAGE_BYTES: usize = 4 << 10;

/// Measures both. The conversations are taken over from another gateway, which is also what is measured first.
pub(crate) async fn long_and_many(report: &mut Report) {
    let mut gateway = Gateway::prepare(json!({"agents": {"defaults": {"model": {"primary": "verso/offline"}}}}));
    let theirs = tempfile::tempdir().expect("a folder");
    write(theirs.path());
    let mut command = gateway.command();
    command.args(["migrate", "openclaw"]).arg(theirs.path());
    let begun = Instant::now();
    let took = tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the CLI runs");
    assert!(took.status.success(), "{}", String::from_utf8_lossy(&took.stderr));
    report.note("taking over 10,003 sessions with 135,000 messages", "s", begun.elapsed().as_secs_f64());
    gateway.launch(&[]);
    gateway.ready().await;
    let client = gateway.client().await;
    reads(&client, report).await;
    memory(&gateway, &client, report).await;
}

async fn reads(client: &Client, report: &mut Report) {
    let (mut long_us, mut short_us) = (Vec::new(), Vec::new());
    for _ in 0..READS {
        long_us.push(read(client, "agent:main:long").await);
        short_us.push(read(client, "agent:main:short").await);
    }
    let (long_us, short_us) = (quantile(&mut long_us, 0.5), quantile(&mut short_us, 0.5));
    report.note("chat.history of a session of 100 messages, p50", "us", short_us);
    report.note("chat.history of a session of 100,000 messages, p50", "us", long_us);
    report.at_most("the long one beside the short one", "times", long_us / short_us, 1.2);
}

async fn read(client: &Client, key: &str) -> f64 {
    let begun = Instant::now();
    let history = client.call("chat.history", json!({"sessionKey": key, "limit": SHORT})).await.expect("a history");
    let took_us = us(begun.elapsed());
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(SHORT));
    took_us
}

async fn memory(gateway: &Gateway, client: &Client, report: &mut Report) {
    let pid = gateway.service("agent").await.pid.unwrap_or_default();
    report.note("the agents' process with 10,003 sessions, at its start", "MiB", mib(process::rss_kib(pid)));
    let list = client.call("sessions.list", json!({"limit": 200})).await.expect("a list");
    assert!(list["sessions"].as_array().is_some_and(|rows| rows.len() >= 100), "a list");
    client.call("chat.history", json!({"sessionKey": "agent:main:large"})).await.expect("a history");
    client.call("agent", json!({"message": "hi", "sessionKey": "agent:main:large", "idempotencyKey": "l1"})).await.expect("accepted");
    client.call("agent.wait", json!({"runId": "l1"})).await.expect("an end");
    let after = mib(process::rss_kib(pid));
    report.at_most("the same after a turn in the one of 100 MB", "MiB", after, 128.0);
}

fn write(folder: &Path) {
    let sessions = folder.join("agents/main/sessions");
    std::fs::create_dir_all(&sessions).expect("a folder");
    let mut list = serde_json::Map::new();
    let mut keep = |key: String, id: String, lines: String| {
        list.insert(key, json!({"sessionId": id, "updatedAt": 1_790_000_000_000_i64}));
        std::fs::write(sessions.join(format!("{id}.jsonl")), lines).expect("a transcript");
    };
    keep("agent:main:long".to_owned(), "long".to_owned(), transcript(LONG, "a few words that somebody has said"));
    keep("agent:main:short".to_owned(), "short".to_owned(), transcript(SHORT, "a few words that somebody has said"));
    keep(
        "agent:main:large".to_owned(),
        "large".to_owned(),
        transcript(LARGE_BYTES / LARGE_MESSAGE_BYTES, &"x".repeat(LARGE_MESSAGE_BYTES)),
    );
    for number in 0..SESSIONS {
        keep(format!("agent:main:many-{number}"), format!("many-{number}"), transcript(1, "hello"));
    }
    std::fs::write(sessions.join("sessions.json"), Value::Object(list).to_string()).expect("a list");
}

fn transcript(messages: usize, words: &str) -> String {
    let mut lines = String::with_capacity(messages * (words.len() + 160));
    for number in 0..messages {
        let role = if number % 2 == 0 { "user" } else { "assistant" };
        let before = number.checked_sub(1).map_or("null".to_owned(), |before| format!("\"{before:08x}\""));
        let message = format!(r#"{{"role":"{role}","content":[{{"type":"text","text":"{number} {words}"}}]}}"#);
        writeln!(lines, r#"{{"type":"message","id":"{number:08x}","parentId":{before},"message":{message}}}"#).expect("memory");
    }
    lines
}
