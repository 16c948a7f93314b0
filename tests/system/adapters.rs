//! Chat networks in processes of their own: an adapter that somebody else wrote, its faults, and accounts that are set apart.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use verso_client::Client;
use verso_tests::bot_api::{BotApi, TOKEN};
use verso_tests::file_drop::FileDrop;
use verso_tests::provider::reply;
use verso_tests::{Gateway, Provider, eventually, process};

fn over(mut config: Value, more: Value) -> Value {
    if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
        for (name, value) in more {
            match (config.get_mut(&name).and_then(Value::as_object_mut), value) {
                (Some(own), Value::Object(value)) => own.extend(value),
                (_, value) => drop(config.insert(name, value)),
            }
        }
    }
    config
}

async fn account(client: &Client, channel: &str, id: &str) -> Value {
    let status = client.call("channels.status", json!({})).await.unwrap_or_default();
    let accounts = status["channelAccounts"][channel].as_array().cloned().unwrap_or_default();
    accounts.into_iter().find(|account| account["accountId"] == id).unwrap_or_default()
}

async fn connected(client: &Client, channel: &str, id: &str) {
    eventually("the account to be connected", async || (account(client, channel, id).await["connected"] == true).then_some(())).await;
}

async fn texts(files: &FileDrop, account: &str, count: usize) -> Vec<String> {
    let sent = eventually("an answer", async || Some(files.sent(account)).filter(|sent| sent.len() >= count)).await;
    sent.into_iter().map(|message| message.text).collect()
}

#[tokio::test]
async fn messages_of_an_adapter_in_python_are_answered_once_while_services_are_killed() {
    let Some(files) = FileDrop::new() else { return };
    let provider = Provider::start().await;
    let adapter = json!({"command": files.reference(), "label": "File drop"});
    let gateway = Gateway::start_with(over(provider.config(), files.config(&adapter, &["home"]))).await;
    let client = gateway.client().await;
    connected(&client, "drop", "home").await;
    let status = client.call("channels.status", json!({"probe": true})).await.expect("a status");
    assert_eq!(
        (&status["channelLabels"]["drop"], &status["channelAccounts"]["drop"][0]["probe"]["ok"]),
        (&json!("File drop"), &json!(true))
    );
    files.put("home", "eve", "0", "let me in");
    files.put("home", "ann", "1", "hello [[tokens=1]]");
    let sent = texts(&files, "home", 2).await;
    assert!(sent.contains(&reply(1)) && sent.iter().any(|text| text.contains("Pairing code")), "{sent:?}");
    assert!(files.is_done("home", "ann", "1"), "what is answered was acknowledged");
    for (number, service) in ["channel", "agent", "channel"].into_iter().enumerate() {
        let number = number + 2;
        files.put("home", "ann", &number.to_string(), &format!("more [[tokens={number} gap=20]]"));
        gateway.kill(service).await;
        texts(&files, "home", number + 1).await;
    }
    let request = json!({"channel": "drop", "to": "ann", "message": "**told**", "idempotencyKey": "s1"});
    let first = eventually("it is sent", async || client.call("send", request.clone()).await.ok()).await;
    assert_eq!(client.call("send", request).await.expect("the same")["messageId"], first["messageId"]);
    let mut all = texts(&files, "home", 6).await;
    all.retain(|text| !text.contains("Pairing code"));
    let mut expected = vec![reply(1), reply(2), reply(3), reply(4), "**told**".to_owned()];
    expected.sort();
    assert_eq!(all, expected, "each was answered once");
}

#[tokio::test]
async fn an_adapter_that_crashes_hangs_or_eats_memory_leaves_the_others_alone() {
    let Some(files) = FileDrop::new() else { return };
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let adapter = json!({"command": files.faulty(), "silenceSeconds": 3, "memoryMib": 400});
    let faults = ["crash", "hang", "eat"];
    let config = over(files.config(&adapter, &faults), api.channels(&json!({"allowFrom": ["42"]})));
    let gateway = Gateway::start_with(over(provider.config(), config)).await;
    let client = gateway.client().await;
    for fault in faults {
        connected(&client, "drop", fault).await;
    }
    let service = gateway.service("channel").await.pid.expect("a pid");
    let before_kib = process::rss_kib(service);
    for fault in faults {
        files.put(fault, "ann", "fault", fault);
    }
    for number in 1..=5 {
        api.write(42, &format!("still there? [[tokens={number}]]"));
        eventually("Telegram is answered", async || (api.sent_to(42).len() == number).then_some(())).await;
    }
    for fault in faults {
        let failed = eventually("the fault is seen", async || {
            let account = account(&client, "drop", fault).await;
            (account["reconnectAttempts"].as_i64() >= Some(1)).then_some(account)
        });
        assert!(failed.await["lastStopAt"].is_i64());
        files.put(fault, "ann", "after", "well again? [[tokens=7]]");
        assert_eq!(texts(&files, fault, 1).await, [reply(7)], "the account that had to {fault} works again");
    }
    assert_eq!(gateway.service("channel").await.pid, Some(service), "the channel service was not touched");
    let grown_kib = process::rss_kib(service).saturating_sub(before_kib);
    assert!(grown_kib < 32 * 1024, "the channel service grew by {grown_kib} KiB");
    let output = gateway.output();
    assert!(output.contains("exit status 3: about to crash"), "the reason and the last words are told: {output}");
    assert!(output.contains("nothing was heard of the network for 3 s"), "{output}");
}

