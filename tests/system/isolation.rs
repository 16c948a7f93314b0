//! The promise that people switch for: the failing part restarts alone, and nobody else notices.

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;
use verso_client::{Client, Events};
use verso_tests::gateway::SERVICES;
use verso_tests::{Gateway, PATIENCE, Provider, process};

/// Reads `chat` events of a run until its last one.
async fn ending(events: &mut Events, run_id: &str) -> Value {
    loop {
        let event = timeout(PATIENCE, events.next_named("chat")).await.expect("a chat event in time").expect("an open socket");
        if event.payload["runId"] == run_id && event.payload["state"] != "delta" {
            return event.payload.clone();
        }
    }
}

async fn start_turn(client: &Client, events: &mut Events, run_id: &str, orders: &str) {
    let params = json!({"sessionKey": "agent:main:kill", "message": format!("go [[{orders}]]"), "idempotencyKey": run_id});
    client.call("chat.send", params).await.expect("an accepted message");
    loop {
        let event = timeout(PATIENCE, events.next_named("chat")).await.expect("a chat event in time").expect("an open socket");
        if event.payload["runId"] == run_id && event.payload["state"] == "delta" {
            return;
        }
    }
}

/// Kills `service` while a turn is streaming; returns how the turn ended.
async fn kill_during_a_turn(service: &str) -> Value {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let client = gateway.client().await;
    let mut events = client.events();
    let run_id = format!("run-{service}");
    start_turn(&client, &mut events, &run_id, "tokens=40 gap=25").await;
    let before: Vec<_> = gateway.services().await.expect("the supervisor's answer");

    let pid = gateway.kill(service).await;
    client.call("health", json!({})).await.expect("health is answered whatever is down");
    for other in SERVICES.iter().filter(|other| **other != service) {
        let (method, params) = probe(other);
        client.call(method, params).await.unwrap_or_else(|error| panic!("{other} must not notice that {service} was killed: {error:?}"));
    }
    let recovered = gateway.recovered(service, pid).await;
    let (method, params) = probe(service);
    client.call(method, params).await.unwrap_or_else(|error| panic!("{service} must answer again: {error:?}"));

    let ended = ending(&mut events, &run_id).await;
    let after = gateway.services().await.expect("the supervisor's answer");
    for (before, after) in before.iter().zip(&after) {
        let expected = if before.name == service { before.starts + 1 } else { before.starts };
        assert_eq!(after.starts, expected, "starts of {}", before.name);
    }
    assert!(recovered.epoch > before.iter().find(|info| info.name == service).map_or(0, |info| info.epoch));
    assert_eq!(recovered.last_exit.as_deref(), Some("signal 9"));
    ended
}

/// A call that the service itself answers.
fn probe(service: &str) -> (&'static str, Value) {
    match service {
        "presence" => ("system-presence", json!({})),
        "node" => ("node.list", json!({})),
        "channel" => ("channels.status", json!({})),
        "agent" => ("sessions.list", json!({})),
        _ => ("canvas.status", json!({})),
    }
}

/// A turn that was not on the killed service's way ends as if nothing had happened.
async fn a_turn_survives(service: &str) {
    let ended = kill_during_a_turn(service).await;
    assert_eq!(ended["state"], "final", "{ended}");
    assert_eq!(ended["message"]["content"][0]["text"], verso_tests::provider::reply(40));
}

#[tokio::test]
async fn a_turn_survives_the_death_of_presence() {
    a_turn_survives("presence").await;
}

#[tokio::test]
async fn a_turn_survives_the_death_of_node() {
    a_turn_survives("node").await;
}

#[tokio::test]
async fn a_turn_survives_the_death_of_channel() {
    a_turn_survives("channel").await;
}

#[tokio::test]
async fn a_turn_survives_the_death_of_canvas() {
    a_turn_survives("canvas").await;
}

#[tokio::test]
async fn a_turn_whose_agent_dies_ends_with_an_answer_or_says_why() {
    let ended = kill_during_a_turn("agent").await;
    match ended["state"].as_str() {
        Some("final") => assert_eq!(ended["message"]["content"][0]["text"], verso_tests::provider::reply(40)),
        Some("error") => assert!(ended["errorMessage"].as_str().is_some_and(|why| why.contains("restart")), "{ended}"),
        _ => panic!("{ended}"),
    }
}

