//! The configuration of a running gateway: read without its secrets, written by many at once, and taken over by those it concerns.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::{Value, json};
use verso_client::{Client, Identity, Options};
use verso_tests::gateway::TOKEN;
use verso_tests::{Gateway, PATIENCE, eventually, process};

use crate::raw::{Raw, connect_params, request};

/// How many clients write at once.
const WRITERS: usize = 100;

async fn get(client: &Client) -> Value {
    client.call("config.get", json!({})).await.expect("the configuration")
}

fn write(gateway: &Gateway, change: impl FnOnce(&mut Value)) {
    let path = gateway.state_dir().join("verso.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("a file")).expect("JSON");
    change(&mut config);
    let aside = path.with_extension("edited");
    std::fs::write(&aside, config.to_string()).expect("a new file");
    std::fs::rename(&aside, &path).expect("in its place");
}

async fn pids(gateway: &Gateway) -> BTreeMap<String, (i64, u64)> {
    let services = eventually("the supervisor's answer", async || gateway.services().await).await;
    services
        .into_iter()
        .map(|service| (service.name, (service.pid.unwrap_or_default(), service.config_generation.unwrap_or_default())))
        .collect()
}

/// Waits until every service works with a newer generation, and names those whose processes are others.
async fn restarted(gateway: &Gateway, before: &BTreeMap<String, (i64, u64)>) -> Vec<String> {
    eventually("the new generation", async || {
        let services = gateway.services().await?;
        let done = |name: &str, generation| before.get(name).is_some_and(|(_, old)| generation > *old);
        services.iter().all(|one| one.state == "serving" && done(&one.name, one.config_generation.unwrap_or_default())).then_some(())
    })
    .await;
    let after = pids(gateway).await;
    after.iter().filter(|(name, (pid, _))| before.get(*name).is_none_or(|(old, _)| old != pid)).map(|(name, _)| name.clone()).collect()
}

/// Writes on top of what it has read, again and again until nobody was faster.
async fn write_once(client: Client, at: usize) {
    for _ in 0..WRITERS * 4 {
        let seen = get(&client).await;
        let patch = json!({"env": {"vars": {format!("WRITER_{at}"): "x"}}}).to_string();
        match client.call("config.patch", json!({"raw": patch, "baseHash": seen["hash"]})).await {
            Ok(answer) => return assert_eq!(answer["ok"], true),
            Err(error) => assert!(error.to_string().contains("config changed since last load"), "{error}"),
        }
    }
    panic!("writer {at} never had its turn");
}

#[tokio::test]
async fn a_hundred_writers_lose_nothing() {
    let gateway = Gateway::start_with(json!({"gateway": {"reload": {"mode": "off"}, "limits": {"controlWritesPerMinute": 10_000}}})).await;
    // One after the other: an address may have few sockets that have not said who they are.
    let mut clients = Vec::new();
    for _ in 0..WRITERS {
        clients.push(gateway.client().await);
    }
    let mut all = tokio::task::JoinSet::new();
    for (at, client) in clients.into_iter().enumerate() {
        all.spawn(write_once(client, at));
    }
    all.join_all().await;
    let text = std::fs::read_to_string(gateway.state_dir().join("verso.json")).expect("the file");
    let missing: Vec<usize> = (0..WRITERS).filter(|at| !text.contains(&format!("\"WRITER_{at}\""))).collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
}

#[tokio::test]
async fn sec_60_what_is_read_holds_no_secret_and_can_be_written_back() {
    let extra =
        json!({"channels": {"pigeon": {"password": "irc-secret-1", "note": "uses irc-secret-1"}}, "gateway": {"reload": {"mode": "off"}}});
    let gateway = Gateway::start_with(extra).await;
    let client = gateway.client().await;
    let path = gateway.state_dir().join("verso.json");
    let stored = std::fs::read_to_string(&path).expect("the file");
    let seen = get(&client).await;
    let shown = seen.to_string();
    assert!(!shown.contains(TOKEN) && !shown.contains("irc-secret-1"), "{shown}");
    assert_eq!(seen["config"]["gateway"]["auth"]["token"], "__OPENCLAW_REDACTED__");
    assert!(seen["hash"].as_str().is_some_and(|hash| hash.starts_with("hmac-sha256:v1:")), "protocol 4 has a keyed hash");
    client.call("config.set", json!({"raw": seen["raw"], "baseHash": seen["hash"]})).await.expect("what was read is written back");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), stored, "with its secrets");
    for (params, words) in [
        (json!({"raw": "{}"}), "config base hash required; re-run config.get and retry"),
        (json!({"raw": "{}", "baseHash": "0"}), "config changed since last load; re-run config.get and retry"),
        (json!({"raw": "[1]", "baseHash": seen["hash"]}), "the configuration must be an object"),
        (json!({"raw": "{gateway: {prt: 1}}", "baseHash": seen["hash"]}), "invalid config"),
    ] {
        let error = client.call("config.set", params).await.expect_err("a refusal").to_string();
        assert!(error.contains(words), "{error}");
    }
    let error = client.call("config.patch", json!({"raw": "7", "baseHash": seen["hash"]})).await.expect_err("a refusal").to_string();
    assert!(error.contains("config.patch raw must be an object"), "{error}");
    let schema = client.call("config.schema", json!({})).await.expect("the schema");
    assert_eq!(schema["uiHints"]["gateway.auth.token"]["sensitive"], true);
}

