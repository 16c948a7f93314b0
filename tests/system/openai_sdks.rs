//! The official OpenAI SDKs against a whole gateway, and what others make of its description and its metrics.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use verso_tests::gateway::TOKEN;
use verso_tests::{Gateway, Provider, peers};

use crate::http::http;

/// Requests that are made up for each operation of the description; `VERSO_API_CASES` sets another number.
const CASES: usize = 15;

/// A gateway with both APIs, whose provider does what messages say.
async fn gateway() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["gateway"] = json!({"http": {"endpoints": {"responses": {"enabled": true}}}});
    config["agents"]["defaults"]["memorySearch"] = json!({"model": "scripted/embed-1"});
    let gateway = Gateway::start_with(config).await;
    (provider, gateway)
}

/// Runs a program to its end without holding up the provider, and returns what it has printed.
async fn run(mut command: Command) -> (bool, String) {
    command.stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the program starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

/// What each script does, in its order.
const WORKS: [&str; 10] = ["chat", "streaming", "tools", "images", "responses", "models", "embeddings", "errors", "timeouts", "aborts"];

fn all_worked((success, said): (bool, String)) {
    let worked: Vec<&str> = said.lines().filter(|line| WORKS.contains(line)).collect();
    assert!(success && worked == WORKS, "{said}");
}

#[tokio::test]
async fn the_python_sdk_does_all_that_it_can() {
    let Some(python) = peers::python() else { return };
    let (provider, gateway) = gateway().await;
    let mut command = Command::new(python);
    command.arg(peers::scripts().join("openai_sdk.py")).args([gateway.http("/v1"), TOKEN.to_owned()]);
    all_worked(run(command).await);
    let sampled = provider.calls().into_iter().find(|call| call.body["seed"] == 7).expect("a call with a seed");
    assert_eq!((&sampled.body["temperature"], &sampled.body["max_tokens"]), (&json!(0.5), &json!(50)));
    assert_eq!(sampled.body["stop"], json!(["END"]));
    let pictured = provider.calls().into_iter().any(|call| call.body["messages"].to_string().contains("data:image/png;base64,iVBOR"));
    assert!(pictured, "the model sees the picture");
    let read = provider.calls().into_iter().any(|call| call.body["messages"][0].to_string().contains("<file name=\\\"a.txt\\\">"));
    assert!(read, "the model reads the file");
}

#[tokio::test]
async fn the_node_sdk_does_all_that_it_can() {
    let Some((node, packages)) = peers::node() else { return };
    let (_provider, gateway) = gateway().await;
    let mut command = Command::new(node);
    command.arg(peers::scripts().join("openai_sdk.mjs")).args([gateway.http("/v1"), TOKEN.to_owned()]).arg(packages);
    all_worked(run(command).await);
}

#[tokio::test]
async fn requests_that_are_made_up_from_the_description_find_no_fault() {
    let Some(python) = peers::python() else { return };
    let (_provider, gateway) = gateway().await;
    let cases = verso_tests::count("VERSO_API_CASES", CASES).to_string();
    let mut command = Command::new(python.with_file_name("schemathesis"));
    command.args(["run", &gateway.http("/openapi.json"), "--url", &gateway.http("")]);
    command.args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--max-examples", &cases, "--seed", "1"]);
    command.args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--request-timeout", "60", "--no-color"]);
    command.current_dir(gateway.state_dir());
    let (success, said) = run(command).await;
    assert!(success, "{said}");
}

#[tokio::test]
async fn the_metrics_are_what_their_readers_expect() {
    let Some(python) = peers::python() else { return };
    let gateway = Gateway::start().await;
    gateway.client().await.call("health", json!({})).await.expect("an answer");
    http().get(gateway.http("/healthz")).send().await.expect("an answer");
    let scrape = async |accept: &str, name: &str| {
        let asked = http().get(gateway.http("/metrics")).bearer_auth(TOKEN).header("accept", accept);
        let answer = asked.send().await.expect("an answer");
        let kind = answer.headers()["content-type"].to_str().expect("a type").to_owned();
        let path = gateway.state_dir().join(name);
        std::fs::write(&path, answer.text().await.expect("a body")).expect("a file");
        (kind, path)
    };
    let (text, text_path) = scrape("*/*", "text").await;
    let (openmetrics, openmetrics_path) = scrape("application/openmetrics-text", "openmetrics").await;
    assert!(text.starts_with("text/plain; version=0.0.4") && openmetrics.starts_with("application/openmetrics-text"));
    let mut command = Command::new(python);
    let paths: [&Path; 3] = [&peers::scripts().join("prometheus.py"), &text_path, &openmetrics_path];
    command.args(paths);
    let (success, said) = run(command).await;
    assert!(success, "{said}");
    let stranger = http().get(gateway.http("/metrics")).send().await.expect("an answer");
    assert_eq!(stranger.status(), 401);
    let body: Value = stranger.json().await.expect("JSON");
    assert_eq!(body["error"]["type"], "unauthorized");
}