#[tokio::test]
async fn the_answer_of_an_agent_call_arrives_although_the_agent_died() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let client = gateway.client().await;
    let mut events = client.events();
    let params = json!({"message": "go [[tokens=30 gap=25]]", "sessionKey": "agent:main:call", "idempotencyKey": "run-call"});
    let mut answers = client.call_streaming("agent", params).await.expect("a sent request");
    let first = timeout(PATIENCE, answers.next()).await.expect("an answer in time").expect("a first answer").expect("an accepted run");
    assert_eq!(first["status"], "accepted");
    loop {
        let event = timeout(PATIENCE, events.next_named("agent")).await.expect("an event in time").expect("an open socket");
        if event.payload["stream"] == "assistant" {
            break;
        }
    }
    gateway.kill("agent").await;
    let last = timeout(PATIENCE, answers.next()).await.expect("an answer in time").expect("a second answer");
    match last {
        Ok(payload) => assert_eq!(payload["result"]["payloads"][0]["text"], verso_tests::provider::reply(30)),
        Err(error) => assert!(error.message.contains("restart"), "{error:?}"),
    }
    assert!(answers.next().await.is_none(), "two answers, no more");
    let history = client.call("chat.history", json!({"sessionKey": "agent:main:call"})).await.expect("the history");
    let roles: Vec<_> = history["messages"].as_array().expect("messages").iter().map(|message| message["role"].clone()).collect();
    assert_eq!(roles.iter().filter(|role| *role == "user").count(), 1, "the message was taken once: {history}");
}

#[tokio::test]
async fn a_repeatable_call_waits_for_a_service_that_restarts() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    for _ in 0..5 {
        let pid = gateway.kill("agent").await;
        client.call("sessions.list", json!({})).await.expect("a read-only call is repeated until the service is back");
        gateway.recovered("agent", pid).await;
    }
}

#[tokio::test]
async fn a_call_that_may_not_be_repeated_is_answered_unavailable_and_retryable() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let agent = gateway.service("agent").await.pid.expect("a running agent");
    // Stopped, it takes the call and does not answer it; then it dies with the call in hand.
    process::signal(agent, Signal::STOP);
    let inject = json!({"sessionKey": "agent:main:main", "message": "x"});
    let (answer, ()) = tokio::join!(client.call("chat.inject", inject), async {
        // Frames are taken in their order: an answer to this one says that the other was passed on.
        client.call("health", json!({})).await.expect("an answer from the edge alone");
        process::signal(agent, Signal::KILL);
    });
    let error = answer.expect_err("the call was lost with its service");
    assert_eq!((error.code.as_str(), error.retryable, error.retry_after_ms.is_some()), ("UNAVAILABLE", true, true), "{error:?}");
    gateway.recovered("agent", agent).await;
    client.call("sessions.list", json!({})).await.expect("the connection is still there");
}

#[tokio::test]
async fn a_hung_service_is_replaced_and_the_others_do_not_notice() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let node = gateway.service("node").await.pid.expect("a running node service");
    process::signal(node, Signal::STOP);
    client.call("system-presence", json!({})).await.expect("presence answers");
    gateway.recovered("node", node).await;
    client.call("node.list", json!({})).await.expect("the new node service answers");
}

#[tokio::test]
async fn presence_remembers_connections_and_its_version_over_a_restart() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let mut events = client.events();
    let beacon = json!({"text": "a beacon", "instanceId": "beacon-1"});
    client.call("system-event", beacon.clone()).await.expect("a taken beacon");
    let before = timeout(PATIENCE, events.next_named("presence")).await.expect("in time").expect("an event");
    let pid = gateway.kill("presence").await;
    gateway.recovered("presence", pid).await;
    client.call("system-event", beacon).await.expect("a taken beacon");
    let after = loop {
        let event = timeout(PATIENCE, events.next_named("presence")).await.expect("in time").expect("an event");
        if event.payload["presence"].to_string().contains("beacon-1") && event.seq > before.seq {
            break event;
        }
    };
    let version = |event: &verso_client::Event| event.state_version.as_ref().map(|version| version.presence);
    assert!(version(&after) > version(&before), "{:?} then {:?}", version(&before), version(&after));
    let list = client.call("system-presence", json!({})).await.expect("the list");
    let own = list.as_array().expect("a list").iter().any(|entry| entry["mode"] == "backend" && entry["reason"] == "connect");
    assert!(own, "the connection is listed again: {list}");
}

#[tokio::test]
async fn event_numbers_have_no_gap_while_services_die() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let mut events = client.events();
    for service in SERVICES {
        let pid = gateway.kill(service).await;
        gateway.recovered(service, pid).await;
        let beacon = json!({"text": format!("after {service}"), "instanceId": service});
        client.call("system-event", beacon).await.expect("a taken beacon");
    }
    let mut expected = None;
    loop {
        let event = timeout(PATIENCE, events.next()).await.expect("in time").expect("an event");
        let Some(seq) = event.seq else { continue };
        assert_eq!(seq, expected.unwrap_or(seq), "{}", event.name);
        expected = Some(seq + 1);
        if event.payload["presence"].to_string().contains("after canvas") {
            return;
        }
    }
}
