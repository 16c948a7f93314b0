//! The configuration: made by the dev profile, refused when it cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::fixture::User;

/// Stops every start after the configuration was looked at.
const NO_START: [&str; 2] = ["--port", "70000"];

#[test]
fn dev_makes_its_own_configuration_and_workspace_once() {
    let user = User::new();
    let first = user.run(&[&["gateway", "--dev"][..], &NO_START].concat());
    assert_eq!(first.code, Some(1));
    assert_eq!(
        first.stderr, "Dev config ready: ~/.verso-dev/verso.json\nDev workspace ready: ~/verso-dev\nInvalid port\n",
        "standard output is left to the gateway"
    );
    let path = user.home().join(".verso-dev/verso.json");
    let config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(config["gateway"]["mode"], "local");
    assert_eq!(config["agents"]["list"][0]["identity"]["name"], "Verso");
    assert_eq!(config["agents"]["defaults"]["workspace"], user.home().join("verso-dev").to_str().unwrap());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for name in ["AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md"] {
        assert!(user.home().join("verso-dev").join(name).exists(), "{name}");
    }

    fs::write(user.home().join("verso-dev/SOUL.md"), "mine").unwrap();
    let second = user.run(&[&["--dev", "gateway", "run"][..], &NO_START].concat());
    assert_eq!(second.stderr, "Invalid port\n");
    assert_eq!(fs::read_to_string(user.home().join("verso-dev/SOUL.md")).unwrap(), "mine");
}

#[test]
fn reset_moves_the_dev_profile_aside_and_nothing_else() {
    let user = User::new();
    let refused = user.run(&["gateway", "--reset"]);
    assert_eq!((refused.code, refused.stderr.as_str()), (Some(1), "Use --reset with --dev.\n"));

    user.run(&[&["gateway", "--dev"][..], &NO_START].concat());
    user.write(".verso-dev/credentials/gateway-token", "old");
    let ended = user.run(&[&["gateway", "--dev", "--reset"][..], &NO_START].concat());
    assert_eq!(ended.stderr.matches("Moved aside: ").count(), 3, "config, credentials and workspace: {ended:?}");
    assert!(!user.home().join(".verso-dev/credentials").exists());
    assert!(user.home().join(".verso-dev/verso.json").exists(), "a new one");
}

#[test]
fn a_file_that_is_not_json5_is_named_with_line_and_column() {
    let user = User::new();
    let path = user.configure("{\n  gateway: {,}\n}\n");
    for arguments in [&["gateway"][..], &["agent", "--message", "hello"]] {
        let ended = user.run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        let expected = format!("Config invalid\nFile: {}\nProblem:\n  - <root>: JSON5 parse failed: ", path.display());
        assert!(ended.stderr.starts_with(&expected), "{ended:?}");
        assert!(ended.stderr.contains("line 2") && ended.stderr.contains("column"), "{ended:?}");
    }
}