/// For every prefix of the reload table: who is restarted, and that nobody else is. The client's socket stays open throughout.
#[tokio::test]
async fn a_change_restarts_those_that_cannot_take_it_over_and_nobody_else() {
    let gateway = Gateway::start_with(json!({"gateway": {"reload": {"debounceMs": 20}}})).await;
    let client = gateway.client().await;
    let all = ["agent", "canvas", "channel", "edge", "node", "presence"];
    let table: [(&str, Value, &[&str]); 53] = [
        ("/agents/defaults/timeoutSeconds", json!(77), &[]),
        ("/agents/defaults/heartbeat/every", json!("45m"), &[]),
        ("/agents/list", json!([{"id": "main"}]), &[]),
        ("/models/mode", json!("merge"), &[]),
        ("/auth/cooldowns/failureWindowHours", json!(3), &[]),
        ("/bindings", json!([{"agentId": "main", "match": {"channel": "irc"}}]), &[]),
        ("/broadcast/strategy", json!("parallel"), &[]),
        ("/cron/enabled", json!(false), &[]),
        ("/session/scope", json!("per-sender"), &[]),
        ("/session/sendPolicy/default", json!("allow"), &[]),
        ("/skills/load/watch", json!(false), &[]),
        ("/tools/exec/ask", json!("always"), &[]),
        ("/tools/web/fetch/enabled", json!(false), &[]),
        ("/talk/interruptOnSpeech", json!(false), &[]),
        ("/media/preserveFilenames", json!(true), &[]),
        ("/approvals/exec/enabled", json!(false), &[]),
        ("/commands/text", json!(true), &[]),
        ("/commands/restart", json!(true), &[]),
        ("/channels/irc/enabled", json!(false), &[]),
        ("/web/enabled", json!(true), &[]),
        ("/messages/removeAckAfterReply", json!(true), &[]),
        ("/hooks/path", json!("/other"), &[]),
        ("/ui/assistant/name", json!("V"), &[]),
        ("/logging/level", json!("debug"), &[]),
        ("/gateway/nodes/denyCommands", json!(["x"]), &[]),
        ("/gateway/controlUi/allowedOrigins", json!(["https://a.example"]), &[]),
        ("/gateway/trustedProxies", json!(["10.0.0.1"]), &[]),
        ("/gateway/remote/transport", json!("ssh"), &[]),
        ("/meta/lastTouchedVersion", json!("1"), &[]),
        ("/update/checkOnStart", json!(false), &[]),
        ("/wizard/lastRunMode", json!("local"), &[]),
        ("/adapters/drop", json!({"command": ["/bin/cat"]}), &[]),
        ("/audio/transcription/timeoutSeconds", json!(9), &[]),
        ("/mcp/servers/notes", json!({"url": "http://127.0.0.1:9/mcp", "enabled": false}), &[]),
        ("/memory/citations", json!("off"), &[]),
        ("/approvals/exec/targets", json!([{"channel": "irc", "to": "#ops"}]), &[]),
        ("/gateway/allowRealIpFallback", json!(true), &[]),
        ("/gateway/auth/rateLimit/maxAttempts", json!(50), &[]),
        ("/gateway/http/endpoints/chatCompletions/strictModel", json!(true), &[]),
        ("/gateway/reload/debounceMs", json!(25), &[]),
        ("/gateway/tailscale/resetOnExit", json!(true), &[]),
        ("/gateway/tools/deny", json!(["cron"]), &[]),
        ("/discovery/mdns/mode", json!("off"), &[]),
        ("/canvasHost/liveReload", json!(false), &["canvas"]),
        ("/gateway/services/presence/restart/limit", json!(9), &[]),
        ("/gateway/services/node/restart/limit", json!(9), &[]),
        ("/gateway/services/channel/restart/limit", json!(9), &[]),
        ("/gateway/services/agent/restart/limit", json!(9), &[]),
        ("/gateway/services/canvas/restart/limit", json!(9), &[]),
        ("/gateway/services/edge/restart/limit", json!(9), &[]),
        ("/gateway/limits/pingMs", json!(24_000), &["edge"]),
        ("/diagnostics/flags", json!(["x"]), &all),
        // The edge is replaced, which sends its clients to the next one: last.
        ("/env/vars/INVENTED", json!("x"), &all),
    ];
    for (pointer, value, expected) in table {
        let before = pids(&gateway).await;
        write(&gateway, |config| put(config, pointer, &value));
        assert_eq!(restarted(&gateway, &before).await, expected, "{pointer}");
        if !expected.contains(&"edge") {
            client.call("health", json!({})).await.unwrap_or_else(|error| panic!("the socket is open after {pointer}: {error}"));
        }
    }
}