#[tokio::test]
async fn sec_77_an_adapter_of_another_version_is_refused_in_words() {
    let Some(files) = FileDrop::new() else { return };
    let adapter = json!({"command": files.faulty(), "env": {"FAULTS": "other-version"}});
    let gateway = Gateway::start_with(files.config(&adapter, &["home"])).await;
    let client = gateway.client().await;
    let error =
        eventually("the refusal is shown", async || account(&client, "drop", "home").await["lastError"].as_str().map(str::to_owned));
    let error = error.await;
    assert!(
        error.contains("does not speak version 1 of the contract") && error.contains("version 2 of the contract is spoken here"),
        "{error}"
    );
}

/// The processes of accounts below a gateway.
fn accounts_of(gateway: &Gateway) -> Vec<i64> {
    process::tree(gateway.pid()).into_iter().filter(|pid| process::command_line(*pid).contains("channel-account")).collect()
}

#[tokio::test]
async fn an_account_that_is_set_apart_is_answered_and_starts_again_alone() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let config = api.channels(&json!({"allowFrom": ["42"], "isolate": true}));
    let gateway = Gateway::start_with(over(provider.config(), config)).await;
    let client = gateway.client().await;
    connected(&client, "telegram", "default").await;
    api.write(42, "hello [[tokens=1]]");
    let answered = async |count: usize| {
        let sent = eventually("an answer", async || Some(api.sent_to(42)).filter(|sent| sent.len() >= count)).await;
        sent.iter().map(|message| message["text"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(answered(1).await, [reply(1)]);
    let service = gateway.service("channel").await.pid;
    let pids = accounts_of(&gateway);
    assert_eq!(pids.len(), 1, "the account is a process of its own");
    process::signal(pids[0], Signal::KILL);
    api.write(42, "and now? [[tokens=2]]");
    assert_eq!(answered(2).await, [reply(1), reply(2)]);
    assert_eq!(gateway.service("channel").await.pid, service, "nothing else was started anew");
    let after = accounts_of(&gateway);
    assert!(after.len() == 1 && after != pids, "{pids:?} {after:?}");
    gateway.kill("channel").await;
    eventually("the account ends with its service", async || (!process::is_alive(after[0])).then_some(())).await;
    api.write(42, "still? [[tokens=3]]");
    assert_eq!(answered(3).await, [reply(1), reply(2), reply(3)]);
}

#[tokio::test]
async fn sec_83_an_account_in_its_own_process_listens_on_a_private_socket_and_shows_no_secret() {
    let api = BotApi::start().await;
    let gateway = Gateway::start_with(api.channels(&json!({"isolate": true}))).await;
    connected(&gateway.client().await, "telegram", "default").await;
    let pids = accounts_of(&gateway);
    assert_eq!(pids.len(), 1);
    let (environment, words) =
        (std::fs::read(format!("/proc/{}/environ", pids[0])).expect("an environment"), process::command_line(pids[0]));
    for shown in [String::from_utf8_lossy(&environment).into_owned(), words] {
        assert!(!shown.contains(TOKEN) && !shown.contains(verso_tests::gateway::TOKEN), "{shown}");
    }
    let tcp = std::fs::read_to_string(format!("/proc/{}/net/tcp", pids[0])).expect("the table of sockets");
    let own = process::sockets(pids[0]);
    let listening = tcp.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening: Vec<_> =
        listening.filter(|words| words.get(3) == Some(&"0A") && own.iter().any(|inode| words.get(9) == Some(&inode.as_str()))).collect();
    assert!(listening.is_empty(), "{listening:?}");
    let sockets = gateway.state_dir().join("run/accounts");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&sockets).expect("a folder").permissions());
    assert_eq!(mode & 0o777, 0o700);
    let socket = std::fs::read_dir(&sockets).expect("a folder").flatten().next().expect("a socket").path();
    let stranger = verso_adapter::Client::unix(socket, "guessed").expect("a client");
    let refused = stranger.hello().await.expect_err("no token").to_string();
    assert!(refused.contains("Unauthenticated"), "{refused}");
}

/// Tries an adapter with the program that authors have; returns whether it is content, and what it found.
async fn checked(files: &FileDrop, faults: &str) -> (bool, Value) {
    let inbox = files.inbox("home");
    let place = inbox.display();
    let inbound = format!("n=$(date +%s%N); echo hello > {place}/.$n && mv {place}/.$n {place}/ann--$n.txt");
    let command = if faults.is_empty() { files.reference() } else { files.faulty() };
    let settings = files.account("home").to_string();
    let mut check = tokio::process::Command::new(verso_tests::gateway::binary());
    check.args([
        "channels",
        "adapter",
        "check",
        "--json",
        "--timeout",
        "20s",
        "--to",
        "ann",
        "--settings",
        &settings,
        "--inbound",
        &inbound,
    ]);
    check.args(["--env", &format!("FAULTS={faults}"), "--"]).args(command);
    let folder = tempfile::tempdir().expect("a folder");
    let output = check.env("VERSO_STATE_DIR", folder.path()).stdin(Stdio::null()).output().await.expect("the verso binary starts");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), report)
}

fn broken(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings.filter(|finding| finding["verdict"] != "pass").filter_map(|finding| finding["rule"].as_str()).collect()
}

#[tokio::test]
async fn the_reference_adapter_keeps_every_rule_of_the_contract() {
    let Some(files) = FileDrop::new() else { return };
    let (content, report) = checked(&files, "").await;
    assert!(content && broken(&report).is_empty(), "{report:#}");
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(14));
}

#[tokio::test]
async fn an_adapter_that_breaks_rules_is_told_which() {
    let Some(files) = FileDrop::new() else { return };
    let (content, report) = checked(&files, "open agrees repeats forgets").await;
    assert!(!content, "{report:#}");
    assert_eq!(broken(&report), ["version", "token", "repeat", "redelivery"], "{report:#}");
}
