//! Containers and bubblewrap: what the configuration may ask for, and what is run for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::WorkspaceAccess;
use super::container::{Config, Container};
use super::wrapper::Wrapper;
use crate::exec::child::Plan;

fn checked(section: Value) -> Result<Container, String> {
    serde_json::from_value::<Config>(section).unwrap().checked(&[PathBuf::from("/var/tmp")])
}

fn plan(workspace: &Path) -> Plan {
    Plan {
        program: "/usr/bin/touch".into(),
        arguments: vec!["a b".to_owned()],
        folder: workspace.join("inner"),
        variables: BTreeMap::from([("PATH".to_owned(), "/usr/bin".to_owned()), ("X".to_owned(), "1".to_owned())]),
        sandbox: None,
        cleanup: None,
    }
}

#[test]
fn sec_55_a_container_that_would_open_the_host_is_refused() {
    let home = tempfile::tempdir_in("/home").or_else(|_| tempfile::tempdir_in("/opt")).unwrap();
    let lent = home.path().join("data");
    std::fs::create_dir_all(home.path().join(".ssh")).unwrap();
    std::fs::create_dir(&lent).unwrap();
    std::os::unix::fs::symlink("/etc", home.path().join("link")).unwrap();
    let bind = |source: &Path, rest: &str| json!({"binds": [format!("{}{rest}", source.display())]});
    for section in [
        json!({"network": "host"}),
        json!({"network": "HOST"}),
        json!({"network": "container:other"}),
        json!({"network": "ns:/proc/1/ns/net"}),
        json!({"network": "--privileged"}),
        json!({"image": "--privileged"}),
        json!({"image": "a b"}),
        json!({"user": "-v=/:/host"}),
        json!({"seccompProfile": "unconfined"}),
        json!({"apparmorProfile": "Unconfined"}),
        json!({"capDrop": ["--cap-add=ALL"]}),
        json!({"env": {"PATH": "/evil"}}),
        json!({"env": {"LD_PRELOAD": "x"}}),
        json!({"dns": ["--x"]}),
        json!({"extraHosts": ["gateway:host-gateway"]}),
        json!({"tmpfs": ["relative"]}),
        json!({"memory": "1g --privileged"}),
        json!({"setupCommand": "apt-get install x"}),
        json!({"binds": ["/:/host"]}),
        json!({"binds": ["/etc:/x"]}),
        json!({"binds": ["/var/run/docker.sock:/var/run/docker.sock"]}),
        json!({"binds": ["/proc/self:/x"]}),
        json!({"binds": ["/var:/x"]}),
        json!({"binds": ["relative:/x"]}),
        json!({"binds": ["/no/such/folder:/x"]}),
        bind(&home.path().join(".ssh"), ":/x"),
        bind(&home.path().join("link"), ":/x"),
        bind(&lent.join(".."), ":/x"),
        bind(&lent, ":/etc"),
        bind(&lent, ":/usr/bin"),
        bind(&lent, ":/workspace"),
        bind(&lent, ":/x:rw,z"),
        bind(&lent, ""),
    ] {
        assert!(checked(section.clone()).is_err(), "{section}");
    }
    let fine = json!({
        "image": "registry.example/agents/tools:1.2@sha256-abc", "network": "agents", "user": "1000:1000", "memory": "512m", "cpus": 1.5,
        "env": {"LANG": "C.UTF-8"}, "binds": [format!("{}:/data", lent.display())], "dns": ["10.0.0.2"], "extraHosts": ["db:10.0.0.3"],
    });
    let container = checked(fine).unwrap();
    let real = lent.canonicalize().unwrap();
    assert!(container.options.contains(&format!("{}:/data:ro", real.display())), "{container:?}");
}

#[test]
fn sec_55_what_is_run_for_a_container_gives_it_nothing_by_default() {
    let container = checked(json!({})).unwrap();
    let workspace = Path::new("/ws");
    let docker = Wrapper::in_docker("/usr/bin/docker".into(), container, workspace, WorkspaceAccess::ReadOnly, "here");
    let brought = BTreeMap::from([("X".to_owned(), "1".to_owned())]);
    let wrapped = docker.wrap(plan(workspace), "touch 'a b'; --privileged", &brought, "main-1");
    let line = wrapped.arguments.join(" ");
    for part in [
        "run --rm --interactive --init --name openclaw-sbx-main-1",
        "--network none",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--pids-limit 512",
        "--read-only",
        "--volume /ws:/workspace:ro --workdir /workspace/inner",
        "--env X=1",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // The command is one word after the image, whatever it holds; nothing of the host's environment goes along.
    let end = ["debian:stable-slim", "/bin/sh", "-c", "touch 'a b'; --privileged"];
    assert_eq!(wrapped.arguments[wrapped.arguments.len() - 4..], end);
    assert!(!line.contains("PATH="), "{line}");
    assert_eq!(wrapped.cleanup.unwrap().arguments, ["rm", "--force", "openclaw-sbx-main-1"]);
    let none = Wrapper::in_docker("/usr/bin/docker".into(), checked(json!({})).unwrap(), workspace, WorkspaceAccess::None, "here");
    let line = none.wrap(plan(workspace), "true", &brought, "x").arguments.join(" ");
    assert!(!line.contains("--volume") && line.contains("--workdir / "), "{line}");
}

#[test]
fn what_is_run_for_bubblewrap_shares_nothing_but_the_system() {
    let workspace = Path::new("/ws");
    let wrapped = |access, network| {
        let bubblewrap = Wrapper::in_bubblewrap("/usr/bin/bwrap".into(), workspace, access, network);
        bubblewrap.wrap(plan(workspace), "", &BTreeMap::new(), "x").arguments.join(" ")
    };
    let line = wrapped(WorkspaceAccess::ReadWrite, false);
    assert!(line.starts_with("--unshare-all --die-with-parent --new-session --clearenv"), "{line}");
    assert!(line.contains("--bind /ws /ws") && line.contains("--setenv X 1") && !line.contains("--share-net"), "{line}");
    assert!(line.ends_with("--chdir /ws/inner -- /usr/bin/touch a b"), "{line}");
    assert!(!line.contains("/home") && !line.contains("/root"), "{line}");
    assert!(wrapped(WorkspaceAccess::ReadOnly, true).contains("--share-net --ro-bind-try /usr /usr"));
    assert!(wrapped(WorkspaceAccess::None, false).contains("--dir /ws"));
}
