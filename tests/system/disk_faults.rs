//! Disks that are full, fail, cannot be written or have lost something: who owns what is on them says so, and nobody else notices.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use verso_client::{CallError, Client};
use verso_tests::gateway::SERVICES;
use verso_tests::mount::Mount;
use verso_tests::{Gateway, Provider, eventually, peers, process};

/// Room of a file system for one owner's files, in KiB: enough to start with.
const ROOM_KIB: usize = 4_096;

/// A turn, long enough to need more room than is left beside a filler.
fn turn(key: &str) -> Value {
    json!({"message": format!("{key} {}", "x".repeat(50_000)), "sessionKey": "agent:main:disk", "idempotencyKey": key})
}

async fn take_a_turn(client: &Client, key: &str) -> Result<Value, CallError> {
    client.call("agent", turn(key)).await?;
    client.call("agent.wait", json!({"runId": key})).await
}

/// A gateway whose agents' files are on a small disk of their own; none where that cannot be made.
async fn agents_on_a_small_disk() -> Option<(Gateway, Client, Mount)> {
    let provider = Provider::start().await;
    let mut gateway = Gateway::prepare(provider.config());
    let disk = Mount::at(&gateway.state_dir().join("agent"), ROOM_KIB)?;
    gateway.launch(&[]);
    gateway.ready().await;
    let client = gateway.client().await;
    Some((gateway, client, disk))
}

/// A call that the service itself answers from what it keeps.
fn question(service: &str) -> &'static str {
    match service {
        "presence" => "system-presence",
        "node" => "node.list",
        "channel" => "channels.status",
        "agent" => "sessions.list",
        _ => "canvas.status",
    }
}

async fn others_answer(client: &Client, service: &str) {
    client.call("health", json!({})).await.expect("health is answered whatever is wrong");
    for other in SERVICES.iter().filter(|other| **other != service) {
        let asked = client.call(question(other), json!({})).await;
        asked.unwrap_or_else(|error| panic!("{other} must not notice what {service} suffers: {error:?}"));
    }
}

/// What `verso doctor` finds, of one kind and not in order.
async fn doctor(gateway: &Gateway, id: &str, arguments: &[&str]) -> Vec<(String, String)> {
    let mut command = gateway.command();
    command.args(["doctor", "--json"]).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the CLI runs");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let checks = document["checks"].as_array().expect("checks").iter().filter(|check| check["id"] == id && check["status"] != "ok");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    checks.map(|check| (text(&check["status"]), text(&check["message"]))).collect()
}

/// Waits until every service but this one serves, and this one has tried to start and did not come up.
async fn isolated(gateway: &Gateway, service: &str) {
    eventually("the others to serve", async || {
        let services = gateway.services().await?;
        let fares = |name: &str, state: &[&str]| services.iter().any(|found| found.name == name && state.contains(&found.state.as_str()));
        let others = SERVICES.iter().chain(&["edge"]).filter(|other| **other != service).all(|other| fares(other, &["serving"]));
        let tried = services.iter().any(|found| found.name == service && found.last_exit.is_some());
        (others && tried && !fares(service, &["serving"])).then_some(())
    })
    .await;
}

