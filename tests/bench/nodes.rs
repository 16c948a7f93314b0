//! Commands to many nodes: how long they take, and that what nobody answers leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use verso_client::{Client, Identity, Options};
use verso_tests::Gateway;
use verso_tests::gateway::TOKEN;
use verso_tests::lean::Socket;

use crate::report::Report;
use crate::usage::{self, us, whole};

/// Nodes that are connected.
const NODES: usize = 1_000;

/// Nodes that shake hands at the same time.
const OPENING_AT_ONCE: usize = 16;

/// Commands a second under the steady load, and for how long.
const PER_SECOND: u64 = 200;
const STEADY: Duration = Duration::from_secs(30);

/// How long commands are called as fast as they are answered.
const BURST: Duration = Duration::from_secs(3);

/// Callers of the burst.
const CALLERS: usize = 32;

/// Commands that nobody answers: more than may be under way, so that any that stay are noticed.
const UNANSWERED: usize = 2_500;

/// How long the gateway waits for those, in milliseconds.
const GIVEN_UP_MS: u64 = 20;

/// The command that nodes answer, and the one that they hear and leave unanswered.
const ANSWERED: &str = "system.which";
const IGNORED: &str = "system.notify";

/// Measures commands to a thousand nodes.
pub(crate) async fn invokes(report: &mut Report) {
    let gateway = Gateway::start_with(json!({})).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let (ids, _nodes) = connect(&gateway, &answered).await;
    report.note(&format!("{} nodes paired and connected", ids.len()), "s", begun.elapsed().as_secs_f64());
    one_at_a_time(&gateway, &ids, report).await;
    burst(&gateway, &ids, report).await;
    let pids = usage::tree(gateway.pid());
    let before = usage::cpu(&pids);
    let mut times_us = steady(&gateway, &ids).await;
    let each_us = us(usage::cpu(&pids).saturating_sub(before)) / whole(times_us.len());
    report.note(&format!("node.invoke answered, {PER_SECOND}/s for {} s", STEADY.as_secs()), "", whole(times_us.len()));
    report.note("node.invoke p50, steady load", "us", usage::quantile(&mut times_us, 0.5));
    report.note("node.invoke p99, steady load", "us", usage::quantile(&mut times_us, 0.99));
    report.note("CPU per node.invoke, steady load", "us", each_us);
    let refused = leave_unanswered(&gateway, &ids).await;
    report.at_most(&format!("of {UNANSWERED} unanswered commands, refused for want of room"), "", whole(refused), 0.0);
    let mut socket = Socket::connect(&gateway.url()).await.expect("a connection");
    let after = call(&mut socket, &ids[0], ANSWERED, "after", 5_000).await;
    report.at_least(
        "a command after them is answered",
        "",
        f64::from(u8::from(after.is_some_and(|answer| answer.contains("\"ok\":true")))),
        1.0,
    );
}

/// Connects the nodes; each answers by itself until its client is dropped.
#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
async fn connect(gateway: &Gateway, answered: &Arc<AtomicUsize>) -> (Vec<String>, JoinSet<()>) {
    let mut opening = JoinSet::new();
    for opener in 0..OPENING_AT_ONCE {
        let (url, share) = (gateway.url(), NODES / OPENING_AT_ONCE + usize::from(opener < NODES % OPENING_AT_ONCE));
        opening.spawn(async move {
            let mut opened = Vec::with_capacity(share);
            for _ in 0..share {
                let identity = Identity::generate(0);
                let id = identity.device_id();
                let mut options = Options::new(url.clone()).with_token(TOKEN).with_client("node-host", "node").with_identity(identity);
                "node".clone_into(&mut options.role);
                options.scopes = None;
                options.commands = vec![ANSWERED.to_owned(), IGNORED.to_owned()];
                "linux".clone_into(&mut options.client.platform);
                opened.extend(Client::connect(options).await.ok().map(|client| (id, client)));
            }
            opened
        });
    }
    let (mut ids, mut nodes) = (Vec::new(), JoinSet::new());
    while let Some(Ok(opened)) = opening.join_next().await {
        for (id, client) in opened {
            ids.push(id.clone());
            nodes.spawn(answer(id, client, Arc::clone(answered)));
        }
    }
    (ids, nodes)
}

