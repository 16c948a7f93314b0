//! Asks the system that runs services to do something with ours.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde::Serialize;
use verso_kit::files::write_atomic;

use super::{Parsed, Platform, Scope, Split, Unit};
use crate::failure::Failure;
use crate::instance::Instance;

/// The service of an instance.
#[derive(Debug)]
pub(crate) struct Control {
    platform: Platform,
    scope: Scope,
    label: String,
    path: PathBuf,
}

/// A definition that is on disk.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) path: PathBuf,
    pub(crate) parsed: Parsed,
}

/// How the service fares.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Runtime {
    /// `running`, `stopped` or `unknown`.
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sub_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

impl Control {
    /// The instance's service on this machine.
    pub(crate) fn of(instance: &Instance, scope: Scope) -> Self {
        let platform = Platform::here();
        Self { platform, scope, label: platform.label(instance), path: platform.path(instance, scope) }
    }

    /// The service that keeps this machine a node.
    pub(crate) fn of_node(instance: &Instance, scope: Scope) -> Self {
        let platform = Platform::here();
        Self { platform, scope, label: platform.node_label(instance), path: platform.node_path(instance, scope) }
    }

    /// Reads the definition; none when there is none.
    pub(crate) fn installed(&self) -> Option<Installed> {
        let text = fs::read_to_string(&self.path).ok()?;
        Some(Installed { path: self.path.clone(), parsed: self.platform.parse(&text) })
    }

    /// Refuses where the system that runs services cannot be asked.
    pub(crate) fn available(&self) -> Result<(), Failure> {
        match self.platform {
            Platform::Systemd => {
                // A degraded system answers with a failure of its own; only silence counts.
                let output = self.systemctl(&["is-system-running"]);
                let words = output.as_ref().map_or_else(ToString::to_string, words);
                let unreachable =
                    output.is_err() || ["Failed to connect", "not been booted", "No medium"].iter().any(|part| words.contains(part));
                if unreachable { Err(unavailable(&words, self.scope)) } else { Ok(()) }
            }
            Platform::Launchd => Self::launchctl(&["version".to_owned()]).map(drop),
            Platform::Windows => Err(not_here()),
        }
    }

    /// Whether the system starts the service by itself.
    pub(crate) fn is_loaded(&self) -> bool {
        match self.platform {
            Platform::Systemd => self.systemctl(&["is-enabled", &self.label]).is_ok_and(|output| output.status.success()),
            Platform::Launchd => Self::launchctl(&["print".to_owned(), self.target()]).is_ok(),
            Platform::Windows => false,
        }
    }

    /// Asks how the service fares.
    pub(crate) fn runtime(&self) -> Runtime {
        match self.platform {
            Platform::Systemd => {
                let asked = self.systemctl(&["show", "--no-page", "--property", "ActiveState,SubState,MainPID", &self.label]);
                match asked {
                    Ok(output) if output.status.success() => of_properties(&String::from_utf8_lossy(&output.stdout)),
                    Ok(output) => Runtime { status: "unknown", detail: Some(words(&output)), ..Runtime::default() },
                    Err(error) => Runtime { status: "unknown", detail: Some(error.to_string()), ..Runtime::default() },
                }
            }
            Platform::Launchd => match Self::launchctl(&["print".to_owned(), self.target()]) {
                Ok(text) => {
                    of_properties(&text.replace(" = ", "=").replace("state=running", "ActiveState=active").replace("pid=", "MainPID="))
                }
                Err(error) => Runtime { status: "unknown", detail: Some(error.text().to_owned()), ..Runtime::default() },
            },
            Platform::Windows => Runtime { status: "unknown", ..Runtime::default() },
        }
    }

