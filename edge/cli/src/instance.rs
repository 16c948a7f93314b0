//! Which gateway a command is about, and where its files are.

use std::path::{Path, PathBuf};

use verso_kit::config::Env;
use verso_kit::service;

use crate::profile::Profile;

/// One gateway on this machine, running or not.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) profile: Profile,
    /// The environment, completed.
    pub(crate) env: Env,
    pub(crate) state_dir: PathBuf,
    pub(crate) config_path: PathBuf,
}

impl Instance {
    /// Finds the gateway that the profile and the environment mean.
    pub(crate) fn new(profile: Profile, env: Env) -> Self {
        let state_dir = expand(&service::state_dir(&env), &env);
        let config_path = env.get("VERSO_CONFIG_PATH").map_or_else(|| state_dir.join("verso.json"), |path| expand(Path::new(path), &env));
        Self { profile, env, state_dir, config_path }
    }

    /// Returns the command line that reaches the same gateway, such as `verso --dev gateway`.
    pub(crate) fn command(&self, rest: &str) -> String {
        self.profile.command(rest)
    }

    /// Returns where the token is that was made for this gateway.
    pub(crate) fn token_path(&self) -> PathBuf {
        self.state_dir.join("credentials").join("gateway-token")
    }

    /// Returns the folder of the gateway's own sockets.
    pub(crate) fn run_dir(&self) -> PathBuf {
        verso_supervisor::run_dir(&self.state_dir, &self.env)
    }

    /// Writes a path for people: the home folder as `~`.
    pub(crate) fn short(&self, path: &Path) -> String {
        match path.strip_prefix(self.home()) {
            Ok(rest) if self.env.get("HOME").is_some() => format!("~/{}", rest.display()),
            _ => path.display().to_string(),
        }
    }

    fn home(&self) -> PathBuf {
        PathBuf::from(self.env.get("HOME").unwrap_or("."))
    }
}

/// Replaces a leading `~`, and makes the path independent of the folder we happen to be in.
fn expand(path: &Path, env: &Env) -> PathBuf {
    let path = match (path.strip_prefix("~"), env.get("HOME")) {
        (Ok(rest), Some(home)) => Path::new(home).join(rest),
        _ => path.to_owned(),
    };
    std::path::absolute(&path).unwrap_or(path)
}
