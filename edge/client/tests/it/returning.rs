//! The client that connects again: against a peer whose connections end, refuse and fall silent.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use verso_client::{Backoff, CallErrorKind, Client, EventError, Options, Reconnecting, Update, Updates};

use crate::gateway::{Gateway, Peer, challenge, error, event, hello, ok};

/// Short, so that the tests are.
const AT_ONCE: Backoff = Backoff { first_ms: 1, longest_ms: 5 };

async fn refuse(peer: &mut Peer, detail: Value) {
    peer.send(challenge("n", 1)).await;
    let request = peer.request().await;
    peer.send(error(&request, &detail)).await;
    peer.close(CloseCode::Policy, "refused").await;
}

/// The next update that is no `Disconnected`.
async fn next(updates: &mut Updates) -> Update {
    loop {
        match updates.next().await.unwrap() {
            Update::Disconnected { .. } => {}
            update => return update,
        }
    }
}

#[tokio::test]
async fn connects_again_and_repeats_its_subscriptions() {
    let gateway = Gateway::start_many(2, async |mut peer, turn| {
        peer.accept().await;
        let request = peer.request().await;
        assert_eq!((&request["method"], &request["params"]), (&json!("sessions.subscribe"), &json!({"a": 1})));
        peer.send(ok(&request, &json!({}))).await;
        peer.send(event("chat", &json!(turn), Some(1))).await;
        if turn == 0 {
            peer.close(CloseCode::Restart, "service restart").await;
        } else {
            peer.end().await;
        }
    })
    .await;
    let client = Reconnecting::start_with(gateway.options(), AT_ONCE);
    client.subscribe("sessions.subscribe", json!({"a": 1})).await.unwrap();
    let mut updates = client.updates();
    for turn in 0..2 {
        assert!(matches!(next(&mut updates).await, Update::Connected(_)), "turn {turn}");
        let Update::Event(event) = next(&mut updates).await else { panic!("an event") };
        assert_eq!(event.payload, json!(turn));
    }
    client.close().await;
    gateway.finished().await;
}

#[tokio::test]
async fn a_call_that_may_be_repeated_survives_the_end_of_a_connection() {
    let gateway = Gateway::start_many(2, async |mut peer, turn| {
        peer.accept().await;
        let request = peer.request().await;
        if turn == 0 {
            peer.close(CloseCode::Restart, "service restart").await;
        } else {
            peer.send(ok(&request, &json!({"turn": turn}))).await;
            let other = peer.request().await;
            assert_eq!(other["method"], "sessions.delete");
            peer.close(CloseCode::Restart, "service restart").await;
        }
    })
    .await;
    let client = Reconnecting::start_with(gateway.options(), AT_ONCE);
    assert_eq!(client.call("health", json!({})).await.unwrap(), json!({"turn": 1}));
    let failed = client.call("sessions.delete", json!({"key": "k"})).await.unwrap_err();
    assert_eq!(failed.kind, CallErrorKind::Closed, "what has an effect is not done twice");
}

#[tokio::test]
async fn waits_for_an_approval_and_then_comes_in() {
    let gateway = Gateway::start_many(2, async |mut peer, turn| {
        if turn == 0 {
            let details = json!({"code": "PAIRING_REQUIRED", "reason": "not-paired", "requestId": "r-1"});
            refuse(&mut peer, json!({"code": "NOT_PAIRED", "message": "pairing required", "details": details})).await;
        } else {
            peer.accept().await;
            peer.end().await;
        }
    })
    .await;
    let client = Reconnecting::start_with(gateway.options(), AT_ONCE);
    let mut updates = client.updates();
    let Update::PairingRequired(request) = next(&mut updates).await else { panic!("a request") };
    assert_eq!((request.request_id.as_str(), request.reason.as_str()), ("r-1", "not-paired"));
    assert!(matches!(next(&mut updates).await, Update::Connected(_)));
    client.close().await;
}

#[tokio::test]
async fn gives_up_where_repetition_is_of_no_use() {
    let gateway = Gateway::start(async |mut peer| {
        refuse(&mut peer, json!({"code": "INVALID_REQUEST", "message": "unauthorized", "details": {"code": "AUTH_TOKEN_MISMATCH"}})).await;
    })
    .await;
    let client = Reconnecting::start_with(gateway.options(), AT_ONCE);
    let mut updates = client.updates();
    assert!(matches!(next(&mut updates).await, Update::GaveUp(_)));
    let failed = client.call("health", json!({})).await.unwrap_err();
    assert!(failed.message.contains("unauthorized"), "{failed}");
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_left() {
    let gateway = Gateway::start(async |mut peer| {
        peer.send(challenge("n", 1)).await;
        let request = peer.request().await;
        let mut quick = hello(&Value::Null);
        quick["policy"]["tickIntervalMs"] = json!(20);
        peer.send(ok(&request, &quick)).await;
        peer.send(event("tick", &json!({"ts": 1}), Some(1))).await;
        assert_eq!(peer.closed().await, Some((4000, "tick timeout".to_owned())));
    })
    .await;
    let client = gateway.client().await;
    let closed = tokio::time::timeout(Duration::from_secs(10), client.closed()).await.unwrap();
    assert_eq!((closed.code, closed.reason.as_str()), (4000, "tick timeout"));
    gateway.finished().await;
}

#[tokio::test]
async fn a_gap_in_the_count_of_events_is_reported() {
    let gateway = Gateway::start(async |mut peer| {
        peer.accept().await;
        for seq in [1, 2, 5] {
            peer.send(event("chat", &json!(seq), Some(seq))).await;
        }
        peer.send(event("targeted", &Value::Null, None)).await;
        peer.end().await;
    })
    .await;
    let client = Client::connect(Options { call_timeout_ms: 100, ..gateway.options() }).await.unwrap();
    let mut events = client.events();
    assert_eq!(events.next().await.unwrap().seq, Some(1));
    assert_eq!(events.next().await.unwrap().seq, Some(2));
    assert_eq!(events.next().await, Err(EventError::Gap(2)));
    assert_eq!(events.next().await.unwrap().seq, Some(5));
    assert_eq!(events.next().await.unwrap().name, "targeted");
}
