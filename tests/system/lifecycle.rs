//! Start, stop and restart of whole gateways.

use rustix::process::Signal;
use serde_json::json;
use tokio::time::timeout;
use verso_tests::{Gateway, PATIENCE, eventually, process};

#[tokio::test]
async fn stopping_tells_clients_and_leaves_no_process() {
    let mut gateway = Gateway::start().await;
    let client = gateway.client().await;
    let mut events = client.events();
    let tree = process::tree(gateway.pid());
    assert_eq!(tree.len(), 7, "the supervisor, the edge and five services: {tree:?}");
    process::signal(gateway.pid(), Signal::TERM);
    let farewell = timeout(PATIENCE, events.next_named("shutdown")).await.expect("in time").expect("an event");
    assert_eq!(farewell.payload, json!({"reason": "gateway stopping"}));
    let closed = client.closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (1012, "service restart"));
    assert!(gateway.ended().await.success());
    assert!(tree.iter().all(|pid| !process::is_alive(*pid)));
}

#[tokio::test]
async fn a_killed_supervisor_leaves_no_orphan() {
    let gateway = Gateway::start().await;
    let tree = process::tree(gateway.pid());
    process::signal(gateway.pid(), Signal::KILL);
    eventually("every process to end", async || tree.iter().skip(1).all(|pid| !process::is_alive(*pid)).then_some(())).await;
}

#[tokio::test]
async fn what_was_said_is_still_there_after_a_restart() {
    let mut gateway = Gateway::start().await;
    let client = gateway.client().await;
    let turn = json!({"message": "remember me", "sessionKey": "agent:main:restart", "idempotencyKey": "r1"});
    client.call("agent", turn).await.expect("an accepted run");
    client.call("agent.wait", json!({"runId": "r1"})).await.expect("a finished run");
    process::signal(gateway.pid(), Signal::TERM);
    gateway.ended().await;
    gateway.launch(&[]);
    gateway.ready().await;
    let client = gateway.client().await;
    let history = client.call("chat.history", json!({"sessionKey": "agent:main:restart"})).await.expect("the history");
    assert_eq!(history["messages"][0]["content"][0]["text"], "remember me");
}

#[tokio::test]
async fn replacing_the_edge_refuses_nobody() {
    let gateway = Gateway::start().await;
    let old = gateway.client().await;
    let restart = async {
        let output = tokio::task::spawn_blocking({
            let mut command = gateway.command();
            move || command.args(["services", "restart", "edge"]).output()
        });
        output.await.expect("a task").expect("the CLI runs")
    };
    let connecting = async {
        for number in 0..40 {
            let client = gateway.connect(gateway.options()).await;
            client.call("health", json!({})).await.unwrap_or_else(|error| panic!("connection {number}: {error:?}"));
        }
    };
    let (output, ()) = tokio::join!(restart, connecting);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(gateway.service("edge").await.starts, 2);
    old.call("health", json!({})).await.expect("the old connection goes on in the next edge");
}

#[tokio::test]
async fn a_second_gateway_on_the_same_state_is_refused() {
    let mut gateway = Gateway::start().await;
    let output = gateway.command().args(["gateway", "--port", "1"]).output().expect("the CLI runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains(&format!("gateway already running (pid {})", gateway.pid())), "{text}");
    assert!(gateway.is_running());
    gateway.client().await.call("health", json!({})).await.expect("the first one lives on");
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let gateway = Gateway::start().await;
    let mut second = Gateway::prepare_at(gateway.port(), json!({}));
    second.launch(&[]);
    assert!(!second.ended().await.success());
    let expected = format!("another gateway instance is already listening on ws://127.0.0.1:{}", gateway.port());
    assert!(second.output().contains(&expected), "{}", second.output());
}

#[tokio::test]
async fn a_broken_configuration_is_named_with_its_place() {
    for (text, expected) in [
        ("{\n  gateway: {mode: 'local',\n", "line 2"),
        ("{gatway: {}}", "gateway"),
        ("{gateway: {mode: 'local', port: 'many'}}", "gateway.port"),
    ] {
        let mut gateway = Gateway::prepare(json!({}));
        let path = gateway.state_dir().join("verso.json");
        std::fs::write(&path, text).expect("a written file");
        gateway.launch(&[]);
        assert_eq!(gateway.ended().await.code(), Some(1), "{}", gateway.output());
        let output = gateway.output();
        assert!(output.contains(expected) && output.contains("verso.json"), "{text}: {output}");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), text, "the file is as it was");
    }
}
