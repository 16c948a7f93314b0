//! The processes of a running gateway prove to each other who they are.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use serde_json::json;
use tonic::Code;
use verso_kit::peer::{Caller, Peer};
use verso_proto::methods::METHODS;
use verso_tests::{Gateway, eventually};

/// The sockets of a gateway.
const PROCESSES: [&str; 7] = ["supervisor", "edge", "presence", "node", "channel", "agent", "canvas"];

#[tokio::test]
async fn sec_72_whoever_reaches_a_socket_without_a_credential_can_ask_for_its_health_and_nothing_else() {
    let gateway = Gateway::start().await;
    for name in PROCESSES {
        let peer = Peer::unix(gateway.state_dir().join(format!("run/{name}.sock")));
        let of_process =
            |service: &str| service.split('.').nth(1).map(|package| if package == "upkeep" { "edge" } else { package }) == Some(name);
        for method in METHODS.iter().filter(|method| of_process(method.service) && !method.service.starts_with("verso.edge.")) {
            let refused = if method.streaming {
                peer.open_raw(method, Bytes::new(), None, &Caller::default()).await.err()
            } else {
                peer.call_raw(method, Bytes::new(), None, &Caller::default()).await.err()
            };
            assert_eq!(refused.map(|status| status.code()), Some(Code::Unauthenticated), "{} without a credential", method.path);
        }
    }
    assert!(gateway.services().await.is_some(), "the owner's command line is let in");
}

#[tokio::test]
async fn sec_81_what_proves_who_a_process_is_stands_in_no_place_that_others_read() {
    let gateway = Gateway::start().await;
    let file = gateway.state_dir().join("run/operator.credential");
    assert_eq!(fs::metadata(&file).expect("written at start").permissions().mode() & 0o777, 0o600);
    for service in gateway.services().await.expect("a running supervisor") {
        let pid = service.pid.expect("a running process");
        for place in ["environ", "cmdline"] {
            let text = fs::read(format!("/proc/{pid}/{place}")).expect("a process of ours");
            let told = String::from_utf8_lossy(&text);
            assert!(!told.contains("VERSO_CREDENTIAL"), "{place} of {}", service.name);
        }
    }
}

/// Tells what a program can open that somebody runs who has taken over the channel service.
const BURGLAR: &str = r#"
for place in verso.json .env run/operator.credential run/config/agent/verso.json run/config/channel/verso.json agent/agent.sqlite \
    ../workspace/diary.md channel/channel.sqlite; do
    if cat "$1/$place" >/dev/null 2>&1; then echo "opened $place"; else echo "kept $place"; fi
done >"$TMPDIR/told"
for process in /proc/[0-9]*; do
    if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q "service agent"; then
        if kill -0 "${process#/proc/}" 2>/dev/null; then echo "reached the agent service" >>"$TMPDIR/told"; fi
    fi
done
echo end >>"$TMPDIR/told"
"#;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn sec_75_whoever_takes_over_the_channel_service_finds_nobody_elses_secrets() {
    let mut gateway = Gateway::prepare(json!({}));
    let state = gateway.state_dir();
    let home = state.parent().expect("a home").to_owned();
    let (temporary, program) = (home.join("temporary"), home.join("burglar.sh"));
    for folder in [&temporary, &home.join("workspace")] {
        fs::create_dir_all(folder).expect("a folder");
    }
    fs::write(home.join("workspace/diary.md"), "dear diary").expect("a file of the agent");
    fs::write(state.join(".env"), "A_KEY=made-up").expect("a file of variables");
    fs::write(&program, BURGLAR).expect("a program");
    let mut config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(state.join("verso.json")).expect("a configuration")).expect("JSON");
    config["adapters"] = json!({"burglar": {"command": ["/bin/sh", program, state]}});
    config["channels"] = json!({"burglar": {"enabled": true}});
    fs::write(state.join("verso.json"), config.to_string()).expect("a configuration");
    gateway.launch_in(&[], &[("TMPDIR", &temporary.display().to_string())]);
    gateway.ready().await;
    let told = eventually("the burglar to be done", async || {
        fs::read_to_string(temporary.join("told")).ok().filter(|told| told.lines().last() == Some("end"))
    })
    .await;
    if gateway.output().contains("no Landlock") {
        return; // This system cannot confine processes.
    }
    let opened: Vec<&str> = told.lines().filter(|line| !line.starts_with("kept ")).collect();
    assert_eq!(opened, ["opened run/config/channel/verso.json", "opened channel/channel.sqlite", "end"], "{told}");
}
