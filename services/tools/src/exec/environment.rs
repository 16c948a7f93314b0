//! What a program that an agent runs sees of the environment: what is named here, and what the call brings.

use std::collections::BTreeMap;

use verso_kit::config::Env;

/// What is passed on. Keys of providers and of the gateway are never among it.
const PASSED: [&str; 12] =
    ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TERM", "TZ", "TMPDIR", "COLORTERM", "NO_COLOR"];

/// Variables that change what another program is, loads or trusts. A call may bring none of them.
const REFUSED: [&str; 50] = [
    "PATH",
    "IFS",
    "ENV",
    "BASH_ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "SHELL",
    "HOME",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONINSPECT",
    "RUBYOPT",
    "RUBYLIB",
    "PERL5OPT",
    "PERL5LIB",
    "PERL5DB",
    "LUA_INIT",
    "LUA_PATH",
    "LUA_CPATH",
    "VIMINIT",
    "EXINIT",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "MANPAGER",
    "LESSOPEN",
    "LESSCLOSE",
    "BROWSER",
    "CC",
    "CXX",
    "LD",
    "AR",
    "MAKEFLAGS",
    "JAVA_TOOL_OPTIONS",
    "CLASSPATH",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "RESOLV_HOST_CONF",
    "SSLKEYLOGFILE",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "OPENSSL_CONF",
];

/// Beginnings of such names.
const REFUSED_BEGINNINGS: [&str; 18] = [
    "LD_",
    "DYLD_",
    "GIT_",
    "NPM_CONFIG_",
    "PIP_",
    "UV_",
    "CARGO_",
    "RUSTC",
    "RUSTUP_",
    "GOFLAGS",
    "GOPROXY",
    "VERSO_",
    "OPENCLAW_",
    "CLAWDBOT_",
    "LISTEN_",
    "DOCKER_",
    "AWS_",
    "BASH_FUNC",
];

/// Ends of such names, in any case: proxies and what certificates are trusted.
const REFUSED_ENDINGS: [&str; 6] = ["_PROXY", "_WRAPPER", "_CA_BUNDLE", "_CERT_FILE", "_CERT_DIR", "_INDEX_URL"];

/// Returns what of the gateway's own environment programs see, with `first` before the search path.
pub fn inherited(env: &Env, first: &[String]) -> BTreeMap<String, String> {
    let kept = env.iter().filter(|(name, _)| PASSED.contains(name) || name.starts_with("LC_"));
    let mut variables: BTreeMap<String, String> = kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    // Only whole paths: a program is never looked for in whatever folder a command begins in.
    let folders = first.iter().map(String::as_str).chain(env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").split(':'));
    let path: Vec<&str> = folders.filter(|folder| folder.starts_with('/')).collect();
    variables.insert("PATH".to_owned(), path.join(":"));
    variables
}

/// Whether a call may bring a variable.
pub fn may_bring(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let plain =
        !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain
        && !REFUSED.contains(&upper.as_str())
        && !REFUSED_BEGINNINGS.iter().any(|beginning| upper.starts_with(beginning))
        && !REFUSED_ENDINGS.iter().any(|ending| upper.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_48_only_named_variables_reach_a_program() {
        let env = Env::from_pairs([
            ("PATH", "/usr/bin:.:bin:/bin"),
            ("HOME", "/home/u"),
            ("LC_ALL", "C"),
            ("ANTHROPIC_API_KEY", "k"),
            ("VERSO_GATEWAY_TOKEN", "t"),
            ("LD_PRELOAD", "/x.so"),
            ("HTTP_PROXY", "http://x"),
        ]);
        let seen = inherited(&env, &["/first".to_owned(), "relative".to_owned()]);
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["HOME", "LC_ALL", "PATH"]);
        assert_eq!(seen["PATH"], "/first:/usr/bin:/bin");
    }

    #[test]
    fn sec_48_a_call_brings_nothing_that_changes_what_programs_are_or_trust() {
        for name in [
            "BASH_ENV",
            "SHELLOPTS",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "DYLD_INSERT_LIBRARIES",
            "NODE_OPTIONS",
            "VIMINIT",
            "LUA_INIT",
            "GIT_SSH_COMMAND",
            "GIT_DIR",
            "CC",
            "RUSTC_WRAPPER",
            "CARGO_BUILD_RUSTC_WRAPPER",
            "PIP_INDEX_URL",
            "HTTP_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "SSL_CERT_FILE",
            "NODE_EXTRA_CA_CERTS",
            "REQUESTS_CA_BUNDLE",
            "PATH",
            "path",
            "PYTHONPATH",
            "IFS",
            "OPENCLAW_GATEWAY_URL",
            "VERSO_STATE_DIR",
            "",
            "1A",
            "A B",
            "A=B",
            "BASH_FUNC_ls%%",
        ] {
            assert!(!may_bring(name), "{name}");
        }
        for name in ["FOO", "MY_SETTING", "DEBUG"] {
            assert!(may_bring(name), "{name}");
        }
    }
}
