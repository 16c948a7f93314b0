//! Completions over HTTP beside calling the provider directly, in the same run.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use verso_tests::Gateway;
use verso_tests::gateway::TOKEN;

use crate::peers::Peer;
use crate::report::Report;
use crate::usage::{quantile, us, whole};

/// How long one way is asked for with a number of requests in flight.
const SPAN: Duration = Duration::from_secs(3);

/// Streams whose first text is timed.
const STREAMS: usize = 40;

/// A way to a model.
#[derive(Clone)]
struct Way {
    name: &'static str,
    url: String,
    model: &'static str,
}

/// Time to the first text of a stream, and requests a second at 1, 8 and 64 in flight.
pub(crate) async fn beside_the_provider(gateway: &Gateway, provider: &Peer, report: &mut Report) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let direct = Way { name: "provider", url: format!("http://{}/v1/chat/completions", provider.address), model: "model-1" };
    let through = Way { name: "gateway", url: gateway.http("/v1/chat/completions"), model: "verso" };
    let client = reqwest::Client::builder().tls_certs_only([]).tcp_nodelay(true).build().expect("a client");
    let mut firsts = Vec::new();
    for way in [&direct, &through] {
        let mut times_us = Vec::new();
        for _ in 0..STREAMS {
            times_us.push(first_text(&client, way).await);
        }
        let median = quantile(&mut times_us, 0.5);
        report.note(&format!("{}: first text of a stream, p50", way.name), "us", median);
        firsts.push(median);
    }
    report.at_most("first text added by the gateway, p50", "ms", (firsts[1] - firsts[0]) / 1_000.0, 2.0);
    for in_flight in [1, 8, 64] {
        for way in [&direct, &through] {
            let rate = rate(&client, way, in_flight).await;
            let name = format!("{}: completions a second, {in_flight} in flight", way.name);
            if way.name == "gateway" && in_flight == 8 {
                report.at_least(&name, "1/s", rate, 200.0);
            } else {
                report.note(&name, "1/s", rate);
            }
        }
    }
}

fn body(way: &Way, stream: bool) -> Value {
    json!({"model": way.model, "stream": stream, "messages": [{"role": "user", "content": "go [[tokens=20]]"}]})
}

async fn first_text(client: &reqwest::Client, way: &Way) -> f64 {
    let begun = Instant::now();
    let mut answer = client.post(&way.url).bearer_auth(TOKEN).json(&body(way, true)).send().await.expect("an answer");
    let mut heard = String::new();
    while let Some(chunk) = answer.chunk().await.expect("a chunk") {
        heard.push_str(&String::from_utf8_lossy(&chunk));
        if heard.contains("word0") {
            break;
        }
    }
    let took = us(begun.elapsed());
    // The rest belongs to the connection.
    while answer.chunk().await.expect("a chunk").is_some() {}
    took
}

#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
async fn rate(client: &reqwest::Client, way: &Way, in_flight: usize) -> f64 {
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..in_flight {
        let (client, way) = (client.clone(), way.clone());
        tasks.spawn(async move {
            let mut done = 0_usize;
            while begun.elapsed() < SPAN {
                let answer = client.post(&way.url).bearer_auth(TOKEN).json(&body(&way, false)).send().await.expect("an answer");
                let answer: Value = answer.json().await.expect("JSON");
                assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
                done += 1;
            }
            done
        });
    }
    let done: usize = tasks.join_all().await.into_iter().sum();
    whole(done) / begun.elapsed().as_secs_f64()
}
