//! The operator's commands against a running gateway: what scripts read of them is golden.

use std::process::Output;

use serde_json::{Map, Value, json};
use verso_tests::{Gateway, Provider};

/// Where the shapes are kept.
const GOLDEN: &str = "system/golden";

/// Commands whose JSON scripts rely on, and the names of their shapes.
const STABLE: [(&str, &[&str]); 33] = [
    ("agents", &["agents", "list", "--json"]),
    ("approvals", &["approvals", "get", "--json"]),
    ("channels", &["channels", "list", "--json"]),
    ("config-get", &["config", "get", "gateway", "--json"]),
    ("config-generations", &["config", "generations", "--json"]),
    ("config-path", &["config", "path", "--json"]),
    ("config-set", &["config", "set", "gateway.reload.debounceMs", "250", "--json"]),
    ("config-validate", &["config", "validate", "--json"]),
    ("cron", &["cron", "list", "--json"]),
    ("cron-status", &["cron", "status", "--json"]),
    ("channels-status", &["channels", "status", "--json"]),
    ("devices", &["devices", "list", "--json"]),
    ("doctor", &["doctor", "--json"]),
    ("gateway-call", &["gateway", "call", "last-heartbeat", "--json"]),
    ("gateway-probe", &["gateway", "probe", "--json"]),
    ("gateway-status", &["gateway", "status", "--json"]),
    ("health", &["health", "--json"]),
    ("models", &["models", "list", "--json"]),
    ("models-status", &["models", "status", "--json"]),
    ("nodes", &["nodes", "list", "--json"]),
    ("nodes-status", &["nodes", "--json", "status"]),
    ("pairing", &["pairing", "list", "--json"]),
    ("presence", &["system", "presence", "--json"]),
    ("protocol-method", &["protocol", "schema", "--method", "node.rename"]),
    ("security-audit", &["security", "audit", "--json"]),
    ("services", &["services", "list", "--json"]),
    ("services-logs", &["services", "logs", "edge", "--json"]),
    ("sessions", &["sessions", "--json"]),
    ("setup", &["setup", "--json"]),
    ("sessions-preview", &["sessions", "preview", "agent:main:main", "--json"]),
    ("skills", &["skills", "list", "--json"]),
    ("status", &["status", "--json"]),
    ("usage-cost", &["gateway", "usage-cost", "--json"]),
];

/// Runs the command of this gateway off the test's thread.
async fn run(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = gateway.command();
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().expect("the verso binary starts")).await.expect("no panic")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

/// What a value looks like: the kinds of its members, whatever they say. Maps from names of the moment show one member.
fn shape(name: &str, value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(items) => Value::Array(items.first().map(|item| shape(name, item)).into_iter().collect()),
        Value::Object(members) if ["byModel", "chat", "agents"].contains(&name) && !members.is_empty() => {
            json!({"<name>": members.values().next().map(|member| shape("", member))})
        }
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            Value::Object(names.into_iter().map(|name| (name.clone(), shape(name, &members[name]))).collect::<Map<_, _>>())
        }
    }
}

/// Whether everything that scripts know is still there. What is added disturbs nobody.
fn covers(current: &Value, golden: &Value) -> bool {
    match (current, golden) {
        (Value::Object(current), Value::Object(golden)) => {
            golden.iter().all(|(name, golden)| current.get(name).is_some_and(|current| covers(current, golden)))
        }
        // A list that happens to be empty has lost nothing.
        (Value::Array(current), Value::Array(golden)) => golden.iter().zip(current).all(|(golden, current)| covers(current, golden)),
        (current, golden) => current == golden,
    }
}

#[tokio::test]
async fn json_for_scripts_keeps_its_shape() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let asked = run(&gateway, &["agent", "--message", "hello", "--agent", "main", "--json"]).await;
    assert!(asked.status.success(), "{asked:?}");
    let mut changed = Vec::new();
    for (name, arguments) in STABLE {
        let output = run(&gateway, arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let document: Value = serde_json::from_str(stdout(&output)).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"));
        let current = shape("", &document);
        let path = verso_tests::package().join(GOLDEN).join(format!("{name}.json"));
        let golden = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
        if !golden.is_some_and(|golden: Value| covers(&current, &golden)) {
            // Left beside the golden one for the next commit to take.
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
            let proposed = format!("{}\n", serde_json::to_string_pretty(&current).expect("JSON"));
            std::fs::write(path.with_extension("proposed.json"), proposed).expect("a writable folder");
            changed.push(name);
        }
    }
    assert!(changed.is_empty(), "what scripts read has changed: review {GOLDEN}/*.proposed.json of {changed:?}");
}

