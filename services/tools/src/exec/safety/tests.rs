use std::os::unix::fs::PermissionsExt as _;

use verso_kit::config::Env;

use super::*;
use crate::exec::parse::Script;

/// A house with its own programs, which are found before the system's.
struct Host {
    folder: tempfile::TempDir,
    env: Env,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        Self { env: Env::from_pairs([("PATH", path.as_str())]), folder }
    }

    fn program(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Whether a command runs without asking when everything in the folder is on the list.
    fn passes(&self, command: &str) -> bool {
        self.passes_with(command, &[format!("{}/**", self.folder.path().display()), "/usr/bin/*".to_owned(), "/bin/*".to_owned()])
    }

    fn passes_with(&self, command: &str, allowlist: &[String]) -> bool {
        let Ok(script) = Script::parse(command) else { return false };
        let rules = Rules { security: Security::Allowlist, ask: Ask::OnMiss, fallback: Security::Deny, allowlist: allowlist.to_vec() };
        let step = |argv: &Vec<String>| {
            let binary = Binary::find(&argv[0], self.folder.path(), &self.env)?;
            Some(listed(&binary, argv, &rules, &filters::names(), None))
        };
        script.steps.iter().all(|argv| step(argv) == Some(true))
    }
}

#[test]
fn sec_47_every_step_must_be_on_the_list() {
    let host = Host::new();
    host.program("tool");
    let only = [format!("{}/tool", host.folder.path().display())];
    assert!(host.passes_with("tool a b", &only) && host.passes_with("tool a | tool b && tool c", &only));
    assert!(host.passes_with("tool a | head -n 3", &only), "a filter needs no listing");
    assert!(!host.passes_with("tool a; ls", &only) && !host.passes_with("tool $(ls)", &only) && !host.passes_with("missing", &only));
    assert!(!host.passes_with("tool", &["tool".to_owned(), "*".to_owned()]), "a name without a folder is no pattern");
    assert!(host.passes_with(&format!("{}/x/../tool", host.folder.path().display()), &only) == host.folder.path().join("x").exists());
}

#[test]
fn sec_47_wrappers_shells_and_interpreters_are_never_covered_by_a_list() {
    let host = Host::new();
    for name in [
        "env", "busybox", "toybox", "time", "script", "sudo", "nohup", "timeout", "xargs", "bash", "sh", "zsh", "pwsh", "cmd", "node",
        "perl",
    ] {
        host.program(name);
    }
    for name in ["python3.12", "awk", "sed", "vim", "stdbuf", "setsid", "strace", "ssh", "nice", "ld-linux-x86-64.so.2"] {
        host.program(name);
    }
    for command in [
        "env -S 'sh -c id'",
        "env id",
        "busybox sh",
        "toybox ls",
        "time ls",
        "script -c id out",
        "sudo ls",
        "nohup ls",
        "timeout 5 ls",
        "xargs rm",
        "bash --init-file x -i",
        "bash --rcfile x",
        "sh -c 'echo' id",
        "zsh -fc id",
        "pwsh -enc AAAA",
        "pwsh -EncodedCommand AAAA",
        "cmd /c id",
        "node -e 1",
        "perl -e 1",
        "python3.12 -c 1",
        "awk 1",
        "sed 1e",
        "vim -c '!id'",
        "stdbuf -o0 id",
        "setsid id",
        "strace id",
        "ssh host id",
        "nice id",
        "ld-linux-x86-64.so.2 /bin/id",
    ] {
        assert!(!host.passes(command), "{command}");
    }
    // A link does not hide what it leads to.
    let link = host.folder.path().join("innocent");
    std::os::unix::fs::symlink(host.folder.path().join("bash"), &link).unwrap();
    assert!(!host.passes("innocent -c id"));
}

#[test]
fn sec_47_a_filter_with_an_option_that_is_not_known_to_be_harmless_asks() {
    let host = Host::new();
    let none: [String; 0] = [];
    for command in [
        "sort -o /tmp/x",
        "sort -ro /tmp/x",
        "sort --output=x",
        "sort --outp=x",
        "sort --compress-program=sh",
        "sort --compress-prog=sh",
        "sort -T /tmp",
        "sort file",
        "head /etc/passwd",
        "head -n",
        "tail -f",
        "tail -c 5 /etc/passwd",
        "grep -r x",
        "grep -f list",
        "grep x /etc/passwd",
        "grep -e x file",
        "uniq a b",
        "wc --files0-from=x",
        "cut -d : -f 1 /etc/passwd",
        "jq env",
        "jq '$ENV.KEY'",
        "jq 'env.KEY'",
        "jq -f x",
        "jq . file",
        "jq --arg a b .",
        "jq 'input'",
        "tr a b c",
        "head -",
        "wc -",
        "head -n5 --",
        "cut -d/etc/passwd",
    ] {
        assert!(!host.passes_with(command, &none), "{command}");
    }
    for command in
        ["sort -rn", "sort -k 2", "head -n 3", "head -n3", "grep -in x", "grep -e x", "wc -l", "tr a b", "jq -r .a", "cut -d / -f 2"]
    {
        let known = Binary::find(command.split(' ').next().unwrap(), Path::new("/"), &host.env);
        // Not every host has every filter.
        assert!(known.is_none_or(|binary| !in_system(&binary.found)) || host.passes_with(command, &none), "{command}");
    }
    host.program("head");
    assert!(!host.passes_with("head -n 3", &none), "a program of the same name elsewhere is not the filter");
}

#[test]
fn sec_47_telltale_arguments_ask_even_of_a_listed_program() {
    let host = Host::new();
    for name in ["find", "git", "tar", "rg"] {
        host.program(name);
    }
    for command in [
        "find . -exec id ';'",
        "find . -delete",
        "find . -fprintf x y",
        "git -c core.pager=id log",
        "git --exec-path=x log",
        "tar --to-command=sh -x",
        "tar --checkpoint-action=exec=sh",
        "rg --pre sh x",
        "rg --pr sh x",
    ] {
        assert!(!host.passes(command), "{command}");
    }
    assert!(host.passes("find . -name x") && host.passes("git status") && host.passes("rg x"));
}

#[test]
fn the_stricter_side_counts() {
    let rules = Rules { security: Security::Full, ask: Ask::Off, fallback: Security::Full, allowlist: Vec::new() };
    assert_eq!(rules.judge(false), Verdict::Run);
    let strict = rules.clone().tightened(Some(Security::Allowlist), Some(Ask::OnMiss));
    assert_eq!((strict.judge(false), strict.judge(true)), (Verdict::Ask, Verdict::Run));
    assert!(!strict.judge_unanswered(false) && strict.judge_unanswered(true), "a fallback is no wider than the rules");
    assert_eq!(rules.clone().tightened(Some(Security::Deny), None).judge(true), Verdict::Deny);
    assert_eq!(rules.tightened(None, Some(Ask::Always)).judge(true), Verdict::Ask);
    assert_eq!(strict.tightened(None, Some(Ask::Off)).judge(true), Verdict::Run, "a looser side changes nothing");
}

#[test]
fn sec_46_a_program_that_was_replaced_is_another_program() {
    let host = Host::new();
    let path = host.program("tool");
    let binary = Binary::find("tool", Path::new("/"), &host.env).unwrap();
    assert!(binary.unchanged());
    std::fs::write(&path, "#!/bin/sh\nid\n").unwrap();
    assert!(!binary.unchanged(), "edited");
    let binary = Binary::find("tool", Path::new("/"), &host.env).unwrap();
    let other = host.program("other");
    std::fs::rename(&other, &path).unwrap();
    assert!(!binary.unchanged(), "replaced");
}
