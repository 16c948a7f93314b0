//! What each process may use: who uses more is replaced alone, and says so before.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;
use verso_client::{Client, Events};
use verso_tests::gateway::TOKEN;
use verso_tests::leak::Leak;
use verso_tests::{Gateway, PATIENCE, eventually, process};

/// What the edge's memory may move by while another process is replaced, in KiB.
const EDGE_KIB_MAX: u64 = 5 << 10;

/// Starts a gateway whose agent service loses memory when it is told to; `budgets` are its limits.
async fn leaking(budgets: Value) -> Option<(Gateway, Leak)> {
    let mut gateway = Gateway::prepare(json!({"gateway": {"trustedProxies": ["127.0.0.1"], "budgets": budgets}}));
    let leak = Leak::build(&gateway.state_dir(), "agent")?;
    gateway.launch(&[]);
    gateway.ready().await;
    let mut command = gateway.command();
    command.args(["update", "--no-install", "--from"]).arg(leak.executable());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the CLI runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some((gateway, leak))
}

/// Waits for a `health` event whose `pressure` is this.
async fn told(events: &mut Events, pressure: &Value) {
    let wait = async {
        loop {
            let event = events.next_named("health").await.expect("an open connection");
            if event.payload.get("pressure").unwrap_or(&json!({})) == pressure {
                return;
            }
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("nobody was told of {pressure}"));
}

async fn ready(gateway: &Gateway, address: &str, secret: Option<&str>) -> (StatusCode, Value) {
    let asked = crate::http::http().get(gateway.http("/readyz")).header("x-forwarded-for", address);
    let asked = secret.map_or(asked.try_clone(), |secret| Some(asked.bearer_auth(secret))).expect("a request without a body");
    let answer = asked.send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

fn starts(gateway: &[verso_proto::supervisor::v1::ServiceInfo]) -> Vec<(String, u64)> {
    gateway.iter().map(|service| (service.name.clone(), service.starts)).collect()
}

async fn connected(gateway: &Gateway) -> Vec<Client> {
    let mut clients = Vec::new();
    for protocol in [3..=3, 4..=4, 3..=3, 4..=4] {
        clients.push(gateway.connect(gateway.options().with_protocol(protocol)).await);
    }
    clients
}

#[tokio::test]
async fn an_agent_that_loses_memory_is_replaced_at_its_soft_limit_and_nobody_else_notices() {
    let budgets = json!({"sampleMs": 100, "softForMs": 3_000, "agent": {"memorySoftMib": 96, "memoryHardMib": 1_024}});
    let Some((gateway, leak)) = leaking(budgets).await else { return };
    let clients = connected(&gateway).await;
    let mut events = clients[0].events();
    for client in &clients {
        client.call("sessions.list", json!({})).await.expect("the agent service answers");
    }
    let before = gateway.services().await.expect("the supervisor's answer");
    let (edge, agent) = (gateway.service("edge").await.pid.expect("an edge"), gateway.service("agent").await);
    let usage = agent.usage.expect("what it uses");
    assert!(usage.memory_bytes > 0 && usage.memory_bytes < usage.memory_soft_bytes && usage.descriptors > 3, "{usage:?}");
    let edge_kib = process::rss_kib(edge);

    leak.lose(128);
    told(&mut events, &json!({"agent": "memory"})).await;
    let named = ready(&gateway, "203.0.113.9", Some(TOKEN)).await;
    assert_eq!((named.0, &named.1["pressure"]), (StatusCode::OK, &json!({"agent": "memory"})), "{named:?}");
    assert_eq!(ready(&gateway, "203.0.113.9", None).await, (StatusCode::OK, json!({"ready": true})), "a stranger learns nothing of it");
    leak.lose(0);

    let after = gateway.recovered("agent", agent.pid.expect("an agent")).await;
    let why = after.last_exit.clone().unwrap_or_default();
    assert!(why.starts_with("exit status 0 (") && why.contains("soft limit of 96 MiB"), "it was drained, and it is known why: {why}");
    assert_eq!(after.usage.map(|usage| usage.recycled), Some(1));
    for client in &clients {
        client.call("sessions.list", json!({})).await.expect("the same connection, and the next agent");
    }
    told(&mut events, &json!({})).await;
    let moved = process::rss_kib(edge).abs_diff(edge_kib);
    assert!(moved < EDGE_KIB_MAX, "the edge's memory moved by {moved} KiB");
    let expected: Vec<_> =
        starts(&before).into_iter().map(|(name, starts)| if name == "agent" { (name, starts + 1) } else { (name, starts) }).collect();
    assert_eq!(starts(&gateway.services().await.expect("the supervisor's answer")), expected);
    let list = gateway.command().args(["services", "list"]).output().expect("the CLI runs");
    assert!(String::from_utf8_lossy(&list.stdout).contains(" of 96 MiB"), "{}", String::from_utf8_lossy(&list.stdout));
}

#[tokio::test]
async fn an_agent_far_above_what_it_may_use_is_killed_at_once_and_restarted_by_its_budget() {
    let budgets = json!({"sampleMs": 100, "softForMs": 600_000, "agent": {"memorySoftMib": 96, "memoryHardMib": 160}});
    let Some((gateway, leak)) = leaking(budgets).await else { return };
    let client = gateway.client().await;
    let agent = gateway.service("agent").await;
    leak.lose(200);
    let killed = eventually("the agent to be killed", async || {
        let service = gateway.service("agent").await;
        service.last_exit.clone().filter(|why| why.contains("hard limit")).map(|why| (service, why))
    })
    .await;
    leak.lose(0);
    assert!(killed.1.starts_with("signal 9 (") && killed.1.contains("hard limit of 160 MiB"), "{}", killed.1);
    gateway.recovered("agent", agent.pid.expect("an agent")).await;
    client.call("sessions.list", json!({})).await.expect("the same connection, and the next agent");
}

#[tokio::test]
async fn limits_are_in_force_at_once_for_processes_that_run() {
    let gateway = Gateway::start().await;
    let agent = gateway.service("agent").await.pid.expect("an agent");
    let limit = |pid: i64, name: &str| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
        let line = limits.lines().find(|line| line.starts_with(name)).expect("a limit").to_owned();
        line[name.len()..].split_whitespace().next().expect("a number").to_owned()
    };
    let most: u64 = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    assert_eq!(limit(agent, "Max open files"), most.min(16_384).to_string());
    let output = gateway.command().args(["config", "set", "gateway.budgets.agent.descriptors", "512"]).output().expect("the CLI runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eventually("the limit to be in force", async || (limit(agent, "Max open files") == "512").then_some(())).await;
    let service = gateway.service("agent").await;
    assert_eq!((service.pid, service.usage.map(|usage| usage.descriptors_max)), (Some(agent), Some(512)), "nothing was restarted for it");
}
