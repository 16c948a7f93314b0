//! Processes die at random under load, and nobody who is connected notices.
//!
//! Short by itself; `VERSO_CHAOS_SECONDS=600 VERSO_CHAOS_CLIENTS=200 VERSO_CHAOS_RUNS=20 VERSO_CHAOS_EVERY_MS=2000` is the long one.
//! `VERSO_CHAOS_SEED` repeats what a failed one has printed, and `VERSO_CHAOS_KEEP` names a folder for what its gateway has written.

mod others;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, join3, join4, ready};
use futures_util::stream;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use verso_chaos::{Fault, percentile};
use verso_client::{CallError, CallErrorKind};
use verso_kit::peer::{Caller, Peer};
use verso_proto::supervisor::v1::ServicesRestartRequest;
use verso_tests::bot_api::BotApi;
use verso_tests::chaos::Scale;
use verso_tests::gateway::with_endless_restarts;
use verso_tests::lean::{Client, Response, Socket};
use verso_tests::mount::Mount;
use verso_tests::{Gateway, Provider, eventually, process};

/// A call that is not answered in this time has no answer.
const ANSWER: Duration = Duration::from_secs(40);

/// Connections that are opened at the same time: below the limit on strangers of one address.
const CONNECTING_AT_ONCE: usize = 16;

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

/// How a request was answered.
#[derive(Debug)]
enum Answered {
    Well,
    /// The disk is full, or whoever should answer is just coming back: the answer asks for patience.
    ComeBack,
    /// What may not be: an error that asks for nothing better, or the end of the connection.
    Badly(String),
}

impl Answered {
    fn refused(message: &str, retryable: bool) -> Self {
        // A disk that is full is said to be.
        let of_the_disk = message.contains("disk") || message.contains("No space");
        if retryable || of_the_disk { Self::ComeBack } else { Self::Badly(message.to_owned()) }
    }

    fn of(response: Option<&Response>) -> Self {
        match response {
            None => Self::Badly("the socket was closed".to_owned()),
            Some(Response { ok: true, .. }) => Self::Well,
            Some(Response { error: Some(error), .. }) => Self::refused(&error.message, error.retryable),
            Some(Response { error: None, .. }) => Self::Badly("the gateway gave no reason".to_owned()),
        }
    }

    fn of_call(answer: &Result<Value, CallError>) -> Self {
        match answer {
            Ok(_) => Self::Well,
            Err(error) if error.kind == CallErrorKind::Closed => Self::Badly("the socket was closed".to_owned()),
            Err(error) => Self::refused(&error.to_string(), error.retryable),
        }
    }
}

/// Counts one answer.
fn count(seen: &Shared, method: &str, begun: Instant, answered: Answered) {
    let mut seen = seen.borrow_mut();
    seen.calls += 1;
    seen.waits.push(begun.elapsed());
    match answered {
        Answered::Well => seen.answers += 1,
        Answered::ComeBack => seen.asked_to_come_back += 1,
        Answered::Badly(why) => seen.fail(format!("{method}: {why}")),
    }
}

/// Calls this and that until the end.
async fn use_it(client: &Client, seen: &Shared, until: Instant) {
    let methods = ["health", "sessions.list", "system-presence", "node.list", "channels.status", "cron.list"];
    for method in methods.into_iter().cycle() {
        if Instant::now() >= until {
            return;
        }
        let begun = Instant::now();
        match timeout(ANSWER, client.call(method, &json!({}))).await {
            Ok(response) => count(seen, method, begun, Answered::of(response.as_ref())),
            Err(_) => seen.borrow_mut().fail(format!("{method}: no answer")),
        }
        sleep(PAUSE).await;
    }
}