#[test]
fn a_misspelt_key_is_refused_with_the_nearest_one() {
    let user = User::new();
    user.configure("{gatway: {mode: 'local'}, telegram: {}}");
    let ended = user.run(&["gateway"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("  - <root>: Unrecognized key: \"gatway\" (did you mean \"gateway\"?)\n"), "{ended:?}");
    assert!(ended.stderr.contains("Legacy config keys detected:\n  - telegram: moved to channels.telegram\n"), "{ended:?}");
}

#[test]
fn a_supervised_start_that_cannot_succeed_says_so_by_its_exit_code() {
    let user = User::new().with("VERSO_SERVICE_MARKER", "verso");
    user.configure("{gateway: {port: 'x'}}");
    assert_eq!(user.run(&["gateway"]).code, Some(78));
    user.configure("{gateway: {mode: 'local', bind: 'custom'}}");
    assert_eq!(user.run(&["gateway"]).code, Some(78));
}

#[test]
fn looking_into_a_broken_configuration_is_allowed() {
    let user = User::new().without_gateway();
    user.configure("{gateway: {auth: {tokn: 'x'}}}");
    let ended = user.run(&["gateway", "status", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let config = &ended.json()["config"]["cli"];
    assert_eq!((&config["exists"], &config["valid"]), (&true.into(), &false.into()));
    assert_eq!(config["issues"][0]["path"], "gateway.auth");
}

#[test]
fn starts_only_where_somebody_has_allowed_it() {
    let user = User::new();
    let ended = user.run(&["gateway"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("Missing config. "), "{ended:?}");
    user.configure("{gateway: {port: 4000}}");
    let ended = user.run(&["gateway", "run"]);
    let expected = "Gateway start blocked: set gateway.mode=local (current: unset) or pass --allow-unconfigured.\n";
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), expected));
}

#[test]
fn never_opens_to_others_without_a_secret() {
    let user = User::new();
    user.configure("{gateway: {mode: 'local'}}");
    let ended = user.run(&["gateway", "--bind", "lan", "--auth", "none"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("Refusing to bind gateway to lan without auth.\n"), "{ended:?}");
    let ended = user.run(&["gateway", "--auth", "password"]);
    assert!(ended.stderr.starts_with("Gateway auth is set to password, but no password is configured.\n"), "{ended:?}");
}

#[test]
fn a_variable_that_is_not_set_stops_the_gateway_but_not_its_clients() {
    let user = User::new().without_gateway();
    user.configure("{gateway: {mode: 'local', auth: {token: '${NOT_SET_HERE}'}}}");
    let ended = user.run(&["gateway"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("  - gateway.auth.token: environment variable NOT_SET_HERE is not set\n"), "{ended:?}");
    let ended = user.run(&["agent", "--message", "hello"]);
    assert!(ended.stderr.starts_with("Error: gateway closed (1006 "), "it got as far as the connection: {ended:?}");
}

const FILE: &str = "// mine\n{\n  gateway: { mode: 'local', port: 0x1000, auth: {token: '${TOKEN}'} }, // why\n}\n";

#[test]
fn the_file_is_read_and_changed_without_losing_anything() {
    let user = User::new().with("TOKEN", "s3cret-token");
    let path = user.configure(FILE);
    assert_eq!(user.run(&["config", "get", "gateway.port"]).stdout, "4096\n");
    assert_eq!(user.run(&["config", "get", "gateway.auth.token"]).stdout, "${TOKEN}\n", "what the file says, not what it comes to");
    let missing = user.run(&["config", "get", "gateway.nope"]);
    assert_eq!((missing.code, missing.stderr.as_str()), (Some(1), "Config path not found: gateway.nope\n"));
    let set = user.run(&["config", "set", "gateway.port", "5000"]);
    assert_eq!((set.code, set.stdout.as_str()), (Some(0), "Updated gateway.port. The gateway is not running.\n"), "{set:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), FILE.replace("0x1000", "5000"));
    let wrong = user.run(&["config", "set", "gateway.port", "many"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.starts_with("Error: Config validation failed: gateway.port: must be a whole number"), "{wrong:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), FILE.replace("0x1000", "5000"), "the file is untouched");
    let unset = user.run(&["config", "unset", "gateway.port", "--json"]).json();
    assert_eq!((&unset["ok"], &unset["changed"], &unset["generation"]), (&true.into(), &true.into(), &3.into()));
    let back = user.run(&["config", "rollback", "--to", "1"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), FILE, "{back:?}");
    let kept = user.run(&["config", "generations", "--json"]).json();
    assert_eq!(kept["generations"].as_array().unwrap().len(), 4);
    assert_eq!(user.run(&["config", "validate"]).stdout, "Config OK: ~/.verso/verso.json\n");
}

#[test]
fn keys_that_nobody_reads_are_named_and_are_no_fault() {
    let user = User::new().without_gateway();
    user.configure(
        "{gateway: {mode: 'local', auth: {token: 'a-token-of-more-than-24-letters'}}, browser: {enabled: true},
          agents: {list: [{id: 'a', agentDir: '~/a', sandbox: {mode: 'off', scope: 'agent'}}]}}",
    );
    let paths = ["browser", "agents.list[0].agentDir", "agents.list[0].sandbox.scope"];
    let said = user.run(&["config", "validate"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "Config OK: ~/.verso/verso.json\n"), "{said:?}");
    assert_eq!(said.stderr, format!("Accepted from older files, without effect: {}\n", paths.join(", ")));
    let document = user.run(&["config", "validate", "--json"]);
    assert_eq!((document.code, &document.json()["withoutEffect"]), (Some(0), &serde_json::json!(paths)));
    let looked = user.run(&["doctor", "--json"]).json();
    assert_eq!(looked["withoutEffect"], serde_json::json!(paths));
    let checks = looked["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["id"] == "config.without-effect").unwrap();
    assert_eq!(check["status"], "ok", "it is no fault: {check}");
}

#[test]
fn a_broken_file_can_be_looked_into_and_mended() {
    let user = User::new();
    user.configure("{gateway: {mode: 'local'}}");
    user.run(&["config", "set", "gateway.port", "4000"]);
    user.configure("{gateway: {prt: 4000}}");
    let found = user.run(&["config", "validate", "--json"]);
    assert_eq!((found.code, &found.json()["issues"][0]["path"]), (Some(1), &"gateway".into()));
    let mended = user.run(&["config", "rollback"]);
    assert_eq!(mended.code, Some(0), "{mended:?}");
    assert_eq!(user.run(&["config", "validate", "--json"]).json()["valid"], true);
}

#[test]
fn a_full_disk_leaves_the_file_as_it_was() {
    let user = User::new();
    let path = user.configure(FILE);
    let line = format!("ulimit -f 0; exec {} config set gateway.port 1", env!("CARGO_BIN_EXE_verso"));
    let mut command = std::process::Command::new("sh");
    let status = command.args(["-c", &line]).env_clear().env("HOME", user.home()).env("TOKEN", "t").output().unwrap();
    assert!(!status.status.success(), "{status:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), FILE);
    assert!(user.run(&["config", "set", "gateway.port", "2"]).stdout.starts_with("Updated"), "and is in nobody's way later");
}

#[test]
fn sec_16_secrets_are_shown_only_when_asked_for() {
    let user = User::new();
    user.configure("{gateway: {auth: {token: 'plain-secret'}}, ui: {assistant: {name: 'x plain-secret'}}}");
    for path in ["gateway.auth.token", "gateway", "ui"] {
        let shown = user.run(&["config", "get", path]).stdout;
        assert!(!shown.contains("plain-secret"), "{shown}");
    }
    assert_eq!(user.run(&["config", "get", "gateway.auth.token", "--reveal"]).stdout, "plain-secret\n");
}

#[test]
fn sec_49_a_file_of_the_present_folder_cannot_steer_the_product() {
    let user = User::new();
    user.write(".env", "VERSO_STATE_DIR=/nonexistent/evil\nVERSO_CONFIG_PATH=/nonexistent/evil.json\nLD_PRELOAD=/x\n");
    let shown = user.run(&["config", "path"]).stdout;
    assert_eq!(shown, format!("{}\n", user.home().join(".verso/verso.json").display()));
}
