//! A whole gateway that was paused, as a machine can be, while another took its place: it goes on, and can do nothing any more.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use verso_client::{Client, Identity, Options};
use verso_tests::bot_api::BotApi;
use verso_tests::gateway::TOKEN;
use verso_tests::{Gateway, Provider, eventually, process};

/// The gateway that takes over; it is ended when it is dropped.
struct Successor {
    child: Child,
    port: u16,
}

impl Successor {
    /// Starts it on the same state folder, as another machine would that sees the folder and not the lock.
    async fn start(gateway: &Gateway) -> Self {
        fs::remove_file(gateway.state_dir().join("run/gateway.lock")).expect("a lock file");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let output = File::create(gateway.state_dir().join("successor.txt")).expect("a file");
        let mut command = gateway.command();
        command.args(["gateway", "--port", &port.to_string()]).env_remove("VERSO_GATEWAY_PORT");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a handle")).stderr(output);
        let child = command.spawn().expect("the gateway starts");
        let successor = Self { child, port };
        eventually("the successor to serve", async || {
            let client = Client::connect(successor.options()).await.ok()?;
            for method in ["sessions.list", "channels.status", "node.list"] {
                client.call(method, json!({})).await.ok()?;
            }
            Some(())
        })
        .await;
        successor
    }

    fn options(&self) -> Options {
        Options::new(format!("ws://127.0.0.1:{}", self.port)).with_token(TOKEN)
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        process::signal(i64::from(self.child.id()), Signal::TERM);
        drop(self.child.wait());
    }
}

/// Files that only their owners write, with what is in them.
fn documents(gateway: &Gateway) -> Vec<Value> {
    let names = ["verso.json", "devices/paired.json", "node/nodes.json"];
    names.iter().map(|name| verso_json(&fs::read_to_string(gateway.state_dir().join(name)).unwrap_or_default())).collect()
}

fn verso_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

#[tokio::test]
async fn sec_74_a_gateway_that_was_paused_and_replaced_neither_writes_nor_sends() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"dmPolicy": "open", "allowFrom": ["*"]}))["channels"].clone();
    let gateway = Gateway::start_with(config).await;
    let stale = gateway.client().await;
    let turn = |key: &str| json!({"message": format!("said {key}"), "sessionKey": "agent:main:stale", "idempotencyKey": key});
    stale.call("agent", turn("before")).await.expect("a run");
    stale.call("agent.wait", json!({"runId": "before"})).await.expect("a finished run");
    let seen = stale.call("config.get", json!({})).await.expect("the configuration");
    let all = process::tree(gateway.pid());
    for pid in &all {
        process::signal(*pid, Signal::STOP);
    }
    let successor = Successor::start(&gateway).await;
    let current = Client::connect(successor.options()).await.expect("a connection");
    current.call("agent", turn("meanwhile")).await.expect("a run");
    current.call("agent.wait", json!({"runId": "meanwhile"})).await.expect("a finished run");
    let device = Identity::generate(verso_kit::clock::Clock::system().now_ms());
    Client::connect(successor.options().with_identity(device.clone())).await.expect("a paired device");
    let mut answered = false;
    let (before, sent) = (documents(&gateway), api.chats().len());

    // What it was asked while it was paused is waiting for it; more is asked as soon as it goes on.
    let message = json!({"to": "telegram:42", "channel": "telegram", "message": "from the past", "idempotencyKey": "stale-send"});
    let other = json!({"raw": "{\"ui\": {\"assistant\": {\"name\": \"from the past\"}}}", "baseHash": seen["hash"]});
    let asked = async {
        let stale_device = Identity::generate(verso_kit::clock::Clock::system().now_ms());
        let pairing = gateway.options().with_identity(stale_device);
        tokio::join!(
            stale.call("agent", turn("stale")),
            stale.call("send", message),
            stale.call("node.pair.request", json!({"nodeId": "stale-node"})),
            stale.call("config.patch", other),
            Client::connect(pairing),
        )
    };
    let waking = async {
        for pid in &all {
            process::signal(*pid, Signal::CONT);
        }
    };
    let (answers, ()) = tokio::join!(tokio::time::timeout(verso_tests::PATIENCE, asked), waking);
    if let Ok((turn, send, node, config, _)) = answers {
        assert!(send.is_err() && node.is_err() && config.is_err(), "{send:?} {node:?} {config:?}");
        // Its agent service ends as soon as it finds itself replaced; the stale edge then reaches the one that is right.
        answered = turn.is_ok();
    }
    assert_eq!(documents(&gateway), before, "nothing was written over");
    let said = current.call("chat.history", json!({"sessionKey": "agent:main:stale"})).await.expect("the history").to_string();
    assert!(said.contains("said before") && said.contains("said meanwhile"), "{said}");
    assert!(answered || !said.contains("said stale"), "a message that was refused was kept: {said}");
    assert_eq!(api.chats().len(), sent, "nothing was sent");
    current.call("sessions.list", json!({})).await.expect("the successor goes on");
    let output = fs::read_to_string(gateway.state_dir().join("successor.txt")).unwrap_or_default();
    assert!(!output.contains("another incarnation"), "the successor was not shut out: {output}");
    for pid in all {
        process::signal(pid, Signal::KILL);
    }
}
