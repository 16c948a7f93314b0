//! The setup by questions and answers, at a running gateway.

use serde_json::{Value, json};
use verso_client::Client;
use verso_tests::Gateway;

/// A key that nobody may see again.
const KEY: &str = "sk-wizard-secret-31415926";

async fn start(client: &Client, params: Value) -> (String, Value) {
    let begun = client.call("wizard.start", params).await.expect("a wizard");
    assert_eq!((&begun["done"], &begun["status"]), (&json!(false), &json!("running")), "{begun}");
    (begun["sessionId"].as_str().expect("an id").to_owned(), begun)
}

/// Answers the present step, which must be of that name, and returns what comes next.
async fn answer(client: &Client, id: &str, at: &Value, name: &str, value: Value) -> Value {
    let step = at["step"]["id"].as_str().unwrap_or_default();
    assert!(step.starts_with(&format!("{name}-")), "{name} was expected: {at}");
    let answer = json!({"sessionId": id, "answer": {"stepId": step, "value": value}});
    client.call("wizard.next", answer).await.unwrap_or_else(|error| panic!("{name}: {error}"))
}

async fn refusal(client: &Client, method: &str, params: Value) -> String {
    client.call(method, params).await.expect_err("a refusal").to_string()
}

/// A gateway whose file somebody has written by hand.
async fn with_comments() -> (Gateway, std::path::PathBuf) {
    let mut gateway = Gateway::prepare(json!({"gateway": {"reload": {"mode": "off"}}}));
    let path = gateway.state_dir().join("verso.json");
    let text = std::fs::read_to_string(&path).expect("the file");
    let commented = text.replacen('{', "// written by hand\n{ /* stays */ ", 1);
    std::fs::write(&path, commented).expect("a file with comments");
    gateway.launch(&[]);
    gateway.ready().await;
    (gateway, path)
}

#[tokio::test]
async fn a_wizard_writes_its_answers_and_keeps_the_rest_of_the_file() {
    let (gateway, path) = with_comments().await;
    let client = gateway.client().await;
    let before = std::fs::read_to_string(&path).expect("the file");
    let (id, at) = start(&client, json!({})).await;
    assert_eq!(at["step"]["type"], "note");
    let at = answer(&client, &id, &at, "welcome", Value::Null).await;
    assert_eq!((&at["step"]["type"], &at["step"]["initialValue"]), (&json!("select"), &json!("local")), "{at}");
    let at = answer(&client, &id, &at, "mode", json!("local")).await;
    let at = answer(&client, &id, &at, "workspace", json!("/srv/agents")).await;
    let offered: Vec<_> = at["step"]["options"].as_array().expect("options").iter().map(|option| option["value"].clone()).collect();
    assert!(offered.contains(&json!("keep")) && offered.contains(&json!("custom")), "{offered:?}");
    let at = answer(&client, &id, &at, "provider", json!("custom")).await;
    let at = answer(&client, &id, &at, "address", json!("http://127.0.0.1:1/v1")).await;
    let at = answer(&client, &id, &at, "model", json!("my-model")).await;
    assert_eq!((&at["step"]["type"], &at["step"]["sensitive"]), (&json!("text"), &json!(true)), "{at}");
    let at = answer(&client, &id, &at, "key", json!(KEY)).await;
    assert!(!at.to_string().contains(KEY) && at.to_string().contains("custom/my-model"), "{at}");
    assert_eq!(client.call("wizard.next", json!({"sessionId": id})).await.expect("the same step"), at, "asking changes nothing");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), before, "nothing is written before the last answer");
    let end = answer(&client, &id, &at, "confirm", json!(true)).await;
    assert_eq!(end, json!({"done": true, "status": "done"}));

    let text = std::fs::read_to_string(&path).expect("the file");
    assert!(text.starts_with("// written by hand\n") && text.contains("/* stays */"), "{text}");
    let seen: Value = client.call("config.get", json!({})).await.expect("the configuration");
    let config = &seen["parsed"];
    assert_eq!(seen["valid"], true);
    assert_eq!(config["agents"]["defaults"]["workspace"], "/srv/agents");
    assert_eq!(config["agents"]["defaults"]["skipBootstrap"], true, "what was not asked about");
    assert_eq!(config["agents"]["defaults"]["model"]["primary"], "custom/my-model");
    assert_eq!(config["models"]["providers"]["custom"]["baseUrl"], "http://127.0.0.1:1/v1");
    assert_eq!(config["wizard"]["lastRunMode"], "local");
    assert!(text.contains(KEY) && !seen.to_string().contains(KEY), "the key is in the file and nowhere else");
    assert!(!gateway.output().contains(KEY), "the key is in no log");

    let status: Value = client.call("wizard.status", json!({"sessionId": id})).await.expect("its ending");
    assert_eq!(status, json!({"status": "done"}));
    let late = refusal(&client, "wizard.next", json!({"sessionId": id, "answer": {"stepId": at["step"]["id"], "value": true}})).await;
    assert!(late.contains("wizard not running"), "{late}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_explained_and_asked_for_again() {
    let gateway = Gateway::start_with(json!({"gateway": {"reload": {"mode": "off"}}})).await;
    let client = gateway.client().await;
    let (id, at) = start(&client, json!({"mode": "local", "workspace": "~/agents"})).await;
    let mut at = answer(&client, &id, &at, "welcome", Value::Null).await;
    at = answer(&client, &id, &at, "provider", json!("custom")).await;
    for wrong in [json!("ftp://host"), json!(7), json!("x".repeat(5_000)), json!("a\nb"), json!("")] {
        let asked = at["step"]["id"].clone();
        let note = answer(&client, &id, &at, "address", wrong.clone()).await;
        assert_eq!(note["step"]["type"], "note", "{wrong}: {note}");
        at = answer(&client, &id, &note, "problem", Value::Null).await;
        assert_ne!(at["step"]["id"], asked, "asked anew");
    }
    at = answer(&client, &id, &at, "address", json!("https://models.example/v1")).await;
    at = answer(&client, &id, &at, "model", json!("m")).await;
    // A text like any other, but not one that can be written: it stands for a stored secret, and there is none.
    let note = answer(&client, &id, &at, "key", json!("__OPENCLAW_REDACTED__")).await;
    assert_eq!(note["step"]["type"], "note", "{note}");
    at = answer(&client, &id, &note, "problem", Value::Null).await;
    at = answer(&client, &id, &at, "key", json!("")).await;
    answer(&client, &id, &at, "confirm", json!(true)).await;
    let text = std::fs::read_to_string(gateway.state_dir().join("verso.json")).expect("the file");
    assert!(text.contains("models.example") && !text.contains("apiKey"), "{text}");
}

