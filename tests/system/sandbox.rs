//! Programs that agents run: confined by a program of others, and ended with the service that has started them.

use serde_json::{Value, json};
use tokio::time::timeout;
use verso_client::Client;
use verso_tests::provider::calling;
use verso_tests::{Gateway, PATIENCE, Provider, eventually, peers, process};

/// Has the model run a command, and returns the tool's answer.
async fn exec(client: &Client, provider: &Provider, key: &str, command: &str) -> String {
    let order = calling("exec", &json!({"command": command}));
    let params = json!({"message": format!("x {order}"), "sessionKey": "agent:main:exec", "idempotencyKey": key});
    let mut answers = client.call_streaming("agent", params).await.expect("an accepted run");
    while let Some(answer) = timeout(PATIENCE, answers.next()).await.expect("an answer in time") {
        answer.expect("no error");
    }
    provider.tool_answer().as_str().unwrap_or_default().to_owned()
}

fn config(provider: &Provider, more: &Value) -> Value {
    let mut config = provider.config();
    for (name, value) in more.as_object().into_iter().flatten() {
        config["agents"]["defaults"][name] = value.clone();
    }
    config
}

#[tokio::test]
async fn a_program_in_bubblewrap_sees_its_workspace_and_nothing_else_of_its_users() {
    if peers::program("bwrap").is_none() {
        return;
    }
    let provider = Provider::start().await;
    let sandbox = json!({"sandbox": {"mode": "all", "backend": "bubblewrap", "workspaceAccess": "rw"}});
    let gateway = Gateway::start_with(config(&provider, &sandbox)).await;
    let client = gateway.client().await;
    let state = gateway.state_dir();
    let command = format!("pwd; echo made > made; ls {} /root /home; echo end", state.display());
    let answer = exec(&client, &provider, "b1", &command).await;
    assert!(answer.contains("workspace") && answer.contains("end"), "{answer}");
    assert!(answer.matches("No such file").count() >= 2 && !answer.contains("verso.json"), "{answer}");
    let made = state.parent().expect("a folder").join("workspace/made");
    assert_eq!(std::fs::read_to_string(made).expect("the file that it made"), "made\n");
    let network = exec(&client, &provider, "b2", "cat /proc/net/dev | wc -l; env | sort").await;
    assert!(network.contains('3') && !network.contains("VERSO_"), "only the loopback of its own: {network}");
}

#[tokio::test]
async fn sec_55_a_sandbox_that_would_be_none_runs_nothing() {
    let provider = Provider::start().await;
    let sandbox = json!({"sandbox": {"mode": "all", "docker": {"network": "host"}}});
    let gateway = Gateway::start_with(config(&provider, &sandbox)).await;
    let client = gateway.client().await;
    let answer = exec(&client, &provider, "n1", "echo ran").await;
    assert!(answer.contains("exec denied") && answer.contains("sandbox.docker.network cannot be"), "{answer}");
}

#[tokio::test]
async fn what_a_program_has_started_ends_although_the_service_was_killed() {
    let provider = Provider::start().await;
    let mut config = config(&provider, &json!({}));
    config["tools"] = json!({"exec": {"security": "full", "ask": "off"}});
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    let order = calling("exec", &json!({"command": "sleep 47110815 & sleep 47110816"}));
    let params = json!({"message": format!("x {order}"), "sessionKey": "agent:main:k", "idempotencyKey": "k1"});
    let mut answers = client.call_streaming("agent", params).await.expect("an accepted run");
    let agent = gateway.service("agent").await.pid.expect("a running service");
    let running = |pid: &i64| process::command_line(*pid).contains("4711081");
    let programs = eventually("both programs", async || {
        let found: Vec<i64> = process::tree(agent).into_iter().filter(|pid| running(pid)).collect();
        (found.iter().filter(|pid| process::command_line(**pid).starts_with("sleep")).count() == 2).then_some(found)
    })
    .await;
    let pid = gateway.kill("agent").await;
    gateway.recovered("agent", pid).await;
    eventually("the programs to be gone", async || (!programs.iter().any(running)).then_some(())).await;
    // Whoever asked hears of it.
    while let Some(answer) = timeout(PATIENCE, answers.next()).await.expect("an answer in time") {
        drop(answer);
    }
}
