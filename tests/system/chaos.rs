//! Processes die at random under load, and nobody who is connected notices.
//!
//! Short by itself; `VERSO_CHAOS_SECONDS=600 VERSO_CHAOS_CLIENTS=200 VERSO_CHAOS_RUNS=20 VERSO_CHAOS_EVERY_MS=2000` is the long one.
//! `VERSO_CHAOS_SEED` repeats what a failed one has printed.

mod others;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use futures_util::future::{join, join_all, join4};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use verso_client::{CallError, CallErrorKind, Client};
use verso_kit::peer::{Caller, Peer};
use verso_proto::supervisor::v1::ServicesRestartRequest;
use verso_tests::bot_api::BotApi;
use verso_tests::chaos::{Fault, Scale, percentile};
use verso_tests::mount::Mount;
use verso_tests::{Gateway, Provider, eventually, process};

/// A call that is not answered in this time has no answer.
const ANSWER: Duration = Duration::from_secs(40);

/// Between two calls of one client.
const PAUSE: Duration = Duration::from_millis(200);

/// What was seen. Everything here must be zero, but for what is counted or timed.
#[derive(Debug, Default)]
struct Seen {
    calls: usize,
    answers: usize,
    asked_to_come_back: usize,
    events: usize,
    runs: usize,
    /// Commands to a device.
    invokes: usize,
    /// Messages of people to a bot.
    messages: usize,
    streams: usize,
    /// Streams over HTTP that ended without their end: their agent died, and their client can tell.
    cut: usize,
    recoveries: Vec<Duration>,
    waits: Vec<Duration>,
    wrong: Vec<String>,
}

impl Seen {
    fn fail(&mut self, what: String) {
        self.wrong.push(what);
    }
}

type Shared = RefCell<Seen>;

/// Counts one answer. What may not be is an error that asks for nothing better, silence, or the end of the connection.
fn count(seen: &Shared, method: &str, begun: Instant, answer: &Result<Value, CallError>) {
    let mut seen = seen.borrow_mut();
    seen.calls += 1;
    seen.waits.push(begun.elapsed());
    match answer {
        Ok(_) => seen.answers += 1,
        Err(error) if error.kind == CallErrorKind::Closed => seen.fail(format!("{method}: the socket was closed")),
        Err(error) if error.retryable || is_of_the_disk(error) => seen.asked_to_come_back += 1,
        Err(error) => seen.fail(format!("{method}: {error:?}")),
    }
}

/// A disk that is full is said to be.
fn is_of_the_disk(error: &CallError) -> bool {
    error.message.contains("disk") || error.message.contains("No space")
}

/// Calls this and that until the end.
async fn use_it(client: &Client, seen: &Shared, until: Instant) {
    let methods = ["health", "sessions.list", "system-presence", "node.list", "channels.status", "cron.list"];
    for method in methods.into_iter().cycle() {
        if Instant::now() >= until {
            return;
        }
        let begun = Instant::now();
        match timeout(ANSWER, client.call(method, json!({}))).await {
            Ok(answer) => count(seen, method, begun, &answer),
            Err(_) => seen.borrow_mut().fail(format!("{method}: no answer")),
        }
        sleep(PAUSE).await;
    }
}

/// Reads events until the end, and looks at their numbers.
async fn listen(client: &Client, seen: &Shared, until: Instant) {
    let (mut events, mut expected) = (client.events(), None);
    while let Ok(event) = tokio::time::timeout_at(until, events.next()).await {
        let event = match event {
            Ok(event) => event,
            Err(error) => return seen.borrow_mut().fail(format!("events: {error:?}")),
        };
        seen.borrow_mut().events += 1;
        if event.name == "shutdown" {
            seen.borrow_mut().fail("a client was told to leave".to_owned());
        }
        let Some(seq) = event.seq else { continue };
        if expected.is_some_and(|expected| expected != seq) {
            seen.borrow_mut().fail(format!("events: {seq} came instead of {expected:?}"));
        }
        expected = Some(seq + 1);
    }
}

