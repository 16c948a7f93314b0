//! The gateway as a service of the operating system: what its definition says, where it is kept, how it is read back.

mod audit;
mod control;
mod definition;
mod launchd;
mod split;
mod strangers;
mod systemd;
mod windows;

use std::path::PathBuf;

use crate::instance::Instance;

pub(crate) use audit::audit;
pub(crate) use control::{Control, Installed};
pub(crate) use definition::Definition;
pub(crate) use split::Split;
pub(crate) use strangers::strangers;

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The person's own: runs while he is logged in, or lingers.
    User,
    /// The machine's.
    System,
}

/// The system that runs services here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    Systemd,
    Launchd,
    /// Only as text: see `windows.rs`.
    Windows,
}

/// Something in a definition would mean more than it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} holds a line break or another control character; a service cannot be defined with it")]
pub(crate) struct Injection {
    /// What holds it.
    pub(crate) what: String,
}

/// A definition as text, and where it belongs.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// What a definition on disk says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) arguments: Vec<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) environment: std::collections::BTreeMap<String, String>,
    /// `Section.Key` and its value, of what is neither of the above.
    pub(crate) settings: std::collections::BTreeMap<String, String>,
}

impl Platform {
    /// The one of the machine that this was built for.
    pub(crate) fn here() -> Self {
        if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd }
    }

    /// Returns the words that scripts know: the system's, and those for a service that it has and that it has not.
    pub(crate) fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Systemd => ("systemd", "enabled", "disabled"),
            Self::Launchd => ("LaunchAgent", "loaded", "not loaded"),
            Self::Windows => ("Scheduled Task", "registered", "missing"),
        }
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "launchd" => Self::Launchd,
            "windows" => Self::Windows,
            _ => Self::Systemd,
        }
    }

    /// Returns what the instance's service is called.
    pub(crate) fn label(self, instance: &Instance) -> String {
        let (env, profile) = (&instance.env, instance.profile.name());
        match self {
            Self::Systemd => {
                let of_profile = || profile.map_or_else(|| "verso-gateway".to_owned(), |name| format!("verso-gateway-{name}"));
                let name = env.get("VERSO_SYSTEMD_UNIT").map_or_else(of_profile, str::to_owned);
                if name.ends_with(".service") { name } else { format!("{name}.service") }
            }
            Self::Launchd => {
                let of_profile = || format!("bot.molt.{}", profile.unwrap_or("gateway"));
                env.get("VERSO_LAUNCHD_LABEL").map_or_else(of_profile, str::to_owned)
            }
            Self::Windows => {
                let of_profile = || profile.map_or_else(|| "Verso Gateway".to_owned(), |name| format!("Verso Gateway ({name})"));
                env.get("VERSO_WINDOWS_TASK_NAME").map_or_else(of_profile, str::to_owned)
            }
        }
    }

    /// Returns where the instance's definition is kept.
    pub(crate) fn path(self, instance: &Instance, scope: Scope) -> PathBuf {
        let home = PathBuf::from(instance.env.get("HOME").unwrap_or("/"));
        let label = self.label(instance);
        // A name that climbs out of the folder is no name.
        let label = label.replace(['/', '\0'], "_");
        match (self, scope) {
            (Self::Systemd, Scope::System) => PathBuf::from("/etc/systemd/system").join(label),
            (Self::Systemd, Scope::User) => {
                let config = instance.env.get("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
                config.join("systemd/user").join(label)
            }
            (Self::Launchd, Scope::System) => PathBuf::from("/Library/LaunchDaemons").join(format!("{label}.plist")),
            (Self::Launchd, Scope::User) => home.join("Library/LaunchAgents").join(format!("{label}.plist")),
            (Self::Windows, _) => instance.state_dir.join("gateway.cmd"),
        }
    }

    /// Returns what the service is called that keeps this machine a node.
    pub(crate) fn node_label(self, instance: &Instance) -> String {
        let ending = instance.profile.name().map(|name| format!("-{name}")).unwrap_or_default();
        match self {
            Self::Systemd => format!("verso-node{ending}.service"),
            Self::Launchd => format!("bot.molt.node{ending}"),
            Self::Windows => format!("Verso Node{ending}"),
        }
    }

    /// Returns where that service's definition is kept: beside the gateway's.
    pub(crate) fn node_path(self, instance: &Instance, scope: Scope) -> PathBuf {
        let name = match self {
            Self::Systemd => self.node_label(instance),
            Self::Launchd => format!("{}.plist", self.node_label(instance)),
            Self::Windows => "node.cmd".to_owned(),
        };
        // A name that climbs out of the folder is no name.
        self.path(instance, scope).with_file_name(name.replace(['/', '\0'], "_"))
    }

    /// Writes a definition as this system reads it.
    pub(crate) fn render(self, definition: &Definition, scope: Scope) -> Result<String, Injection> {
        definition.check()?;
        match self {
            Self::Systemd => Ok(systemd::render(definition, scope)),
            Self::Launchd => launchd::render(definition, scope),
            Self::Windows => windows::render(definition),
        }
    }

    /// Reads a definition back, whoever wrote it.
    pub(crate) fn parse(self, text: &str) -> Parsed {
        match self {
            Self::Systemd => systemd::parse(text),
            Self::Launchd => launchd::parse(text),
            Self::Windows => windows::parse(text),
        }
    }
}

#[cfg(test)]
mod tests;
