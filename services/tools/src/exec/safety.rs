//! Whether a command may be run without asking: every program of it is on the list, or is one that can do nothing but filter its input.

use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use serde::Deserialize;

use super::binary::Binary;
use super::filters;

#[cfg(test)]
mod tests;

/// How much a session may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Nothing.
    Deny,
    /// What is listed.
    Allowlist,
    /// Everything.
    Full,
}

/// When somebody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Never.
    Off,
    /// When a program is not listed.
    OnMiss,
    /// Always.
    Always,
}

impl Security {
    /// Reads the word of a configuration.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word.trim() {
            "deny" => Self::Deny,
            "allowlist" => Self::Allowlist,
            "full" => Self::Full,
            _ => return None,
        })
    }

    /// Returns the word of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allowlist => "allowlist",
            Self::Full => "full",
        }
    }
}

impl Ask {
    /// Reads the word of a configuration.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word.trim() {
            "off" => Self::Off,
            "on-miss" => Self::OnMiss,
            "always" => Self::Always,
            _ => return None,
        })
    }

    /// Returns the word of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OnMiss => "on-miss",
            Self::Always => "always",
        }
    }
}

/// What counts for a session: the stricter of what the configuration and the approvals file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How much may be run.
    pub security: Security,
    /// When somebody is asked.
    pub ask: Ask,
    /// What counts when nobody answers in time.
    pub fallback: Security,
    /// Patterns of programs' files.
    pub allowlist: Vec<String>,
}

impl Rules {
    /// Returns the stricter of both.
    #[must_use]
    pub fn tightened(mut self, security: Option<Security>, ask: Option<Ask>) -> Self {
        self.security = security.map_or(self.security, |other| other.min(self.security));
        self.ask = ask.map_or(self.ask, |other| other.max(self.ask));
        self
    }

    /// Decides whether what was analysed may be run.
    pub fn judge(&self, listed: bool) -> Verdict {
        match (self.security, self.ask) {
            (Security::Deny, _) => Verdict::Deny,
            (_, Ask::Always) => Verdict::Ask,
            (Security::Full, _) => Verdict::Run,
            (Security::Allowlist, _) if listed => Verdict::Run,
            (Security::Allowlist, Ask::OnMiss) => Verdict::Ask,
            (Security::Allowlist, Ask::Off) => Verdict::Deny,
        }
    }

    /// Decides when nobody has answered.
    pub fn judge_unanswered(&self, listed: bool) -> bool {
        match self.fallback.min(self.security) {
            Security::Deny => false,
            Security::Allowlist => listed,
            Security::Full => true,
        }
    }
}

/// What is done with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is run.
    Run,
    /// Somebody is asked.
    Ask,
    /// It is not run.
    Deny,
}

/// Shells, interpreters, and programs that start others. What they do is in their arguments or on their input, so that their name
/// says nothing: a list of programs never covers them.
const OPAQUE: [&str; 96] = [
    // Shells.
    "sh",
    "bash",
    "dash",
    "ash",
    "zsh",
    "ksh",
    "mksh",
    "fish",
    "csh",
    "tcsh",
    "rbash",
    "pwsh",
    "powershell",
    "cmd",
    "elvish",
    "nu",
    "xonsh",
    // One file, many programs.
    "busybox",
    "toybox",
    "coreutils",
    // Programs that start the program in their arguments.
    "env",
    "sudo",
    "doas",
    "su",
    "runuser",
    "nohup",
    "nice",
    "ionice",
    "timeout",
    "time",
    "script",
    "scriptreplay",
    "stdbuf",
    "setsid",
    "setarch",
    "linux64",
    "chroot",
    "unshare",
    "nsenter",
    "xargs",
    "parallel",
    "watch",
    "flock",
    "strace",
    "ltrace",
    "gdb",
    "lldb",
    "taskset",
    "chrt",
    "systemd-run",
    "expect",
    "unbuffer",
    "rlwrap",
    "ssh",
    "screen",
    "tmux",
    "at",
    "batch",
    "crontab",
    "command",
    "builtin",
    "exec",
    "eval",
    "source",
    "ld.so",
    "proot",
    "fakeroot",
    "dbus-run-session",
    "caffeinate",
    "arch",
    "open",
    "bwrap",
    "firejail",
    "entr",
    // Interpreters and build tools.
    "node",
    "deno",
    "bun",
    "perl",
    "ruby",
    "php",
    "lua",
    "luajit",
    "awk",
    "gawk",
    "mawk",
    "nawk",
    "sed",
    "gsed",
    "osascript",
    "java",
    "make",
    "gmake",
    "vim",
    "vi",
    "nvim",
    "emacs",
];

