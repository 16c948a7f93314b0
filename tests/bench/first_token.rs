//! What the gateway adds to a provider's first token, beside asking the provider directly in the same run.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use verso_tests::Gateway;
use verso_tests::lean::Socket;

use crate::report::Report;
use crate::usage::{quantile, us};

/// Conversations at once.
const SESSIONS: usize = 32;

/// Turns of each conversation in a round, and rounds: both ways take turns, so that a busy moment of the machine meets both.
const TURNS: usize = 4;
const ROUNDS: usize = 5;

/// What the provider is told: twenty pieces, 20 ms apart. The sessions keep the machine busy, not full.
const ORDERS: &str = "go [[tokens=20 gap=20]]";

/// Measures both ways, for one conversation and for many. The provider is asked directly what the gateway asks it: that a long request takes it
/// longer is not the gateway's time. What a short one would take is told beside it.
pub(crate) async fn added(gateway: &Gateway, provider: &str, report: &mut Report) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder().tls_certs_only([]).tcp_nodelay(true).build().expect("a client");
    let direct = Direct { client, url: format!("http://{provider}/v1/chat/completions") };
    let preview = gateway.client().await.call("agent.preview", json!({"message": ORDERS})).await.expect("a preview");
    let same = preview["request"]["body"].to_string();
    let short = json!({"model": "model-1", "stream": true, "messages": [{"role": "user", "content": ORDERS}]}).to_string();
    report.note("size of what the gateway asks the provider", "KiB", f64::from(u32::try_from(same.len()).unwrap_or(u32::MAX)) / 1024.0);
    let one = Times::take(gateway, &direct, [&same, &short], 1).await;
    report.note("added to the first token, one session, p50", "ms", one.through[0] - one.same[0]);
    let many = Times::take(gateway, &direct, [&same, &short], SESSIONS).await;
    report.note(&format!("first token from the provider, {SESSIONS} at once, p50"), "ms", many.same[0]);
    report.note(&format!("first token from the provider, {SESSIONS} at once, p99"), "ms", many.same[1]);
    report.note(&format!("first token through the gateway, {SESSIONS} sessions, p99"), "ms", many.through[1]);
    report.note(&format!("the same beside a request of one line, {SESSIONS} sessions, p50"), "ms", many.through[0] - many.short[0]);
    report.at_most(&format!("added to the first token, {SESSIONS} sessions, p50"), "ms", many.through[0] - many.same[0], 2.0);
}

/// The way without a gateway.
#[derive(Debug, Clone)]
struct Direct {
    client: reqwest::Client,
    url: String,
}

/// How long the first piece took: half of all times are below the first number, 99 of 100 below the second, in milliseconds.
#[derive(Debug)]
struct Times {
    through: [f64; 2],
    /// From the provider, asked the same.
    same: [f64; 2],
    /// From the provider, asked with one line.
    short: [f64; 2],
}

impl Times {
    async fn take(gateway: &Gateway, direct: &Direct, [same, short]: [&str; 2], sessions: usize) -> Self {
        let (mut through_us, mut same_us, mut short_us) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            for (body, times_us) in [(same, &mut same_us), (short, &mut short_us)] {
                times_us.extend(side_by_side(sessions, |_| direct.clone().ask(body.to_owned())).await);
            }
            through_us.extend(side_by_side(sessions, |session| through(gateway.url(), format!("ttft-{sessions}-{round}-{session}"))).await);
        }
        let quantiles = |mut times: Vec<f64>| [0.5, 0.99].map(|share| quantile(&mut times, share) / 1000.0);
        Self { through: quantiles(through_us), same: quantiles(same_us), short: quantiles(short_us) }
    }
}

#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
async fn side_by_side<F: Future<Output = Vec<f64>> + Send + 'static>(sessions: usize, one: impl Fn(usize) -> F) -> Vec<f64> {
    let mut tasks = JoinSet::new();
    for session in 0..sessions {
        let work = one(session);
        tasks.spawn(async move {
            // Nobody begins all conversations in the same instant.
            tokio::time::sleep(Duration::from_millis(session as u64 * 13)).await;
            work.await
        });
    }
    tasks.join_all().await.concat()
}

impl Direct {
    /// Asks the provider itself, and returns how long the first piece took each time, in microseconds.
    async fn ask(self, body: String) -> Vec<f64> {
        let mut times_us = Vec::with_capacity(TURNS);
        for _ in 0..TURNS {
            let begun = Instant::now();
            let request = self.client.post(&self.url).bearer_auth("made-up-key").header("content-type", "application/json");
            let mut pieces = request.body(body.clone()).send().await.expect("an answer").bytes_stream();
            pieces.next().await.expect("a piece").expect("no error");
            times_us.push(us(begun.elapsed()));
            while let Some(piece) = pieces.next().await {
                drop(piece.expect("no error"));
            }
        }
        times_us
    }
}

/// Asks through the gateway, and returns the same.
async fn through(url: String, session: String) -> Vec<f64> {
    let mut socket = Socket::connect(&url).await.expect("a connection");
    let mut times_us = Vec::with_capacity(TURNS);
    for number in 0..TURNS {
        let id = format!("{session}-{number}");
        let params = json!({"message": ORDERS, "sessionKey": format!("agent:main:bench-{session}"), "idempotencyKey": id});
        let begun = Instant::now();
        socket.send(&json!({"type": "req", "id": id, "method": "agent", "params": params}).to_string()).await.expect("a sent request");
        let (mut first, of_run, end) = (None, format!("\"{id}\""), format!("{{\"type\":\"res\",\"id\":\"{id}\""));
        let mut answers = 0;
        while answers < 2 {
            let text = socket.text().await.expect("an open socket");
            let said =
                text.starts_with("{\"type\":\"event\",\"event\":\"agent\"") && text.contains("\"assistant\"") && text.contains(&of_run);
            if said && first.is_none() {
                first = Some(begun.elapsed());
            }
            answers += usize::from(text.starts_with(&end));
        }
        times_us.push(us(first.expect("a first piece")));
    }
    times_us
}
