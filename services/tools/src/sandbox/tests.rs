use std::collections::BTreeMap;
use std::time::Duration;

use verso_kit::CancellationToken;

use super::*;
use crate::exec::child::{Ended, Limits, Outcome, Plan, run};

async fn inside(script: &str, sandbox: Sandbox) -> Outcome {
    let plan = Plan {
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        folder: "/".into(),
        variables: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        sandbox: Some(sandbox),
        cleanup: None,
    };
    let limits = Limits { timeout: Some(Duration::from_secs(20)), output_bytes_max: 4_096 };
    run(plan, limits, &CancellationToken::new()).await.unwrap()
}

/// Where the kernel has no Landlock, the sandbox refuses to start anything; the tests then have nothing more to show.
async fn available() -> bool {
    Sandbox::strength().await != Strength::None
}

#[tokio::test]
async fn a_program_in_the_sandbox_reaches_its_workspace_and_nothing_else() {
    if !available().await {
        let sandbox = Sandbox::new(Path::new("/tmp"), WorkspaceAccess::ReadWrite, false);
        assert!(sandbox.within(|| Ok(())).await.is_err(), "a sandbox that cannot be enforced must not start anything");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (workspace, secret) = (home.path().join("workspace"), home.path().join("secret"));
    std::fs::create_dir(&workspace).unwrap();
    std::fs::write(&secret, "hidden").unwrap();
    let script = format!("cd {} && echo kept > note && cat note; cat {}", workspace.display(), secret.display());
    let outcome = inside(&script, Sandbox::new(&workspace, WorkspaceAccess::ReadWrite, false)).await;
    assert_eq!((outcome.stdout.as_str(), outcome.ended), ("kept\n", Ended::Exited(1)), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("Permission denied"), "{}", outcome.stderr);

    let write = format!("cat {0}/note; echo more > {0}/note", workspace.display());
    let outcome = inside(&write, Sandbox::new(&workspace, WorkspaceAccess::ReadOnly, false)).await;
    assert_eq!(outcome.stdout, "kept\n");
    assert_ne!(outcome.ended, Ended::Exited(0), "a workspace that can only be read was written to");
    let outcome = inside(&write, Sandbox::new(&workspace, WorkspaceAccess::None, false)).await;
    assert_eq!(outcome.stdout, "");
}

#[tokio::test]
async fn a_program_in_the_sandbox_cannot_connect() {
    if !available().await || !Path::new("/usr/bin/python3").exists() {
        return;
    }
    let socket = |family: &str| format!("python3 -c 'import socket; socket.socket(socket.{family})' 2>&1 | tail -1");
    for (family, network, refused) in
        [("AF_INET", false, true), ("AF_UNIX", false, true), ("AF_INET", true, false), ("AF_UNIX", true, true)]
    {
        let outcome = inside(&socket(family), Sandbox::new(Path::new("/tmp"), WorkspaceAccess::None, network)).await;
        assert_eq!(outcome.stdout.contains("PermissionError"), refused, "{family} {network}: {}{}", outcome.stdout, outcome.stderr);
    }
}
