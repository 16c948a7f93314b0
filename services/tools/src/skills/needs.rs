//! What a skill asks for, and what of it is there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use verso_kit::config::Env;

use super::at;
use super::manifest::Needs;

/// A configuration key that a skill asks for.
#[derive(Debug, Clone)]
pub struct Check {
    /// Its dotted path.
    pub path: String,
    /// A switch or a number as it is; of anything else, whether it is set.
    pub value: Value,
    /// Whether it is as the skill needs it.
    pub satisfied: bool,
}

/// Returns what of `needs` is missing, and how its configuration keys are. `given` says whether a variable is set.
pub(super) fn check(needs: &Needs, env: &Env, config: &Value, given: impl Fn(&str) -> bool) -> (Needs, Vec<Check>) {
    let absent = |names: &[String], there: &dyn Fn(&str) -> bool| names.iter().filter(|name| !there(name)).cloned().collect::<Vec<_>>();
    let program = |name: &str| find_program(name, env).is_some();
    let checks: Vec<Check> = needs.config.iter().map(|path| config_check(path, config)).collect();
    let any_bins = if needs.any_bins.iter().any(|name| program(name)) { Vec::new() } else { needs.any_bins.clone() };
    let os = if needs.os.is_empty() || needs.os.iter().any(|name| name == platform()) { Vec::new() } else { needs.os.clone() };
    let missing = Needs {
        bins: absent(&needs.bins, &program),
        any_bins,
        env: absent(&needs.env, &given),
        config: checks.iter().filter(|check| !check.satisfied).map(|check| check.path.clone()).collect(),
        os,
    };
    (missing, checks)
}

/// Returns where a program is, by the search path of `env`.
pub fn find_program(name: &str, env: &Env) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let folders = env.get("PATH").unwrap_or_default().split(':').filter(|folder| folder.starts_with('/'));
    folders.map(|folder| Path::new(folder).join(name)).find(|path| executable(path))
}

/// Whether a file can be run.
pub(crate) fn executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// What skills call the operating system.
fn platform() -> &'static str {
    if cfg!(target_os = "macos") { "darwin" } else { "linux" }
}

fn config_check(path: &str, config: &Value) -> Check {
    let found = at(config, path);
    let satisfied = match found {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(_) => true,
    };
    // A text may be a secret.
    let value = match found {
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.clone(),
        other => Value::Bool(other.is_some() && satisfied),
    };
    Check { path: path.to_owned(), value, satisfied }
}
