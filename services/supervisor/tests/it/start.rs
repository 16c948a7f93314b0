//! Starting: the lock, the ports, what a process is given.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use verso_supervisor::Holder;

use crate::gateway::{connect, home};
use crate::parent::SECRETS;

#[tokio::test]
async fn refuses_a_second_gateway_on_the_same_state_folder() {
    let mut home = home();
    let first = home.start().await;
    home.setup.lock_wait_ms = 200;
    let mut second = home.spawn();
    let refusal = format!("error gateway already running (pid {}); lock timeout after 200ms", first.pid());
    assert_eq!(second.says().await, Some(refusal));
    assert_eq!(second.says().await, None);
    assert!(first.list().await.values().all(|service| service.state == "serving"), "the first lives on");
}

#[tokio::test]
async fn tells_who_holds_the_state_folder() {
    let home = home();
    assert_eq!(Holder::of(&home.setup.state_dir), None);
    let mut gateway = home.start().await;
    let holder = Holder::of(&home.setup.state_dir).unwrap();
    assert_eq!((holder.pid, holder.run_dir), (gateway.pid(), home.state("run")));
    assert_eq!(holder.config_path, home.state("verso.json"));
    assert!(holder.created_at.ends_with('Z') && holder.start_time.is_some());
    let mode = home.state("run/gateway.lock").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.says().await.as_deref(), Some("stopped"));
    assert_eq!(Holder::of(&home.setup.state_dir), None);
}

#[tokio::test]
async fn refuses_a_busy_port() {
    let mut home = home();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    home.setup.port = address.port();
    let mut gateway = home.spawn();
    let refusal = format!("error another gateway instance is already listening on ws://{address}");
    assert_eq!(gateway.says().await, Some(refusal));
    assert_eq!(gateway.says().await, None);
}

#[tokio::test]
async fn waits_for_a_port_that_is_about_to_be_free() {
    let mut home = home();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    (home.setup.port, home.setup.bind_attempts) = (other.local_addr().unwrap().port(), 1_000);
    let mut gateway = home.spawn();
    // It holds the lock, so it has come as far as the port.
    while Holder::of(&home.setup.state_dir).is_none() {
        tokio::task::yield_now().await;
    }
    drop(other);
    gateway.listens().await;
    assert_eq!(gateway.public.unwrap().port(), home.setup.port);
}

#[tokio::test]
async fn hands_ports_to_their_owners() {
    let home = home();
    let gateway = home.start().await;
    let services = gateway.list().await;
    assert_eq!(connect(gateway.public.unwrap()).await, services["edge"].epoch);
    assert_eq!(connect(gateway.canvas.unwrap()).await, services["canvas"].epoch);
}

#[tokio::test]
async fn hands_secrets_only_to_those_who_need_them() {
    let home = home();
    let gateway = home.start().await;
    for name in gateway.list().await.keys() {
        let seen = std::fs::read_to_string(home.state(name).join("seen.json")).unwrap();
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        let holds = |list: &str, (secret, value): (&str, &str)| {
            let pairs = seen[list].as_array().unwrap();
            pairs.iter().any(|pair| pair.as_str() == Some(&format!("{secret}={value}")))
        };
        let [token, key] = SECRETS;
        assert!(!seen["environment"].to_string().contains("made-up"), "{name}: no secret in the environment");
        assert_eq!(holds("withSecrets", token), name == "edge", "{name}");
        assert_eq!(holds("withSecrets", key), name == "agent", "{name}");
        assert!(holds("environment", ("VERSO_PROFILE", "test")), "{name}");
        assert!(!seen["environment"].to_string().contains("CARGO"), "{name}: nothing else is inherited");
    }
}

#[tokio::test]
async fn serves_from_a_state_folder_with_a_long_path() {
    let mut home = home();
    let long = home.state(&"long".repeat(30));
    home.setup.state_dir = long;
    let mut gateway = home.spawn();
    gateway.listens().await;
    assert_eq!(gateway.says().await.as_deref(), Some("ready 6"));
    let run_dir = Holder::of(&home.setup.state_dir).unwrap().run_dir;
    assert!(!run_dir.starts_with(&home.setup.state_dir), "{}", run_dir.display());
    gateway.at(run_dir.clone());
    assert_eq!(gateway.list().await.len(), 6);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.says().await.as_deref(), Some("stopped"));
    assert!(!run_dir.exists());
}
