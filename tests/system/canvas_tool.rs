//! The canvas of a node: shown by an agent's tool, and by the operator's commands.

use std::process::Output;

use serde_json::{Value, json};
use verso_client::Client;
use verso_tests::provider::calling;
use verso_tests::{Gateway, Provider};

use crate::nodes::{Node, connected, lines};

/// An interface, without spaces: it is an argument of the scripted model's call.
const SURFACE: &str =
    r#"{"surfaceUpdate":{"surfaceId":"s","components":[{"id":"a","component":{"Text":{"text":{"literalString":"x"}}}}]}}"#;

/// A gateway with a node that has a screen, and the journal of what that was told.
async fn gateway(provider: &Provider) -> (Gateway, tempfile::TempDir, Node) {
    let mut config = provider.config();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    config["canvasHost"] = json!({"enabled": true, "root": "pages", "port": port});
    let gateway = Gateway::start_with(config).await;
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::script_on(&gateway, &folder.path().join("journal"), "macos");
    connected(&gateway, "python").await;
    (gateway, folder, node)
}

/// Has the model call the tool, and returns what it reads of that.
async fn called(client: &Client, provider: &Provider, arguments: &Value) -> Value {
    let run = format!("run-{}", provider.calls().len());
    let asked = json!({"message": calling("canvas", arguments), "sessionKey": "agent:main:main", "idempotencyKey": run});
    client.call("agent", asked).await.expect("accepted");
    let ended = client.call("agent.wait", json!({"runId": run})).await.expect("an end");
    assert_eq!(ended["status"], "ok", "{ended}");
    provider.tool_answer()
}

#[tokio::test]
async fn an_agent_draws_on_a_nodes_screen() {
    let provider = Provider::start().await;
    let (gateway, folder, _node) = gateway(&provider).await;
    let client = gateway.client().await;
    let said = async |arguments: Value| called(&client, &provider, &arguments).await.to_string();
    let present = json!({"action": "present", "node": "python", "url": "/__verso__/canvas/", "x": 1.5, "width": 300});
    let presented = said(present).await;
    assert!(presented.contains("ok") && presented.contains("true"), "{presented}");
    said(json!({"action": "navigate", "node": "python", "url": "https://example.com/"})).await;
    let evaluated = said(json!({"action": "eval", "node": "PYTHON", "javaScript": "6*7"})).await;
    assert!(evaluated.contains("42"), "{evaluated}");
    said(json!({"action": "snapshot", "node": "python", "outputFormat": "jpg", "maxWidth": 64})).await;
    let seen = provider.calls().last().expect("a call").body["messages"].to_string();
    assert!(seen.contains("data:image/png;base64,iVBOR"), "the model sees the picture");
    let pushed = said(json!({"action": "a2ui_push", "node": "python", "jsonl": SURFACE})).await;
    assert!(pushed.contains("surfaces"), "{pushed}");
    let wrong = said(json!({"action": "a2ui_push", "node": "python", "jsonl": "{\"createSurface\":{}}"})).await;
    assert!(wrong.contains("line 1"), "{wrong}");
    said(json!({"action": "a2ui_reset", "node": "python"})).await;
    said(json!({"action": "hide", "node": "python"})).await;
    let unnamed = said(json!({"action": "hide"})).await;
    assert!(unnamed.contains("node required"), "{unnamed}");
    let told = lines(&folder.path().join("journal"));
    let pushed = json!({"jsonl": SURFACE}).to_string().replace("\":\"", "\": \"");
    assert_eq!(
        told,
        [
            "canvas.present {\"placement\": {\"width\": 300.0, \"x\": 1.5}, \"url\": \"/__verso__/canvas/\"}",
            "canvas.navigate {\"url\": \"https://example.com/\"}",
            "canvas.eval {\"javaScript\": \"6*7\"}",
            "canvas.snapshot {\"format\": \"jpeg\", \"maxWidth\": 64.0}",
            &format!("canvas.a2ui.pushJSONL {pushed}"),
            "canvas.a2ui.reset {}",
            "canvas.hide {}",
        ]
    );
}

/// Runs `verso nodes canvas` off the test's thread.
async fn canvas(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = gateway.command();
    command.args(["nodes", "canvas"]).args(arguments).args(["--node", "python"]);
    tokio::task::spawn_blocking(move || command.output().expect("the verso binary starts")).await.expect("no panic")
}

async fn printed(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = canvas(gateway, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn an_operator_draws_on_a_nodes_screen() {
    let provider = Provider::start().await;
    let (gateway, folder, _node) = gateway(&provider).await;
    printed(&gateway, &["present", "--target", "/__verso__/canvas/", "--x", "-5"]).await;
    printed(&gateway, &["navigate", "https://example.com/"]).await;
    assert_eq!(printed(&gateway, &["eval", "6*7"]).await, "42");
    let shown = printed(&gateway, &["snapshot", "--format", "png"]).await;
    let picture = shown.strip_prefix("MEDIA:").expect("a path");
    assert!(std::fs::read(picture).expect("a picture").starts_with(b"\x89PNG"));
    std::fs::remove_file(picture).expect("it was ours");
    printed(&gateway, &["a2ui", "push", "--text", "hello"]).await;
    let file = folder.path().join("surface.jsonl");
    std::fs::write(&file, format!("{SURFACE}\n{{\"made_up\":{{}}}}\n")).expect("a file");
    let refused = canvas(&gateway, &["a2ui", "push", "--jsonl", file.to_str().expect("UTF-8")]).await;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("nodes canvas a2ui push failed") && words.contains("line 2"), "{words}");
    printed(&gateway, &["a2ui", "reset"]).await;
    printed(&gateway, &["hide"]).await;
    let told = lines(&folder.path().join("journal"));
    let commands: Vec<&str> = told.iter().filter_map(|line| line.split(' ').next()).collect();
    let expected = ["present", "navigate", "eval", "snapshot", "a2ui.pushJSONL", "a2ui.reset", "hide"];
    assert_eq!(commands, expected.map(|name| format!("canvas.{name}")));
    assert_eq!(told[0], "canvas.present {\"placement\": {\"x\": -5.0}, \"url\": \"/__verso__/canvas/\"}");
}