#[tokio::test]
async fn commands_print_words_for_people_and_name_what_they_did() {
    let gateway = Gateway::start().await;
    for (arguments, expected) in [
        (&["devices", "list"][..], "Paired (1)"),
        (&["nodes", "status"], "Known: 0 · Paired: 0 · Connected: 0"),
        (&["sessions"], "Session store: "),
        (&["agents", "list"], "main"),
        (&["system", "presence"], "Present ("),
        (&["channels", "status"], "No chat network is configured."),
        (&["approvals", "allowlist", "add", "/bin/true"], "/bin/true may run without asking for main."),
        (&["approvals", "allowlist", "add", "/bin/true"], "/bin/true is on the list already of main."),
        (&["approvals", "get"], "main: /bin/true"),
        (&["approvals", "allowlist", "remove", "/bin/true"], "/bin/true must ask again for main."),
        (&["doctor"], "Doctor complete."),
        (&["status", "--all"], "Diagnosis"),
        (&["status", "--deep"], "Health"),
        (&["security", "audit"], "Security audit: "),
        (&["services", "logs", "edge"], "[edge]"),
        (&["pairing", "list"], "Waiting (0)"),
        (&["config", "patch", "{logging: {level: 'debug'}}"], "Patched the file."),
        (&["gateway", "probe"], "reachable ("),
        (&["gateway", "install", "--print"], "Environment=\"VERSO_SERVICE_MARKER=verso\""),
        (&["gateway", "stop"], "Gateway service is not installed."),
        (&["protocol", "types"], "export interface Methods {"),
        (&["logs", "--service", "edge", "--level", "info"], "Log file: "),
    ] {
        let output = run(&gateway, arguments).await;
        assert!(output.status.success() && stdout(&output).contains(expected), "{arguments:?}: {output:?}");
        assert!(!stdout(&output).contains('\u{1b}'), "{arguments:?}: no colour without a terminal");
    }
    let unit = run(&gateway, &["gateway", "install", "--print"]).await;
    assert!(!stdout(&unit).contains(verso_tests::gateway::TOKEN), "a definition holds no secret");
    let pasted = run(&gateway, &["status", "--all"]).await;
    assert!(!stdout(&pasted).contains(verso_tests::gateway::TOKEN), "a report is to be pasted");
    let later = run(&gateway, &["memory", "status"]).await;
    let words = String::from_utf8_lossy(&later.stderr).into_owned();
    assert_eq!((later.status.code(), words.as_str()), (Some(1), "error: 'memory' is not implemented in verso yet\n"));
    let failed = run(&gateway, &["gateway", "start", "--json"]).await;
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(stdout(&failed).contains("\"ok\": false"), "{failed:?}");
    let failed = run(&gateway, &["nodes", "describe", "--node", "tv"]).await;
    assert_eq!((failed.status.code(), String::from_utf8_lossy(&failed.stderr).as_ref()), (Some(1), "unknown node: tv\n"));
    let failed = run(&gateway, &["devices", "approve", "nobody", "--json"]).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("unknown requestId"), "{failed:?}");
}

#[tokio::test]
async fn a_file_of_an_older_gateway_is_told_which_of_its_keys_do_nothing() {
    let gateway = Gateway::start().await;
    let patch =
        "{browser: {headless: true}, channels: {discord: {enabled: false, dm: {policy: 'pairing'}}}, tools: {elevated: {enabled: true}}}";
    let patched = run(&gateway, &["config", "patch", patch]).await;
    assert!(patched.status.success(), "{patched:?}");
    let said = run(&gateway, &["config", "validate"]).await;
    assert!(said.status.success() && stdout(&said).starts_with("Config OK: "), "{said:?}");
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(words, "Accepted from older files, without effect: browser, channels.discord\n");
    let document: Value = serde_json::from_str(stdout(&run(&gateway, &["config", "validate", "--json"]).await)).expect("JSON");
    assert_eq!((&document["valid"], &document["withoutEffect"]), (&json!(true), &json!(["browser", "channels.discord"])));
    let looked = run(&gateway, &["doctor"]).await;
    assert!(looked.status.success(), "{looked:?}");
    let line = "ok    config.without-effect: accepted from older files, without effect: browser, channels.discord";
    assert_eq!(stdout(&looked).matches("without effect").count(), 1, "{looked:?}");
    assert!(stdout(&looked).contains(line), "{looked:?}");
}