#[tokio::test]
async fn an_answer_to_another_step_or_another_wizard_changes_nothing() {
    let gateway = Gateway::start_with(json!({"gateway": {"reload": {"mode": "off"}}})).await;
    let client = gateway.client().await;
    let (id, at) = start(&client, json!({})).await;
    let first = at["step"]["id"].clone();
    let at = answer(&client, &id, &at, "welcome", Value::Null).await;
    for step in [first, json!("confirm-2")] {
        let error = refusal(&client, "wizard.next", json!({"sessionId": id, "answer": {"stepId": step, "value": true}})).await;
        assert!(error.contains("INVALID_REQUEST") && error.contains("is not the present one"), "{error}");
    }
    let now: Value = client.call("wizard.next", json!({"sessionId": id})).await.expect("the present step");
    assert_eq!(now["step"], at["step"]);
    for method in ["wizard.next", "wizard.cancel", "wizard.status"] {
        let error = refusal(&client, method, json!({"sessionId": "nobody"})).await;
        assert!(error.contains("INVALID_REQUEST") && error.contains("wizard not found"), "{method}: {error}");
    }
    let channels = refusal(&client, "wizard.start", json!({"flow": "channels"})).await;
    assert!(channels.contains("UNAVAILABLE"), "{channels}");
}

#[tokio::test]
async fn one_wizard_runs_at_a_time_and_a_cancelled_one_writes_nothing() {
    let gateway = Gateway::start_with(json!({"gateway": {"reload": {"mode": "off"}}})).await;
    let client = gateway.client().await;
    let path = gateway.state_dir().join("verso.json");
    let before = std::fs::read_to_string(&path).expect("the file");
    let (id, at) = start(&client, json!({"mode": "remote"})).await;
    let second = refusal(&gateway.client().await, "wizard.start", json!({})).await;
    assert!(second.contains("UNAVAILABLE") && second.contains("wizard already running"), "{second}");
    let at = answer(&client, &id, &at, "welcome", Value::Null).await;
    answer(&client, &id, &at, "remote-url", json!("wss://elsewhere.example")).await;
    let cancelled: Value = client.call("wizard.cancel", json!({"sessionId": id})).await.expect("the end");
    assert_eq!(cancelled, json!({"status": "cancelled"}));
    let now: Value = client.call("wizard.next", json!({"sessionId": id})).await.expect("its ending");
    assert_eq!(now, json!({"done": true, "status": "cancelled"}));

    // A refusal at the end is a way to leave too.
    let (id, at) = start(&client, json!({"mode": "local", "workspace": "/srv/agents"})).await;
    let at = answer(&client, &id, &at, "welcome", Value::Null).await;
    let at = answer(&client, &id, &at, "provider", json!("keep")).await;
    let end = answer(&client, &id, &at, "confirm", json!(false)).await;
    assert_eq!(end, json!({"done": true, "status": "cancelled"}));
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), before);
}
