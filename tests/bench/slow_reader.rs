//! One client that does not read, beside many that do.

use serde_json::json;
use tokio::time::Instant;
use verso_tests::lean::{Socket, many};
use verso_tests::{Gateway, process};

use crate::report::Report;
use crate::usage::{self, whole};

/// Clients that read as fast as they can.
const FAST: usize = 1_000;

/// Events that each is sent …
const EVENTS: usize = 300;

/// … with so much text: together more than may wait for one connection.
const EVENT_BYTES: usize = 64 << 10;

/// What the fast ones get, what the slow one costs, and whether it was closed.
#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
pub(crate) async fn beside_many(gateway: &Gateway, report: &mut Report) {
    let mut speaker = Socket::connect(&gateway.url()).await.expect("a connection");
    let mut slow = Socket::connect(&gateway.url()).await.expect("a connection");
    let edge = gateway.service("edge").await.pid.unwrap_or_default();
    let mut readers = tokio::task::JoinSet::new();
    for mut socket in many(&gateway.url(), FAST).await {
        readers.spawn(async move { socket.count("{\"type\":\"event\",\"event\":\"chat\"", EVENTS).await });
    }
    let receivers = readers.len();
    let before_kib = process::pss_kib(edge);
    let begun = Instant::now();
    let mut peak_kib = before_kib;
    for number in 0..EVENTS {
        let id = format!("slow-{number}");
        let params = json!({"sessionKey": "agent:main:bench-fan-out", "message": "x".repeat(EVENT_BYTES)});
        speaker.call("chat.inject", &id, &params).await.expect("an answer");
        peak_kib = peak_kib.max(process::pss_kib(edge));
    }
    let results = readers.join_all().await;
    assert!(results.iter().all(Option::is_some), "a fast reader was closed");
    let seconds = begun.elapsed().as_secs_f64();
    report.note(&format!("MiB a second to {receivers} readers beside a stalled one"), "MiB/s", whole(receivers * EVENTS) / 16.0 / seconds);
    report.at_most("edge memory added meanwhile, at its peak", "MiB", usage::mib(peak_kib.saturating_sub(before_kib)), 64.0);
    // What was in flight can still be read; then the connection ends.
    while slow.text().await.is_some() {}
    report.note("the stalled reader was closed, the others were not", "", 1.0);
}
