//! The configuration file under faults: the writer is killed at every call to the system, and the disk refuses every one of them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use verso_tests::gateway::binary;
use verso_tests::peers;

/// Calls that change the file or what is beside it, and those between which it could be torn.
const CALLS: [&str; 16] = [
    "openat",
    "write",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "close",
    "chmod",
    "fchmod",
    "fchmodat",
    "unlink",
    "unlinkat",
    "flock",
    "mkdir",
    "statx",
];

/// Calls that a full disk refuses.
const OF_THE_DISK: [&str; 8] = ["openat", "write", "fsync", "rename", "renameat", "renameat2", "unlink", "mkdir"];

/// The first call of a write: the lock that excludes other writers.
const FIRST: &str = "verso.json.lock";

const OLD: &str = "{ gateway: { mode: \"local\", port: 1 } } // by hand\n";
const NEW: &str = "{ gateway: { mode: \"local\", port: 2 } } // by hand\n";

fn set(folder: &Path, wrapper: &[&str], port: &str) -> Output {
    let mut words = wrapper.iter().map(|word| (*word).to_owned()).chain([binary().display().to_string()]);
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).args(["config", "set", "gateway.port", port]);
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "TMPDIR"));
    command.env("HOME", folder).env("VERSO_STATE_DIR", folder).output().expect("the program starts")
}

fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("verso.json"), OLD).expect("a configuration");
    folder
}

/// Which calls a write makes: the name of each, and how many of that name the process made before.
fn calls(strace: &str) -> Vec<(String, usize)> {
    let folder = prepared();
    let trace = folder.path().join("trace.txt");
    let path = trace.display().to_string();
    let output = set(folder.path(), &[strace, "-o", &path, "-e", &format!("trace={}", known().join(","))], "2");
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(&trace).expect("a trace");
    let (mut counts, mut found, mut writing) = (BTreeMap::<String, usize>::new(), Vec::new(), false);
    for line in text.lines() {
        let Some(name) = line.split('(').next().filter(|name| CALLS.contains(name)) else { continue };
        let count = counts.entry(name.to_owned()).or_default();
        *count += 1;
        writing |= line.contains(FIRST);
        if writing {
            found.push((name.to_owned(), *count));
        }
    }
    found
}

/// Not every machine has every call.
fn known() -> Vec<&'static str> {
    let gone = if cfg!(target_arch = "aarch64") { &["rename", "chmod", "unlink", "mkdir"][..] } else { &[] };
    CALLS.into_iter().filter(|name| !gone.contains(name)).collect()
}

/// After a fault the file is whole, private, and can be written.
fn check(folder: &Path, what: &str) -> bool {
    let path = folder.join("verso.json");
    let text = std::fs::read_to_string(&path).expect("there is a file");
    assert!(text == OLD || text == NEW, "{what}: neither the old nor the new file: {text:?}");
    if text == NEW {
        assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600, "{what}");
    }
    let again = set(folder, &[], "3");
    assert!(again.status.success(), "{what}: what a fault leaves behind is in nobody's way: {again:?}");
    let after = std::fs::read_to_string(&path).expect("there is a file");
    assert_eq!(after, NEW.replace("port: 2", "port: 3"), "{what}");
    text == NEW
}

#[test]
fn a_writer_that_is_killed_at_any_call_leaves_the_old_file_or_the_new_one() {
    let Some(strace) = peers::program("strace") else { return };
    let strace = strace.display().to_string();
    let calls = calls(&strace);
    assert!(calls.iter().any(|(name, _)| name.starts_with("rename")) && calls.len() > 15, "the write was seen: {calls:?}");
    let (mut old, mut new) = (0, 0);
    for (name, at) in &calls {
        let folder = prepared();
        let inject = format!("inject={name}:signal=SIGKILL:when={at}");
        let output = set(folder.path(), &[&strace, "-qq", "-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject], "2");
        assert!(!output.status.success(), "{name} {at}: it was killed");
        if check(folder.path(), &format!("killed at {name} {at}")) { new += 1 } else { old += 1 }
    }
    assert!(old > 5 && new > 0, "kills came before the change and after it: {old} and {new}");
}

#[test]
fn a_disk_that_is_full_at_any_call_leaves_the_old_file_or_the_new_one_and_is_named() {
    let Some(strace) = peers::program("strace") else { return };
    let strace = strace.display().to_string();
    let mut refused = 0;
    for (name, at) in calls(&strace).iter().filter(|(name, _)| OF_THE_DISK.contains(&name.as_str())) {
        let folder = prepared();
        let inject = format!("inject={name}:error=ENOSPC:when={at}");
        let output = set(folder.path(), &[&strace, "-qq", "-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject], "2");
        let is_new = check(folder.path(), &format!("full at {name} {at}"));
        assert!(is_new || !output.status.success(), "{name} {at}: a change that is not there did not succeed: {output:?}");
        if !output.status.success() {
            refused += 1;
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(words.contains("No space left") || words.contains("os error 28") || words.is_empty(), "{name} {at}: {words}");
        }
    }
    assert!(refused > 3, "some calls were refused: {refused}");
}
