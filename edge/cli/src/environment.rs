//! The environment of a command: the process's own, what the profile adds, and `.env` files.

mod dotenv;

use std::path::Path;

use verso_kit::config::{Env, is_protected};
use verso_kit::service;

use crate::profile::Profile;

/// The prefixes of existing installations, in the order of their weight.
const TWINS: [&str; 2] = ["OPENCLAW_", "CLAWDBOT_"];

/// Would make us write into another product's folders; honoured only when `VERSO_COMPAT_ENV` says so.
const NOT_TWINS: [&str; 2] = ["STATE_DIR", "CONFIG_PATH"];

/// The port of the profile `dev`.
const DEV_PORT: &str = "19001";

/// Completes the process's environment. What is set there is never replaced.
pub(crate) fn complete(process: Env, profile: &Profile) -> Env {
    let mut env = with_twins(process);
    if let Some(name) = profile.name() {
        let state_dir = Path::new(env.get("HOME").unwrap_or(".")).join(format!(".verso-{name}"));
        env = env.with_missing([("VERSO_PROFILE", name.to_owned()), ("VERSO_STATE_DIR", state_dir.display().to_string())]);
        let config_path = service::state_dir(&env).join("verso.json");
        env = env.with_missing([("VERSO_CONFIG_PATH", config_path.display().to_string())]);
        if profile.is_dev() {
            env = env.with_missing([("VERSO_GATEWAY_PORT", DEV_PORT.to_owned())]);
        }
    }
    // Whoever wrote the file in the present folder need not be the one who runs the command.
    let of_here = dotenv::read(Path::new(".env")).into_iter().filter(|(name, _)| !is_protected(name));
    env = env.with_missing(of_here);
    let of_state = dotenv::read(&service::state_dir(&env).join(".env"));
    env.with_missing(of_state)
}

fn with_twins(env: Env) -> Env {
    let folders_too = env.flag("VERSO_COMPAT_ENV");
    TWINS.iter().fold(env, |env, prefix| {
        let twins: Vec<(String, String)> = env
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, value)))
            .filter(|(name, _)| folders_too || !NOT_TWINS.contains(name))
            .map(|(name, value)| (format!("VERSO_{name}"), value.to_owned()))
            .collect();
        env.with_missing(twins)
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn dev() -> Profile {
        Profile::take([OsString::from("--dev")]).unwrap().0
    }

    #[test]
    fn dev_has_its_own_folder_and_port() {
        let env = complete(Env::from_pairs([("HOME", "/nonexistent/home")]), &dev());
        assert_eq!(env.get("VERSO_STATE_DIR"), Some("/nonexistent/home/.verso-dev"));
        assert_eq!(env.get("VERSO_CONFIG_PATH"), Some("/nonexistent/home/.verso-dev/verso.json"));
        assert_eq!(env.get("VERSO_GATEWAY_PORT"), Some("19001"));
    }

    #[test]
    fn what_is_set_wins_over_the_profile() {
        let env = complete(Env::from_pairs([("VERSO_STATE_DIR", "/nonexistent/s"), ("OPENCLAW_GATEWAY_PORT", "7")]), &dev());
        assert_eq!(env.get("VERSO_CONFIG_PATH"), Some("/nonexistent/s/verso.json"));
        assert_eq!(env.get("VERSO_GATEWAY_PORT"), Some("7"));
    }

    #[test]
    fn another_products_folders_are_not_ours() {
        let theirs = [("OPENCLAW_STATE_DIR", "/nonexistent/theirs"), ("OPENCLAW_GATEWAY_TOKEN", "t"), ("CLAWDBOT_GATEWAY_TOKEN", "u")];
        let env = complete(Env::from_pairs(theirs), &Profile::default());
        assert_eq!(env.get("VERSO_STATE_DIR"), None);
        assert_eq!(env.get("VERSO_GATEWAY_TOKEN"), Some("t"));
        let env = complete(Env::from_pairs(theirs).with([("VERSO_COMPAT_ENV", "1")]), &Profile::default());
        assert_eq!(env.get("VERSO_STATE_DIR"), Some("/nonexistent/theirs"));
    }
}
