//! The measurements under load.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use verso_tests::Gateway;
use verso_tests::lean::{Socket, many};

use crate::peers::Peer;
use crate::report::Report;
use crate::usage::{self, us, whole};

/// How long one kind of request is asked for.
const SPAN: Duration = Duration::from_secs(2);

/// Clients that ask at the same time when processor time is measured.
const CROWD: usize = 64;

/// Receivers of one event.
const RECEIVERS: usize = 1_000;

/// Events that are sent to all of them.
const EVENTS: usize = 200;

/// Turns of each session.
const TURNS_PER_SESSION: usize = 20;

/// One kind of request.
struct Kind {
    name: &'static str,
    /// The frame, without the part that carries its id.
    method: Option<&'static str>,
}

/// Round trips and processor time of requests, beside a bare echo.
pub(crate) async fn requests(gateway: &Gateway, report: &mut Report) {
    let echo = Peer::start("echo").await;
    let echo_url = format!("ws://{}", echo.address);
    let kinds = [
        Kind { name: "echo (300 B)", method: None },
        Kind { name: "health (edge-local)", method: Some("health") },
        Kind { name: "node.list (routed)", method: Some("node.list") },
        Kind { name: "system-presence (routed)", method: Some("system-presence") },
    ];
    let mut base_us = f64::NAN;
    for kind in kinds {
        let (url, pids) = match kind.method {
            None => (echo_url.clone(), vec![echo.pid()]),
            Some(_) => (gateway.url(), usage::tree(gateway.pid())),
        };
        let mut single = round_trips(&url, &kind, 1).await;
        report.note(&format!("{} round trip p50, 1 client", kind.name), "us", usage::quantile(&mut single, 0.5));
        report.note(&format!("{} round trip p99, 1 client", kind.name), "us", usage::quantile(&mut single, 0.99));
        let before = usage::cpu(&pids);
        let crowd = round_trips(&url, &kind, CROWD).await;
        let each_us = us(usage::cpu(&pids).saturating_sub(before)) / whole(crowd.len());
        report.note(&format!("{} rate, {CROWD} clients", kind.name), "1/s", whole(crowd.len()) / SPAN.as_secs_f64());
        report.note(&format!("{} CPU per request, {CROWD} clients", kind.name), "us", each_us);
        match kind.method {
            None => base_us = each_us,
            Some("health") => report.at_most("edge-local CPU against the echo", "times", each_us / base_us, 1.3),
            Some("node.list") => report.at_most("routed CPU against the echo", "times", each_us / base_us, 6.0),
            Some(_) => report.note("system-presence CPU against the echo", "times", each_us / base_us),
        }
    }
}

/// Asks as fast as answers come, from a number of clients, and returns every round trip in microseconds.
#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
async fn round_trips(url: &str, kind: &Kind, clients: usize) -> Vec<f64> {
    let mut tasks = JoinSet::new();
    let mut sockets = Vec::new();
    for _ in 0..clients {
        let socket = if kind.method.is_some() { Socket::connect(url).await } else { Socket::open(url).await };
        sockets.push(socket.expect("a connection"));
    }
    let padding = "x".repeat(260);
    let frame = match kind.method {
        None => json!({"type": "res", "id": "r", "padding": padding}).to_string(),
        Some(method) => json!({"type": "req", "id": "r", "method": method}).to_string(),
    };
    for mut socket in sockets {
        let frame = frame.clone();
        tasks.spawn(async move {
            let mut times_us = Vec::new();
            let end = Instant::now() + SPAN;
            while Instant::now() < end {
                let begun = Instant::now();
                if socket.send(&frame).await.is_none() || socket.response("r").await.is_none() {
                    break;
                }
                times_us.push(us(begun.elapsed()));
            }
            times_us
        });
    }
    tasks.join_all().await.concat()
}

/// Processor time of one request of many clients.
pub(crate) async fn request_cost_us(gateway: &Gateway, method: &'static str) -> f64 {
    let pids = usage::tree(gateway.pid());
    let kind = Kind { name: method, method: Some(method) };
    // The first ones open connections between the services.
    drop(round_trips(&gateway.url(), &kind, 1).await);
    let before = usage::cpu(&pids);
    let count = round_trips(&gateway.url(), &kind, CROWD).await.len();
    us(usage::cpu(&pids).saturating_sub(before)) / whole(count)
}