/// Has one conversation: each turn gets one answer, or hears why not. Returns what was said.
async fn talk(client: &Client, session: &str, seen: &Shared, until: Instant) -> Vec<String> {
    let mut said = Vec::new();
    for turn in 0.. {
        if Instant::now() >= until {
            break;
        }
        let key = format!("{session}-{turn}");
        let params = json!({"message": format!("{key} [[tokens=8 gap=20]]"), "sessionKey": session, "idempotencyKey": key});
        let Ok(mut answers) = client.call_streaming("agent", params).await else {
            seen.borrow_mut().fail(format!("{key}: the socket was closed"));
            break;
        };
        let mut parts = Vec::new();
        loop {
            match timeout(ANSWER, answers.next()).await {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => break,
                Err(_) => {
                    seen.borrow_mut().fail(format!("{key}: no answer"));
                    break;
                }
            }
        }
        let mut seen = seen.borrow_mut();
        seen.runs += 1;
        match parts.as_slice() {
            // One that ended while it was handed over is answered by its end alone.
            [Ok(last)] if last["status"] == "ok" => said.push(key),
            [Ok(first), Ok(last)] if first["status"] == "accepted" && last["status"] == "ok" => said.push(key),
            [.., Err(error)] if error.retryable || error.message.contains("restart") || is_of_the_disk(error) => {
                seen.asked_to_come_back += 1;
            }
            other => seen.fail(format!("{key}: {other:?}")),
        }
    }
    said
}

/// Reads replies over HTTP: each ends, and one without its end is no whole reply.
async fn stream(gateway: &Gateway, seen: &Shared, until: Instant) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let http = reqwest::Client::builder().tls_certs_only([]).build().expect("a client");
    while Instant::now() < until {
        let body = json!({"model": "openclaw", "stream": true, "messages": [{"role": "user", "content": "go [[tokens=6 gap=20]]"}]});
        let request = http.post(gateway.http("/v1/chat/completions")).bearer_auth(verso_tests::gateway::TOKEN);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let reply = async {
            let response = request.send().await?;
            let status = response.status();
            response.text().await.map(|text| (status, text))
        };
        let replied = timeout(ANSWER, reply).await;
        let mut seen = seen.borrow_mut();
        seen.streams += 1;
        match replied {
            Ok(Ok((status, text))) if status == 200 && text.contains("[DONE]") => {}
            Ok(_) => seen.cut += 1,
            Err(_) => seen.fail("a stream did not end".to_owned()),
        }
    }
}

/// Carries out the plan, and takes the time until each service serves again.
async fn disturb((gateway, disk): (&Gateway, Option<&Mount>), scale: &Scale, seen: &Shared, begin: Instant) {
    for planned in scale.plan() {
        sleep_until(begin + planned.at).await;
        let Some(pid) = gateway.service(planned.service).await.pid else { continue };
        let since = Instant::now();
        match planned.fault {
            Fault::Kill => {
                process::signal(pid, Signal::KILL);
                gateway.recovered(planned.service, pid).await;
                seen.borrow_mut().recoveries.push(since.elapsed());
            }
            Fault::Pause(ms) => {
                process::signal(pid, Signal::STOP);
                sleep(Duration::from_millis(ms)).await;
                process::signal(pid, Signal::CONT);
            }
            Fault::Restart => restart(gateway, planned.service).await,
            Fault::Unreachable(ms) => {
                let socket = gateway.state_dir().join(format!("run/{}.sock", planned.service));
                let aside = socket.with_extension("aside");
                fs::rename(&socket, &aside).expect("the socket's name");
                // Who is connected stays so: the next incarnation is what cannot be reached.
                process::signal(pid, Signal::KILL);
                sleep(Duration::from_millis(ms)).await;
                fs::rename(&aside, &socket).expect("the socket's name again");
                gateway.recovered(planned.service, pid).await;
            }
            Fault::FullDisk(ms) => {
                let Some(disk) = disk else { continue };
                disk.fill();
                sleep(Duration::from_millis(ms)).await;
                disk.empty();
            }
        }
    }
}

