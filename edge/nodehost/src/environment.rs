//! Which variables a program gets: a few of this machine's, and of its caller's only those that cannot change what is run.

use std::collections::BTreeMap;

use verso_kit::config::Env;

use crate::Error;

/// What a program gets of this machine's own environment.
const INHERITED: [&str; 13] = [
    "HOME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
];

/// What its caller may set: how output looks, nothing that programs, shells, linkers or interpreters take orders from.
const SETTABLE: [&str; 12] =
    ["CI", "CLICOLOR", "COLUMNS", "FORCE_COLOR", "LANG", "LANGUAGE", "LINES", "NO_COLOR", "TERM", "TZ", "COLORTERM", "CLICOLOR_FORCE"];

/// How long a value may be, in bytes.
const VALUE_BYTES_MAX: usize = 4_096;

/// Used when the machine says nothing of where programs are.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Puts a program's environment together; fails when its caller wants to set what he may not.
pub(crate) fn complete(own: &Env, asked: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    let mut variables: BTreeMap<String, String> = own
        .iter()
        .filter(|(name, _)| INHERITED.contains(name) || name.starts_with("LC_"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    variables.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
    for (name, value) in asked {
        let settable = SETTABLE.contains(&name.as_str())
            || (name.starts_with("LC_") && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
        if !settable {
            return Err(Error::Invalid(format!("env variable not allowed: {name}")));
        }
        if value.len() > VALUE_BYTES_MAX || value.contains(['\0', '\n']) {
            return Err(Error::Invalid(format!("env variable not usable: {name}")));
        }
        variables.insert(name.clone(), value.clone());
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_48_a_caller_sets_no_variable_that_programs_take_orders_from() {
        for name in [
            "PATH",
            "BASH_ENV",
            "ENV",
            "SHELLOPTS",
            "IFS",
            "PS4",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "DYLD_INSERT_LIBRARIES",
            "NODE_OPTIONS",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PERL5OPT",
            "RUBYOPT",
            "VIMINIT",
            "LUA_INIT",
            "GIT_SSH_COMMAND",
            "GIT_EXTERNAL_DIFF",
            "CC",
            "RUSTC_WRAPPER",
            "PIP_INDEX_URL",
            "HTTPS_PROXY",
            "http_proxy",
            "SSL_CERT_FILE",
            "HOME",
            "EDITOR",
            "PAGER",
            "VERSO_STATE_DIR",
            "LC_a",
            "",
        ] {
            let asked = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
            assert!(complete(&Env::default(), &asked).is_err(), "{name}");
        }
        let asked = BTreeMap::from([("LC_ALL".to_owned(), "C".to_owned()), ("NO_COLOR".to_owned(), "1".to_owned())]);
        assert_eq!(complete(&Env::default(), &asked).unwrap()["LC_ALL"], "C");
    }

    #[test]
    fn sec_48_a_program_gets_no_secret_of_this_process() {
        let own =
            Env::from_pairs([("HOME", "/home/anna"), ("VERSO_GATEWAY_TOKEN", "secret"), ("LD_PRELOAD", "x"), ("OPENAI_API_KEY", "secret")]);
        let got = complete(&own, &BTreeMap::new()).unwrap();
        assert_eq!(got.keys().map(String::as_str).collect::<Vec<_>>(), ["HOME", "PATH"]);
    }
}