fn cli(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.command().args(arguments).output().expect("the CLI runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Takes a backup, stops the gateway and puts the backup back: then a database is one file, without a log that hides what is wrong with it.
async fn settle(gateway: &mut Gateway) {
    let taken: Value = serde_json::from_str(&cli(gateway, &["backup", "create", "--json"])).expect("JSON");
    stop(gateway).await;
    cli(gateway, &["backup", "restore", taken["backup"]["path"].as_str().expect("a path")]);
}

async fn stop(gateway: &mut Gateway) {
    process::signal(gateway.pid(), Signal::TERM);
    gateway.ended().await;
}

/// The log, where operators look for the file.
fn logged(gateway: &Gateway, words: &str) -> bool {
    let list = gateway.command().args(["logs", "--limit", "500", "--plain"]).output().expect("the CLI runs");
    String::from_utf8_lossy(&list.stdout).contains(words) || gateway.output().contains(words)
}

#[tokio::test]
async fn a_full_disk_refuses_what_it_cannot_keep_and_everything_else_goes_on() {
    let Some((gateway, client, disk)) = agents_on_a_small_disk().await else { return };
    take_a_turn(&client, "before").await.expect("a turn");
    disk.fill();
    let refused = async {
        for number in 0..20 {
            if let Err(error) = take_a_turn(&client, &format!("full-{number}")).await {
                return error;
            }
        }
        panic!("twenty turns were kept on a full disk");
    };
    let error = refused.await;
    assert!(error.message.contains("disk") && error.message.contains("full"), "{error:?}");
    others_answer(&client, "agent").await;
    assert!(!doctor(&gateway, "disk.free", &[]).await.is_empty(), "it is named");
    disk.empty();
    eventually("turns to be taken again", async || take_a_turn(&client, "after").await.ok()).await;
    let history = client.call("chat.history", json!({"sessionKey": "agent:main:disk"})).await.expect("the history").to_string();
    assert!(history.contains("before ") && history.contains("after "), "nothing that was kept is lost");
    assert!(gateway.service("agent").await.starts <= 2);
}

/// Asks for a turn whose end meets a full disk, and waits until it has.
async fn end_on_a_full_disk(gateway: &Gateway, client: &Client, disk: &Mount) {
    take_a_turn(client, "before").await.expect("a turn");
    let asked = json!({"message": "late [[tokens=20 gap=100]]", "sessionKey": "agent:main:disk", "idempotencyKey": "late"});
    client.call("agent", asked).await.expect("it is accepted");
    disk.fill();
    eventually("the end to be tried", async || logged(gateway, "the end of a run is saved again soon").then_some(())).await;
}

/// Who speaks in the transcript, in order.
async fn speakers(client: &Client) -> Vec<String> {
    let history = client.call("chat.history", json!({"sessionKey": "agent:main:disk"})).await.expect("the history");
    let messages = history["messages"].as_array().expect("messages").iter();
    messages.map(|message| message["role"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn an_answer_waits_for_a_disk_that_is_full_for_a_moment() {
    let Some((gateway, client, disk)) = agents_on_a_small_disk().await else { return };
    end_on_a_full_disk(&gateway, &client, &disk).await;
    disk.empty();
    let ended = client.call("agent.wait", json!({"runId": "late"})).await.expect("an end");
    assert_eq!(ended["status"], "ok");
    assert_eq!(speakers(&client).await, ["user", "assistant", "user", "assistant"]);
}

#[tokio::test]
async fn what_was_said_to_have_failed_is_not_answered_after_a_restart() {
    let Some((gateway, client, disk)) = agents_on_a_small_disk().await else { return };
    end_on_a_full_disk(&gateway, &client, &disk).await;
    let ended = client.call("agent.wait", json!({"runId": "late"})).await.expect("an end");
    assert_eq!((&ended["status"], ended["error"].as_str().is_some_and(|error| error.contains("disk"))), (&json!("error"), true), "{ended}");
    disk.empty();
    // A run that has not ended in the journal would be waited for.
    let closed = json!({"runId": "late", "timeoutMs": 50});
    let closed = async || client.call("agent.wait", closed.clone()).await.ok().filter(|ended| ended["status"] == "error");
    eventually("its end to be in the journal", closed).await;
    let pid = gateway.service("agent").await.pid.expect("a process");
    process::signal(pid, Signal::KILL);
    gateway.recovered("agent", pid).await;
    take_a_turn(&client, "after").await.expect("a turn");
    assert_eq!(speakers(&client).await, ["user", "assistant", "user", "user", "assistant"]);
}

#[tokio::test]
async fn a_full_disk_keeps_no_half_of_a_pairing() {
    for (folder, service) in [("node", "node"), ("devices", "edge")] {
        let mut gateway = Gateway::prepare(json!({}));
        let Some(disk) = Mount::at(&gateway.state_dir().join(folder), 64) else { return };
        gateway.launch(&[]);
        gateway.ready().await;
        let client = gateway.client().await;
        let pair = async |key: &str| {
            if service == "node" {
                let request = json!({"nodeId": key, "displayName": "x".repeat(200)});
                return client.call("node.pair.request", request).await.map(drop).map_err(|error| error.to_string());
            }
            let identity = verso_client::Identity::generate(verso_kit::clock::Clock::system().now_ms());
            Client::connect(gateway.options().with_identity(identity)).await.map(drop).map_err(|error| error.to_string())
        };
        pair("before").await.expect("room for one");
        disk.fill();
        pair("full").await.expect_err("no room");
        for other in fs::read_dir(gateway.state_dir().join(folder)).expect("the folder").flatten() {
            if other.path().extension().is_some_and(|extension| extension == "json") {
                let text = fs::read_to_string(other.path()).expect("a file");
                serde_json::from_str::<Value>(&text).expect("a whole file");
            }
        }
        others_answer(&client, service).await;
        disk.empty();
        pair("after").await.expect("room again");
    }
}

#[tokio::test]
async fn a_supervisor_without_room_keeps_what_runs_and_restarts_when_there_is_room() {
    let mut gateway = Gateway::prepare(json!({}));
    let Some(disk) = Mount::at(&gateway.state_dir().join("run"), 1_024) else { return };
    gateway.launch(&[]);
    gateway.ready().await;
    let client = gateway.client().await;
    disk.fill();
    let node = gateway.kill("node").await;
    others_answer(&client, "node").await;
    let services = gateway.services().await.expect("the supervisor answers");
    assert!(services.iter().filter(|service| service.name != "node").all(|service| service.state == "serving"));
    disk.empty();
    gateway.recovered("node", node).await;
    client.call("node.list", json!({})).await.expect("the same connection");
}

#[tokio::test]
async fn a_disk_that_fails_is_named_and_nothing_is_lost() {
    let Some(strace) = peers::program("strace") else { return };
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let client = gateway.client().await;
    take_a_turn(&client, "before").await.expect("a turn");
    let agent = gateway.service("agent").await.pid.expect("an agent");
    let calls = "pwrite64,fsync,fdatasync";
    let mut failing = Command::new(strace)
        .args(["-f", "-qq", "-o", "/dev/null", "-p", &agent.to_string(), "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:error=EIO")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace runs");
    let refused = eventually("a turn to be refused", async || take_a_turn(&client, "failing").await.err()).await;
    others_answer(&client, "agent").await;
    failing.kill().expect("strace was running");
    failing.wait().expect("strace has ended");
    assert!(["disk", "saved"].iter().any(|word| refused.message.contains(word)) || refused.retryable, "{refused:?}");
    // Whether the agent service went on or was restarted is its own affair.
    eventually("turns to be taken again", async || take_a_turn(&client, "after").await.ok()).await;
    let history = client.call("chat.history", json!({"sessionKey": "agent:main:disk"})).await.expect("the history").to_string();
    assert!(history.contains("before ") && history.contains("after "), "nothing that was kept is lost");
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_isolates_its_owner_until_it_can() {
    let mut gateway = Gateway::prepare(json!({}));
    let Some(disk) = Mount::at(&gateway.state_dir().join("channel"), ROOM_KIB) else { return };
    gateway.launch(&[]);
    gateway.ready().await;
    stop(&mut gateway).await;
    disk.read_only(true);
    gateway.launch(&[]);
    isolated(&gateway, "channel").await;
    let client = gateway.client().await;
    others_answer(&client, "channel").await;
    let path = gateway.state_dir().join("channel");
    assert!(logged(&gateway, &path.display().to_string()), "the log names the place: {}", gateway.output());
    assert!(!doctor(&gateway, "state.writable", &[]).await.is_empty());
    disk.read_only(false);
    eventually("the channel service to come back", async || client.call("channels.status", json!({})).await.ok()).await;
}

#[tokio::test]
async fn a_database_that_lost_its_head_is_put_back_from_the_last_backup_while_the_rest_runs() {
    let mut gateway = Gateway::start().await;
    let client = gateway.client().await;
    take_a_turn(&client, "kept").await.expect("a turn");
    settle(&mut gateway).await;
    let path = gateway.state_dir().join("agent/agent.sqlite");
    fs::OpenOptions::new().write(true).open(&path).expect("the database").write_all_at(&[0xa5; 4_096], 0).expect("a damaged page");
    gateway.launch(&[]);
    isolated(&gateway, "agent").await;
    let client = gateway.client().await;
    others_answer(&client, "agent").await;
    assert!(logged(&gateway, "agent.sqlite"), "the log names the file");
    let found = doctor(&gateway, "state.databases", &[]).await;
    assert!(found.len() == 1 && found[0].0 == "error" && found[0].1.contains("agent/agent.sqlite is damaged"), "{found:?}");
    let fixed = doctor(&gateway, "state.databases", &["--fix"]).await;
    assert!(
        fixed.len() == 1 && fixed[0].0 == "fixed" && fixed[0].1.contains("is the copy of") && fixed[0].1.contains(".damaged-"),
        "{fixed:?}"
    );
    let history = eventually("the agent service to answer", async || {
        client.call("chat.history", json!({"sessionKey": "agent:main:disk"})).await.ok()
    })
    .await;
    assert!(history.to_string().contains("kept "), "the same connection, and what the backup held: {history}");
}

#[tokio::test]
async fn a_damaged_page_costs_what_was_on_it_and_what_can_be_read_is_kept() {
    let mut gateway = Gateway::start().await;
    let client = gateway.client().await;
    for number in 0..10 {
        take_a_turn(&client, &format!("turn-{number}")).await.expect("a turn");
    }
    settle(&mut gateway).await;
    let path = gateway.state_dir().join("agent/agent.sqlite");
    let pages = path.metadata().expect("the database").len() / 4_096;
    let file = fs::OpenOptions::new().write(true).open(&path).expect("the database");
    file.write_all_at(&[0xa5; 4_096], pages / 2 * 4_096).expect("a damaged page");
    let found = doctor(&gateway, "state.databases", &[]).await;
    assert!(found.len() == 1 && found[0].0 == "error", "{found:?}");
    let fixed = doctor(&gateway, "state.databases", &["--fix"]).await;
    assert!(fixed.len() == 1 && fixed[0].0 == "fixed" && fixed[0].1.contains("rows that could be read"), "{fixed:?}");
    gateway.launch(&[]);
    gateway.ready().await;
    let sessions = gateway.client().await.call("sessions.list", json!({})).await.expect("the sessions");
    assert!(sessions.to_string().contains("agent:main:disk"), "{sessions}");
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_never_taken_for_a_new_one() {
    for (name, service) in [("agent/agent.sqlite", "agent"), ("channel/channel.sqlite", "channel"), ("node/nodes.json", "node")] {
        let mut gateway = Gateway::start().await;
        stop(&mut gateway).await;
        let path = gateway.state_dir().join(name);
        fs::OpenOptions::new().write(true).open(&path).expect("the file").set_len(0).expect("an empty file");
        gateway.launch(&[]);
        isolated(&gateway, service).await;
        let client = gateway.client().await;
        others_answer(&client, service).await;
        let id = if path.extension().is_some_and(|extension| extension == "json") { "state.documents" } else { "state.databases" };
        let found = doctor(&gateway, id, &[]).await;
        assert!(found.len() == 1 && found[0].1.contains(name), "{found:?}");
        let fixed = doctor(&gateway, id, &["--fix"]).await;
        assert!(fixed.len() == 1 && fixed[0].0 == "fixed" && fixed[0].1.contains("begins afresh"), "{fixed:?}");
        eventually("the owner to answer", async || client.call(question(service), json!({})).await.ok()).await;
    }
}

#[tokio::test]
async fn broken_devices_stop_the_edge_alone_and_are_mended_without_it() {
    let mut gateway = Gateway::start().await;
    let identity = verso_client::Identity::generate(verso_kit::clock::Clock::system().now_ms());
    Client::connect(gateway.options().with_identity(identity)).await.expect("a paired device");
    cli(&gateway, &["backup", "create"]);
    stop(&mut gateway).await;
    let path = gateway.state_dir().join("devices/paired.json");
    let whole = fs::read_to_string(&path).expect("the devices");
    fs::write(&path, &whole[..whole.len() / 2]).expect("half of them");
    gateway.launch(&[]);
    isolated(&gateway, "edge").await;
    assert!(logged(&gateway, "devices/paired.json"), "the log names the file: {}", gateway.output());
    let fixed = doctor(&gateway, "state.documents", &["--fix"]).await;
    assert!(fixed.len() == 1 && fixed[0].0 == "fixed" && fixed[0].1.contains("is the copy of"), "{fixed:?}");
    gateway.ready().await;
    let after: Value = serde_json::from_str(&fs::read_to_string(&path).expect("the devices")).expect("JSON");
    let whole: serde_json::Map<String, Value> = serde_json::from_str(&whole).expect("JSON");
    assert!(whole.iter().all(|(id, device)| after[id]["tokens"] == device["tokens"]), "every device is there again: {after}");
    gateway.client().await.call("health", json!({})).await.expect("the edge answers");
}

#[tokio::test]
async fn permissions_that_lock_the_owner_out_are_named_and_mended() {
    let mut gateway = Gateway::start().await;
    stop(&mut gateway).await;
    let path = gateway.state_dir().join("channel/channel.sqlite");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("other permissions");
    let found = doctor(&gateway, "state.permissions", &[]).await;
    assert!(found.len() == 1 && found[0].1.contains("channel/channel.sqlite"), "{found:?}");
    let fixed = doctor(&gateway, "state.permissions", &["--fix"]).await;
    assert_eq!(fixed[0].0, "fixed", "{fixed:?}");
    assert_eq!(path.metadata().expect("the file").permissions().mode() & 0o777, 0o600);
}
