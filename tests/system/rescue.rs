//! One gateway repairs another: profiles side by side, and who may do what to a service.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use verso_client::{Client, Options};
use verso_tests::gateway::{TOKEN, binary};
use verso_tests::{Gateway, PATIENCE, eventually, process};

/// A home folder in which gateways of several profiles live.
struct House {
    home: TempDir,
    running: Vec<Child>,
}

impl House {
    fn new() -> Self {
        Self { home: tempfile::Builder::new().prefix("verso-test-").tempdir().expect("a temporary folder"), running: Vec::new() }
    }

    fn command(&self, profile: Option<&str>) -> Command {
        let mut command = Command::new(binary());
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "TMPDIR"));
        command.env("HOME", self.home.path()).env("NO_COLOR", "1").env("VERSO_LOCAL_MODELS", "off");
        if let Some(profile) = profile {
            command.args(["--profile", profile]);
        }
        command
    }

    async fn run(&self, profile: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = self.command(profile);
        command.args(arguments);
        tokio::task::spawn_blocking(move || command.output().expect("the verso binary starts")).await.expect("no panic")
    }

    /// Runs a command that must succeed, and reads what it prints for scripts.
    async fn json(&self, profile: Option<&str>, arguments: &[&str]) -> Value {
        let output = self.run(profile, arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
    }

    fn state(&self, profile: Option<&str>) -> PathBuf {
        self.home.path().join(profile.map_or_else(|| ".verso".to_owned(), |name| format!(".verso-{name}")))
    }

    /// Writes a configuration the way an operator does, so that its states are kept.
    async fn set(&self, profile: Option<&str>, path: &str, value: &Value) {
        let output = self.run(profile, &["config", "set", path, &value.to_string(), "--json"]).await;
        assert!(output.status.success(), "{path}: {output:?}");
    }

    fn start(&mut self, profile: Option<&str>) {
        let output = std::fs::File::create(self.home.path().join(format!("{}.txt", profile.unwrap_or("main")))).expect("an output file");
        let mut command = self.command(profile);
        command.arg("gateway").stdin(Stdio::null()).stdout(output.try_clone().expect("a second handle")).stderr(output);
        self.running.push(command.spawn().expect("the verso binary starts"));
    }

    fn output(&self, profile: Option<&str>) -> String {
        std::fs::read_to_string(self.home.path().join(format!("{}.txt", profile.unwrap_or("main")))).unwrap_or_default()
    }

    async fn prepare(&self, profile: Option<&str>, port: u16) {
        let output = self.run(profile, &["setup", "--non-interactive"]).await;
        assert!(output.status.success(), "{output:?}");
        self.set(profile, "gateway.port", &json!(port)).await;
        self.set(profile, "gateway.auth.token", &json!(TOKEN)).await;
        self.set(profile, "canvasHost.enabled", &json!(false)).await;
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for child in &mut self.running {
            let tree = process::tree(i64::from(child.id()));
            process::signal(i64::from(child.id()), Signal::TERM);
            process::signal(i64::from(child.id()), Signal::TERM);
            drop(child.wait());
            for pid in tree.into_iter().filter(|pid| process::command_line(*pid).contains(" service ")) {
                process::signal(pid, Signal::KILL);
            }
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Each service's state and pid, as the rescue sees them.
fn fares(list: &Value) -> BTreeMap<String, (String, i64)> {
    let services = list["services"].as_array().expect("a list");
    let text = |service: &Value, name: &str| service[name].as_str().unwrap_or_default().to_owned();
    services.iter().map(|service| (text(service, "name"), (text(service, "state"), service["pid"].as_i64().unwrap_or_default()))).collect()
}

#[tokio::test]
async fn a_rescue_profile_repairs_a_primary_whose_channel_service_crash_loops() {
    let mut house = House::new();
    let port = free_port();
    house.prepare(None, port).await;
    house.prepare(Some("rescue"), free_port()).await;
    // Everything that the schema allows, and more accounts than the channel service takes: it cannot start with that.
    let accounts: serde_json::Map<String, Value> = (0..300).map(|at| (format!("a{at}"), json!({"enabled": false}))).collect();
    house.set(None, "channels.irc.accounts", &accounts.into()).await;
    house.start(Some("rescue"));
    house.start(None);
    let rescue = Some("rescue");
    let listed = || async { fares(&house.json(rescue, &["services", "--of", "main", "list", "--json"]).await) };
    eventually("the primary to be up, and its channel service to crash again and again", async || {
        let output = house.run(rescue, &["services", "--of", "main", "list", "--json"]).await;
        let list: Value = serde_json::from_slice(&output.stdout).ok()?;
        let fares = fares(&list);
        let others = fares.iter().all(|(name, (state, _))| name == "channel" || state == "serving");
        let loops = list["services"].as_array()?.iter().any(|one| one["name"] == "channel" && one["starts"].as_u64() >= Some(3));
        (others && loops).then_some(())
    })
    .await;
    let client = Client::connect(Options::new(format!("ws://127.0.0.1:{port}")).with_token(TOKEN)).await.expect("the primary's edge is up");
    let before = listed().await;
    let begun = Instant::now();
    let logs = house.run(rescue, &["services", "--of", "main", "logs", "channel"]).await;
    assert!(String::from_utf8_lossy(&logs.stdout).contains("256"), "the log says why: {logs:?}");
    let restarted = house.run(rescue, &["services", "--of", "main", "restart", "channel"]).await;
    assert_eq!(restarted.status.code(), Some(1), "a restart does not help: {restarted:?}");
    let drained = house.json(rescue, &["services", "--of", "main", "drain", "channel", "--json"]).await;
    assert_eq!(drained["service"]["state"], "stopped", "{drained}");
    let repaired = house.json(rescue, &["services", "--of", "main", "rollback", "channel", "--json"]).await;
    assert_eq!(repaired["service"]["state"], "serving", "{repaired}");
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    let after = listed().await;
    for (name, (state, pid)) in &after {
        assert_eq!(state, "serving", "{name}");
        assert_eq!(name != "channel", before[name].1 == *pid, "{name}: nobody but the broken one was touched");
    }
    client.call("health", json!({})).await.expect("the primary's clients stayed connected");
    client.call("channels.status", json!({})).await.expect("its channels are back");
    let audit = std::fs::read_to_string(house.state(None).join("logs/audit.jsonl")).expect("the primary's audit log");
    for action in ["logs", "restart", "drain", "rollback"] {
        let done = audit.lines().filter(|line| line.contains(&format!("\"action\":\"{action}\"")));
        let named = done.filter(|line| line.contains("profile rescue") && line.contains("\"uid\":")).count();
        assert_eq!(named, 2, "{action} was begun and ended: {audit}");
    }
    // The file is corrected, and the service works with the same as the others again.
    house.set(None, "channels.irc.accounts", &json!({"one": {"enabled": false}})).await;
    eventually("the service to work with the newest", async || {
        let list = house.json(rescue, &["services", "--of", "main", "list", "--json"]).await;
        list["services"].as_array()?.iter().all(|service| service["configProblem"].is_null()).then_some(())
    })
    .await;
    assert!(house.output(rescue).contains("listening on ws://"), "{}", house.output(rescue));
}

#[tokio::test]
async fn sec_80_looking_after_services_is_a_scope_of_its_own_and_every_deed_is_written_down_with_its_actor() {
    let gateway = Gateway::start().await;
    let with = |scopes: &[&str]| gateway.options().with_scopes(scopes.iter().copied());
    let rescue = gateway.connect(with(&["operator.rescue"])).await;
    rescue.call("services.list", json!({})).await.expect("it may look");
    for method in ["sessions.list", "config.get", "health", "device.pair.list", "logs.tail"] {
        let error = rescue.call(method, json!({})).await.expect_err("it may do nothing else").to_string();
        assert!(error.contains("missing scope"), "{method}: {error}");
    }
    let operator = gateway.connect(with(&["operator.read", "operator.write", "operator.approvals", "operator.pairing"])).await;
    for (method, params) in [
        ("services.list", json!({})),
        ("services.restart", json!({"name": "presence"})),
        ("services.drain", json!({"name": "presence"})),
        ("services.rollback", json!({"name": "presence"})),
        ("services.logs", json!({})),
    ] {
        let error = operator.call(method, params).await.expect_err("others may not").to_string();
        assert!(error.contains("operator.rescue"), "{method}: {error}");
    }
    rescue.call("services.restart", json!({"name": "presence", "onBehalfOf": "the night shift"})).await.expect("it may restart");
    rescue.call("services.restart", json!({"name": "nobody"})).await.expect_err("there is no such service");
    let refused = rescue.call("services.drain", json!({"name": "edge"})).await.expect_err("the edge stays").to_string();
    assert!(refused.contains("cannot be drained"), "{refused}");
    let path = gateway.state_dir().join("logs/audit.jsonl");
    let audit = std::fs::read_to_string(&path).expect("an audit log");
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |service: &str| lines.iter().filter(|line| line["service"] == service).collect::<Vec<_>>();
    let restarted = of("presence");
    assert_eq!(restarted.len(), 2, "{audit}");
    for line in &restarted {
        assert_eq!((&line["action"], &line["actor"]["via"]), (&json!("restart"), &json!("gateway")), "{line}");
        assert_eq!(line["actor"]["client"]["connId"], json!(rescue.hello().conn_id), "{line}");
        assert_eq!(line["actor"]["onBehalfOf"], "the night shift");
    }
    assert_eq!(of("nobody").last().map(|line| line["ok"].clone()), Some(json!(false)), "what failed is written down too: {audit}");
    assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn sec_89_of_gateways_that_race_for_a_state_folder_exactly_one_runs() {
    let mut house = House::new();
    house.prepare(None, free_port()).await;
    for _ in 0..3 {
        house.start(None);
    }
    let ended = |children: &mut Vec<Child>| -> Vec<Option<i32>> {
        children.iter_mut().filter_map(|child| child.try_wait().ok().flatten()).map(|status| status.code()).collect()
    };
    let deadline = Instant::now() + PATIENCE;
    while ended(&mut house.running).len() < 2 && Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let services = house.json(None, &["services", "list", "--json"]).await;
    assert_eq!(services["services"].as_array().map(Vec::len), Some(6));
    let codes = ended(&mut house.running);
    assert_eq!(codes, [Some(1), Some(1)], "{}", house.output(None));
}