/// Has one conversation: each turn gets one answer, or hears why not. Returns what was said.
async fn talk(client: &Client, session: &str, scale: &Scale, seen: &Shared, until: Instant) -> Vec<String> {
    let mut said = Vec::new();
    for turn in 0.. {
        if Instant::now() >= until {
            break;
        }
        let key = format!("{session}-{turn}");
        let orders = format!("{key} [[tokens={} gap={}]]", scale.tokens, scale.gap_ms);
        let params = json!({"message": orders, "sessionKey": session, "idempotencyKey": key});
        let mut responses = client.ask("agent", &params).await;
        let mut heard = Vec::new();
        loop {
            let length = Duration::from_millis(scale.tokens as u64 * scale.gap_ms);
            let Ok(response) = timeout(ANSWER + length, responses.recv()).await else {
                seen.borrow_mut().fail(format!("{key}: no answer"));
                break;
            };
            let status = response.as_ref().and_then(status);
            let last = status.as_deref() != Some("accepted");
            heard.push((Answered::of(response.as_ref()), status));
            if last {
                break;
            }
        }
        // Whoever is told to come back does not do so at once.
        if !matches!(heard.last(), Some((Answered::Well, _))) {
            sleep(PAUSE).await;
        }
        let mut seen = seen.borrow_mut();
        seen.runs += 1;
        let of = |(answered, status): &(Answered, Option<String>), expected: &str| {
            matches!(answered, Answered::Well) && status.as_deref() == Some(expected)
        };
        match heard.as_slice() {
            // One that ended while it was handed over is answered by its end alone.
            [last] if of(last, "ok") => said.push(key),
            [first, last] if of(first, "accepted") && of(last, "ok") => said.push(key),
            [.., (Answered::ComeBack, _)] => seen.asked_to_come_back += 1,
            [.., (Answered::Badly(why), _)] if why.contains("restart") => seen.asked_to_come_back += 1,
            other => seen.fail(format!("{key}: {other:?}")),
        }
    }
    said
}

/// What a response says of a run.
fn status(response: &Response) -> Option<String> {
    #[derive(Deserialize)]
    struct Payload {
        status: String,
    }
    serde_json::from_str::<Payload>(response.payload.as_ref()?.get()).ok().map(|payload| payload.status)
}

