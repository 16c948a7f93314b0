//! What a service runs, and in which surroundings.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Injection, Platform};
use crate::instance::Instance;

/// What systems add to the names of programs.
const SYSTEM_PATH: &str =
    if cfg!(target_os = "macos") { "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin" } else { "/usr/local/bin:/usr/bin:/bin" };

/// A service that runs the gateway. It holds no secret: those are in the state folder, readable by the owner only.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) label: String,
    pub(crate) description: String,
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) working_dir: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    /// Variables that are no text for everybody: read when it exists.
    pub(crate) env_file: PathBuf,
    pub(crate) log_dir: PathBuf,
    /// Who runs it, where the service is the machine's.
    pub(crate) user: Option<String>,
}

impl Definition {
    /// The definition of an instance's gateway on a port.
    pub(crate) fn of(instance: &Instance, platform: Platform, port: u16) -> io::Result<Self> {
        let label = platform.label(instance);
        let version = env!("CARGO_PKG_VERSION");
        let profile = instance.profile.name();
        let description = match profile {
            Some(name) => format!("Verso Gateway (profile: {name}, v{version})"),
            None => format!("Verso Gateway (v{version})"),
        };
        let home = instance.env.get("HOME").unwrap_or("/").to_owned();
        let state_dir = instance.state_dir.clone();
        let mut environment = BTreeMap::from([
            ("PATH".to_owned(), path(Path::new(&home))),
            ("HOME".to_owned(), home),
            ("VERSO_STATE_DIR".to_owned(), state_dir.display().to_string()),
            ("VERSO_CONFIG_PATH".to_owned(), instance.config_path.display().to_string()),
            ("VERSO_GATEWAY_PORT".to_owned(), port.to_string()),
            ("VERSO_SERVICE_MARKER".to_owned(), "verso".to_owned()),
            ("VERSO_SERVICE_KIND".to_owned(), "gateway".to_owned()),
            ("VERSO_SERVICE_VERSION".to_owned(), version.to_owned()),
        ]);
        if let Some(name) = profile {
            environment.insert("VERSO_PROFILE".to_owned(), name.to_owned());
        }
        let own_name = match platform {
            Platform::Systemd => "VERSO_SYSTEMD_UNIT",
            Platform::Launchd => "VERSO_LAUNCHD_LABEL",
            Platform::Windows => "VERSO_WINDOWS_TASK_NAME",
        };
        environment.insert(own_name.to_owned(), label.clone());
        Ok(Self {
            label,
            description,
            executable: std::env::current_exe()?,
            arguments: vec!["gateway".to_owned(), "--port".to_owned(), port.to_string()],
            working_dir: state_dir.clone(),
            environment,
            env_file: state_dir.join("service.env"),
            log_dir: state_dir.join("logs"),
            user: instance.env.get("SUDO_USER").or_else(|| instance.env.get("USER")).map(str::to_owned),
        })
    }

    /// The definition of this machine as a node. What it is a node of, the node remembers itself.
    pub(crate) fn of_node(instance: &Instance, platform: Platform) -> io::Result<Self> {
        let mut definition = Self::of(instance, platform, 0)?;
        definition.label = platform.node_label(instance);
        definition.description = definition.description.replacen("Gateway", "Node", 1);
        definition.arguments = ["node", "run"].map(str::to_owned).to_vec();
        // Its processes must not take its name for the gateway's, nor its port.
        for name in ["VERSO_GATEWAY_PORT", "VERSO_SYSTEMD_UNIT", "VERSO_LAUNCHD_LABEL"] {
            definition.environment.remove(name);
        }
        definition.environment.insert("VERSO_SERVICE_KIND".to_owned(), "node".to_owned());
        Ok(definition)
    }

    /// Refuses what would become another line of the definition: there is no way to quote a line break that every reader understands.
    pub(super) fn check(&self) -> Result<(), Injection> {
        let paths =
            [("the program's path", &self.executable), ("the state folder", &self.working_dir), ("the state folder", &self.env_file)];
        let texts = [("the service's name", &self.label), ("the description", &self.description)];
        let arguments = self.arguments.iter().map(|text| ("an argument".to_owned(), text.clone()));
        let variables =
            self.environment.iter().map(|(name, value)| (format!("the variable {}", name.escape_debug()), format!("{name}={value}")));
        let all = paths
            .into_iter()
            .map(|(what, path)| (what.to_owned(), path.display().to_string()))
            .chain(texts.into_iter().map(|(what, text)| (what.to_owned(), text.clone())))
            .chain(self.user.iter().map(|user| ("the user's name".to_owned(), user.clone())))
            .chain(arguments)
            .chain(variables);
        for (what, text) in all {
            if text.chars().any(char::is_control) {
                return Err(Injection { what });
            }
        }
        Ok(())
    }
}

/// Where programs are looked for: the person's own folders, as far as they exist, and the system's.
fn path(home: &Path) -> String {
    let own = [".local/bin", ".cargo/bin"].iter().map(|name| home.join(name)).filter(|folder| folder.is_dir());
    let own = own.map(|folder| folder.display().to_string()).filter(|folder| !folder.contains(':'));
    own.chain([SYSTEM_PATH.to_owned()]).collect::<Vec<_>>().join(":")
}
