//! The edge is replaced, and the connections that it holds go on in the next one.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;
use verso_client::{Client, Events, Options};
use verso_kit::peer::{Caller, Peer};
use verso_proto::supervisor::v1::ServicesRestartRequest;
use verso_tests::{Gateway, PATIENCE, Provider, eventually, process};

use crate::raw::{Raw, request};

/// What a peer that does not read leaves to be written, in bytes: more than a socket takes, less than may wait.
const WAITING_BYTES: usize = 10 << 20;

/// Replaces the edge as an operator does, and returns its new process.
pub(crate) async fn replace(gateway: &Gateway) -> i64 {
    let before = gateway.service("edge").await.pid.expect("a running edge");
    let mut command = gateway.command();
    command.args(["services", "restart", "edge"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the CLI runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = gateway.recovered("edge", before).await.pid.expect("a running edge");
    // What serves clients now is the next edge alone.
    eventually("the previous edge to end", async || (!process::is_alive(before)).then_some(())).await;
    after
}

fn beacon(text: &str) -> Value {
    json!({"text": text, "instanceId": "beacon"})
}

/// Reads events until a beacon's, and makes sure that the numbers are without a gap from `expected` on.
async fn until_beacon(events: &mut Events, text: &str, expected: &mut Option<u64>) {
    loop {
        let event = timeout(PATIENCE, events.next()).await.expect("in time").expect("an open connection");
        if let Some(seq) = event.seq {
            assert_eq!(seq, expected.unwrap_or(seq), "{} {}", event.name, event.payload);
            *expected = Some(seq + 1);
        }
        assert_ne!(event.name, "shutdown", "nobody is told to leave");
        if event.name == "presence" && event.payload["presence"].to_string().contains(text) {
            return;
        }
    }
}

#[tokio::test]
async fn connections_of_both_versions_outlive_their_edge_without_a_gap_in_their_events() {
    let gateway = Gateway::start().await;
    let mut clients = Vec::new();
    for protocol in [3..=3, 4..=4, 3..=3, 4..=4] {
        let client = gateway.connect(gateway.options().with_protocol(protocol)).await;
        let events = client.events();
        clients.push((client, events, None));
    }
    for round in 0..3 {
        let (before, after) = (format!("before-{round}"), format!("after-{round}"));
        clients[0].0.call("system-event", beacon(&before)).await.expect("a taken beacon");
        for (_, events, expected) in &mut clients {
            until_beacon(events, &before, expected).await;
        }
        replace(&gateway).await;
        clients[1].0.call("system-event", beacon(&after)).await.expect("a taken beacon");
        for (client, events, expected) in &mut clients {
            client.call("health", json!({})).await.expect("the next edge answers");
            client.call("sessions.list", json!({})).await.expect("so do the services behind it");
            until_beacon(events, &after, expected).await;
        }
    }
    assert_eq!(gateway.service("edge").await.starts, 4);
}

#[tokio::test]
async fn an_edge_that_takes_clients_over_tells_them_that_it_is_there() {
    /// Less than the period of ticks: those of an edge that is replaced more often than that come from here alone.
    const SOON: Duration = Duration::from_secs(25);
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    for _ in 0..2 {
        let mut events = client.events();
        replace(&gateway).await;
        timeout(SOON, events.next_named("tick")).await.expect("in time").expect("an open connection");
    }
}

#[tokio::test]
async fn a_streamed_answer_and_its_events_go_on_in_the_next_edge() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let client = gateway.client().await;
    let mut events = client.events();
    let params = json!({"message": "go [[tokens=60 gap=25]]", "sessionKey": "agent:main:moved", "idempotencyKey": "run-moved"});
    let mut answers = client.call_streaming("agent", params).await.expect("a sent request");
    let first = timeout(PATIENCE, answers.next()).await.expect("in time").expect("a first answer").expect("an accepted run");
    assert_eq!(first["status"], "accepted");
    timeout(PATIENCE, events.next_named("agent")).await.expect("in time").expect("an event of the run");
    replace(&gateway).await;
    let last = timeout(PATIENCE, answers.next()).await.expect("in time").expect("a second answer").expect("a finished run");
    assert_eq!(last["result"]["payloads"][0]["text"], verso_tests::provider::reply(60));
    assert!(answers.next().await.is_none(), "two answers, no more");
    // Every piece of the reply was heard once, whichever edge gave it out.
    let mut text = String::new();
    loop {
        let event = timeout(PATIENCE, events.next_named("agent")).await.expect("in time").expect("an open connection");
        match (event.payload["stream"].as_str(), event.payload["data"]["phase"].as_str()) {
            (Some("assistant"), _) => text = event.payload["data"]["text"].as_str().unwrap_or_default().to_owned(),
            (Some("lifecycle"), Some("end")) => break,
            _ => {}
        }
    }
    assert_eq!(text, verso_tests::provider::reply(60));
}

#[tokio::test]
async fn a_call_that_must_not_be_made_twice_is_answered_before_its_connection_moves() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let agent = gateway.service("agent").await.pid.expect("a running agent");
    let inject = json!({"sessionKey": "agent:main:main", "message": "said once"});
    client.call("agent", json!({"message": "hello", "sessionKey": "agent:main:main", "idempotencyKey": "first"})).await.expect("a run");
    client.call("agent.wait", json!({"runId": "first"})).await.expect("a finished run");
    process::signal(agent, Signal::STOP);
    let (answer, ()) = tokio::join!(client.call("chat.inject", inject), async {
        client.call("health", json!({})).await.expect("an answer from the edge alone");
        let pid = gateway.service("edge").await.pid.expect("a running edge");
        let mut command = gateway.command();
        command.args(["services", "restart", "edge"]);
        let restart = tokio::task::spawn_blocking(move || command.output());
        gateway.recovered("edge", pid).await;
        process::signal(agent, Signal::CONT);
        restart.await.expect("a task").expect("the CLI runs");
    });
    answer.expect("an answer");
    let history = client.call("chat.history", json!({"sessionKey": "agent:main:main"})).await.expect("the history");
    assert_eq!(history.to_string().matches("said once").count(), 1, "{history}");
}

