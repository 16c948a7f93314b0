//! The HTTP side of the port.

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use verso_tests::gateway::TOKEN;
use verso_tests::provider::reply;
use verso_tests::{Gateway, Provider, eventually};

pub(crate) fn http() -> Client {
    // The first test to come here installs it; the others find it there.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().tls_certs_only([]).build().expect("a client")
}

#[tokio::test]
async fn probes_tell_how_the_gateway_fares() {
    let gateway = Gateway::start().await;
    for path in ["/healthz", "/health"] {
        let body: Value = http().get(gateway.http(path)).send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(body, json!({"ok": true, "status": "live"}));
    }
    let started: Value = http().get(gateway.http("/startupz")).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!((&started["ok"], &started["status"]), (&json!(true), &json!("started")));
    let ready = eventually("readiness", async || {
        let answer = http().get(gateway.http("/readyz")).send().await.ok()?;
        (answer.status() == StatusCode::OK).then_some(answer)
    })
    .await;
    let body: Value = ready.json().await.expect("JSON");
    assert_eq!((&body["ready"], &body["failing"]), (&json!(true), &json!([])));
    let stranger = http().get(gateway.http("/startupz")).header("x-forwarded-for", "203.0.113.9");
    let told: Value = stranger.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(told, json!({"ok": true, "status": "started"}), "strangers learn nothing more");
}

#[tokio::test]
async fn a_completion_is_answered_whole_and_in_parts() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let request = |stream: bool| {
        let body = json!({"model": "verso", "stream": stream, "messages": [{"role": "user", "content": "hi [[tokens=4]]"}]});
        http().post(gateway.http("/v1/chat/completions")).bearer_auth(TOKEN).json(&body)
    };
    let whole: Value = request(false).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(whole["choices"][0]["message"]["content"], reply(4), "{whole}");
    let text = request(true).send().await.expect("an answer").text().await.expect("a body");
    let chunks: Vec<Value> =
        text.lines().filter_map(|line| line.strip_prefix("data: ")).filter_map(|data| serde_json::from_str(data).ok()).collect();
    let pieces: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(pieces, reply(4), "{text}");
    assert!(text.trim_end().ends_with("data: [DONE]"), "{text}");
}

#[tokio::test]
async fn the_apis_need_the_gateways_secret() {
    let gateway = Gateway::start().await;
    for request in [http().get(gateway.http("/v1/models")), http().post(gateway.http("/v1/chat/completions")).json(&json!({}))] {
        let answer = request.bearer_auth("wrong").send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    let models: Value =
        http().get(gateway.http("/v1/models")).bearer_auth(TOKEN).send().await.expect("an answer").json().await.expect("JSON");
    assert!(models["data"].as_array().is_some_and(|models| !models.is_empty()), "{models}");
}

#[tokio::test]
async fn a_completion_waits_for_an_agent_that_restarts() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let pid = gateway.kill("agent").await;
    let body = json!({"model": "verso", "messages": [{"role": "user", "content": "hi [[tokens=2]]"}]});
    let answer = http().post(gateway.http("/v1/chat/completions")).bearer_auth(TOKEN).json(&body).send().await.expect("an answer");
    let status = answer.status();
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!((status, body["choices"][0]["message"]["content"].as_str()), (StatusCode::OK, Some(reply(2).as_str())), "{body}");
    gateway.recovered("agent", pid).await;
}
