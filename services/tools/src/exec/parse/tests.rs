use std::process::Command;

use proptest::prelude::*;

use super::*;

fn words(text: &str) -> Vec<Vec<String>> {
    Script::parse(text).unwrap().steps
}

#[test]
fn reads_words_quotes_pipes_and_chains() {
    let script = Script::parse(r#"grep -n 'a b' "c;d" | head -n 3 && echo ok; wc -l"#).unwrap();
    assert_eq!(script.steps[0], ["grep", "-n", "a b", "c;d"]);
    assert_eq!(script.steps[1..], [vec!["head", "-n", "3"], vec!["echo", "ok"], vec!["wc", "-l"]]);
    assert_eq!(script.joints, [Joint::Pipe, Joint::And, Joint::Then]);
    assert_eq!(words("ls;"), [["ls"]]);
    assert_eq!(words("echo ''"), [["echo", ""]]);
    assert_eq!(words("a'b'\"c\" d"), [["abc", "d"]]);
}

#[test]
fn sec_47_what_could_mean_more_than_it_says_is_not_read() {
    for text in [
        "cat <<EOF\n$(id)\nEOF",
        "cat < /etc/passwd",
        "echo hi > file",
        "echo $(id)",
        "echo `id`",
        "echo $HOME",
        "echo \"$HOME\"",
        "echo \"a\\\"b\"",
        "echo a\\ b",
        "ls *",
        "ls a?b",
        "ls [ab]",
        "ls {a,b}",
        "ls ~",
        "sleep 1 &",
        "(id)",
        "a\nb",
        "a\rb",
        "echo \"!!\"",
        "! ls",
        "echo # comment",
        "A=b ls",
        "A='b c' ls",
        "if true; then ls; fi",
        "while true; do ls; done",
        "time ls",
        "[[ a ]]",
        "ls | ",
        "| ls",
        "ls && && ls",
        "ls ;; ls",
        "",
        "   ",
        "'unclosed",
        "\"unclosed",
        "''",
        "echo \u{2028}x",
        "echo\u{a0}x",
        "f() { ls; }",
        "<(ls)",
        "ls |& cat",
        "a\0b",
    ] {
        assert!(Script::parse(text).is_err(), "{text:?} was read as {:?}", Script::parse(text));
    }
    assert_eq!(Script::parse(&"a".repeat(COMMAND_BYTES_MAX + 1)), Err(Uncertain::TooLong));
    assert_eq!(Script::parse(&"a;".repeat(STEPS_MAX + 1)), Err(Uncertain::TooLong));
}

/// What a real shell makes of the arguments of `text`, which begins with a name that is replaced by one that prints them.
fn shell_words(text: &str) -> Option<Vec<String>> {
    let output = Command::new("/bin/sh").env_clear().args(["-c", &format!("printf '%s\\037' {text}")]).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.split_terminator('\u{1f}').map(str::to_owned).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is read without doubt, a shell reads in the same way; of anything else nothing is promised, and it asks.
    #[test]
    fn what_is_read_without_doubt_is_what_a_shell_reads(text in r#"[a-zA-Z0-9 '"\\$`*?~!#&;|<>(){}=\[\]\n_./:,@%+-]{1,24}"#) {
        if let Ok(script) = Script::parse(&format!("program {text}"))
            && script.steps.len() == 1
        {
            let expected: Vec<String> = script.steps[0][1..].to_vec();
            // With nothing to print, printf prints its format once.
            let printed = if expected.is_empty() { vec![String::new()] } else { expected };
            prop_assert_eq!(shell_words(text.trim_end().trim_end_matches(';')), Some(printed), "{:?}", text);
        }
    }

    #[test]
    fn a_rendered_command_reads_as_what_it_was_rendered_from(steps in prop::collection::vec(prop::collection::vec("[^\0\n\r=']{1,8}", 1..4), 1..4)) {
        let joints = vec![Joint::Pipe; steps.len() - 1];
        let script = Script { steps, joints };
        prop_assert_eq!(Script::parse(&script.render(&[])), Ok(script));
    }

    #[test]
    fn anything_at_all_is_answered(text in "\\PC{0,64}") {
        // Reading never panics; what is outside the plain signs and quotes is refused.
        let read = Script::parse(&text);
        if text.chars().any(|sign| "$`\\<>(){}*?~#\n".contains(sign)) && !text.contains(['\'', '"']) {
            prop_assert!(read.is_err());
        }
    }
}