#[tokio::test]
async fn half_a_frame_is_finished_in_the_next_edge() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::open(&gateway).await;
    raw.connect(4).await;
    let frame = raw.frame(&request("split", "health", json!({})));
    let (first, second) = frame.split_at(frame.len() / 2);
    raw.send_bytes(first).await;
    replace(&gateway).await;
    raw.send_bytes(second).await;
    let answer = raw.response().await.expect("an answer");
    assert_eq!((answer["id"].as_str(), answer["ok"].as_bool()), (Some("split"), Some(true)));
}

#[tokio::test]
async fn a_peer_that_does_not_read_gets_everything_in_the_end() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let mut raw = Raw::open(&gateway).await;
    raw.connect(4).await;
    raw.send(request("size", "config.schema", json!({}))).await;
    let size_bytes = raw.response().await.expect("an answer").to_string().len();
    // They fill the socket, and wait in the edge, within what may wait for one reader.
    let count = (WAITING_BYTES / size_bytes).clamp(2, 100);
    for number in 0..count {
        raw.send(request(&format!("r{number}"), "config.schema", json!({}))).await;
    }
    replace(&gateway).await;
    for number in 0..count {
        let answer = raw.response().await.expect("an answer");
        assert_eq!((answer["ok"].as_bool(), answer["id"].as_str().is_some()), (Some(true), true), "answer {number}");
    }
    raw.send(request("after", "health", json!({}))).await;
    assert_eq!(raw.response().await.expect("an answer")["id"], "after");
}

#[tokio::test]
async fn new_connections_come_in_while_the_edge_is_replaced_and_none_is_lost() {
    let gateway = Gateway::start().await;
    let connecting = async {
        let mut clients = Vec::new();
        for _ in 0..60 {
            clients.push(gateway.connect(gateway.options()).await);
        }
        clients
    };
    let (clients, _) = tokio::join!(connecting, replace(&gateway));
    for client in &clients {
        client.call("health", json!({})).await.expect("an open connection");
    }
}

#[tokio::test]
async fn a_device_that_was_removed_meanwhile_does_not_come_along() {
    let gateway = Gateway::start().await;
    let identity = verso_client::Identity::generate(now_ms());
    let options = Options { role: "operator".to_owned(), ..gateway.options() }.with_identity(identity.clone());
    let device = Client::connect(options).await.expect("a paired device");
    let devices = gateway.state_dir().join("devices/paired.json");
    let paired = std::fs::read_to_string(&devices).expect("the paired devices");
    assert!(paired.contains(&identity.device_id()));
    // As the next edge finds it: somebody asked that one to remove the device.
    std::fs::write(&devices, "{}").expect("a written file");
    replace(&gateway).await;
    let closed = device.closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (4001, "device removed"));
}

#[tokio::test]
async fn sec_78_no_connection_is_given_to_a_socket_that_the_supervisor_did_not_make() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let edge = gateway.service("edge").await.pid.expect("a running edge");
    // Somebody else of the same user waits where the next edge would, and tells the edge that it was replaced.
    let path = gateway.state_dir().join("run/handover.sock");
    let _gone = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("a bound socket");
    let visited = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().expect("a visit");
        std::io::Read::read(&mut stream, &mut [0; 64]).expect("an end")
    });
    process::signal(edge, Signal::USR1);
    let closed = client.closed().await;
    assert_eq!(closed.code, 1012, "it was told to come back, and served by nobody else");
    assert_eq!(visited.await.expect("a task"), 0, "the visitor left without a word");
}

#[tokio::test]
async fn sec_78_a_stopped_edge_gives_nothing_away_and_does_not_linger() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let edge = gateway.service("edge").await.pid.expect("a running edge");
    process::signal(edge, Signal::STOP);
    drop(client);
    // Its own connections are not answered, so the restart is asked for on the supervisor's socket.
    let peer = Peer::supervisor(&gateway.state_dir().join("run"));
    let request = ServicesRestartRequest { name: "edge".to_owned(), ..ServicesRestartRequest::default() };
    peer.call(request, &Caller::default()).await.expect("the next edge serves");
    gateway.client().await.call("health", json!({})).await.expect("the next edge answers alone");
    process::signal(edge, Signal::CONT);
    eventually("the previous edge to end", async || (!process::is_alive(edge)).then_some(())).await;
}

fn now_ms() -> i64 {
    verso_kit::clock::Clock::system().now_ms()
}
