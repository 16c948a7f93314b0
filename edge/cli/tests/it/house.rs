//! Setting a gateway up on a machine, looking it over, and taking it away again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::fixture::User;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn setup_makes_what_is_missing_and_touches_nothing_else() {
    let user = User::new();
    let first = user.run(&["setup", "--non-interactive"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(
        first.stdout.starts_with("Wrote ~/.verso/verso.json\nWorkspace OK: ~/.verso/workspace\nSessions OK: ~/.verso/agent\n"),
        "{first:?}"
    );
    let path = user.home().join(".verso/verso.json");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(json(&text)["gateway"]["mode"], "local");
    assert_eq!(json(&text)["gateway"]["auth"]["token"].as_str().unwrap().len(), 48);
    let again = user.run(&["setup"]);
    assert!(again.stdout.starts_with("Config OK: "), "{again:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    let user = User::new();
    user.configure("{ // mine\n  gateway: { port: 7 } }");
    user.run(&["setup"]);
    let text = fs::read_to_string(user.home().join(".verso/verso.json")).unwrap();
    assert!(text.contains("// mine") && text.contains("port: 7") && text.contains("local"), "{text}");
    let refused = user.run(&["setup", "--mode", "remote"]);
    assert_eq!((refused.code, refused.stderr.as_str()), (Some(1), "--mode remote requires --remote-url\n"));
}

#[test]
fn onboarding_by_flags_says_what_it_did_and_keeps_keys_to_their_owner() {
    let user = User::new();
    let refused = user.run(&["onboard", "--non-interactive"]);
    assert_eq!(refused.code, Some(1), "the risk is to be accepted: {refused:?}");
    let key = user.write("key.txt", "made-up-key-0001\n").display().to_string();
    let arguments = [
        "onboard",
        "--non-interactive",
        "--accept-risk",
        "--auth-choice",
        "openai-api-key",
        "--api-key-file",
        &key,
        "--gateway-port",
        "18999",
        "--gateway-bind",
        "loopback",
        "--skip-health",
        "--json",
    ];
    let done = user.run(&arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    let document = json(&done.stdout);
    assert_eq!((&document["mode"], &document["authChoice"]), (&"local".into(), &"openai-api-key".into()));
    assert_eq!((&document["gateway"]["port"], &document["gateway"]["authMode"]), (&18999.into(), &"token".into()));
    let env = user.home().join(".verso/.env");
    assert_eq!((fs::read_to_string(&env).unwrap().as_str(), mode(&env)), ("OPENAI_API_KEY=made-up-key-0001\n", 0o600));
    assert!(!fs::read_to_string(user.home().join(".verso/verso.json")).unwrap().contains("made-up-key-0001"));
    let unknown = user.run(&["onboard", "--non-interactive", "--accept-risk", "--auth-choice", "chutes"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("not available in this build"), "{unknown:?}");
    let alone = user.run(&["onboard"]);
    assert!(alone.code == Some(1) && alone.stderr.contains("nobody is at this terminal"), "{alone:?}");
    let alone = user.run(&["configure", "--section", "gateway"]);
    assert!(alone.code == Some(1) && alone.stderr.contains("verso config set"), "{alone:?}");
}

#[test]
fn reset_and_uninstall_remove_what_was_named_and_nothing_else() {
    let user = User::new();
    user.run(&["setup"]);
    user.write(".verso/credentials/telegram/token", "x");
    user.write(".verso/agent/agent.sqlite", "x");
    user.write("other/file", "mine");
    let refused = user.run(&["reset", "--non-interactive", "--yes"]);
    assert_eq!(refused.stderr, "Non-interactive mode requires --yes and --scope.\n");
    let unasked = user.run(&["reset", "--scope", "full"]);
    assert!(unasked.code == Some(1) && unasked.stderr.contains("--yes"), "{unasked:?}");
    let dry = user.run(&["reset", "--scope", "full", "--dry-run"]);
    assert!(dry.stdout.contains("[dry-run] remove ~/.verso/verso.json\n") && dry.stdout.contains("[dry-run] remove ~/.verso\n"), "{dry:?}");
    assert!(user.home().join(".verso/agent/agent.sqlite").exists());
    let config = user.run(&["reset", "--scope", "config", "--yes"]);
    assert!(config.stdout.contains("Removed ~/.verso/verso.json\n"), "{config:?}");
    assert!(user.home().join(".verso/agent/agent.sqlite").exists());
    let more = user.run(&["reset", "--scope", "config+creds+sessions", "--yes", "--non-interactive"]);
    assert!(more.stdout.contains("Removed ~/.verso/credentials\n"), "{more:?}");
    assert!(!user.home().join(".verso/agent").exists() && user.home().join(".verso/workspace").exists());

    let nothing = user.run(&["uninstall"]);
    assert!(nothing.code == Some(1) && nothing.stderr.contains("--all"), "{nothing:?}");
    let all = user.run(&["uninstall", "--all", "--yes", "--non-interactive"]);
    assert!(all.code == Some(0) && all.stdout.contains("No service is installed."), "{all:?}");
    assert!(!user.home().join(".verso").exists() && user.home().join("other/file").exists());

    // A workspace that is the home folder is nobody's to remove.
    user.configure(&format!("{{agents: {{defaults: {{workspace: {:?}}}}}}}", user.home().display().to_string()));
    let refused = user.run(&["reset", "--scope", "full", "--yes"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("Refusing to remove"), "{refused:?}");
    assert!(user.home().join("other/file").exists() && user.home().join(".verso/verso.json").exists(), "all of it or none");
}

#[test]
fn the_security_audit_names_open_doors_and_closes_what_it_may() {
    let user = User::new().without_gateway();
    let path =
        user.configure("{ // mine\n  gateway: { mode: 'local', auth: { token: 'short' } }, channels: { irc: { groupPolicy: 'open' } } }");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let found = user.run(&["security", "audit", "--json", "--deep"]);
    assert_eq!(found.code, Some(0), "{found:?}");
    let document = json(&found.stdout);
    let ids: Vec<&str> = document["findings"].as_array().unwrap().iter().filter_map(|one| one["checkId"].as_str()).collect();
    for id in [
        "summary.attack_surface",
        "gateway.token_too_short",
        "fs.config.perms_world_readable",
        "fs.state_dir.perms_world_readable",
        "channels.irc.group.open",
        "gateway.probe_failed",
    ] {
        assert!(ids.contains(&id), "{id}: {ids:?}");
    }
    assert_eq!(document["deep"]["gateway"]["ok"], false);
    assert!(document["summary"]["critical"].as_u64().unwrap() >= 1);
    let fixed = json(&user.run(&["security", "audit", "--fix", "--json"]).stdout);
    assert_eq!((&fixed["fix"]["ok"], &fixed["fix"]["configWritten"]), (&true.into(), &true.into()), "{fixed}");
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("// mine") && text.contains("allowlist"), "{text}");
    let left: Vec<&Value> =
        fixed["report"]["findings"].as_array().unwrap().iter().filter(|one| one["checkId"].as_str().unwrap().starts_with("fs.")).collect();
    assert!(left.is_empty(), "{left:?}");
    let words = user.run(&["security", "audit"]);
    assert!(words.stdout.contains("Run deeper: verso security audit --deep") && !words.stdout.contains("short'"), "{words:?}");
}

#[test]
fn the_doctor_takes_out_what_nobody_knows_and_keeps_the_file_as_it_was() {
    let user = User::new().without_gateway();
    let path =
        user.configure("{ // mine\n  gateway: { mode: 'local', prt: 1, token: 'of-an-older-version' }, telegram: { enabled: false } }");
    let looked = user.run(&["doctor", "--json"]);
    assert_eq!(looked.code, Some(0));
    assert_eq!(json(&looked.stdout)["ok"], false);
    let fixed = user.run(&["doctor", "--fix", "--json"]);
    let checks = json(&fixed.stdout)["checks"].clone();
    let mended: Vec<&str> = checks
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["id"] == "config.mended")
        .filter_map(|check| check["message"].as_str())
        .collect();
    assert!(mended.iter().any(|words| words.contains("took gateway.prt out")), "{mended:?}");
    assert!(mended.iter().any(|words| words.contains("telegram is channels.telegram now")), "{mended:?}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("// mine") && !text.contains("prt") && text.contains("of-an-older-version"), "{text}");
    assert_eq!(user.run(&["config", "validate"]).code, Some(0), "{text}");
    let kept = fs::read_dir(user.home().join(".verso/verso.json.generations"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    assert!(kept.into_iter().any(|text| text.contains("prt: 1")), "the file as it was is kept");
    let ids: Vec<&str> = checks.as_array().unwrap().iter().filter_map(|check| check["id"].as_str()).collect();
    for id in [
        "env.legacy",
        "config.valid",
        "config.mode",
        "gateway.exposure",
        "gateway.secrets-agree",
        "state.dir",
        "state.documents",
        "clock.sane",
        "isolation.matrix",
        "disk.free",
        "limits.descriptors",
        "service.definition",
        "port.free",
        "gateway.reachable",
        "services.others",
    ] {
        assert!(ids.contains(&id), "{id}: {ids:?}");
    }
}

#[test]
fn the_doctor_finds_a_damaged_database_and_says_why_a_client_was_refused() {
    let user = User::new().without_gateway();
    user.configure(
        "{gateway: {mode: 'local', auth: {token: 'a-token-of-more-than-24-letters'}}, logging: {file: 'LOG'}}"
            .replace("LOG", &user.home().join("v.log").display().to_string())
            .as_str(),
    );
    user.write(".verso/agent/agent.sqlite", "this is no database at all, whatever its name says");
    user.write(".verso/devices/pending.json", r#"{"r1": {"requestId": "r1", "deviceId": "abc123"}}"#);
    let refused = r#"{"1":{"client":"cli","device":"abc123","address":"127.0.0.1","code":"AUTH_TOKEN_MISMATCH","reason":"unauthorized"},"2":"connect refused","time":"2026-01-01T00:00:00Z"}"#;
    user.write("v.log", &format!("{refused}\n"));
    let found = user.run(&["doctor", "--json", "--deep", "--client", "abc123"]);
    let checks = json(&found.stdout)["checks"].clone();
    let of = |id: &str| {
        checks.as_array().unwrap().iter().filter(|check| check["id"] == id).map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(of("state.databases").contains("error"), "{}", of("state.databases"));
    assert!(of("client.device").contains("devices approve r1"), "{}", of("client.device"));
    assert!(of("client.refusals").contains("another token"), "{}", of("client.refusals"));
}

#[test]
fn definitions_are_printed_for_every_system_and_hold_no_secret() {
    let user = User::new();
    user.configure("{gateway: {mode: 'local', auth: {token: 'made-up-gateway-secret'}}}");
    for (platform, expected) in [("systemd", "ExecStart="), ("launchd", "<key>ProgramArguments</key>"), ("windows", "schtasks /Create")] {
        let printed = user.run(&["gateway", "install", "--print", "--platform", platform]);
        assert!(printed.code == Some(0) && printed.stdout.contains(expected), "{platform}: {printed:?}");
        assert!(!printed.stdout.contains("made-up-gateway-secret"), "{platform}");
    }
    let split = user.run(&["--profile", "rescue", "gateway", "install", "--print", "--split"]);
    for expected in ["verso-gateway-rescue.target", "verso-edge-rescue.service", "verso-agent-rescue.socket", "FileDescriptorName=public"] {
        assert!(split.stdout.contains(expected), "{expected}: {split:?}");
    }
}