/// What a service reads anew counts for the next call, and what is under way is finished by the old.
#[tokio::test]
async fn what_is_taken_over_counts_at_once() {
    let gateway = Gateway::start_with(json!({"gateway": {"reload": {"debounceMs": 20}}})).await;
    let client = gateway.client().await;
    let before = pids(&gateway).await;
    write(&gateway, |config| put(config, "/agents/list", &json!([{"id": "main"}, {"id": "second", "identity": {"name": "Dora"}}])));
    assert!(restarted(&gateway, &before).await.is_empty());
    let agents = client.call("agents.list", json!({})).await.expect("the agents");
    assert!(agents.to_string().contains("Dora"), "{agents}");
    let before = pids(&gateway).await;
    write(&gateway, |config| put(config, "/channels/irc", &json!({"enabled": false, "host": "127.0.0.1", "nick": "v"})));
    assert!(restarted(&gateway, &before).await.is_empty());
    let channels = client.call("channels.status", json!({})).await.expect("the channels");
    assert_eq!(channels["channelAccounts"]["irc"][0]["enabled"], false, "{channels}");
}

/// A service that refuses goes back alone, and says so; the next change is tried again.
#[tokio::test]
async fn sec_86_a_service_that_does_not_get_on_with_a_change_goes_back_alone_and_tries_the_next() {
    let gateway = Gateway::start_with(json!({"gateway": {"reload": {"debounceMs": 20}}})).await;
    let client = gateway.client().await;
    let before = pids(&gateway).await;
    let accounts = |count: usize| -> Value {
        (0..count).map(|at| (format!("a{at}"), json!({"enabled": false}))).collect::<serde_json::Map<_, _>>().into()
    };
    let mut events = client.events();
    write(&gateway, |config| put(config, "/channels/irc/accounts", &accounts(300)));
    let problem = eventually("the channel service to say that it went back", async || {
        let service = gateway.service("channel").await;
        service.config_problem.filter(|problem| problem.contains("taken back"))
    })
    .await;
    assert!(problem.contains("256"), "{problem}");
    eventually("the others to have it", async || {
        let after = pids(&gateway).await;
        after.iter().all(|(name, (_, generation))| (name == "channel") == (*generation == before[name].1)).then_some(())
    })
    .await;
    client.call("channels.status", json!({})).await.expect("it works on with what it had");
    let told = async {
        loop {
            let event = events.next_named("health").await.expect("an event");
            if event.payload["configProblems"]["channel"].is_string() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("clients are told");
    assert!(gateway.output().contains("it goes back to the last good one"), "{}", gateway.output());
    let doctor = gateway.command().args(["doctor", "--json"]).output().expect("a doctor");
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("taken back"), "{}", String::from_utf8_lossy(&doctor.stdout));
    let before = pids(&gateway).await;
    write(&gateway, |config| put(config, "/channels/irc/accounts", &accounts(3)));
    assert!(restarted(&gateway, &before).await.is_empty(), "it takes the newest over without a restart");
    assert_eq!(gateway.service("channel").await.config_problem, None);
}

/// A process is given the values of variables when it starts.
#[tokio::test]
async fn a_variable_that_nobody_was_given_yet_restarts_who_may_read_it() {
    let gateway = Gateway::start_with(json!({"gateway": {"reload": {"debounceMs": 20}}})).await;
    std::fs::write(gateway.state_dir().join(".env"), "NEW_KEY=made-up-key-0001\n").expect("a file of variables");
    let before = pids(&gateway).await;
    let provider = json!({"baseUrl": "http://127.0.0.1:9", "apiKey": "${NEW_KEY}", "models": [{"id": "m", "name": "M"}]});
    write(&gateway, |config| put(config, "/models/providers/mine", &provider));
    let restarted = restarted(&gateway, &before).await;
    assert_eq!(restarted, ["agent"], "{}", gateway.output());
}

fn put(config: &mut Value, pointer: &str, value: &Value) {
    let mut place = config;
    for name in pointer[1..].split('/') {
        if !place.is_object() {
            *place = json!({});
        }
        place = place.as_object_mut().expect("an object").entry(name).or_insert(Value::Null);
    }
    *place = value.clone();
}

#[tokio::test]
async fn sec_15_another_secret_is_in_force_at_once_and_a_broken_file_is_not() {
    let gateway = Gateway::start_with(json!({"gateway": {"reload": {"debounceMs": 20}}})).await;
    let before = pids(&gateway).await;
    write(&gateway, |config| config["gateway"]["auth"]["token"] = "another-token-987654".into());
    assert!(restarted(&gateway, &before).await.is_empty(), "nobody is restarted for that");
    let with = |token: &str| Client::connect(Options::new(gateway.url()).with_token(token));
    let client = eventually("the new token to count", async || with("another-token-987654").await.ok()).await;
    assert!(with(TOKEN).await.is_err(), "the old one is void");
    let path = gateway.state_dir().join("verso.json");
    let good = std::fs::read_to_string(&path).expect("the file");
    std::fs::write(&path, "{gateway: {auth: {tokn: 'x'}}}").expect("a broken file");
    eventually("the refusal", async || gateway.output().contains("config reload skipped (invalid config)").then_some(())).await;
    let pid = gateway.kill("agent").await;
    gateway.recovered("agent", pid).await;
    client.call("sessions.list", json!({})).await.expect("it starts with the last good configuration");
    std::fs::write(&path, good).expect("the good file");
}

#[tokio::test]
async fn sec_15_who_came_in_by_the_old_secret_is_thrown_out_also_if_he_is_just_coming_in() {
    let extra = json!({"gateway": {"reload": {"debounceMs": 20}, "limits": {"unauthenticatedPerAddress": 1000}}});
    let gateway = Gateway::start_with(extra).await;
    let live = gateway.client().await;
    let identity = Identity::generate(0);
    let first = gateway.connect(gateway.options().with_identity(identity.clone())).await;
    let mut options = gateway.options().with_identity(identity);
    options.token = first.hello().device_token.clone();
    let device = gateway.connect(options).await;
    // A presence service that does not answer keeps each handshake waiting between the check of its secret and its end.
    let presence = gateway.service("presence").await.pid.expect("a running service");
    process::signal(presence, Signal::STOP);
    let another = "another-token-987654";
    write(&gateway, |config| config["gateway"]["auth"]["token"] = another.into());
    let mut coming = Vec::new();
    while !gateway.output().contains("config hot reload applied") {
        let mut raw = Raw::open(&gateway).await;
        raw.send(request("c", "connect", connect_params(4))).await;
        coming.push(raw);
        assert!(coming.len() < 900, "the new secret never counted: {}", gateway.output());
    }
    process::signal(presence, Signal::CONT);
    let mut admitted = 0;
    for raw in &mut coming {
        if raw.response().await.is_ok_and(|answer| answer["ok"] == true) {
            admitted += 1;
            let closed = tokio::time::timeout(PATIENCE, raw.closed()).await.expect("whoever came in by it is thrown out");
            assert_eq!(closed, (4001, "gateway auth changed".to_owned()));
        }
    }
    assert!(admitted > 0, "none of {} came in before", coming.len());
    for client in [live, first] {
        let closed = tokio::time::timeout(PATIENCE, client.closed()).await.expect("thrown out");
        assert_eq!((closed.code, closed.reason.as_ref()), (4001, "gateway auth changed"));
    }
    device.call("health", json!({})).await.expect("a device with a token of its own stays");
    gateway.connect(Options::new(gateway.url()).with_token(another)).await;
}

#[tokio::test]
async fn a_skill_is_turned_off_in_the_file_and_its_key_is_not_shown() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let update = json!({"skillKey": "notes", "enabled": false, "apiKey": "made-up-skill-key", "env": {"NOTES_HOME": "there"}});
    let answer = client.call("skills.update", update).await.expect("written");
    assert_eq!((&answer["ok"], &answer["config"]["enabled"]), (&json!(true), &json!(false)));
    assert!(!answer.to_string().contains("made-up-skill-key"), "{answer}");
    let file = std::fs::read_to_string(gateway.state_dir().join("verso.json")).expect("the file");
    assert!(file.contains("made-up-skill-key") && file.contains("NOTES_HOME"), "{file}");
}
