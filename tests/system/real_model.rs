//! Conversations with a real language model, when `VERSO_REAL_MODEL=http://127.0.0.1:PORT` names a server of one that speaks all three dialects.

use serde_json::{Value, json};
use tokio::time::timeout;
use verso_client::Client;
use verso_tests::{Gateway, PATIENCE, peers};

/// What is spoken, and where below the server's address.
const DIALECTS: [(&str, &str); 3] = [("openai-completions", "/v1"), ("openai-responses", "/v1"), ("anthropic-messages", "")];

/// How much longer than a scripted model a real one may take: on one busy core it reads its instructions slowly.
const SLOWNESS: u32 = 10;

fn config(server: &str, api: &str, path: &str) -> Value {
    json!({
        "agents": {"defaults": {"model": {"primary": "real/small"}}},
        "tools": {"profile": "minimal"},
        "models": {"providers": {"real": {
            "baseUrl": format!("{server}{path}"), "apiKey": "any", "api": api,
            "models": [{"id": "small", "name": "Small", "contextWindow": 16_000, "maxTokens": 48}],
        }}},
    })
}

/// Carries out a turn, and returns what the model has said: in its events, and at its end.
async fn turn(client: &Client, run: &str, message: &str) -> (String, Value) {
    let mut events = client.events();
    let params = json!({"message": message, "sessionKey": "agent:main:real", "idempotencyKey": run});
    let mut answers = client.call_streaming("agent", params).await.expect("an answer");
    let mut last = Value::Null;
    while let Some(answer) = timeout(PATIENCE * SLOWNESS, answers.next()).await.expect("an answer in time") {
        last = answer.expect("no error");
    }
    let mut streamed = String::new();
    loop {
        let event = timeout(PATIENCE, events.next_named("agent")).await.expect("in time").expect("an event");
        let event = &event.payload;
        if event["runId"] != run {
            continue;
        }
        streamed.push_str(event["data"]["delta"].as_str().unwrap_or_default());
        if event["data"]["phase"] == "end" {
            return (streamed, last);
        }
    }
}

#[tokio::test]
async fn a_real_model_holds_a_conversation_in_every_dialect_that_it_speaks() {
    let Some(server) = peers::real_model() else { return };
    for (api, path) in DIALECTS {
        let gateway = Gateway::start_with(config(&server, api, path)).await;
        let client = gateway.client().await;
        let mut read = Vec::new();
        for (run, message) in [("r1", "My name is Ada. Say hello."), ("r2", "What is my name?")] {
            let (streamed, end) = turn(&client, run, message).await;
            let (said, usage) = (&end["result"]["payloads"][0]["text"], &end["result"]["meta"]["agentMeta"]["usage"]);
            assert_eq!(end["status"], "ok", "{api}: {end}");
            assert!(
                !streamed.trim().is_empty() && streamed.trim() == said.as_str().unwrap_or_default().trim(),
                "{api}: {streamed:?}, {end}"
            );
            read.push(["input", "cacheRead"].iter().map(|name| usage[name].as_i64().unwrap_or(0)).sum::<i64>());
        }
        assert!(0 < read[0] && read[0] < read[1], "{api}: the second turn shows the first one, too: {read:?} tokens were read");
        let history = client.call("chat.history", json!({"sessionKey": "agent:main:real"})).await.expect("a history");
        let lines = history["messages"].as_array().expect("messages");
        let roles: Vec<&str> = lines.iter().filter_map(|line| line["role"].as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "user", "assistant"], "{api}");
        assert!(lines.iter().filter(|line| line["role"] == "assistant").all(|line| line["api"] == api), "{api}: {history}");
    }
}