/// Reads replies over HTTP: each ends, and one without its end is no whole reply.
async fn read_replies(gateway: &Gateway, seen: &Shared, until: Instant) {
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
        let whole = matches!(&replied, Ok(Ok((status, text))) if *status == 200 && text.contains("[DONE]"));
        {
            let mut seen = seen.borrow_mut();
            seen.streams += 1;
            match replied {
                Ok(_) => seen.cut += usize::from(!whole),
                Err(_) => seen.fail("a stream did not end".to_owned()),
            }
        }
        if !whole {
            sleep(PAUSE).await;
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
async fn reconcile(client: &verso_client::Client, said: BTreeMap<String, Vec<String>>, seen: &Shared) {
    for (session, keys) in said {
        let params = json!({"sessionKey": session, "limit": 1_000});
        let history = eventually("the transcript", async || client.call("chat.history", params.clone()).await.ok()).await;
        let messages = history["messages"].as_array().cloned().unwrap_or_default();
        for key in keys {
            let mark = format!("{key} [[");
            let places: Vec<_> = (0..messages.len()).filter(|at| is_said(&messages[*at], &mark)).collect();
            let answered = |at: usize| messages.get(at + 1).is_some_and(|next| next["role"] == "assistant");
            if places.len() != 1 || !answered(places[0]) {
                let around = places.first().map_or(&[][..], |at| &messages[at.saturating_sub(2)..messages.len().min(at + 4)]);
                let around: Vec<String> = around.iter().map(|message| message.to_string().chars().take(400).collect()).collect();
                seen.borrow_mut().fail(format!("{key} is {} times in its transcript, first between {around:#?}", places.len()));
            }
        }
    }
}

fn is_said(message: &Value, mark: &str) -> bool {
    message["role"] == "user" && message["content"].to_string().contains(mark)
}

/// Connects many, half of them in each version of the protocol.
async fn connect(gateway: &Gateway, count: usize) -> Vec<Client> {
    let mut clients = Vec::with_capacity(count);
    for number in 0..count {
        let protocol = if number.is_multiple_of(2) { 3 } else { 4 };
        clients.push(Client::connect(&gateway.url(), protocol).await.expect("a connection"));
    }
    clients
}

/// Adds what the clients have seen of events, and which of them are open.
fn look(clients: &[Client], seen: &Shared) -> usize {
    let mut seen = seen.borrow_mut();
    for client in clients {
        seen.events += usize::try_from(client.seen.events.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let wrong = std::mem::take(&mut *client.seen.wrong.lock().expect("what was wrong"));
        seen.wrong.extend(wrong);
    }
    let open = clients.iter().filter(|client| client.is_open()).count();
    if open != clients.len() {
        seen.fail(format!("{open} of {} sockets are open at the end", clients.len()));
    }
    open
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
    let mut gateway = Gateway::prepare(with_endless_restarts(config));
    let disk = Mount::at(&gateway.state_dir().join("agent"), scale.disk_kib);
    gateway.launch(&[]);
    gateway.ready().await;
    let (clients, watcher) = (connect(&gateway, scale.clients).await, gateway.client().await);
    let begin = Instant::now();
    let until = begin + scale.length;
    let using = join_all(clients.iter().map(|client| use_it(client, &seen, until)));
    let talking = join_all((0..scale.runs).map(|number| {
        let (client, scale, seen) = (&clients[number % clients.len()], &scale, &seen);
        async move {
            let session = format!("agent:main:chaos-{number}");
            let said = talk(client, &session, scale, seen, until).await;
            (session, said)
        }
    }));
    let others = join4(
        disturb((&gateway, disk.as_ref()), &scale, &seen, begin),
        read_replies(&gateway, &seen, until),
        others::command_it(&gateway, &watcher, folder.path(), &seen, until),
        others::write_to_it(&watcher, &api, &seen, until),
    );
    let (_, said, _) = join3(using, talking, others).await;
    reconcile(&watcher, said.into_iter().collect(), &seen).await;
    look(&clients, &seen);
    if !seen.borrow().wrong.is_empty() {
        verso_tests::chaos::keep(&gateway.state_dir());
    }
    judge("services", &scale, &seen.into_inner(), &json!({}));
}

// The provider and the clients are not to wait for each other: what is measured is the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_edge_is_replaced_again_and_again_and_nobody_who_is_or_gets_connected_notices() {
    let scale = Scale::from_environment();
    let (provider, seen) = (Provider::start().await, Shared::default());
    let gateway = Gateway::start_with(with_endless_restarts(provider.config())).await;
    let clients = connect(&gateway, scale.clients).await;
    let (begin, connected) = (Instant::now(), RefCell::new(Vec::new()));
    let until = begin + scale.length;
    let using = join_all(clients.iter().map(|client| use_it(client, &seen, until)));
    let talking = join_all((0..scale.runs).map(|number| {
        let (client, scale, seen) = (&clients[number % clients.len()], &scale, &seen);
        async move { talk(client, &format!("agent:main:edges-{number}"), scale, seen, until).await }
    }));
    let replacing = async {
        let pause = scale.length / u32::try_from(scale.edges.max(1) + 1).unwrap_or(1);
        for number in 0..scale.edges {
            sleep_until(begin + pause * u32::try_from(number + 1).unwrap_or(1)).await;
            restart(&gateway, "edge").await;
        }
    };
    // Those that are held up come as soon as they can, and none is left out.
    let mut due = interval(Duration::from_secs(1) / u32::try_from(scale.connects_per_second.max(1)).unwrap_or(1));
    let arrivals = stream::poll_fn(move |context| due.poll_tick(context).map(Some)).take_while(|_| ready(Instant::now() < until));
    let connecting = arrivals.for_each_concurrent(CONNECTING_AT_ONCE, async |since| {
        let Some(mut socket) = Socket::connect(&gateway.url()).await else {
            return seen.borrow_mut().fail("no connection".to_owned());
        };
        let answer = socket.call("health", "h", &json!({})).await;
        let response = answer.and_then(|answer| serde_json::from_str(&answer).ok());
        count(&seen, "health", since, Answered::of(response.as_ref()));
        connected.borrow_mut().push(since.elapsed());
    });
    join4(using, talking, replacing, connecting).await;
    let kept = look(&clients, &seen);
    assert_eq!(gateway.service("edge").await.starts, scale.edges as u64 + 1);
    let connected = connected.into_inner();
    let more = json!({"edges": scale.edges, "connections": connected.len(), "kept": kept,
        "connectP99Ms": ms(&connected, 99)});
    judge("edges", &scale, &seen.into_inner(), &more);
}
