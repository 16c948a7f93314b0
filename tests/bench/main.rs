//! The benchmark: one command, `cargo bench -p verso-tests`, measures a release build beside a bare WebSocket echo in the same run.
//!
//! Every number is printed with its target; ratios to the echo count more than absolutes on a shared machine.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what it is for")]

mod control_ui;
mod first_token;
mod http;
mod idle;
mod load;
mod nodes;
mod peers;
mod report;
mod sessions;
mod slow_reader;
mod telemetry;
mod usage;

use std::process::{Command, ExitCode};

use report::Report;
use serde_json::{Value, json};
use tokio::time::Instant;
use verso_tests::Gateway;
use verso_tests::lean::Socket;

/// Starts of the gateway whose median counts.
const BOOTS: usize = 5;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    match first.as_str() {
        "echo" => runtime.block_on(peers::echo()),
        "provider" => runtime.block_on(peers::provider()),
        _ => return runtime.block_on(measure(&std::env::args().collect::<Vec<_>>())),
    }
    ExitCode::SUCCESS
}

/// Measures everything, or, with `connections`, `control-ui`, `first-token`, `nodes`, `sessions` or `telemetry` among the arguments, only what
/// those cost.
async fn measure(arguments: &[String]) -> ExitCode {
    if cfg!(debug_assertions) {
        eprintln!("a debug build: the numbers say that it works, and nothing of how fast");
    } else {
        let built = Command::new(env!("CARGO")).args(["build", "--release", "--package", "verso"]).status();
        if !built.is_ok_and(|status| status.success()) {
            eprintln!("the release build failed");
            return ExitCode::FAILURE;
        }
    }
    usage::raise_descriptor_limit();
    let mut report = Report::default();
    let asked_for = |part: &str| arguments.iter().any(|argument| argument == part);
    let parts = ["connections", "control-ui", "first-token", "nodes", "sessions", "telemetry"];
    let all = !parts.into_iter().any(asked_for);
    if all {
        everything_else(&mut report).await;
    }
    if asked_for("first-token") {
        let provider = peers::Peer::start("provider").await;
        let gateway = Gateway::start_with(with_model(&provider)).await;
        first_token::added(&gateway, &provider.address, &mut report).await;
    }
    if all || asked_for("nodes") {
        nodes::invokes(&mut report).await;
    }
    if all || asked_for("sessions") {
        sessions::long_and_many(&mut report).await;
    }
    if all || asked_for("control-ui") {
        control_ui::visits(&mut report).await;
    }
    if all || asked_for("connections") {
        idle::connections(&mut report).await;
    }
    if all || asked_for("telemetry") {
        let provider = peers::Peer::start("provider").await;
        telemetry::costs(&with_model(&provider), &mut report).await;
    }
    report.print(arguments.iter().any(|argument| argument == "--json"));
    ExitCode::SUCCESS
}

async fn everything_else(report: &mut Report) {
    boot(report).await;
    let provider = peers::Peer::start("provider").await;
    let gateway = Gateway::start_with(with_model(&provider)).await;
    idle::memory(&gateway, report).await;
    load::requests(&gateway, report).await;
    load::turns(&gateway, report).await;
    first_token::added(&gateway, &provider.address, report).await;
    http::beside_the_provider(&gateway, &provider, report).await;
    load::fan_out(&gateway, report).await;
    slow_reader::beside_many(&gateway, report).await;
}

/// The configuration of a gateway whose model is `provider`.
fn with_model(provider: &peers::Peer) -> Value {
    json!({
        "agents": {"defaults": {"model": {"primary": "scripted/model-1"}, "maxConcurrent": 64}},
        "models": {"providers": {"scripted": {
            "baseUrl": format!("http://{}/v1", provider.address), "apiKey": "made-up-key", "api": "openai-completions",
            "models": [{"id": "model-1", "name": "Model 1", "contextWindow": 128_000, "maxTokens": 4096}],
        }}},
    })
}

/// From the start of the supervisor to the first `hello-ok`.
async fn boot(report: &mut Report) {
    let mut times_ms = Vec::new();
    for _ in 0..BOOTS {
        let mut gateway = Gateway::prepare(json!({"agents": {"defaults": {"model": {"primary": "verso/offline"}}}}));
        let begun = Instant::now();
        gateway.launch(&[]);
        Socket::connect_patiently(&gateway.url()).await;
        times_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        gateway.ready().await;
    }
    report.at_most("boot to first hello-ok", "ms", usage::quantile(&mut times_ms, 0.5), 250.0);
}