/// Beginnings of names that come with a version: `python3.12`, `ld-linux-x86-64.so.2`.
const OPAQUE_BEGINNINGS: [&str; 9] = ["python", "pypy", "perl5", "ruby2", "ruby3", "lua5", "php8", "ld-", "vim."];

/// Arguments by which a harmless program starts another one, or writes where it is told.
const TELLTALE: [(&str, &[&str]); 6] = [
    ("find", &["-exec", "-execdir", "-ok", "-okdir", "-delete", "-fprint", "-fprint0", "-fprintf", "-fls"]),
    ("fd", &["-x", "-X", "--exec", "--exec-batch"]),
    ("fdfind", &["-x", "-X", "--exec", "--exec-batch"]),
    ("rg", &["--pre", "--hostname-bin"]),
    ("git", &["-c", "--config-env", "--exec-path", "-C", "--git-dir", "--work-tree"]),
    ("tar", &["-I", "-F", "--"]),
];

/// Folders in which only the administrator puts programs.
const SYSTEM_FOLDERS: [&str; 6] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/opt/homebrew/bin"];

/// Whether a program may be run with these arguments because it is on the list, or because it can only filter its input.
pub fn listed(binary: &Binary, argv: &[String], rules: &Rules, safe: &[String], home: Option<&Path>) -> bool {
    if opaque(&binary.found) || opaque(&binary.real) || telltale(&binary.real, argv) {
        return false;
    }
    let filter = argv.first().is_some_and(|name| safe.contains(name) && filters::harmless(name, &argv[1..]));
    if filter && in_system(&binary.found) {
        return true;
    }
    let matching = |path: &Path| rules.allowlist.iter().any(|pattern| matches(pattern, path, home));
    matching(&binary.real) || (in_system(&binary.found) && matching(&binary.found))
}

/// Whether a program's name says nothing about what it will do.
pub fn opaque(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    OPAQUE.contains(&name) || OPAQUE_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

fn telltale(path: &Path, argv: &[String]) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let Some((_, words)) = TELLTALE.iter().find(|(program, _)| *program == name) else { return false };
    // Long options may be shortened, and joined with their value.
    let tells = |argument: &str, word: &str| match word {
        "--" => argument.starts_with("--"),
        _ => argument.starts_with(word) || (word.starts_with("--") && argument.len() > 2 && word.starts_with(argument)),
    };
    argv.iter().skip(1).any(|argument| words.iter().any(|word| tells(argument, word)))
}

fn in_system(path: &Path) -> bool {
    path.parent().is_some_and(|folder| SYSTEM_FOLDERS.iter().any(|system| folder == Path::new(system)))
}

/// Whether a file's path fits a pattern. A pattern without a folder is no pattern: names can be taken by anybody.
fn matches(pattern: &str, path: &Path, home: Option<&Path>) -> bool {
    let pattern = match (pattern.trim().strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        (Some(_), None) => return false,
        (None, _) => PathBuf::from(pattern.trim()),
    };
    if !pattern.is_absolute() {
        return false;
    }
    let glob = GlobBuilder::new(&pattern.to_string_lossy()).literal_separator(true).case_insensitive(true).backslash_escape(false).build();
    glob.is_ok_and(|glob| glob.compile_matcher().is_match(path))
}
