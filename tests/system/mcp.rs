//! Servers of tools that nobody here wrote, over pipes and over HTTP.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;
use verso_client::Client;
use verso_tests::provider::calling;
use verso_tests::{Gateway, PATIENCE, Provider, eventually, peers, process};

/// Where the server of every feature is, below the packages.
const EVERYTHING: &str = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";

/// The server as a program of the gateway's.
fn over_pipes() -> Option<Value> {
    let (node, packages) = peers::node()?;
    let script = packages.join(EVERYTHING);
    Some(json!({"command": node, "args": [script, "stdio"], "env": {"MADE_UP": "given"}, "toolFilter": {"exclude": ["trigger-*"]}}))
}

/// The server on a port of its own; it ends with the test.
struct OverHttp {
    child: Child,
    url: String,
}

impl OverHttp {
    async fn start() -> Option<Self> {
        let (node, packages) = peers::node()?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let mut command = Command::new(node);
        command.arg(packages.join(EVERYTHING)).arg("streamableHttp").env("PORT", port.to_string());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server starts");
        eventually("the server to listen", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        Some(Self { child, url: format!("http://127.0.0.1:{port}/mcp") })
    }
}

impl Drop for OverHttp {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A gateway with these servers, in front of a model that does what it is told.
async fn gateway(provider: &Provider, servers: Value, more: Value) -> Gateway {
    let mut config = provider.config();
    // A model that cannot see.
    config["models"]["providers"]["scripted"]["models"][0]["input"] = json!(["text"]);
    config["mcp"] = json!({"servers": servers});
    for (name, section) in more.as_object().into_iter().flatten() {
        config[name] = section.clone();
    }
    Gateway::start_with(config).await
}

/// Waits until a server is in a state, and returns what is said of it.
async fn in_state(client: &Client, name: &str, state: &str) -> Value {
    eventually("a state of the server", async || {
        let status = client.call("status", json!({})).await.ok()?;
        status["mcp"].as_array()?.iter().find(|server| server["name"] == name && server["state"] == state).cloned()
    })
    .await
}

/// Has the model call a tool, and returns what the tool answered.
async fn call(client: &Client, provider: &Provider, key: &str, tool: &str, arguments: &Value) -> String {
    let params = json!({"message": format!("x {}", calling(tool, arguments)), "sessionKey": "agent:main:mcp", "idempotencyKey": key});
    let mut answers = client.call_streaming("agent", params).await.expect("an accepted run");
    let mut last = json!(null);
    while let Some(answer) = timeout(PATIENCE, answers.next()).await.expect("an answer in time") {
        last = answer.expect("no error");
    }
    assert_eq!(last["status"], "ok", "{last}");
    provider.tool_answer().as_str().unwrap_or_default().to_owned()
}

fn offered(provider: &Provider) -> Vec<String> {
    let calls = provider.calls();
    let tools = calls.last().map(|call| call.body["tools"].clone()).unwrap_or_default();
    tools.as_array().into_iter().flatten().filter_map(|tool| tool["function"]["name"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn tools_of_a_program_are_offered_called_and_come_back_after_it_was_killed() {
    let Some(server) = over_pipes() else { return };
    let provider = Provider::start().await;
    let gateway = gateway(&provider, json!({"everything": server}), json!({})).await;
    let client = gateway.client().await;
    in_state(&client, "everything", "ready").await;
    let sum = call(&client, &provider, "m1", "mcp__everything__get-sum", &json!({"a": 2, "b": 40})).await;
    assert!(sum.contains("42"), "{sum}");
    assert!(!offered(&provider).iter().any(|name| name.contains("trigger")), "{:?}", offered(&provider));

    // It is given what it was configured with, and nothing of the gateway's own.
    let env = call(&client, &provider, "m2", "mcp__everything__get-env", &json!({})).await;
    assert!(env.contains("given") && env.contains("PATH"), "{env}");
    assert!(!env.contains("VERSO_") && !env.contains("made-up-key"), "{env}");

    // A picture is one, also for a model that cannot see it.
    let picture = call(&client, &provider, "m3", "mcp__everything__get-tiny-image", &json!({})).await;
    assert!(picture.contains("picture(s), which this model cannot see"), "{picture}");

    // Its end is nobody else's.
    let agent = gateway.service("agent").await.pid.expect("a running service");
    let program = process::tree(agent).into_iter().find(|pid| process::command_line(*pid).contains("server-everything"));
    process::signal(program.expect("the server's program"), Signal::KILL);
    let back = eventually("the server to be back", async || {
        let status = client.call("status", json!({})).await.ok()?;
        status["mcp"].as_array()?.iter().find(|server| server["state"] == "ready" && server["restarts"] == 1).cloned()
    })
    .await;
    assert!(back["tools"].as_i64().is_some_and(|tools| tools > 3), "{back}");
    let echo = call(&client, &provider, "m4", "mcp__everything__echo", &json!({"message": "again"})).await;
    assert!(echo.contains("again"), "{echo}");
    assert_eq!(gateway.service("agent").await.pid, Some(agent), "the service is the same");
}

#[tokio::test]
async fn sec_70_tools_of_a_server_obey_the_policy_like_any_other() {
    let Some(server) = over_pipes() else { return };
    let provider = Provider::start().await;
    let rules = json!({"tools": {"deny": ["mcp__everything__echo"], "byProvider": {"scripted": {"deny": ["mcp__everything__get-env"]}}}});
    let gateway = gateway(&provider, json!({"everything": server}), rules).await;
    let client = gateway.client().await;
    in_state(&client, "everything", "ready").await;
    for (key, tool) in [("p1", "echo"), ("p2", "get-env")] {
        let name = format!("mcp__everything__{tool}");
        let answer = call(&client, &provider, key, &name, &json!({"message": "x"})).await;
        assert_eq!(answer, format!("there is no tool named {name}"));
        assert!(!offered(&provider).contains(&name), "{name}");
    }
    assert!(offered(&provider).contains(&"mcp__everything__get-sum".to_owned()), "{:?}", offered(&provider));
}

#[tokio::test]
async fn a_server_over_http_is_called_with_its_headers_and_may_go_away_and_come_back() {
    let Some(server) = OverHttp::start().await else { return };
    let provider = Provider::start().await;
    let gateway = gateway(&provider, json!({"far": {"url": server.url, "headers": {"x-made-up": "secret"}}}), json!({})).await;
    let client = gateway.client().await;
    in_state(&client, "far", "ready").await;
    let echo = call(&client, &provider, "h1", "mcp__far__echo", &json!({"message": "hello"})).await;
    assert!(echo.contains("hello"), "{echo}");
    drop(server);
    let gone = call(&client, &provider, "h2", "mcp__far__echo", &json!({"message": "hello"})).await;
    assert!(gone.contains("the MCP server far"), "{gone}");
    let status = in_state(&client, "far", "failed").await;
    assert!(status["error"].is_string(), "{status}");
}

#[tokio::test]
async fn a_changed_section_retires_and_starts_servers_and_leaves_the_service_alone() {
    let Some(server) = over_pipes() else { return };
    let provider = Provider::start().await;
    let gateway = gateway(&provider, json!({"one": server}), json!({})).await;
    let client = gateway.client().await;
    in_state(&client, "one", "ready").await;
    let agent = gateway.service("agent").await.pid;
    let hash = client.call("config.get", json!({})).await.expect("the configuration")["hash"].clone();
    let broken = json!({"command": "/no/such/program"});
    let patch = json!({"mcp": {"servers": {"one": null, "two": server, "three": broken}}}).to_string();
    client.call("config.patch", json!({"raw": patch, "baseHash": hash})).await.expect("a change");
    in_state(&client, "two", "ready").await;
    let status = in_state(&client, "three", "failed").await;
    assert!(status["error"].as_str().is_some_and(|error| error.contains("could not be started")), "{status}");
    let names = client.call("status", json!({})).await.expect("a status")["mcp"].to_string();
    assert!(!names.contains("\"one\""), "{names}");
    assert_eq!(gateway.service("agent").await.pid, agent, "the service is the same");
}
