//! What commands say when no gateway runs.

use std::fs;

use crate::fixture::User;

#[test]
fn says_where_it_looked_and_how_to_go_on() {
    let user = User::new().without_gateway();
    for (arguments, next) in
        [(&["health"][..], "Start it with: verso gateway\n"), (&["--dev", "agent", "-m", "hello"], "Start it with: verso --dev gateway\n")]
    {
        let ended = user.run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.starts_with("Error: gateway closed (1006 abnormal closure (no close frame)): "), "{ended:?}");
        assert!(ended.stderr.contains("\nGateway target: ws://127.0.0.1:1\nSource: local loopback\nConfig: "), "{ended:?}");
        assert!(ended.stderr.ends_with(next), "{ended:?}");
    }
}

#[test]
fn tells_scripts_on_standard_output() {
    let user = User::new().without_gateway();
    for arguments in [&["health", "--json"][..], &["gateway", "call", "health", "--json"], &["agent", "-m", "hi", "--json"]] {
        let ended = user.run(arguments);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let document = ended.json();
        assert_eq!(document["error"]["type"], "gateway_transport_error");
        assert_eq!(document["gateway"]["url"], "ws://127.0.0.1:1");
    }
}

#[test]
fn a_gateway_that_is_down_is_a_finding_of_status() {
    let user = User::new().without_gateway();
    let ended = user.run(&["status", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.json()["gateway"]["reachable"], false);
    let ended = user.run(&["status"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("not reachable") && ended.stdout.contains("Start it with: verso gateway"), "{ended:?}");
    let ended = user.run(&["gateway", "status", "--json"]);
    assert_eq!((ended.code, &ended.json()["rpc"]["ok"]), (Some(0), &false.into()), "{ended:?}");
    assert_eq!(user.run(&["gateway", "status", "--require-rpc"]).code, Some(1));
}

#[test]
fn services_need_a_supervisor() {
    let user = User::new();
    for arguments in [&["services", "list"][..], &["services", "restart", "node"]] {
        let ended = user.run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert_eq!(ended.stderr, "No gateway is running in ~/.verso.\nStart it with: verso gateway\n");
    }
    let ended = user.run(&["services", "restart", "x"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), "Error: unknown service \"x\"\n"));
}

#[test]
fn parameters_that_are_not_json_are_refused_before_anything_is_sent() {
    let ended = User::new().without_gateway().run(&["gateway", "call", "health", "--params", "{"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.starts_with("Gateway call failed: Error: --params is not JSON: "), "{ended:?}");
}

#[test]
fn logs_are_read_from_the_file_instead() {
    let user = User::new().without_gateway();
    let ended = user.run(&["logs"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "there is no file either");
    assert!(ended.stderr.starts_with("Gateway not reachable. Is it running and accessible?\n"), "{ended:?}");

    let line = r#"{"0":"{\"subsystem\":\"node\"}","1":{"node":"tv"},"2":"node connected","_meta":{"name":"{\"subsystem\":\"node\"}","logLevelName":"WARN"},"time":"2026-01-02T03:04:05.678Z"}"#;
    let path = user.write(".verso/logs/verso-2026-01-02.log", &format!("{line}\nplain\n"));
    let ended = user.run(&["logs"]);
    let expected = format!("Log file: {}\n2026-01-02T03:04:05.678Z warn [node] node connected node=tv\nplain\n", path.display());
    assert_eq!((ended.code, ended.stdout), (Some(0), expected));
    assert_eq!(ended.stderr, "Gateway not reachable; reading the log file instead.\n");

    let ended = user.run(&["logs", "--json", "--limit", "1"]);
    let kinds: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].clone()).collect();
    assert_eq!(kinds, ["notice", "meta", "raw"]);
}

#[test]
fn a_secret_of_this_machine_stays_on_it() {
    let user = User::new();
    user.write(".verso/credentials/gateway-token", "secret-of-this-machine");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let stranger = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(&mut stream, 4_096), &mut heard).unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    });
    let ended = user.run(&["health", "--url", &url, "--timeout", "200"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("Error: gateway timeout after 200ms\n"), "{ended:?}");
    assert!(!stranger.join().unwrap().contains("secret-of-this-machine"));
    assert!(fs::exists(user.home().join(".verso/identity/device.json")).unwrap());
}

#[test]
fn the_token_is_printed_only_when_it_is_asked_for() {
    let user = User::new();
    let none = user.run(&["gateway", "auth-token"]);
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("There is no token yet"), "{none:?}");
    user.configure(r#"{gateway: {auth: {token: "made-up-token"}}}"#);
    let told = user.run(&["gateway", "auth-token"]);
    assert!(told.stdout.contains("gateway.auth.token in") && !told.stdout.contains("made-up-token"), "{told:?}");
    assert_eq!(user.run(&["gateway", "auth-token", "--show"]).stdout, "made-up-token\n");
    let document = user.run(&["gateway", "auth-token", "--json"]).json();
    assert_eq!((&document["configured"], &document["token"]), (&serde_json::json!(true), &serde_json::Value::Null));
    user.configure(r#"{gateway: {auth: {mode: "password", password: "p"}}}"#);
    assert!(user.run(&["gateway", "auth-token"]).stderr.contains("gateway.auth.mode is password"));
}