    /// Writes the definition, and has the system start it now and from now on.
    pub(crate) fn install(&self, unit: &Unit) -> anyhow::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        write_atomic(&unit.path, unit.text.as_bytes(), 0o644)?;
        match self.platform {
            Platform::Systemd => {
                self.systemd(&["daemon-reload"])?;
                self.systemd(&["enable", &self.label])?;
                self.systemd(&["restart", &self.label])?;
            }
            Platform::Launchd => {
                let path = self.path.display().to_string();
                // What is not there need not leave.
                drop(Self::launchctl(&["bootout".to_owned(), self.domain(), path.clone()]));
                Self::launchctl(&["enable".to_owned(), self.target()])?;
                Self::launchctl(&["bootstrap".to_owned(), self.domain(), path])?;
                Self::launchctl(&["kickstart".to_owned(), "-k".to_owned(), self.target()])?;
            }
            Platform::Windows => return Err(not_here().into()),
        }
        Ok(())
    }

    /// Writes one unit for each service, and has the system start them now and from now on.
    pub(crate) fn install_split(&self, split: &Split, units: &[Unit]) -> anyhow::Result<()> {
        if self.platform != Platform::Systemd {
            return Err(Failure::new("--split needs systemd.").into());
        }
        fs::create_dir_all(&split.folder)?;
        for unit in units {
            write_atomic(&unit.path, unit.text.as_bytes(), 0o644)?;
        }
        self.systemd(&["daemon-reload"])?;
        let names: Vec<String> = units.iter().filter_map(|unit| Some(unit.path.file_name()?.to_str()?.to_owned())).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.systemd(&[&["enable"], &names[..]].concat())?;
        Ok(self.systemd(&["restart", &split.target()])?)
    }

    /// Stops the service and removes its definition.
    pub(crate) fn uninstall(&self) -> anyhow::Result<()> {
        match self.platform {
            Platform::Systemd => self.systemd(&["disable", "--now", &self.label])?,
            Platform::Launchd => drop(Self::launchctl(&["bootout".to_owned(), self.target()])),
            Platform::Windows => return Err(not_here().into()),
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        if self.platform == Platform::Systemd {
            self.systemd(&["daemon-reload"])?;
        }
        Ok(())
    }

    /// Starts, stops or restarts the service.
    pub(crate) fn act(&self, verb: &str) -> anyhow::Result<()> {
        match (self.platform, verb) {
            (Platform::Windows, _) => Err(not_here().into()),
            (Platform::Systemd, verb) => Ok(self.systemd(&[verb, &self.label])?),
            (Platform::Launchd, "stop") => Ok(Self::launchctl(&["bootout".to_owned(), self.target()]).map(drop)?),
            (Platform::Launchd, _) => {
                let path = self.path.display().to_string();
                drop(Self::launchctl(&["bootstrap".to_owned(), self.domain(), path]));
                Ok(Self::launchctl(&["kickstart".to_owned(), "-k".to_owned(), self.target()]).map(drop)?)
            }
        }
    }

    fn systemctl(&self, arguments: &[&str]) -> io::Result<Output> {
        let mut command = Command::new("systemctl");
        if self.scope == Scope::User {
            command.arg("--user");
        }
        command.args(arguments).output()
    }

    fn systemd(&self, arguments: &[&str]) -> Result<(), Failure> {
        match self.systemctl(arguments) {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(Failure::new(format!("systemctl {} failed: {}", arguments.join(" "), words(&output)))),
            Err(error) => Err(unavailable(&error.to_string(), self.scope)),
        }
    }

    fn launchctl(arguments: &[String]) -> Result<String, Failure> {
        let failed = |words: String| Failure::new(format!("launchctl {} failed: {words}", arguments.join(" ")));
        let output = Command::new("launchctl").args(arguments).output().map_err(|error| failed(error.to_string()))?;
        if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { Err(failed(words(&output))) }
    }

    fn domain(&self) -> String {
        match self.scope {
            Scope::User => format!("gui/{}", rustix::process::getuid().as_raw()),
            Scope::System => "system".to_owned(),
        }
    }

    fn target(&self) -> String {
        format!("{}/{}", self.domain(), self.label)
    }
}

fn unavailable(words: &str, scope: Scope) -> Failure {
    let flag = if scope == Scope::User { " --user" } else { "" };
    Failure::new(format!("Gateway service check failed: Error: systemctl{flag} unavailable: {words}"))
}

/// What a program said, on one line.
fn words(output: &Output) -> String {
    let text = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    String::from_utf8_lossy(text).trim().replace('\n', "; ")
}

fn of_properties(text: &str) -> Runtime {
    let value = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
    let state = value("ActiveState");
    Runtime {
        status: if state.as_deref() == Some("active") { "running" } else { "stopped" },
        pid: value("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0),
        sub_state: value("SubState"),
        state,
        detail: None,
    }
}

fn not_here() -> Failure {
    Failure::new("Scheduled tasks are made on Windows: run the commands that the script names.")
}
