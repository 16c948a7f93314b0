//! The benchmark: one command, `cargo bench -p verso-tests`, measures a release build beside a bare WebSocket echo in the same run.
//!
//! Every number is printed with its target; ratios to the echo count more than absolutes on a shared machine.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what it is for")]

mod clients;
mod load;
mod peers;
mod report;
mod usage;

use std::process::{Command, ExitCode};
use std::time::Duration;

use report::Report;
use serde_json::json;
use tokio::time::Instant;
use verso_tests::{Gateway, process};

/// Starts of the gateway whose median counts.
const BOOTS: usize = 5;

/// Connections that come and go before those that are counted.
const WARM_UP: usize = 64;

/// How long the gateway idles before its memory is read.
const IDLE: Duration = Duration::from_secs(3);

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

/// Measures everything, or, with `connections` among the arguments, only what connections cost.
async fn measure(arguments: &[String]) -> ExitCode {
    let built = Command::new(env!("CARGO")).args(["build", "--release", "--package", "verso"]).status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("the release build failed");
        return ExitCode::FAILURE;
    }
    usage::raise_descriptor_limit();
    let mut report = Report::default();
    if !arguments.iter().any(|argument| argument == "connections") {
        everything_else(&mut report).await;
    }
    connections(&mut report).await;
    report.print(arguments.iter().any(|argument| argument == "--json"));
    ExitCode::SUCCESS
}

async fn everything_else(report: &mut Report) {
    boot(report).await;
    let provider = peers::Peer::start("provider").await;
    let config = json!({
        "agents": {"defaults": {"model": {"primary": "scripted/model-1"}, "maxConcurrent": 64}},
        "models": {"providers": {"scripted": {
            "baseUrl": format!("http://{}/v1", provider.address), "apiKey": "made-up-key", "api": "openai-completions",
            "models": [{"id": "model-1", "name": "Model 1", "contextWindow": 128_000, "maxTokens": 4096}],
        }}},
    });
    let gateway = Gateway::start_with(config).await;
    idle(&gateway, report).await;
    load::requests(&gateway, report).await;
    load::turns(&gateway, report).await;
    load::completions(&gateway, report).await;
    load::fan_out(&gateway, report).await;
}

/// From the start of the supervisor to the first `hello-ok`.
async fn boot(report: &mut Report) {
    let mut times_ms = Vec::new();
    for _ in 0..BOOTS {
        let mut gateway = Gateway::prepare(json!({"agents": {"defaults": {"model": {"primary": "verso/offline"}}}}));
        let begun = Instant::now();
        gateway.launch(&[]);
        clients::Socket::connect_patiently(&gateway.url()).await;
        times_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        gateway.ready().await;
    }
    report.at_most("boot to first hello-ok", "ms", usage::quantile(&mut times_ms, 0.5), 250.0);
}

/// The memory of the whole tree when nothing happens.
async fn idle(gateway: &Gateway, report: &mut Report) {
    tokio::time::sleep(IDLE).await;
    let tree = process::tree(gateway.pid());
    let total_kib: u64 = tree.iter().map(|pid| process::pss_kib(*pid)).sum();
    report.at_most(&format!("idle PSS of {} processes", tree.len()), "MiB", usage::mib(total_kib), 40.0);
    for pid in tree {
        let command = process::command_line(pid);
        let name = command.split(" service ").nth(1).unwrap_or("supervisor").trim().to_owned();
        report.note(&format!("  PSS {name}"), "MiB", usage::mib(process::pss_kib(pid)));
    }
}

/// The memory of idle connections.
async fn connections(report: &mut Report) {
    for count in [1_000_usize, 10_000] {
        let gateway = Gateway::start_with(json!({"agents": {"defaults": {"model": {"primary": "verso/offline"}}}})).await;
        // What the first connections cost once, such as compiled schemas, is not the price of one more.
        drop(clients::many(&gateway.url(), WARM_UP).await);
        tokio::time::sleep(IDLE).await;
        let edge = gateway.service("edge").await.pid.unwrap_or_default();
        let before_kib = process::pss_kib(edge);
        let sockets = clients::many(&gateway.url(), count).await;
        tokio::time::sleep(IDLE).await;
        let grown_kib = process::pss_kib(edge).saturating_sub(before_kib);
        let each_kib = usage::mib(grown_kib) * 1024.0 / usage::whole(sockets.len());
        report.at_most(&format!("memory per idle connection, {} connections", sockets.len()), "KiB", each_kib, 12.0);
    }
}
