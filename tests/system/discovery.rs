//! Being found on the network, which is this machine alone here; and this machine as a service of the system.

use std::process::Output;

use serde_json::{Value, json};
use verso_tests::{Gateway, eventually};

async fn run(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = gateway.command();
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().expect("the verso binary starts")).await.expect("no panic")
}

/// What this gateway says of itself on the loopback interface, if it does.
async fn beacon(gateway: &Gateway) -> Option<Value> {
    let found = run(gateway, &["gateway", "discover", "--json", "--interface", "lo", "--timeout", "1500"]).await;
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let found: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    assert_eq!(found["domains"], json!(["local."]));
    found["beacons"].as_array()?.iter().find(|beacon| beacon["port"] == gateway.port()).cloned()
}

#[tokio::test]
async fn a_gateway_is_found_on_its_interface_also_after_its_announcer_died() {
    let gateway = Gateway::start_with(json!({"discovery": {"mdns": {"mode": "full", "interfaces": ["lo"]}}})).await;
    let found = eventually("the announcement", async || beacon(&gateway).await).await;
    assert_eq!((&found["role"], &found["transport"]), (&json!("gateway"), &json!("gateway")), "{found}");
    assert_eq!((&found["gatewayPort"], &found["sshPort"]), (&json!(gateway.port()), &json!(22)), "{found}");
    assert_eq!(found["wsUrl"], format!("ws://127.0.0.1:{}", gateway.port()), "{found}");
    assert!(found["displayName"].as_str().is_some_and(|name| name.ends_with("(Verso)")), "{found}");
    let client = gateway.client().await;
    let pid = gateway.kill("presence").await;
    gateway.recovered("presence", pid).await;
    client.call("health", json!({})).await.expect("nobody else noticed");
    eventually("the announcement of the next one", async || beacon(&gateway).await).await;
}

#[tokio::test]
async fn a_gateway_of_this_machine_alone_is_not_announced() {
    let gateway = Gateway::start_with(json!({"discovery": {"mdns": {"mode": "full"}}})).await;
    assert_eq!(beacon(&gateway).await, None);
}

#[tokio::test]
async fn a_node_is_defined_as_a_service_that_runs_it() {
    let gateway = Gateway::prepare(json!({}));
    let printed = run(&gateway, &["node", "install", "--print", "--host", "gateway.example", "--port", "18789"]).await;
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.status.success() && text.contains("node") && text.contains("VERSO_SERVICE_KIND"), "{text}");
    assert!(!gateway.state_dir().join("node.json").exists(), "printing changes nothing");
    let status = run(&gateway, &["node", "status", "--json"]).await;
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!((&status["service"]["command"], &status["service"]["runtime"]["status"]), (&Value::Null, &json!("unknown")), "{status}");
    let started = run(&gateway, &["node", "start"]).await;
    let told = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(!started.status.success() && told.contains("node install"), "{told}");
}
