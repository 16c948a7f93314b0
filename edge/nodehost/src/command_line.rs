//! Reads a shell's command line only as far as it means one thing with certainty. Everything else is for people to decide.

/// Characters that mean nothing to any shell.
const PLAIN: &str = "-_./:,@%+=";

/// One program and its arguments.
pub(crate) type Words = Vec<String>;

/// Splits a line into the programs that it runs; none when the line could mean anything else.
pub(crate) fn programs(line: &str) -> Option<Vec<Words>> {
    let mut programs = Vec::new();
    let mut words = Words::new();
    let mut letters = line.chars().peekable();
    while let Some(&letter) = letters.peek() {
        match letter {
            ' ' | '\t' => {
                letters.next();
            }
            '|' | '&' | ';' => {
                letters.next();
                let doubled = letters.next_if_eq(&letter).is_some();
                if (letter == '&' && !doubled) || (letter == ';' && doubled) {
                    return None;
                }
                programs.push(program(std::mem::take(&mut words))?);
                // A line that goes on must go on with a program.
                letters.peek()?;
            }
            _ => words.push(word(&mut letters)?),
        }
    }
    programs.push(program(words)?);
    Some(programs)
}

/// Reads one word, quoted or not.
fn word(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut word = String::new();
    while let Some(letter) = letters.next_if(|letter| !" \t|&;".contains(*letter)) {
        match letter {
            '\'' => loop {
                match letters.next()? {
                    '\'' => break,
                    inner if inner.is_control() => return None,
                    inner => word.push(inner),
                }
            },
            '"' => loop {
                match letters.next()? {
                    '"' => break,
                    '$' | '`' | '\\' | '!' => return None,
                    inner if inner.is_control() => return None,
                    inner => word.push(inner),
                }
            },
            plain if plain.is_ascii_alphanumeric() || PLAIN.contains(plain) => word.push(plain),
            _ => return None,
        }
    }
    Some(word)
}

/// The first word has to be a program: neither a variable nor a word of the shell's own.
fn program(words: Words) -> Option<Words> {
    const SHELL_WORDS: [&str; 29] = [
        ".", ":", "alias", "bg", "builtin", "case", "cd", "command", "do", "done", "eval", "exec", "export", "fg", "for", "function",
        "hash", "if", "jobs", "read", "readonly", "set", "source", "then", "time", "trap", "unset", "until", "while",
    ];
    let first = words.first()?;
    (!first.is_empty() && !first.contains('=') && !SHELL_WORDS.contains(&first.as_str())).then_some(words)
}

/// Programs that run what their arguments or their input say: naming one says nothing of what will happen.
const CARRIERS: [&str; 76] = [
    "apt",
    "ash",
    "awk",
    "bash",
    "bundle",
    "busybox",
    "bun",
    "cargo",
    "chroot",
    "cmd",
    "csh",
    "dash",
    "deno",
    "doas",
    "docker",
    "ed",
    "emacs",
    "env",
    "expect",
    "find",
    "fish",
    "gawk",
    "gdb",
    "git",
    "go",
    "ionice",
    "ksh",
    "less",
    "ltrace",
    "lua",
    "luajit",
    "mawk",
    "make",
    "man",
    "more",
    "nano",
    "nawk",
    "nice",
    "node",
    "nohup",
    "npm",
    "npx",
    "nsenter",
    "osascript",
    "parallel",
    "perl",
    "php",
    "pip",
    "pnpm",
    "podman",
    "powershell",
    "pwsh",
    "rsync",
    "ruby",
    "scp",
    "screen",
    "script",
    "sed",
    "setsid",
    "sh",
    "socat",
    "ssh",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "tar",
    "time",
    "timeout",
    "tmux",
    "toybox",
    "unshare",
    "vi",
    "vim",
    "xargs",
    "zsh",
];

/// Whether a program runs what it is told. Versions at the end of a name (`python3.12`) do not matter.
pub(crate) fn is_carrier(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    let bare = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.' || letter == '-');
    CARRIERS.contains(&bare) || bare.starts_with("python") || bare.starts_with("pypy")
}

