//! The supervisor in a process of its own. Says on its standard output how it fares.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use verso_kit::CancellationToken;
use verso_supervisor::{Announce, Config, Limits, Listen, Secrets, ServiceName};

/// What a test asks of the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) state_dir: PathBuf,
    pub(crate) executable: PathBuf,
    pub(crate) port: u16,
    pub(crate) lock_wait_ms: u64,
    pub(crate) bind_attempts: u32,
    pub(crate) drain_ms: u64,
    pub(crate) restart_on_signal: bool,
}

pub(crate) const SECRETS: [(&str, &str); 2] = [("VERSO_GATEWAY_TOKEN", "token-made-up"), ("OPENAI_API_KEY", "key-made-up")];

pub(crate) async fn run(setup: &str) {
    let setup: Setup = serde_json::from_slice(&std::fs::read(setup).unwrap()).unwrap();
    let (listening, on_listening) = oneshot::channel();
    let (ready, on_ready) = oneshot::channel();
    let announce = Announce { listening: Some(listening), ready: Some(ready) };
    let news = async {
        let Ok(listening) = on_listening.await else { return };
        say(&format!("listening {} {}", listening.public[0], listening.canvas.unwrap()));
        let Ok(services) = on_ready.await else { return };
        say(&format!("ready {}", services.len()));
    };
    let running = verso_supervisor::run(config(setup, announce), CancellationToken::new());
    match tokio::join!(running, news).0 {
        Ok(()) => say("stopped"),
        Err(error) => say(&format!("error {error}")),
    }
}

fn say(line: &str) {
    // One write, so that lines of other processes do not come in between.
    std::io::stdout().write_all(format!("\nsupervisor: {line}\n").as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

fn config(setup: Setup, announce: Announce) -> Config {
    let drain = Duration::from_millis(setup.drain_ms);
    let limits = Limits {
        lock_wait: Duration::from_millis(setup.lock_wait_ms),
        bind_attempts: setup.bind_attempts,
        bind_retry: Duration::from_millis(20),
        health_interval: Duration::from_millis(100),
        health_deadline: Duration::from_secs(1),
        backoff_first: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        budget_failures: 5,
        edge_drain: drain,
        service_drain: drain,
        ..Limits::default()
    };
    Config {
        config_path: setup.state_dir.join("verso.json"),
        state_dir: setup.state_dir,
        executable: setup.executable,
        public: Listen { hosts: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)], port: setup.port },
        canvas_port: Some(0),
        services: ServiceName::ALL.to_vec(),
        secrets: Secrets { values: pairs(SECRETS), ..Secrets::default() },
        pass_env: pairs([("VERSO_PROFILE", "test")]),
        restart_on_signal: setup.restart_on_signal,
        limits,
        announce,
        configuration: None,
    }
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Writes the script that stands in for the executable.
pub(crate) fn write_executable(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let binary = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nexport VERSO_TEST_ROLE=\"$*\"\nexec '{}' --exact plays_a_role_when_asked_to --nocapture --test-threads=1 2>>\"$0.log\"\n",
        binary.display()
    );
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o700).open(path).unwrap();
    file.write_all(script.as_bytes()).unwrap();
}
