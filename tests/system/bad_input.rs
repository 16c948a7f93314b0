//! Nonsense: each kind gets a clear error, and nothing is lost.

use std::time::Duration;

use serde_json::json;
use verso_tests::Gateway;

use crate::raw::{Raw, connect_params, request};

#[tokio::test]
async fn what_comes_instead_of_connect_closes_the_socket() {
    let gateway = Gateway::start().await;
    for (text, expected) in [
        ("{nope", (1000, "")),
        ("[]", (1008, "invalid request frame")),
        ("null", (1008, "invalid request frame")),
        (r#"{"type":"event","event":"x"}"#, (1008, "invalid request frame")),
        (r#"{"type":"req","method":"connect","params":{}}"#, (1008, "invalid request frame")),
    ] {
        let mut raw = Raw::open(&gateway).await;
        assert_eq!(raw.next().await.expect("a challenge")["event"], "connect.challenge");
        raw.send(text).await;
        let (code, reason) = raw.closed().await;
        assert_eq!((code, reason.as_str()), expected, "{text}");
    }
}

#[tokio::test]
async fn sec_03_no_method_runs_before_connect() {
    let gateway = Gateway::start().await;
    for method in ["health", "device.pair.list", "chat.send", "services.restart"] {
        let mut raw = Raw::open(&gateway).await;
        raw.send(request("1", method, json!({}))).await;
        let answer = raw.response().await.expect("an answer");
        assert_eq!(answer["error"]["message"], "invalid handshake: first request must be connect");
        assert_eq!(raw.closed().await.0, 1008);
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_what_to_do() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::open(&gateway).await;
    let mut params = connect_params(4);
    params["auth"]["token"] = json!("wrong");
    raw.send(request("1", "connect", params)).await;
    let error = raw.response().await.expect("an answer")["error"].clone();
    assert_eq!(error["message"], "unauthorized: gateway token mismatch (provide gateway auth token)");
    assert_eq!(error["details"]["code"], "AUTH_TOKEN_MISMATCH");
    let (code, reason) = raw.closed().await;
    assert_eq!((code, reason.starts_with("unauthorized: gateway token mismatch")), (1008, true));
}

#[tokio::test]
async fn bad_requests_are_answered_and_the_connection_stays() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::open(&gateway).await;
    raw.connect(3).await;
    for (frame, id, expected) in [
        (request("a", "no.such", json!({})), "a", "unknown method: no.such"),
        (request("b", "chat.history", json!({})), "b", "invalid chat.history params: must have required property 'sessionKey'"),
        (request("c", "node.list", json!({"x": 1})), "c", "invalid node.list params: at root: unexpected property 'x'"),
        (request("d", "chat.history", json!({"sessionKey": "x", "limit": 0})), "d", "invalid chat.history params: at /limit: must be >= 1"),
        (r#"{"type":"req","id":"e"}"#.to_owned(), "e", "invalid request frame: must have required property 'method'"),
        (r#"{"type":"res","id":"f","ok":true}"#.to_owned(), "f", "invalid request frame: "),
        (r#"{"type":"req","method":"health"}"#.to_owned(), "invalid", "invalid request frame: must have required property 'id'"),
        (request("g", "connect", connect_params(3)), "g", "connect is only valid as the first request"),
    ] {
        raw.send(frame.clone()).await;
        let answer = raw.response().await.expect("an answer");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!("INVALID_REQUEST")), "{frame}");
        assert!(message.starts_with(expected), "{frame}: {message}");
    }
    raw.send("{nope").await;
    raw.send(request("z", "health", json!({}))).await;
    assert_eq!(raw.response().await.expect("an answer")["id"], "z", "what is not JSON is ignored");
}

#[tokio::test]
async fn sec_27_a_frame_above_the_limit_closes_with_1009() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::open(&gateway).await;
    let hello = raw.connect(4).await;
    let limit = usize::try_from(hello["payload"]["policy"]["maxPayload"].as_u64().expect("a limit")).expect("a size");
    raw.send(request("big", "node.list", json!({"x": "y".repeat(limit)}))).await;
    assert_eq!(raw.closed().await.0, 1009);
    gateway.client().await.call("health", json!({})).await.expect("others do not notice");
}

#[tokio::test]
async fn sec_14_strangers_may_send_little_and_are_few() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::open(&gateway).await;
    let mut params = connect_params(4);
    params["userAgent"] = json!("x".repeat(70_000));
    raw.send(request("1", "connect", params)).await;
    let (code, _) = raw.closed().await;
    assert!(code == 1009 || code == 1006, "closed with {code}");
    let mut waiting = Vec::new();
    let refused = loop {
        match Raw::open_with(&gateway, &[]).await {
            Ok(raw) => waiting.push(raw),
            Err(error) => break error.to_string(),
        }
        assert!(waiting.len() <= 32, "no limit on strangers");
    };
    assert!(refused.contains("503"), "{refused}");
    drop(waiting);
    verso_tests::eventually("room for others", async || Raw::open_with(&gateway, &[]).await.ok()).await.connect(4).await;
}

#[tokio::test]
async fn a_silent_stranger_is_shown_the_door() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::open(&gateway).await;
    let begun = tokio::time::Instant::now();
    let (code, reason) = raw.closed().await;
    assert_eq!((code, reason.as_str()), (1000, ""));
    assert!(begun.elapsed() > Duration::from_secs(5), "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn sec_28_a_reader_that_stalls_is_closed_and_nobody_else_notices() {
    let gateway = Gateway::start().await;
    let mut stalled = Raw::open(&gateway).await;
    stalled.connect(4).await;
    let client = gateway.client().await;
    let turn = json!({"sessionKey": "agent:main:flood", "message": "hello", "idempotencyKey": "flood"});
    client.call("chat.send", turn).await.expect("an accepted message");
    client.call("agent.wait", json!({"runId": "flood"})).await.expect("a finished run");
    // More than the budget of one connection and all that the system buffers; the stalled reader takes none of it.
    let text = "x".repeat(200_000);
    for _ in 0..150 {
        client.call("chat.inject", json!({"sessionKey": "agent:main:flood", "message": text})).await.expect("others are served");
    }
    let (code, reason) = stalled.closed().await;
    assert!(code == 1006 || (code, reason.as_str()) == (1008, "slow consumer"), "closed with {code} {reason}");
    client.call("health", json!({})).await.expect("others do not notice");
}
