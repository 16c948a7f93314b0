//! One unit of systemd for each service, started by its sockets and tied together by a target.
//!
//! The sockets are systemd's: a connect while a service restarts waits in their queue, as it does under our own supervisor. The edge wants
//! the others and requires none of them, so that one that does not come up takes nobody with it.

use std::path::PathBuf;

use verso_supervisor::ServiceName;

use super::systemd::{quoted, specifiers};
use super::{Definition, Scope, Unit};

/// What one gateway's units are made of.
#[derive(Debug, Clone)]
pub(crate) struct Split {
    pub(crate) definition: Definition,
    pub(crate) scope: Scope,
    /// `verso-gateway-rescue` has the ending `-rescue`.
    pub(crate) ending: String,
    pub(crate) run_dir: PathBuf,
    /// Where the edge listens, and where the canvas does.
    pub(crate) public: Vec<String>,
    pub(crate) canvas: Option<String>,
    /// Where the units go.
    pub(crate) folder: PathBuf,
}

impl Split {
    /// Returns the name of the target that all of them belong to.
    pub(crate) fn target(&self) -> String {
        format!("verso-gateway{}.target", self.ending)
    }

    /// Writes every unit: the target, then for each service its sockets and itself.
    pub(crate) fn render(&self) -> Result<Vec<Unit>, super::Injection> {
        self.definition.check()?;
        let mut units = vec![self.unit(self.target(), self.target_text())];
        for name in ServiceName::ALL {
            units.push(self.unit(self.name(name, "socket"), self.control_socket(name)));
            if let Some(addresses) = self.ports(name) {
                units.push(self.unit(self.port_socket_name(name), self.port_socket(name, &addresses)));
            }
            units.push(self.unit(self.name(name, "service"), self.service(name)));
        }
        Ok(units)
    }

    fn unit(&self, name: String, text: String) -> Unit {
        Unit { path: self.folder.join(name), text }
    }

    fn name(&self, service: ServiceName, kind: &str) -> String {
        format!("verso-{service}{}.{kind}", self.ending)
    }

    fn port_socket_name(&self, service: ServiceName) -> String {
        format!("verso-{service}-port{}.socket", self.ending)
    }

    fn ports(&self, service: ServiceName) -> Option<Vec<String>> {
        match service {
            ServiceName::Edge => Some(self.public.clone()),
            ServiceName::Canvas => Some(vec![self.canvas.clone()?]),
            _ => None,
        }
    }

    fn target_text(&self) -> String {
        let wanted_by = match self.scope {
            Scope::User => "default.target",
            Scope::System => "multi-user.target",
        };
        let wants: Vec<String> = ServiceName::ALL.into_iter().map(|name| self.name(name, "service")).collect();
        lines(&[
            "[Unit]",
            &format!("Description={}", specifiers(&self.definition.description)),
            "After=network-online.target",
            "Wants=network-online.target",
            &format!("Wants={}", wants.join(" ")),
            "",
            "[Install]",
            &format!("WantedBy={wanted_by}"),
        ])
    }

    fn control_socket(&self, service: ServiceName) -> String {
        let path = self.run_dir.join(format!("{service}.sock"));
        lines(&[
            "[Unit]",
            &format!("Description=Verso {service}: where the other services call it"),
            &format!("PartOf={}", self.target()),
            "",
            "[Socket]",
            &format!("ListenStream={}", specifiers(&path.display().to_string())),
            "SocketMode=0600",
            "DirectoryMode=0700",
            "FileDescriptorName=control",
            "RemoveOnStop=yes",
            &format!("Service={}", self.name(service, "service")),
            "",
            "[Install]",
            &format!("WantedBy={}", self.target()),
        ])
    }

    fn port_socket(&self, service: ServiceName, addresses: &[String]) -> String {
        let name = if service == ServiceName::Edge { "public" } else { "canvas" };
        let listen: Vec<String> = addresses.iter().map(|address| format!("ListenStream={address}")).collect();
        lines(&[
            "[Unit]",
            &format!("Description=Verso {service}: where clients connect"),
            &format!("PartOf={}", self.target()),
            "",
            "[Socket]",
            &listen.join("\n"),
            &format!("FileDescriptorName={name}"),
            &format!("Service={}", self.name(service, "service")),
            "",
            "[Install]",
            &format!("WantedBy={}", self.target()),
        ])
    }

    fn service(&self, service: ServiceName) -> String {
        let definition = &self.definition;
        let mut sockets = vec![self.name(service, "socket")];
        sockets.extend(self.ports(service).map(|_| self.port_socket_name(service)));
        let command = [definition.executable.display().to_string(), "service".to_owned(), service.to_string()];
        let command: Vec<String> = command.iter().map(|word| quoted(&word.replace('$', "$$"))).collect();
        let mut text = vec![
            "[Unit]".to_owned(),
            format!("Description=Verso {service}"),
            format!("PartOf={}", self.target()),
            format!("Requires={}", sockets.join(" ")),
            format!("After=network-online.target {}", sockets.join(" ")),
            "Wants=network-online.target".to_owned(),
            "StartLimitIntervalSec=300".to_owned(),
            "StartLimitBurst=10".to_owned(),
            String::new(),
            "[Service]".to_owned(),
            format!("ExecStart={}", command.join(" ")),
            format!("WorkingDirectory={}", specifiers(&definition.working_dir.display().to_string())),
            format!("Sockets={}", sockets.join(" ")),
        ];
        if let (Scope::System, Some(user)) = (self.scope, &definition.user) {
            text.push(format!("User={}", specifiers(user)));
        }
        // 75: it ended to be started again with another configuration.
        let policy = ["Restart=always", "RestartSec=1", "RestartPreventExitStatus=78", "SuccessExitStatus=0 75 143", "KillMode=mixed"];
        text.extend(
            policy.into_iter().chain(["TimeoutStartSec=60", "TimeoutStopSec=30", "OOMPolicy=continue", "UMask=0077"]).map(str::to_owned),
        );
        let own = [
            ("VERSO_RUN_DIR", self.run_dir.display().to_string()),
            ("VERSO_SERVICE_KIND", service.to_string()),
            ("VERSO_SYSTEMD_UNIT", self.name(service, "service")),
        ];
        let mut environment = definition.environment.clone();
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        text.extend(environment.iter().map(|(name, value)| format!("Environment={}", quoted(&format!("{name}={value}")))));
        // Keys of providers and tokens of networks, for those who speak to them; the gateway's own secret, for the edge.
        let secrets = match service {
            ServiceName::Agent | ServiceName::Channel => Some(definition.working_dir.join(".env")),
            ServiceName::Edge => Some(definition.env_file.clone()),
            _ => None,
        };
        text.extend(secrets.map(|path| format!("EnvironmentFile=-{}", specifiers(&path.display().to_string()))));
        text.extend([String::new(), "[Install]".to_owned(), format!("WantedBy={}", self.target())]);
        lines(&text.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn lines(lines: &[&str]) -> String {
    lines.join("\n") + "\n"
}
