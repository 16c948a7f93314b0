//! Arguments: help, versions, mistakes.

use std::io::Read as _;
use std::process::Stdio;

use crate::fixture::User;

#[test]
fn prints_the_bare_version() {
    for flag in ["--version", "-V", "-v"] {
        let ended = User::new().run(&[flag]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), concat!(env!("CARGO_PKG_VERSION"), "\n")));
    }
}

#[test]
fn help_is_success_on_every_level() {
    for arguments in [&[][..], &["--help"], &["gateway", "--help"], &["gateway", "call", "-h"], &["services"], &["agent", "--help"]] {
        let ended = User::new().run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.contains("Usage: verso"), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stderr, "", "{arguments:?}");
    }
}

#[test]
fn a_mistake_is_one_line_and_exit_code_1() {
    for (arguments, line) in [
        (&["--x"][..], "error: unknown option '--x'\n"),
        (&["health", "--x"], "error: unknown option '--x'\n"),
        (&["x"], "error: unknown command 'x'\n"),
        (&["services", "x"], "error: unknown command 'x'\n"),
        (&["gateway", "call"], "error: missing required argument 'method'\n"),
        (&["agent"], "error: required option '--message <TEXT>' not specified\n"),
    ] {
        let ended = User::new().run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(1), "", line), "{arguments:?}");
    }
    let ended = User::new().run(&["health", "--timeout", "soon"]);
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.starts_with("error: invalid value 'soon'"), "{ended:?}");
}

#[test]
fn a_bad_profile_is_exit_code_2() {
    for (arguments, line) in [
        (&["--dev", "--profile", "x", "health"][..], "[verso] Cannot combine --dev with --profile\n"),
        (&["health", "--profile"], "[verso] --profile requires a value\n"),
        (&["--profile=", "health"], "[verso] --profile requires a value\n"),
        (&["--profile", "../x", "health"], "[verso] Invalid --profile (use letters, numbers, \"_\", \"-\" only)\n"),
    ] {
        let ended = User::new().run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(2), "", line), "{arguments:?}");
    }
}

#[test]
fn completion_knows_the_commands_of_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = User::new().run(&["completion", shell]);
        assert_eq!(ended.code, Some(0));
        assert!(ended.stdout.contains("gateway") && ended.stdout.contains("services"), "{shell}");
    }
    let of_login = User::new().with("SHELL", "/usr/bin/fish").run(&["completion"]);
    assert_eq!(of_login.stdout, User::new().run(&["completion", "--shell", "fish"]).stdout);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let user = User::new();
    let mut child = user.command(&["completion", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}
