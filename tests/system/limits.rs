//! Every limit is reached in its own way, says so, and is counted.

use reqwest::StatusCode;
use serde_json::json;
use verso_tests::Gateway;
use verso_tests::gateway::TOKEN;

use crate::raw::{Raw, connect_params, request};

async fn metrics(gateway: &Gateway) -> String {
    let asked = crate::http::http().get(gateway.http("/metrics")).bearer_auth(TOKEN).send().await.expect("an answer");
    assert_eq!(asked.status(), StatusCode::OK);
    asked.text().await.expect("text")
}

/// The value of one series.
async fn counted(gateway: &Gateway, series: &str) -> u64 {
    let text = metrics(gateway).await;
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

async fn reached(gateway: &Gateway, limit: &str) -> u64 {
    counted(gateway, &format!("verso_edge_limit_reached_total{{limit=\"{limit}\"}}")).await
}

#[tokio::test]
async fn sec_34_metrics_are_for_those_who_know_the_secret() {
    let gateway = Gateway::start().await;
    for path in ["/metrics", "/api/diagnostics/prometheus"] {
        let stranger = crate::http::http().get(gateway.http(path)).send().await.expect("an answer");
        assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(!stranger.text().await.expect("text").contains("verso_"));
    }
    let posted = crate::http::http().post(gateway.http("/metrics")).send().await.expect("an answer");
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    let client = gateway.client().await;
    client.call("health", json!({})).await.expect("health");
    client.call("no.such", json!({})).await.expect_err("no such method");
    let text = metrics(&gateway).await;
    for series in [
        "openclaw_gateway_rpc_requests_total{code=\"ok\",method=\"health\"} 1",
        "openclaw_gateway_rpc_requests_total{code=\"INVALID_REQUEST\",method=\"unknown\"} 1",
        "verso_edge_connections 1",
        "verso_edge_connections_opened_total 1",
        "verso_service_up{service=\"agent\"} 1",
    ] {
        assert!(text.lines().any(|line| line == series), "{series} is not in {text}");
    }
    assert!(!text.contains(TOKEN) && !text.contains("no.such"));
}

#[tokio::test]
async fn sec_34_a_stranger_learns_that_the_gateway_lives_and_nothing_more() {
    let gateway = Gateway::start_with(json!({"gateway": {"trustedProxies": ["127.0.0.1"]}})).await;
    for (path, told) in [
        ("/healthz", json!({"ok": true, "status": "live"})),
        ("/startupz", json!({"ok": true, "status": "started"})),
        ("/readyz", json!({"ready": true})),
    ] {
        verso_tests::eventually(path, async || {
            let asked = crate::http::http().get(gateway.http(path)).header("x-forwarded-for", "203.0.113.9");
            let answer: serde_json::Value = asked.send().await.ok()?.json().await.ok()?;
            (answer == told).then_some(())
        })
        .await;
    }
    let mut stranger = Raw::open_with(&gateway, &[("x-forwarded-for", "203.0.113.9")]).await.expect("an upgrade");
    assert_eq!(stranger.connect(4).await["payload"]["auth"]["scopes"], json!([]), "the secret alone gives no scopes");
    for method in ["logs.tail", "status", "channels.status", "sessions.list", "config.get"] {
        stranger.send(request(method, method, json!({}))).await;
        assert_eq!(stranger.response().await.expect("an answer")["ok"], false, "{method}");
    }
}

#[tokio::test]
async fn who_changes_the_gateway_too_often_is_told_when_to_come_back() {
    let gateway = Gateway::start_with(json!({"gateway": {"limits": {"controlWritesPerMinute": 3}}})).await;
    let client = gateway.client().await;
    for _ in 0..3 {
        assert!(client.call("update.run", json!({})).await.expect_err("no updater").message.contains("does not update itself"));
    }
    let refused = client.call("update.run", json!({})).await.expect_err("too often");
    assert!(refused.message.starts_with("rate limit exceeded for update.run; retry after "), "{refused}");
    assert_eq!((refused.code.as_str(), refused.retryable), ("UNAVAILABLE", true));
    assert!(refused.retry_after_ms.is_some_and(|wait| (1..=60_000).contains(&wait)));
    assert_eq!(reached(&gateway, "control_writes_per_minute").await, 1);
}

#[tokio::test]
async fn who_keeps_calling_what_his_role_may_not_is_closed() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::open(&gateway).await;
    raw.connect(4).await;
    for number in 0..10 {
        raw.send(request(&format!("{number}"), "node.event", json!({}))).await;
        assert_eq!(raw.response().await.expect("an answer")["error"]["message"], "unauthorized role: operator");
    }
    // One that it may call begins the count anew.
    raw.send(request("h", "health", json!({}))).await;
    raw.response().await.expect("health");
    for number in 0..11 {
        raw.send(request(&format!("again-{number}"), "node.event", json!({}))).await;
    }
    assert_eq!(raw.closed().await, (1008, "repeated unauthorized calls".to_owned()));
    assert_eq!(reached(&gateway, "unauthorized_calls").await, 1);
}