/// Processor time of one turn of several sessions.
pub(crate) async fn turn_cost_ms(gateway: &Gateway, sessions: usize) -> f64 {
    let pids = usage::tree(gateway.pid());
    let mut warm = Socket::connect(&gateway.url()).await.expect("a connection");
    turn(&mut warm, "warm", 0).await;
    let before = usage::cpu(&pids);
    let done = run_sessions(gateway, sessions).await;
    us(usage::cpu(&pids).saturating_sub(before)) / 1000.0 / whole(done)
}

/// Turns a second, their cost, and what the gateway adds to the provider's first token.
pub(crate) async fn turns(gateway: &Gateway, report: &mut Report) {
    let pids = usage::tree(gateway.pid());
    let mut warm = Socket::connect(&gateway.url()).await.expect("a connection");
    turn(&mut warm, "warm", 0).await;
    for sessions in [1_usize, 8, 32] {
        let before = usage::cpu(&pids);
        let begun = Instant::now();
        let done = run_sessions(gateway, sessions).await;
        let took = begun.elapsed();
        let each_ms = us(usage::cpu(&pids).saturating_sub(before)) / 1000.0 / whole(done);
        let rate = whole(done) / took.as_secs_f64();
        if sessions == 32 {
            report.at_least("turns a second, 32 sessions", "1/s", rate, 200.0);
        } else {
            report.note(&format!("turns a second, {sessions} sessions"), "1/s", rate);
        }
        report.at_most(&format!("CPU per turn, {sessions} sessions"), "ms", each_ms, 5.0);
    }
}

#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
async fn run_sessions(gateway: &Gateway, sessions: usize) -> usize {
    let mut tasks = JoinSet::new();
    for session in 0..sessions {
        let url = gateway.url();
        tasks.spawn(async move {
            let mut socket = Socket::connect(&url).await.expect("a connection");
            let name = format!("s{sessions}-{session}");
            for number in 0..TURNS_PER_SESSION {
                turn(&mut socket, &name, number).await;
            }
            TURNS_PER_SESSION
        });
    }
    tasks.join_all().await.into_iter().sum()
}

async fn turn(socket: &mut Socket, session: &str, number: usize) {
    let id = format!("{session}-{number}");
    let params = json!({"message": "go [[tokens=20]]", "sessionKey": format!("agent:main:bench-{session}"), "idempotencyKey": id});
    let accepted = socket.call("agent", &id, &params).await.expect("an accepted run");
    assert!(accepted.contains("accepted"), "{accepted}");
    let finished = socket.response(&id).await.expect("a finished run");
    assert!(finished.contains("\"ok\":true"), "{finished}");
}

/// One small event to many connections.
#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
pub(crate) async fn fan_out(gateway: &Gateway, report: &mut Report) {
    let mut speaker = Socket::connect(&gateway.url()).await.expect("a connection");
    turn(&mut speaker, "fan-out", 0).await;
    let sockets = many(&gateway.url(), RECEIVERS).await;
    // The refreshes that so many handshakes asked for are over by then.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let receivers = sockets.len();
    let mut tasks = JoinSet::new();
    for mut socket in sockets {
        tasks.spawn(async move { socket.count("{\"type\":\"event\",\"event\":\"chat\"", EVENTS).await });
    }
    let pids = vec![gateway.service("edge").await.pid.unwrap_or_default()];
    let before = usage::cpu(&pids);
    let begun = Instant::now();
    for number in 0..EVENTS {
        let params =
            json!({"sessionKey": "agent:main:bench-fan-out", "message": "an announcement of some length, about like a short answer"});
        let frame = json!({"type": "req", "id": format!("f{number}"), "method": "chat.inject", "params": params}).to_string();
        speaker.send(&frame).await.expect("a sent request");
    }
    let reading = async { while speaker.text().await.is_some() {} };
    tokio::select! {
        () = reading => {}
        results = tasks.join_all() => assert!(results.iter().all(Option::is_some), "a receiver was closed"),
    }
    let took = begun.elapsed();
    let deliveries = whole(receivers * EVENTS);
    report.at_least(&format!("deliveries a second to {receivers} clients"), "1/s", deliveries / took.as_secs_f64(), 200_000.0);
    report.note("edge CPU per delivery", "us", us(usage::cpu(&pids).saturating_sub(before)) / deliveries);
}