async fn restart(gateway: &Gateway, service: &str) {
    let peer = Peer::supervisor(&gateway.state_dir().join("run"));
    let request = ServicesRestartRequest { name: service.to_owned(), ..ServicesRestartRequest::default() };
    peer.call(request, &Caller::default()).await.expect("the service serves again");
}

/// What the transcripts say: each message that was answered is there once, with one answer.
async fn reconcile(client: &Client, said: BTreeMap<String, Vec<String>>, seen: &Shared) {
    for (session, keys) in said {
        let params = json!({"sessionKey": session, "limit": 1_000});
        let history = eventually("the transcript", async || client.call("chat.history", params.clone()).await.ok()).await;
        let messages = history["messages"].as_array().cloned().unwrap_or_default();
        for key in keys {
            let mark = format!("{key} [[");
            let places: Vec<_> = (0..messages.len()).filter(|at| is_said(&messages[*at], &mark)).collect();
            let answered = |at: usize| messages.get(at + 1).is_some_and(|next| next["role"] == "assistant");
            if places.len() != 1 || !answered(places[0]) {
                seen.borrow_mut().fail(format!(
                    "{key} is {} times in its transcript, answered: {}",
                    places.len(),
                    places.iter().any(|at| answered(*at))
                ));
            }
        }
    }
}

fn is_said(message: &Value, mark: &str) -> bool {
    message["role"] == "user" && message["content"].to_string().contains(mark)
}

async fn connect(gateway: &Gateway, number: usize) -> Client {
    let protocol = if number.is_multiple_of(2) { 3..=3 } else { 4..=4 };
    gateway.connect(gateway.options().with_protocol(protocol)).await
}

fn ms(values: &[Duration], percent: usize) -> f64 {
    percentile(values, percent).as_secs_f64() * 1_000.0
}

/// Prints what was seen, and fails when anything was wrong.
fn judge(name: &str, scale: &Scale, seen: &Seen, more: &Value) {
    let report = json!({
        "test": name, "seed": scale.seed, "seconds": scale.length.as_secs(), "clients": scale.clients, "calls": seen.calls,
        "answers": seen.answers, "askedToComeBack": seen.asked_to_come_back, "runs": seen.runs, "streams": seen.streams, "cut": seen.cut,
        "invokes": seen.invokes, "messages": seen.messages, "events": seen.events, "faults": seen.recoveries.len(), "wrong": seen.wrong.len(),
        "recoveryP50Ms": ms(&seen.recoveries, 50),
        "recoveryP95Ms": ms(&seen.recoveries, 95),
        "callP50Ms": ms(&seen.waits, 50), "callP99Ms": ms(&seen.waits, 99),
        "more": more,
    });
    #[allow(clippy::print_stdout, reason = "the figures are what the long run is for")]
    {
        println!("{report}");
    }
    let first: Vec<_> = seen.wrong.iter().take(20).collect();
    assert!(seen.wrong.is_empty(), "repeat with VERSO_CHAOS_SEED={}: {} wrong, such as {first:#?}", scale.seed, seen.wrong.len());
    assert!(seen.calls > 0 && seen.runs > 0 && seen.events > 0, "the load did something: {report}");
}