#[tokio::test]
async fn sec_14_connections_are_limited_by_address_and_in_all() {
    let limits = json!({"unauthenticated": 3, "connectionsPerAddress": 2, "connections": 5, "handshakeMs": 2_000});
    let gateway = Gateway::start_with(json!({"gateway": {"trustedProxies": ["127.0.0.1"], "limits": limits}})).await;
    let from = |last: u8| format!("203.0.113.{last}");
    let open = async |address: &str| Raw::open_with(&gateway, &[("x-forwarded-for", address)]).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut raw = open(&from(1)).await.expect("an upgrade");
        raw.connect(4).await;
        kept.push(raw);
    }
    assert!(open(&from(1)).await.err().expect("one too many").to_string().contains("503"));
    let mut waiting = Vec::new();
    for last in 2..5 {
        waiting.push(open(&from(last)).await.expect("an upgrade"));
    }
    assert!(open(&from(9)).await.err().expect("one too many").to_string().contains("503"));
    let (code, reason) = waiting.remove(0).closed().await;
    assert_eq!((code, reason.as_str()), (1000, ""), "the handshake takes two seconds");
    for limit in ["connections_per_address", "unauthenticated", "handshake_time"] {
        assert!(reached(&gateway, limit).await >= 1, "{limit}");
    }
}

#[tokio::test]
async fn sec_26_strangers_cost_no_memory_whatever_they_send() {
    let gateway = Gateway::start().await;
    let edge = gateway.service("edge").await.pid.expect("a running edge");
    let mut params = connect_params(4);
    params["userAgent"] = json!("x".repeat(1 << 20));
    let frame = request("1", "connect", params);
    let flood = async |rounds: usize| {
        for _ in 0..rounds {
            let mut raw = Raw::open(&gateway).await;
            raw.try_send(frame.clone()).await;
            drop(raw.closed().await);
        }
    };
    flood(20).await;
    let before = verso_tests::process::rss_kib(edge);
    flood(100).await;
    let grown = verso_tests::process::rss_kib(edge).saturating_sub(before);
    assert!(grown < 8 << 10, "a hundred mebibytes from strangers cost {grown} KiB");
    assert!(reached(&gateway, "preauth_payload_bytes").await >= 100);
}

#[tokio::test]
async fn a_service_with_too_much_to_do_refuses_more_at_once_and_the_others_answer() {
    let gateway = Gateway::start_with(json!({"gateway": {"limits": {"callsPerService": 3}}})).await;
    let client = gateway.client().await;
    let node = gateway.service("node").await.pid.expect("a running node service");
    let mut raw = Raw::open(&gateway).await;
    raw.connect(4).await;
    // Stopped, it takes calls and answers none.
    verso_tests::process::signal(node, rustix::process::Signal::STOP);
    for number in 0..3 {
        raw.send(request(&format!("{number}"), "node.list", json!({}))).await;
    }
    raw.send(request("h", "health", json!({}))).await;
    assert_eq!(raw.response().await.expect("an answer")["id"], "h", "the three are with the service");
    let refused = client.call("node.list", json!({})).await.expect_err("one too many");
    assert_eq!((refused.code.as_str(), refused.retryable, refused.retry_after_ms), ("UNAVAILABLE", true, Some(1_000)), "{refused:?}");
    client.call("sessions.list", json!({})).await.expect("another service answers");
    assert!(reached(&gateway, "calls_per_service").await >= 1);
    verso_tests::process::signal(node, rustix::process::Signal::CONT);
    for _ in 0..3 {
        assert_eq!(raw.response().await.expect("an answer")["ok"], true);
    }
    client.call("node.list", json!({})).await.expect("it answers again");
}

#[tokio::test]
async fn a_full_house_answers_every_request() {
    let gateway = Gateway::start_with(json!({"gateway": {"limits": {"requestsPerConnection": 2}}})).await;
    let mut raw = Raw::open(&gateway).await;
    raw.connect(4).await;
    for number in 0..50 {
        raw.send(request(&format!("{number}"), "sessions.list", json!({}))).await;
    }
    for _ in 0..50 {
        assert_eq!(raw.response().await.expect("an answer")["ok"], true);
    }
    assert!(reached(&gateway, "requests_per_connection").await >= 1);
}
