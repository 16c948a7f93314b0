//! What flags of `verso gateway` do beyond the process itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;
use verso_tests::{Gateway, Provider, eventually, process};

/// A `tailscale` that writes down how it is called.
fn tailnet(folder: &Path) -> String {
    let program = folder.join("tailscale");
    let calls = folder.join("calls");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\n[ \"$1\" = status ] && echo '{{\"Self\": {{\"DNSName\": \"den.tail.example.\"}}}}'\nexit 0\n",
        calls.display()
    );
    fs::write(&program, script).expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a script that runs");
    format!("{}:/usr/bin:/bin", folder.display())
}

fn calls(folder: &Path) -> String {
    fs::read_to_string(folder.join("calls")).unwrap_or_default()
}

#[tokio::test]
async fn a_port_is_published_in_the_tailnet_and_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = tailnet(folder.path());
    let mut gateway = Gateway::prepare(json!({}));
    gateway.launch_in(&["--tailscale", "serve", "--tailscale-reset-on-exit"], &[("PATH", &path)]);
    gateway.ready().await;
    let said = eventually("the address in the tailnet", async || {
        let output = gateway.output();
        output.contains("https://den.tail.example/").then_some(output)
    })
    .await;
    assert!(said.contains("published in the tailnet"), "{said}");
    let published = format!("serve --bg --yes {}\n", gateway.port());
    assert!(calls(folder.path()).starts_with(&published), "{}", calls(folder.path()));
    process::signal(gateway.pid(), Signal::TERM);
    assert!(gateway.ended().await.success());
    assert!(calls(folder.path()).ends_with("serve reset\n"), "{}", calls(folder.path()));
}

#[tokio::test]
async fn a_publication_that_would_open_the_gateway_is_refused() {
    for (config, flags, reason) in [
        (json!({}), ["--tailscale", "funnel"], "tailscale funnel requires gateway auth mode=password"),
        (json!({"gateway": {"bind": "lan"}}), ["--tailscale", "serve"], "requires gateway bind=loopback"),
        (json!({}), ["--tailscale", "maybe"], "Invalid --tailscale"),
        (json!({}), ["--ws-log", "maybe"], "Invalid --ws-log"),
    ] {
        let mut gateway = Gateway::prepare(config);
        gateway.launch(&flags);
        assert!(!gateway.ended().await.success());
        assert!(gateway.output().contains(reason), "{reason}: {}", gateway.output());
    }
}

#[tokio::test]
async fn frames_and_what_providers_send_are_shown_to_whoever_asks() {
    let provider = Provider::start().await;
    let mut gateway = Gateway::prepare(provider.config());
    gateway.launch(&["--verbose", "--ws-log", "full", "--raw-stream"]);
    gateway.ready().await;
    let client = gateway.client().await;
    client.call("health", json!({})).await.expect("health");
    let request = json!({"message": "say pear", "sessionKey": "main", "idempotencyKey": "raw-1"});
    let mut answers = client.call_streaming("agent", request).await.expect("a stream");
    while let Some(answer) = answers.next().await {
        answer.expect("a turn");
    }
    let output = gateway.output();
    assert!(output.contains("request") && output.contains("method=health"), "{output}");
    assert!(!output.contains("say pear"), "the names of frames are shown, never what is in them");
    let raw = gateway.state_dir().join("logs/raw-stream.jsonl");
    let text = fs::read_to_string(&raw).expect("the file");
    let first: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert!(first["url"].as_str().is_some_and(|url| url.ends_with("/chat/completions")), "{first}");
    assert!(first["data"].as_str().is_some_and(|data| data.contains("choices")), "{first}");
    assert_eq!(raw.metadata().expect("the file").permissions().mode() & 0o777, 0o600);
}
