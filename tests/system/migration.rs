//! What another gateway has kept becomes this one's, and can be taken elsewhere again.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use verso_tests::Gateway;

/// A Saturday in January.
const AT: &str = "2026-01-10T10:00:00.000Z";

/// An id as the other gateway makes them.
const MAIN_ID: &str = "0b9f6f0e-5f0c-4d8e-9a51-0c6b8d1f2a11";
const GROUP_ID: &str = "5f3a4c1d-77aa-4b0e-8c11-99f0aa12bb34";

/// Lines of a transcript: a header, what the other gateway notes about itself, and messages that follow each other.
fn transcript(id: &str, messages: &[Value]) -> String {
    let mut lines = vec![
        json!({"type": "session", "version": 3, "id": id, "timestamp": AT, "cwd": "/home/ann/.openclaw/workspace"}),
        json!({"type": "model_change", "id": "00000001", "parentId": null, "timestamp": AT, "provider": "anthropic", "modelId": "m"}),
        json!({"type": "thinking_level_change", "id": "00000002", "parentId": "00000001", "timestamp": AT, "thinkingLevel": "low"}),
        json!({"type": "custom", "id": "00000003", "parentId": "00000002", "timestamp": AT, "customType": "model-snapshot", "data": {}}),
    ];
    for (number, message) in (4..).zip(messages) {
        let (id, before) = (format!("{number:08x}"), format!("{:08x}", number - 1));
        lines.push(json!({"type": "message", "id": id, "parentId": before, "timestamp": AT, "message": message}));
    }
    lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n"
}

fn conversation() -> String {
    let usage = json!({"input": 20, "output": 5, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 25, "cost": {"total": 0.001}});
    let assistant = |content: Value, stop: &str| json!({"role": "assistant", "content": content, "api": "anthropic-messages", "provider": "anthropic", "model": "m", "usage": usage, "stopReason": stop, "timestamp": 1_768_039_200_000_i64});
    let call = json!({"type": "toolCall", "id": "toolu_1", "name": "read", "arguments": {"path": "soup.md"}});
    let result = json!({"role": "toolResult", "toolCallId": "toolu_1", "toolName": "read", "content": [{"type": "text", "text": "leeks"}], "isError": false, "timestamp": 1});
    let messages = [
        json!({"role": "user", "content": [{"type": "text", "text": "What is in the soup?"}], "timestamp": 1_768_039_200_000_i64}),
        assistant(json!([call]), "toolUse"),
        result,
        assistant(json!([{"type": "text", "text": "Leeks."}]), "stop"),
    ];
    transcript(MAIN_ID, &messages)
}

fn write(path: PathBuf, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
    std::fs::write(path, text).expect("the file is written");
}

