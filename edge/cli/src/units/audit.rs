//! What is wrong with a definition that is installed.

use std::path::Path;

use serde::Serialize;

use super::{Parsed, Platform};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Issue {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// `recommended` can be mended without a question; `aggressive` replaces somebody's own work.
    pub(crate) level: &'static str,
}

/// Looks a definition over. `executable` is this program.
pub(crate) fn audit(platform: Platform, parsed: &Parsed, executable: &Path) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut add = |wrong: bool, code, message: String| {
        if wrong {
            let level = if code == "gateway-command-missing" { "aggressive" } else { "recommended" };
            issues.push(Issue { code, message, level });
        }
    };
    let variable = |name: &str| parsed.environment.get(name).map(String::as_str);
    let setting = |name: &str| parsed.settings.get(name).map(String::as_str).unwrap_or_default();
    add(
        !parsed.arguments.iter().any(|word| word == "gateway"),
        "gateway-command-missing",
        "the service does not run the gateway".to_owned(),
    );
    let runs = parsed.arguments.first().map(String::as_str).unwrap_or_default();
    add(Path::new(runs) != executable, "gateway-entrypoint-mismatch", format!("the service runs {runs}, not {}", executable.display()));
    add(variable("PATH").is_none(), "gateway-path-missing", "the service has no PATH".to_owned());
    let nonminimal = variable("PATH").is_some_and(|path| [".nvm", ".volta", ".asdf", "/pnpm"].iter().any(|part| path.contains(part)));
    add(nonminimal, "gateway-path-nonminimal", "the service's PATH has folders of version managers".to_owned());
    let version = env!("CARGO_PKG_VERSION");
    let drift = variable("VERSO_SERVICE_VERSION").is_some_and(|installed| installed != version);
    add(drift, "service-version-drift", format!("the service was installed by another version than {version}"));
    let secret = ["VERSO_GATEWAY_TOKEN", "VERSO_GATEWAY_PASSWORD"].into_iter().find(|name| variable(name).is_some());
    add(secret.is_some(), "service-secret-in-unit", format!("{} is in a file that everybody can read", secret.unwrap_or_default()));
    match platform {
        Platform::Systemd => {
            for (key, code) in [("Unit.After", "systemd-after-network-online"), ("Unit.Wants", "systemd-wants-network-online")] {
                add(!setting(key).contains("network-online.target"), code, format!("{key} does not name network-online.target"));
            }
            let rests = ["5", "5s", "5000ms"].contains(&setting("Service.RestartSec"));
            add(!rests, "systemd-restart-sec", "RestartSec is not 5".to_owned());
            let policy = setting("Service.RestartPreventExitStatus").split_whitespace().any(|code| code == "78")
                && setting("Service.KillMode") == "mixed";
            add(!policy, "systemd-exit-policy", "RestartPreventExitStatus lacks 78, or KillMode is not mixed".to_owned());
        }
        Platform::Windows => {}
        Platform::Launchd => {
            for (key, code) in [("RunAtLoad", "launchd-run-at-load"), ("KeepAlive", "launchd-keep-alive")] {
                add(setting(key) != "true", code, format!("{key} is off"));
            }
        }
    }
    issues
}