async fn answer(id: String, client: Client, answered: Arc<AtomicUsize>) {
    let mut events = client.events();
    while let Ok(event) = events.next().await {
        if event.name != "node.invoke.request" || event.payload["command"] != ANSWERED {
            continue;
        }
        let result = json!({"id": event.payload["id"], "nodeId": id, "ok": true, "payload": {"bins": {}}});
        if client.call("node.invoke.result", result).await.is_ok() {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn call(socket: &mut Socket, node: &str, command: &str, name: &str, timeout_ms: u64) -> Option<String> {
    let params: Value =
        json!({"nodeId": node, "command": command, "params": {"bins": ["x"]}, "idempotencyKey": name, "timeoutMs": timeout_ms});
    socket.call("node.invoke", name, &params).await
}

async fn one_at_a_time(gateway: &Gateway, ids: &[String], report: &mut Report) {
    let mut socket = Socket::connect(&gateway.url()).await.expect("a connection");
    let mut times_us = Vec::new();
    let end = Instant::now() + BURST;
    while Instant::now() < end {
        let begun = Instant::now();
        let number = times_us.len();
        call(&mut socket, &ids[number % ids.len()], ANSWERED, &format!("one-{number}"), 5_000).await.expect("an answer");
        times_us.push(us(begun.elapsed()));
    }
    report.at_most("node.invoke round trip p50, one at a time", "us", usage::quantile(&mut times_us, 0.5), 500.0);
    report.note("node.invoke round trip p99, one at a time", "us", usage::quantile(&mut times_us, 0.99));
}

#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
async fn burst(gateway: &Gateway, ids: &[String], report: &mut Report) {
    let mut tasks = JoinSet::new();
    for caller in 0..CALLERS {
        let mut socket = Socket::connect(&gateway.url()).await.expect("a connection");
        let ids = ids.to_vec();
        tasks.spawn(async move {
            let (mut done, end) = (0_usize, Instant::now() + BURST);
            while Instant::now() < end {
                let node = &ids[(caller * 31 + done) % ids.len()];
                if call(&mut socket, node, ANSWERED, &format!("burst-{caller}-{done}"), 5_000).await.is_none() {
                    break;
                }
                done += 1;
            }
            done
        });
    }
    let done: usize = tasks.join_all().await.into_iter().sum();
    report.at_least(&format!("node.invoke a second, {CALLERS} callers"), "1/s", whole(done) / BURST.as_secs_f64(), 5_000.0);
}

/// Calls at a steady rate, whatever the answers take; returns how long each took, in microseconds.
#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
async fn steady(gateway: &Gateway, ids: &[String]) -> Vec<f64> {
    let mut idle: Vec<Socket> = verso_tests::lean::many(&gateway.url(), CALLERS).await;
    let (give_back, mut free) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let mut beat = interval(Duration::from_micros(1_000_000 / PER_SECOND));
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = Instant::now() + STEADY;
    let mut number = 0_usize;
    while Instant::now() < end {
        beat.tick().await;
        let due = Instant::now();
        let mut socket = match idle.pop() {
            Some(socket) => socket,
            None => free.recv().await.expect("a caller comes back"),
        };
        let (node, name, give_back) = (ids[number % ids.len()].clone(), format!("steady-{number}"), give_back.clone());
        number += 1;
        tasks.spawn(async move {
            let answer = call(&mut socket, &node, ANSWERED, &name, 5_000).await;
            let took_us = us(due.elapsed());
            drop(give_back.send(socket));
            answer.filter(|answer| answer.contains("\"ok\":true")).map(|_| took_us)
        });
        while let Ok(socket) = free.try_recv() {
            idle.push(socket);
        }
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// Returns how many of many commands without an answer were refused because others were in their way.
#[allow(clippy::disallowed_methods, reason = "the benchmark's own tasks")]
async fn leave_unanswered(gateway: &Gateway, ids: &[String]) -> usize {
    let mut tasks = JoinSet::new();
    for (caller, mut socket) in verso_tests::lean::many(&gateway.url(), CALLERS).await.into_iter().enumerate() {
        let ids = ids.to_vec();
        tasks.spawn(async move {
            let mut refused = 0_usize;
            for number in 0..UNANSWERED / CALLERS {
                let node = &ids[(caller * 31 + number) % ids.len()];
                let answer = call(&mut socket, node, IGNORED, &format!("lost-{caller}-{number}"), GIVEN_UP_MS).await;
                refused += usize::from(answer.is_none_or(|answer| !answer.contains("TIMEOUT")));
            }
            refused
        });
    }
    tasks.join_all().await.into_iter().sum()
}