/// Whether a program of the system only passes on what it reads, with arguments that all are known to be harmless.
pub(crate) fn is_filter(name: &str, arguments: &[String]) -> bool {
    let flags = match name {
        "wc" => "clmw",
        "head" | "tail" => "cn0123456789",
        "uniq" => "cdiu",
        "cut" => "cdfs0123456789,",
        _ => return false,
    };
    arguments.iter().all(|argument| {
        argument.strip_prefix('-').is_some_and(|rest| {
            let (flag, value) = rest.split_at_checked(1).unwrap_or_default();
            !flag.is_empty() && flags.contains(flag) && value.chars().all(|letter| letter.is_ascii_digit() || ",:;-".contains(letter))
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Option<Vec<Vec<String>>> {
        programs(line)
    }

    #[test]
    fn reads_what_means_one_thing() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(read("ls -l /srv"), Some(vec![words(&["ls", "-l", "/srv"])]));
        assert_eq!(read("cat a.txt | wc -l && date"), Some(vec![words(&["cat", "a.txt"]), words(&["wc", "-l"]), words(&["date"])]));
        assert_eq!(read("grep 'a b; $x' \"c d\""), Some(vec![words(&["grep", "a b; $x", "c d"])]));
        assert_eq!(read("echo ''"), Some(vec![words(&["echo", ""])]));
    }

    #[test]
    fn sec_47_what_could_mean_anything_else_is_for_people() {
        for line in [
            "",
            " ",
            "ls > /etc/passwd",
            "ls < f",
            "cat <<EOF",
            "cat <<<x",
            "ls $HOME",
            "ls $(id)",
            "ls `id`",
            "echo \"$(id)\"",
            "(ls)",
            "{ ls; }",
            "ls &",
            "ls;;",
            "ls\nid",
            "ls\rid",
            "ls *",
            "ls ?",
            "ls [a]",
            "ls ~root",
            "A=1 ls",
            "ls \\; id",
            "! ls",
            "ls # x",
            "ls |",
            "| ls",
            "ls && ",
            "ls || || id",
            "eval ls",
            "exec ls",
            ". file",
            "source file",
            "time ls",
            "if ls",
            "command ls",
            "ls 'open",
            "ls \"open",
            "ls \u{202e}x",
            "ls ${IFS}x",
            "echo \"a!b\"",
            "ls ^x",
            "l's' $'x'",
        ] {
            assert_eq!(read(line), None, "{line:?}");
        }
    }

    #[test]
    fn sec_47_wrappers_shells_and_interpreters_say_nothing_of_what_they_run() {
        for name in [
            "env",
            "busybox",
            "toybox",
            "time",
            "script",
            "bash",
            "sh",
            "python3.12",
            "python",
            "perl5.36",
            "node",
            "PowerShell",
            "pwsh",
            "cmd.exe",
            "xargs",
            "find",
            "nice",
            "sudo",
            "git",
        ] {
            assert!(is_carrier(name), "{name}");
        }
        for name in ["ls", "cat", "date", "uptime", "envsubst2"] {
            assert!(!is_carrier(name), "{name}");
        }
    }

    #[test]
    fn sec_47_filters_read_no_files() {
        let filter = |name: &str, arguments: &[&str]| is_filter(name, &arguments.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert!(filter("wc", &["-l"]) && filter("head", &["-n5"]) && filter("tail", &["-20"]) && filter("cut", &["-d:", "-f1,3"]));
        for (name, argument) in [
            ("wc", "/etc/passwd"),
            ("wc", "--files0-from=x"),
            ("head", "f"),
            ("sort", "-o"),
            ("uniq", "in"),
            ("jq", "env"),
            ("wc", "-"),
            ("tail", "--follow"),
        ] {
            assert!(!filter(name, &[argument]), "{name} {argument}");
        }
    }

    proptest! {
        /// What is read as words means the same to a real shell: it gets exactly these words, and runs nothing else.
        #[test]
        fn sec_47_what_is_read_is_what_a_shell_reads(line in "[a-z '\"|&;$`\\\\<>(){}*?~!#=\n-]{0,40}") {
            if let Some(programs) = programs(&line) {
                let joined = programs.iter().map(|words| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
                for words in &programs {
                    prop_assert!(!words.is_empty() && !words[0].is_empty());
                }
                for forbidden in ['`', '<', '>', '(', ')', '{', '}', '*', '?', '~', '\n', '\\'] {
                    let outside = outside_quotes(&line);
                    prop_assert!(!outside.contains(forbidden), "{line:?} has {forbidden:?} where a shell acts upon it");
                }
                // Quoting what was read and reading it again changes nothing.
                for (text, words) in joined.iter().zip(&programs) {
                    prop_assert_eq!(super::programs(text), Some(vec![words.clone()]));
                }
            }
        }

        #[test]
        fn never_panics(line in any::<String>()) {
            drop(programs(&line));
        }
    }

    fn quoted(word: &str) -> String {
        word.split('\'').map(|part| format!("'{part}'")).collect::<Vec<_>>().join("\"'\"")
    }

    fn outside_quotes(line: &str) -> String {
        let (mut outside, mut quote) = (String::new(), None);
        for letter in line.chars() {
            match quote {
                Some(open) if letter == open => quote = None,
                Some(_) => {}
                None if letter == '\'' || letter == '"' => quote = Some(letter),
                None => outside.push(letter),
            }
        }
        outside
    }
}