/// The state folder of somebody who has used OpenClaw for a while.
fn openclaw(folder: &Path) {
    let sessions = json!({
        "agent:main:main": {
            "sessionId": MAIN_ID, "updatedAt": 1_768_039_260_000_i64, "systemSent": true, "chatType": "direct", "lastChannel": "telegram",
            "lastTo": "42", "lastAccountId": "default", "thinkingLevel": "high", "sendPolicy": "deny", "label": "kitchen",
            "inputTokens": 20, "outputTokens": 5, "totalTokens": 20, "modelProvider": "anthropic", "model": "m", "compactionCount": 0,
            "skillsSnapshot": {"version": 1}, "origin": {"provider": "telegram", "from": "42"},
        },
        "agent:main:telegram:group:-100": {"sessionId": GROUP_ID, "updatedAt": 1_768_039_000_000_i64, "groupActivation": "always"},
        "agent:main:broken": {"sessionId": "../../etc/passwd", "updatedAt": 1},
    });
    let agent = folder.join("agents/main");
    write(agent.join("sessions/sessions.json"), &serde_json::to_string_pretty(&sessions).expect("JSON"));
    write(agent.join(format!("sessions/{MAIN_ID}.jsonl")), &conversation());
    let hello = transcript(GROUP_ID, &[json!({"role": "user", "content": "hello all", "timestamp": 1})]);
    write(agent.join(format!("sessions/{GROUP_ID}.jsonl")), &format!("{hello}{{broken\n"));
    let profiles = json!({"version": 1, "profiles": {"anthropic:default": {"type": "api_key", "provider": "anthropic", "key": "made-up"}}});
    write(agent.join("agent/auth-profiles.json"), &profiles.to_string());
    let daily = json!({"id": "job-daily", "name": "Daily news", "enabled": true, "createdAtMs": 1, "updatedAtMs": 2,
        "schedule": {"kind": "cron", "expr": "0 9 * * *", "tz": "Europe/Berlin"}, "sessionTarget": "isolated", "wakeMode": "next-heartbeat",
        "payload": {"kind": "agentTurn", "message": "What is new?", "deliver": true, "provider": "telegram", "to": "42"},
        "state": {"nextRunAtMs": 5, "runningAtMs": 4, "lastStatus": "ok"}});
    let odd = json!({"id": "job-odd", "name": "Odd", "enabled": true, "createdAtMs": 1, "updatedAtMs": 2, "schedule": {"kind": "every", "everyMs": 1000},
        "sessionTarget": "main", "wakeMode": "now", "payload": {"kind": "agentTurn", "message": "x"}, "state": {}});
    write(folder.join("cron/jobs.json"), &json!({"version": 1, "jobs": [daily, odd]}).to_string());
    write(folder.join("cron/runs/job-daily.jsonl"), "{}\n");
    write(folder.join("credentials/telegram-allowFrom.json"), r#"{"version":1,"allowFrom":["42"]}"#);
    write(folder.join("openclaw.json"), "{gateway: {mode: 'local'}}");
}

async fn migrate(gateway: &Gateway, arguments: &[&str]) -> Value {
    let mut command = gateway.command();
    command.arg("migrate").args(arguments).arg("--json");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the CLI runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn named(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|item| item["what"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn the_state_of_openclaw_is_taken_over_once_and_can_be_taken_elsewhere() {
    let mut gateway = Gateway::prepare(json!({}));
    let theirs = gateway.state_dir().parent().expect("a folder").join("openclaw");
    openclaw(&theirs);
    let before = std::fs::read(theirs.join("agents/main/sessions/sessions.json")).expect("the list");
    let theirs = theirs.to_str().expect("a path");

    let looked = migrate(&gateway, &["openclaw", theirs, "--dry-run"]).await;
    assert!(!gateway.state_dir().join("agent/agent.sqlite").exists(), "only looked at");
    let took = migrate(&gateway, &["openclaw", theirs]).await;
    assert_eq!((&looked["sessions"], &looked["jobs"], &looked["dryRun"]), (&took["sessions"], &took["jobs"], &json!(true)));
    let keys = json!([{"key": "agent:main:main", "messages": 4}, {"key": "agent:main:telegram:group:-100", "messages": 1}]);
    assert_eq!((&took["sessions"], &took["jobs"], &took["unreadableLines"]), (&keys, &json!(["job-daily"]), &json!(1)));
    assert_eq!(took["droppedLines"], json!({"custom": 2, "model_change": 2, "thinking_level_change": 2}));
    assert_eq!(named(&took["left"]), ["agent:main:broken", "Odd"], "{took}");
    assert_eq!(named(&took["elsewhere"]).len(), 3, "configuration, credentials of networks, logs of jobs: {took}");
    let again = migrate(&gateway, &["openclaw", theirs]).await;
    assert_eq!((&again["sessions"], &again["jobs"], named(&again["left"]).len()), (&json!([]), &json!([]), 5), "{again}");
    assert_eq!(std::fs::read(format!("{theirs}/agents/main/sessions/sessions.json")).expect("the list"), before);

    gateway.launch(&[]);
    gateway.ready().await;
    let client = gateway.client().await;
    let history = client.call("chat.history", json!({"sessionKey": "main"})).await.expect("a history");
    let roles: Vec<&str> = history["messages"].as_array().expect("messages").iter().filter_map(|line| line["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "toolResult", "assistant"]);
    assert!(history.to_string().contains("Leeks."), "{history}");
    let list = client.call("sessions.list", json!({})).await.expect("a list");
    let row = list["sessions"].as_array().and_then(|rows| rows.iter().find(|row| row["key"] == "agent:main:main")).expect("the row");
    let taken = [&row["sessionId"], &row["label"], &row["thinkingLevel"], &row["channel"], &row["sendPolicy"], &row["updatedAt"]];
    let kept = json!([MAIN_ID, "kitchen", "high", "telegram", "deny", 1_768_039_260_000_i64]);
    assert_eq!(json!(taken), kept, "{row}");
    let jobs = client.call("cron.list", json!({})).await.expect("a list");
    let (payload, state) = (&jobs["jobs"][0]["payload"], &jobs["jobs"][0]["state"]);
    assert_eq!((&payload["channel"], &payload["to"], &state["runningAtMs"]), (&json!("telegram"), &json!("42"), &Value::Null), "{jobs}");
    assert!(state["nextRunAtMs"].as_i64().is_some_and(|at_ms| at_ms > 5), "{jobs}");
    let denied = client.call("chat.send", json!({"sessionKey": "main", "message": "x", "idempotencyKey": "d"})).await;
    assert!(denied.expect_err("what was forbidden there is forbidden here").message.contains("send blocked"));

    let ours = gateway.state_dir().parent().expect("a folder").join("export");
    let written = migrate(&gateway, &["export", ours.to_str().expect("a path")]).await;
    assert_eq!(written["jobs"], json!(["job-daily"]));
    let mut other = Gateway::prepare(json!({}));
    let took = migrate(&other, &["openclaw", ours.to_str().expect("a path")]).await;
    assert_eq!((&took["sessions"], &took["jobs"], &took["droppedLines"]), (&keys, &json!(["job-daily"]), &json!({})), "{took}");
    other.launch(&[]);
    other.ready().await;
    let copy = other.client().await.call("chat.history", json!({"sessionKey": "main"})).await.expect("a history");
    assert_eq!(copy["messages"], history["messages"]);
}
