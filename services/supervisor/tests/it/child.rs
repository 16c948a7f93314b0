//! A service without a domain. What it does wrong is written in `<state>/behaviour/<name>`:
//!
//! `crash` panics at once, `wait` is ready only when `<state>/go` exists, `deaf` ignores SIGTERM.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use verso_kit::CancellationToken;
use verso_kit::config::Env;
use verso_kit::service::{Context, follow_supervisor, stop_on_signals};
use verso_kit::tasks::Tasks;
use verso_supervisor::ServiceName;

pub(crate) async fn run(name: &str) {
    let name = name.parse::<ServiceName>().unwrap().as_str();
    let raw = Env::process();
    let context = Context::from_environment(name, Vec::new()).unwrap();
    follow_supervisor(&context.env).unwrap();
    let behaviour = fs::read_to_string(context.state_dir.join("behaviour").join(name)).unwrap_or_default();
    match behaviour.as_str() {
        "crash" => panic!("on purpose"),
        "wait" => exists(context.state_dir.join("go")).await,
        _ => {}
    }
    report(&context, &raw);
    let shutdown = CancellationToken::new();
    let tasks = Tasks::new(shutdown.clone());
    if behaviour == "deaf" {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        tasks.spawn("deaf", async move { while terminate.recv().await.is_some() {} });
    } else {
        stop_on_signals(shutdown.clone()).unwrap();
    }
    hear_reloads(&context, &tasks);
    for listener in ["public", "canvas"].into_iter().flat_map(|port| context.sockets.tcp(port)) {
        tasks.spawn("answer", answer(listener, context.epoch, shutdown.clone()));
    }
    verso_kit::grpc::serve(&context, tonic::service::Routes::default(), shutdown).await.unwrap();
    note(&context.state_dir, &format!("{name} stopped"));
}

/// Adds a line to the file that tests read.
fn note(state_dir: &Path, line: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(state_dir.join("notes")).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn hear_reloads(context: &Context, tasks: &Tasks) {
    let mut hangup = signal(SignalKind::hangup()).unwrap();
    let (state_dir, name) = (context.state_dir.clone(), context.name);
    tasks.spawn("reloads", async move {
        while hangup.recv().await.is_some() {
            note(&state_dir, &format!("{name} reloads"));
        }
    });
}

/// Tells every connection which incarnation answers.
async fn answer(listener: std::net::TcpListener, epoch: u64, shutdown: CancellationToken) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let (mut client, _) = accepted.unwrap();
        // A client that has gone is no concern of this test.
        drop(client.write_all(epoch.to_string().as_bytes()).await);
    }
}

/// Writes what the process was given.
fn report(context: &Context, raw: &Env) {
    let names = |env: &Env| env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    let seen = serde_json::json!({ "environment": names(raw), "withSecrets": names(&context.env) });
    let path = context.folder().unwrap().join("seen.json");
    verso_kit::files::write_atomic(&path, seen.to_string().as_bytes(), 0o600).unwrap();
}

async fn exists(path: PathBuf) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while !path.exists() {
        ticks.tick().await;
    }
}
