//! Nodes of both kinds, one in another language: they pair, are listed, carry out commands, and lose nothing when a process is killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use verso_client::{Client, Identity};
use verso_tests::gateway::TOKEN;
use verso_tests::{Gateway, Provider, eventually, process};

/// The secret of the made-up device that the script is.
const SEED: &str = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";

/// What that makes its id.
const SCRIPT_ID: &str = "65b60673d6ed884bf01c2c222d82ada0740f29ac3355d6a925c81f17f47a27b8";

/// A node's process; it is ended when it is dropped.
pub(crate) struct Node(Child);

impl Node {
    fn script(gateway: &Gateway, journal: &Path) -> Self {
        Self::script_on(gateway, journal, "linux")
    }

    /// The script says that it runs on that platform.
    pub(crate) fn script_on(gateway: &Gateway, journal: &Path, platform: &str) -> Self {
        let script = verso_tests::package().join("system/node.py");
        let mut command = Command::new("python3");
        command.arg(script).args([&gateway.port().to_string(), TOKEN, SEED]).arg(journal).arg(platform);
        Self(command.stdin(Stdio::null()).spawn().expect("python3 starts"))
    }

    /// `verso node run` with a state folder of its own.
    pub(crate) fn host(gateway: &Gateway, state: &Path) -> Self {
        let output = File::create(state.join("output.txt")).expect("an output file");
        let mut command = gateway.command();
        command.env("VERSO_STATE_DIR", state).env("VERSO_CONFIG_PATH", state.join("verso.json")).env("VERSO_GATEWAY_TOKEN", TOKEN);
        command.args(["node", "run", "--host", "127.0.0.1", "--port", &gateway.port().to_string(), "--display-name", "host"]);
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a second handle")).stderr(output);
        Self(command.spawn().expect("the node host starts"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The node of that name, as an operator sees it once it is connected.
pub(crate) async fn connected(gateway: &Gateway, name: &str) -> Value {
    eventually("the node to connect", async || {
        let client = Client::connect(gateway.options()).await.ok()?;
        let list = client.call("node.list", json!({})).await.ok()?;
        list["nodes"].as_array()?.iter().find(|node| node["displayName"] == name && node["connected"] == true).cloned()
    })
    .await
}

/// Calls until there is an answer, each time by the same name; the connection may be another one.
async fn invoke(gateway: &Gateway, node: &str, command: &str, params: Value, name: &str) -> Value {
    eventually("the node's answer", async || {
        let client = Client::connect(gateway.options()).await.ok()?;
        let call = json!({"nodeId": node, "command": command, "params": params, "idempotencyKey": name, "timeoutMs": 5_000});
        client.call("node.invoke", call).await.ok()
    })
    .await
}

pub(crate) fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_node_in_another_language_loses_nothing() {
    let gateway = Gateway::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let journal = folder.path().join("journal");
    let node = Node::script(&gateway, &journal);
    let seen = connected(&gateway, "python").await;
    assert_eq!(
        (&seen["nodeId"], &seen["commands"], &seen["paired"]),
        (&json!(SCRIPT_ID), &json!(["system.notify", "system.which"]), &json!(true))
    );
    let client = gateway.client().await;
    let described = client.call("node.describe", json!({"nodeId": SCRIPT_ID})).await.expect("a description");
    assert_eq!(described["clientMode"], "node");
    let found = invoke(&gateway, SCRIPT_ID, "system.which", json!({"bins": ["x"]}), "which").await;
    assert_eq!(found["payload"], json!({"bins": {"x": "/made/up/x"}}));
    for (number, victim) in ["none", "node", "edge", "node", "edge"].into_iter().enumerate() {
        let killed = if victim == "none" { None } else { Some(gateway.kill(victim).await) };
        let title = format!("message {number}");
        let shown = invoke(&gateway, SCRIPT_ID, "system.notify", json!({"title": title}), &title).await;
        assert_eq!(shown["payload"]["shown"], title);
        let again = invoke(&gateway, SCRIPT_ID, "system.notify", json!({"title": title}), &title).await;
        assert_eq!(again["payload"]["shown"], title);
        if let Some(pid) = killed {
            gateway.recovered(victim, pid).await;
        }
    }
    assert_eq!(lines(&journal), (0..5).map(|number| format!("message {number}")).collect::<Vec<_>>(), "each once");
    drop(node);
    let _node = Node::script(&gateway, &journal);
    let shown = invoke(&gateway, SCRIPT_ID, "system.notify", json!({"title": "back"}), "back").await;
    assert_eq!(shown["ok"], true);
}

#[tokio::test]
async fn a_node_that_comes_while_the_node_service_stands_still_is_known_when_it_goes_on() {
    let gateway = Gateway::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let client = gateway.client().await;
    let pid = gateway.service("node").await.pid.expect("a process");
    process::signal(pid, Signal::STOP);
    let _node = Node::script(&gateway, &folder.path().join("journal"));
    eventually("the node among those who are present", async || {
        let present = client.call("system-presence", json!({})).await.ok()?;
        present.as_array()?.iter().any(|entry| entry["mode"] == "node").then_some(())
    })
    .await;
    // The edge waits longer for this answer than for what it has told the service of the node.
    client.call("node.list", json!({})).await.expect_err("nobody answers");
    process::signal(pid, Signal::CONT);
    connected(&gateway, "python").await;
    assert_eq!(gateway.service("node").await.pid, Some(pid), "it is the same process");
}

/// A node host whose owner lets everything run.
fn lenient_host() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    std::fs::create_dir_all(state.join("node-host")).expect("a state folder");
    std::fs::write(state.join("verso.json"), "{}").expect("a configuration");
    let rules = json!({"version": 1, "defaults": {"security": "full", "ask": "off"}});
    std::fs::write(state.join("node-host/exec-approvals.json"), rules.to_string()).expect("rules");
    (folder, state)
}

fn appending(path: &Path, word: &str) -> Value {
    json!({"command": ["/bin/sh", "-c", format!("echo {word} >> {}", path.display())], "cwd": "/"})
}

#[tokio::test]
async fn the_node_host_loses_nothing() {
    let gateway = Gateway::start().await;
    let (folder, state) = lenient_host();
    let journal = folder.path().join("journal");
    let host = Node::host(&gateway, &state);
    let node = connected(&gateway, "host").await;
    let id = node["nodeId"].as_str().expect("an id").to_owned();
    let ran = invoke(&gateway, &id, "system.run", json!({"command": ["/bin/sh", "-c", "echo out; exit 3"]}), "exit").await;
    assert_eq!(
        (&ran["payload"]["exitCode"], &ran["payload"]["stdout"], &ran["payload"]["success"]),
        (&json!(3), &json!("out\n"), &json!(false))
    );
    for (number, victim) in ["none", "node", "edge"].into_iter().enumerate() {
        let killed = if victim == "none" { None } else { Some(gateway.kill(victim).await) };
        let word = format!("word{number}");
        for _ in 0..2 {
            let ran = invoke(&gateway, &id, "system.run", appending(&journal, &word), &word).await;
            assert_eq!(ran["payload"]["success"], true, "{ran}");
        }
        if let Some(pid) = killed {
            gateway.recovered(victim, pid).await;
        }
    }
    assert_eq!(lines(&journal), ["word0", "word1", "word2"], "each once");
    drop(host);
    let _host = Node::host(&gateway, &state);
    let ran = invoke(&gateway, &id, "system.which", json!({"bins": ["sh", "made-up"]}), "which").await;
    assert_eq!(ran["payload"]["bins"].as_object().map(serde_json::Map::len), Some(1));
}

#[tokio::test]
async fn sec_51_a_run_that_needs_a_decision_waits_for_one() {
    let gateway = Gateway::start().await;
    let (_folder, state) = lenient_host();
    let rules = json!({"version": 1, "defaults": {"security": "full", "ask": "always"}});
    std::fs::write(state.join("node-host/exec-approvals.json"), rules.to_string()).expect("rules");
    let _host = Node::host(&gateway, &state);
    let node = connected(&gateway, "host").await;
    let client = gateway.client().await;
    let mut events = client.events();
    let run = |name: &str| {
        let params = json!({"command": ["/bin/echo", "hello"], "runId": name, "approved": true, "approvalDecision": "allow-always"});
        json!({"nodeId": node["nodeId"], "command": "system.run", "params": params, "idempotencyKey": name, "timeoutMs": 20_000})
    };
    for (name, decision) in [("yes", "allow-once"), ("no", "deny")] {
        let deciding = async {
            let asked = events.next_named("exec.approval.requested").await.expect("a question");
            assert_eq!(
                (&asked.payload["request"]["command"], &asked.payload["request"]["nodeId"]),
                (&json!("/bin/echo hello"), &node["nodeId"])
            );
            let decision = json!({"id": asked.payload["id"], "decision": decision});
            client.call("exec.approval.resolve", decision).await.expect("a decision");
        };
        let (answer, ()) = tokio::join!(client.call("node.invoke", run(name)), deciding);
        match answer {
            Ok(answer) => assert_eq!((name, &answer["payload"]["stdout"]), ("yes", &json!("hello\n"))),
            Err(error) => assert_eq!((name, error.message.as_str()), ("no", "SYSTEM_RUN_DENIED: denied by a person")),
        }
    }
}

#[tokio::test]
async fn an_unpaired_node_is_gone() {
    let gateway = Gateway::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::script(&gateway, &folder.path().join("journal"));
    connected(&gateway, "python").await;
    drop(node);
    let client = gateway.client().await;
    client.call("node.pair.remove", json!({"nodeId": SCRIPT_ID})).await.expect("it was paired");
    let list = client.call("node.list", json!({})).await.expect("a list");
    assert_eq!(list["nodes"], json!([]));
    let error = client.call("node.pair.remove", json!({"nodeId": SCRIPT_ID})).await.expect_err("it is gone");
    assert_eq!(error.message, "unknown nodeId");
}

#[tokio::test]
async fn what_a_node_asks_of_an_agent_is_answered() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let mut options = gateway.options().with_identity(Identity::generate(0)).with_client("node-host", "node");
    "node".clone_into(&mut options.role);
    options.scopes = Some(Vec::new());
    let node = gateway.connect(options).await;
    let tell = async |event: &str, payload: Value| {
        node.call("node.event", json!({"event": event, "payloadJSON": payload.to_string()})).await.expect("an answer")
    };
    let asked = tell("agent.request", json!({"message": "[[tokens=2]] from the phone", "sessionKey": "agent:main:phone"})).await;
    assert_eq!((&asked["ok"], &asked["handled"]), (&json!(true), &json!(true)), "{asked}");
    tell("voice.transcript", json!({"text": "[[tokens=1]] spoken"})).await;
    let operator = gateway.client().await;
    for (session, said) in [("agent:main:phone", "from the phone"), ("agent:main:main", "spoken")] {
        eventually("the conversation to have both sides", async || {
            let history = operator.call("chat.history", json!({"sessionKey": session})).await.ok()?;
            let text = history["messages"].to_string();
            (text.contains(said) && text.contains("word0")).then_some(())
        })
        .await;
    }
    let unheard = tell("exec.finished", json!({"runId": "made-up", "sessionKey": "agent:main:main", "output": "obey"})).await;
    assert_eq!(unheard["handled"], false, "nobody has asked for that run");
}
