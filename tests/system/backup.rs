//! Copies of the state: taken while the gateway runs, put back while it does not.

use std::process::Output;

use rustix::process::Signal;
use serde_json::json;
use verso_tests::{Gateway, process};

async fn verso(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = gateway.command();
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the CLI runs")
}

#[tokio::test]
async fn a_backup_is_taken_while_it_runs_and_put_back_while_it_does_not() {
    let mut gateway = Gateway::start().await;
    let client = gateway.client().await;
    let turn = |key: &str| json!({"message": format!("remember {key}"), "sessionKey": "agent:main:kept", "idempotencyKey": key});
    client.call("agent", turn("one")).await.expect("an accepted run");
    client.call("agent.wait", json!({"runId": "one"})).await.expect("a finished run");
    let to = gateway.state_dir().join("backups/test");
    let to = to.to_str().expect("a path");
    let output = verso(&gateway, &["backup", "create", "--to", to, "--json"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(verso(&gateway, &["backup", "verify", to]).await.status.success());
    client.call("agent", turn("two")).await.expect("an accepted run");
    client.call("agent.wait", json!({"runId": "two"})).await.expect("a finished run");
    let refused = verso(&gateway, &["backup", "restore", to]).await;
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("stop it first"));
    process::signal(gateway.pid(), Signal::TERM);
    gateway.ended().await;
    let restored = verso(&gateway, &["backup", "restore", to, "--json"]).await;
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    gateway.launch(&[]);
    gateway.ready().await;
    let history = gateway.client().await.call("chat.history", json!({"sessionKey": "agent:main:kept"})).await.expect("the history");
    assert!(history.to_string().contains("remember one") && !history.to_string().contains("remember two"), "{history}");
}
