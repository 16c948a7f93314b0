//! What the edge spends on each connection, and on a service that has turned against it, is bounded.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use verso_kit::CancellationToken;
use verso_kit::config::Env;
use verso_kit::service::{Context, follow_supervisor, stop_on_signals};
use verso_tests::gateway::binary;
use verso_tests::{Gateway, PATIENCE, process};

use crate::raw::Raw;

/// Idle clients at once.
const CLIENTS: usize = 1_000;

/// What each may cost the edge, in KiB. A release build needs a quarter of it.
const CLIENT_KIB_MAX: u64 = 64;

/// What a service may make the edge grow by, in KiB: one message at its largest, and what is in flight.
const PEER_KIB_MAX: u64 = 96 << 10;

/// How long a hostile service is watched.
const WATCH: Duration = Duration::from_secs(5);

/// How long two calls of others may take meanwhile, in a debug build on a busy machine.
const OTHERS_MAX: Duration = Duration::from_secs(8);

#[tokio::test]
async fn sec_90_an_idle_client_costs_little_and_gives_it_back() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("as many files as there may be");
    let gateway = Gateway::start().await;
    let edge = gateway.service("edge").await.pid.expect("an edge");
    let open = async |count: usize| {
        let mut clients = Vec::with_capacity(count);
        while clients.len() < count {
            let some = (0..25).map(|number| {
                let gateway = &gateway;
                async move {
                    let mut raw = Raw::open(gateway).await;
                    raw.connect(3 + number % 2).await;
                    raw
                }
            });
            clients.extend(join_all(some).await);
        }
        clients
    };
    // What the first ones cost once is not the price of one more.
    drop(open(100).await);
    let (before_kib, descriptors) = (process::rss_kib(edge), process::sockets(edge).len());
    let clients = open(CLIENTS).await;
    let each_kib = process::rss_kib(edge).saturating_sub(before_kib) / CLIENTS as u64;
    assert!(each_kib <= CLIENT_KIB_MAX, "each of {CLIENTS} idle clients costs {each_kib} KiB");
    drop(clients);
    verso_tests::eventually("their sockets to be closed", async || (process::sockets(edge).len() <= descriptors + 8).then_some(())).await;
    drop(open(CLIENTS).await);
    let grown_kib = process::rss_kib(edge).saturating_sub(before_kib);
    assert!(grown_kib <= CLIENT_KIB_MAX * CLIENTS as u64 * 3 / 2, "the second thousand cost {grown_kib} KiB in all");
}

/// Frames of a stream of messages: one byte, and the length.
fn frame(length: u32) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(length.to_be_bytes());
    frame
}

/// What the hostile service answers.
async fn hostile(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let body = if path.ends_with("/Subscribe") {
        // Events without end, each of them nothing.
        let many = Bytes::from(frame(0).repeat(13_000));
        Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(many.clone())))
    } else if path.ends_with("/SessionsList") {
        // One message that is larger than any may be, and comes.
        let head = stream::iter([Bytes::from(frame(1 << 30))]);
        let rest = stream::iter(std::iter::repeat_n(Bytes::from(vec![0; 1 << 20]), 1_024));
        Body::from_stream(head.chain(rest).map(Ok::<_, std::io::Error>))
    } else {
        // A message that never comes.
        let head = stream::iter([Bytes::from(frame(1 << 20))]);
        Body::from_stream(head.chain(stream::pending()).map(Ok::<_, std::io::Error>))
    };
    Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
}

#[test]
fn plays_a_hostile_service_when_asked_to() {
    if Env::process().get("VERSO_TEST_HOSTILE").is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let context = Context::from_environment("agent", Vec::new()).expect("a context");
        follow_supervisor(&context.env).expect("a supervisor");
        let shutdown = CancellationToken::new();
        stop_on_signals(shutdown.clone()).expect("signals");
        let routes = tonic::service::Routes::from(axum::Router::new().fallback(hostile));
        verso_kit::grpc::serve(&context, routes, shutdown).await.expect("it serves");
    });
}

#[tokio::test]
async fn sec_76_a_service_that_floods_stalls_or_loops_costs_the_edge_little_and_nobody_waits_for_it() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    client.call("sessions.list", json!({})).await.expect("the agent service answers");
    let edge = gateway.service("edge").await.pid.expect("an edge");
    let before_kib = process::rss_kib(edge);
    let script = gateway.state_dir().join("hostile");
    let own = std::env::current_exe().expect("the test's own path");
    let text = format!(
        "#!/bin/sh\n[ \"$1 $2\" = 'service agent' ] && VERSO_TEST_HOSTILE=1 exec '{}' --exact bounds::plays_a_hostile_service_when_asked_to\nexec '{}' \"$@\"\n",
        own.display(),
        binary().display()
    );
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("an executable");
    let mut command = gateway.command();
    command.args(["update", "--no-install", "--from"]).arg(&script);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the CLI runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let edge = gateway.service("edge").await.pid.unwrap_or(edge);

    let flooded = tokio::time::timeout(PATIENCE, client.call("sessions.list", json!({}))).await.expect("an answer");
    assert!(flooded.expect_err("what is too large is refused").message.contains("larger than a message may be"));
    let (mut slowest, begun) = (Duration::ZERO, Instant::now());
    let asked = async {
        while begun.elapsed() < WATCH {
            let since = Instant::now();
            client.call("health", json!({})).await.expect("health is answered");
            client.call("node.list", json!({})).await.expect("other services answer");
            slowest = slowest.max(since.elapsed());
        }
    };
    // One that stalls is not waited for here: its deadline is the edge's affair.
    tokio::select! {
        () = asked => {}
        answer = client.call("cron.list", json!({})) => panic!("there is no answer: {answer:?}"),
    }
    let grown_kib = process::rss_kib(edge).saturating_sub(before_kib);
    assert!(grown_kib <= PEER_KIB_MAX, "a hostile service made the edge grow by {grown_kib} KiB");
    // How long they wait is for the benchmark; here, that they are not kept until their deadlines.
    assert!(slowest < OTHERS_MAX, "others waited for {slowest:?}");
}
