//! What the processes of a gateway show to others on the same machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use verso_tests::{Gateway, process};

#[tokio::test]
async fn sec_71_only_the_edge_listens_beyond_this_users_sockets() {
    let gateway = Gateway::start().await;
    let run = gateway.state_dir().join("run");
    assert_eq!(run.metadata().expect("the folder").permissions().mode() & 0o777, 0o700);
    let ports: Vec<u16> = process::tree(gateway.pid()).into_iter().flat_map(process::listening_ports).collect();
    assert!(ports.contains(&gateway.port()), "{ports:?}");
    assert!(ports.iter().all(|port| *port == gateway.port()), "{ports:?}");
}

#[tokio::test]
async fn sec_81_sec_82_no_secret_is_in_an_environment_and_no_service_leaves_a_core() {
    let gateway = Gateway::start_with(json!({"env": {"vars": {"MADE_UP_KEY": "made-up-secret"}}})).await;
    let services: Vec<i64> = process::tree(gateway.pid()).into_iter().skip(1).collect();
    assert_eq!(services.len(), 6);
    for pid in services {
        let environment = fs::read(format!("/proc/{pid}/environ")).expect("an environment");
        let environment = String::from_utf8_lossy(&environment);
        for secret in ["made-up-secret", verso_tests::gateway::TOKEN] {
            assert!(!environment.contains(secret), "{} knows {secret}", process::command_line(pid));
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{}: {core}", process::command_line(pid));
    }
}

#[tokio::test]
async fn sec_82_a_service_that_crashes_leaves_no_dump_and_what_is_kept_of_it_shows_no_secret() {
    let gateway = Gateway::start_with(json!({"env": {"vars": {"MADE_UP_KEY": "made-up-secret"}}, "logging": {"level": "trace"}})).await;
    let client = gateway.client().await;
    for service in ["agent", "channel", "node"] {
        let pid = gateway.service(service).await.pid.expect("a running service");
        process::signal(pid, rustix::process::Signal::ABORT);
        let after = gateway.recovered(service, pid).await;
        assert_eq!(after.last_exit.as_deref(), Some("signal 6"));
    }
    client.call("health", json!({})).await.expect("the connection went on");
    let mut folders = vec![gateway.state_dir()];
    let mut kept = vec![gateway.output()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            assert!(!name.starts_with("core"), "{}", path.display());
            if path.starts_with(gateway.state_dir().join("logs")) {
                kept.push(String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned());
            }
        }
    }
    assert!(kept.len() > 1, "there are logs");
    for secret in ["made-up-secret", verso_tests::gateway::TOKEN] {
        assert!(kept.iter().all(|text| !text.contains(secret)), "a log shows a secret");
    }
}
