//! Another executable, one service after the other.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use verso_tests::Gateway;

/// A script that stands in for another build: it does what `more` says, and then is the real one.
fn build(gateway: &Gateway, name: &str, more: &str) -> PathBuf {
    let path = gateway.state_dir().join(name);
    let text = format!("#!/bin/sh\n{more}\nexec '{}' \"$@\"\n", verso_tests::gateway::binary().display());
    fs::write(&path, text).expect("a written script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable");
    path
}

async fn verso(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = gateway.command();
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the CLI runs")
}

async fn update(gateway: &Gateway, from: &Path) -> (bool, Value) {
    let output = verso(gateway, &["update", "--from", from.to_str().expect("a path"), "--no-install", "--json"]).await;
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), document)
}

async fn pids(gateway: &Gateway) -> Vec<i64> {
    gateway.services().await.expect("the supervisor's answer").into_iter().filter_map(|service| service.pid).collect()
}

#[tokio::test]
async fn every_service_runs_another_executable_and_nobody_is_disconnected() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let before = pids(&gateway).await;
    let (ok, document) = update(&gateway, &build(&gateway, "next", "export MARK=1")).await;
    assert!(ok, "{document}");
    let steps: Vec<_> = document["steps"].as_array().expect("steps").iter().map(|step| step["step"].as_str().unwrap_or_default()).collect();
    assert_eq!((steps.first(), steps.last(), steps.len()), (Some(&"verified"), Some(&"done"), 14), "{document}");
    assert!(pids(&gateway).await.iter().all(|pid| !before.contains(pid)));
    client.call("health", json!({})).await.expect("the connection went on");
    client.call("sessions.list", json!({})).await.expect("so did the services");
}

#[tokio::test]
async fn a_service_that_does_not_come_up_goes_back_and_so_do_those_before_it() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let broken = build(&gateway, "broken", "[ \"$2\" = agent ] && exit 3");
    let (ok, document) = update(&gateway, &broken).await;
    assert!(!ok);
    let steps = document["steps"].as_array().expect("steps");
    let last = steps.last().expect("a step");
    assert_eq!((&last["step"], &last["service"]), (&json!("abandoned"), &json!("agent")), "{document}");
    let back: Vec<_> = steps.iter().filter(|step| step["step"] == "rolled-back").map(|step| step["service"].clone()).collect();
    assert_eq!(back, [json!("agent"), json!("channel"), json!("node"), json!("presence")], "{document}");
    client.call("sessions.list", json!({})).await.expect("the agent service answers again");
    assert_eq!(gateway.service("edge").await.starts, 1, "it was not its turn");
}

#[tokio::test]
async fn what_is_no_gateway_is_refused_before_anything_happens() {
    let gateway = Gateway::start().await;
    let before = pids(&gateway).await;
    let manifest = verso_tests::package().join("Cargo.toml").display().to_string();
    for (path, why) in [("/bin/true", "does not say a version"), (&manifest, "is no executable file")] {
        let output = verso(&gateway, &["update", "--from", path]).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(why), "{path}: {text}");
    }
    assert_eq!(pids(&gateway).await, before);
}