// The provider and the clients are not to wait for each other: what is measured is the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_die_at_random_and_nobody_who_is_connected_notices() {
    let scale = Scale::from_environment();
    let (provider, api, seen) = (Provider::start().await, BotApi::start().await, Shared::default());
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = provider.config();
    config["gateway"]["http"] = json!({"endpoints": {"chatCompletions": {"enabled": true}}});
    others::with_bot(&mut config, &api);
    let mut gateway = Gateway::prepare(config);
    let disk = Mount::at(&gateway.state_dir().join("agent"), scale.disk_kib);
    gateway.launch(&[]);
    gateway.ready().await;
    let mut clients = Vec::new();
    for number in 0..scale.clients {
        clients.push(connect(&gateway, number).await);
    }
    let begin = Instant::now();
    let until = begin + scale.length;
    // They listen on a little, so that what the last fault has stirred up is heard.
    let listening = join_all(clients.iter().map(|client| listen(client, &seen, until + Duration::from_secs(1))));
    let using = join_all(clients.iter().map(|client| use_it(client, &seen, until)));
    let talking = join_all((0..scale.runs).map(|number| {
        let (client, seen) = (&clients[number % clients.len()], &seen);
        async move {
            let session = format!("agent:main:chaos-{number}");
            let said = talk(client, &session, seen, until).await;
            (session, said)
        }
    }));
    let others = join4(
        disturb((&gateway, disk.as_ref()), &scale, &seen, begin),
        stream(&gateway, &seen, until),
        others::command_it(&gateway, &clients[0], folder.path(), &seen, until),
        others::write_to_it(&clients[0], &api, &seen, until),
    );
    let (_, _, said, _) = join4(listening, using, talking, others).await;
    reconcile(&clients[0], said.into_iter().collect(), &seen).await;
    for client in &clients {
        if client.call("health", json!({})).await.is_err() {
            seen.borrow_mut().fail("a socket is closed at the end".to_owned());
        }
    }
    judge("services", &scale, &seen.into_inner(), &json!({}));
}

// The provider and the clients are not to wait for each other: what is measured is the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_edge_is_replaced_again_and_again_and_nobody_who_is_or_gets_connected_notices() {
    let scale = Scale::from_environment();
    let (provider, seen) = (Provider::start().await, Shared::default());
    let gateway = Gateway::start_with(provider.config()).await;
    let mut clients = Vec::new();
    for number in 0..scale.clients {
        clients.push(connect(&gateway, number).await);
    }
    let (begin, connected) = (Instant::now(), RefCell::new(Vec::new()));
    let until = begin + scale.length;
    let listening = join_all(clients.iter().map(|client| listen(client, &seen, until + Duration::from_secs(1))));
    let using = join_all(clients.iter().map(|client| use_it(client, &seen, until)));
    let talking = join_all((0..scale.runs).map(|number| {
        let (client, seen) = (&clients[number % clients.len()], &seen);
        async move { talk(client, &format!("agent:main:edges-{number}"), seen, until).await }
    }));
    let replacing = async {
        let pause = scale.length / u32::try_from(scale.edges.max(1) + 1).unwrap_or(1);
        for number in 0..scale.edges {
            sleep_until(begin + pause * u32::try_from(number + 1).unwrap_or(1)).await;
            restart(&gateway, "edge").await;
        }
    };
    let pause = Duration::from_secs(1) / u32::try_from(scale.connects_per_second.max(1)).unwrap_or(1);
    let connecting = async {
        let mut waiting = Vec::new();
        while Instant::now() < until {
            waiting.push(async {
                let since = Instant::now();
                match Client::connect(gateway.options()).await {
                    Ok(client) => {
                        let answer = client.call("health", json!({})).await;
                        count(&seen, "health", since, &answer);
                        connected.borrow_mut().push(since.elapsed());
                    }
                    Err(error) => seen.borrow_mut().fail(format!("no connection: {error}")),
                }
            });
            if waiting.len() >= 8 {
                join_all(waiting.drain(..)).await;
            }
            sleep(pause).await;
        }
        join_all(waiting).await;
    };
    let (_, _, _, _) = join4(listening, using, talking, join(replacing, connecting)).await;
    let kept = join_all(clients.iter().map(|client| client.call("health", json!({})))).await.iter().filter(|answer| answer.is_ok()).count();
    if kept != clients.len() {
        seen.borrow_mut().fail(format!("{kept} of {} sockets are open at the end", clients.len()));
    }
    assert_eq!(gateway.service("edge").await.starts, scale.edges as u64 + 1);
    let connected = connected.into_inner();
    let more = json!({"edges": scale.edges, "connections": connected.len(), "kept": kept,
        "connectP99Ms": ms(&connected, 99)});
    judge("edges", &scale, &seen.into_inner(), &more);
}
