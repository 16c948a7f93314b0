//! Sandboxes by programs of others: bubblewrap, or a container of Docker's. What they are given is a command line of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use verso_kit::CancellationToken;
use verso_kit::config::Env;

use super::WorkspaceAccess;
use super::container::{Container, WORKDIR};
use crate::exec::child::{self, Cleanup, Ended, Limits, Plan};
use crate::exec::environment;
use crate::skills::find_program;

/// How long a program may take to say that it works.
const PROBE: Duration = Duration::from_secs(5);

/// Marks the containers of one gateway.
const LABEL: &str = "verso.sandbox";

/// What programs are wrapped in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapper {
    program: PathBuf,
    kind: Kind,
    workspace: PathBuf,
    access: WorkspaceAccess,
    network: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Bubblewrap,
    Docker {
        container: Container,
        /// The gateway's own mark.
        label: String,
    },
}

impl Wrapper {
    /// Finds bubblewrap, and sees whether this host lets it work.
    pub async fn bubblewrap(env: &Env) -> Option<PathBuf> {
        let program = find_program("bwrap", env)?;
        let arguments = ["--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "true"];
        works(program, &arguments, env).await
    }

    /// Finds Docker, and sees whether its service answers.
    pub async fn docker(env: &Env) -> Option<PathBuf> {
        works(find_program("docker", env)?, &["version", "--format", "{{.Server.Version}}"], env).await
    }

    /// Wraps programs by bubblewrap.
    pub fn in_bubblewrap(program: PathBuf, workspace: &Path, access: WorkspaceAccess, network: bool) -> Self {
        Self { program, kind: Kind::Bubblewrap, workspace: workspace.to_owned(), access, network }
    }

    /// Wraps programs in containers; `label` marks them as this gateway's.
    pub fn in_docker(program: PathBuf, container: Container, workspace: &Path, access: WorkspaceAccess, label: &str) -> Self {
        let kind = Kind::Docker { container, label: label.to_owned() };
        Self { program, kind, workspace: workspace.to_owned(), access, network: false }
    }

    /// Whether programs of the host are not what runs.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.kind, Kind::Docker { .. })
    }

    /// Ends the containers that an earlier incarnation has left behind.
    pub async fn sweep(program: &Path, label: &str, env: &Env) {
        let listed = run(program, &["ps", "--all", "--quiet", "--filter", &format!("label={LABEL}={label}")], env).await;
        let ids: Vec<String> = listed.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        if !ids.is_empty() {
            tracing::info!(containers = ids.len(), "containers of an earlier incarnation are ended");
            let mut arguments = vec!["rm", "--force"];
            arguments.extend(ids.iter().map(String::as_str));
            drop(run(program, &arguments, env).await);
        }
    }

    /// Returns how a program is run within. `command` is the command line, for where the host's programs are not; `id` names it.
    pub fn wrap(&self, plan: Plan, command: &str, brought: &BTreeMap<String, String>, id: &str) -> Plan {
        match &self.kind {
            Kind::Bubblewrap => self.bubblewrapped(plan),
            Kind::Docker { container, label } => self.contained(plan, container, label, (command, brought, id)),
        }
    }

    fn bubblewrapped(&self, plan: Plan) -> Plan {
        let mut words: Vec<String> = ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"].map(str::to_owned).to_vec();
        let mut add = |parts: &[&str]| words.extend(parts.iter().map(|part| (*part).to_owned()));
        if self.network {
            add(&["--share-net"]);
        }
        for folder in ["/usr", "/etc", "/opt", "/nix"] {
            add(&["--ro-bind-try", folder, folder]);
        }
        // On most systems these are links into /usr, on others folders.
        for folder in ["/bin", "/sbin", "/lib", "/lib32", "/lib64"] {
            match std::fs::read_link(folder) {
                Ok(target) => add(&["--symlink", &target.display().to_string(), folder]),
                Err(_) => add(&["--ro-bind-try", folder, folder]),
            }
        }
        add(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
        let workspace = self.workspace.display().to_string();
        match self.access {
            WorkspaceAccess::None => add(&["--dir", &workspace]),
            WorkspaceAccess::ReadOnly => add(&["--ro-bind", &workspace, &workspace]),
            WorkspaceAccess::ReadWrite => add(&["--bind", &workspace, &workspace]),
        }
        for (name, value) in &plan.variables {
            add(&["--setenv", name, value]);
        }
        add(&["--chdir", &plan.folder.display().to_string(), "--", &plan.program.display().to_string()]);
        words.extend(plan.arguments);
        Plan { program: self.program.clone(), arguments: words, ..plan }
    }

    fn contained(
        &self,
        plan: Plan,
        container: &Container,
        label: &str,
        (command, brought, id): (&str, &BTreeMap<String, String>, &str),
    ) -> Plan {
        let name = format!("openclaw-sbx-{id}");
        let mut words: Vec<String> = ["run", "--rm", "--interactive", "--init", "--name", &name].map(str::to_owned).to_vec();
        words.extend(["--label".to_owned(), format!("{LABEL}={label}")]);
        words.extend(container.options.iter().cloned());
        if !container.options.iter().any(|option| option == "--user") {
            let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
            words.extend(["--user".to_owned(), format!("{user}:{group}")]);
        }
        let mode = match self.access {
            WorkspaceAccess::None => None,
            WorkspaceAccess::ReadOnly => Some("ro"),
            WorkspaceAccess::ReadWrite => Some("rw"),
        };
        let within = plan.folder.strip_prefix(&self.workspace).ok().map(|rest| Path::new(WORKDIR).join(rest));
        let folder = if mode.is_some() { within.unwrap_or_else(|| WORKDIR.into()) } else { "/".into() };
        if let Some(mode) = mode {
            words.extend(["--volume".to_owned(), format!("{}:{WORKDIR}:{mode}", self.workspace.display())]);
        }
        words.extend(["--workdir".to_owned(), folder.display().to_string()]);
        for (name, value) in brought {
            words.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        words.extend([container.image.clone(), "/bin/sh".to_owned(), "-c".to_owned(), command.to_owned()]);
        // Ending the client does not end the container.
        let arguments = ["rm", "--force", &name].map(str::to_owned).to_vec();
        let cleanup = Some(Cleanup { program: self.program.clone(), arguments });
        Plan { program: self.program.clone(), arguments: words, cleanup, ..plan }
    }
}

async fn works(program: PathBuf, arguments: &[&str], env: &Env) -> Option<PathBuf> {
    run(&program, arguments, env).await.is_some().then_some(program)
}

/// Runs a program for a moment, and returns what it says; none if it does not work.
async fn run(program: &Path, arguments: &[&str], env: &Env) -> Option<String> {
    let plan = Plan {
        program: program.to_owned(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        folder: "/".into(),
        variables: environment::inherited(env, &[]),
        sandbox: None,
        cleanup: None,
    };
    let limits = Limits { timeout: Some(PROBE), output_bytes_max: 16 << 10 };
    let outcome = child::run(plan, limits, &CancellationToken::new()).await.ok()?;
    (outcome.ended == Ended::Exited(0)).then_some(outcome.stdout)
}
