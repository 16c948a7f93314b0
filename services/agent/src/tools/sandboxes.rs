//! Which turns are in a sandbox, and what that means on this host.

use std::path::{Path, PathBuf};

use verso_tools::sandbox::wrapper::Wrapper;
use verso_tools::sandbox::{Sandbox, Strength, WorkspaceAccess, container};

use super::{Toolbox, Turn};
use crate::keys::SessionKey;
use crate::parts::Parts;

/// What a turn's programs may touch.
#[derive(Debug, Default)]
pub(super) struct Confinement {
    /// Whether the configuration wants a sandbox.
    pub(super) wanted: bool,
    /// None: none is wanted, or this host cannot enforce one; then commands ask.
    pub(super) sandbox: Option<Sandbox>,
    /// What programs are wrapped in instead.
    pub(super) wrapper: Option<Wrapper>,
    /// Why there is none although one is wanted, or why it is weaker.
    pub(super) warning: Option<String>,
    /// Why nothing may be run.
    pub(super) unusable: Option<String>,
    /// Whether the tools for files may write.
    pub(super) writes: bool,
}

impl Toolbox {
    /// Whether the configuration wants a session's programs in a sandbox.
    pub(crate) fn sandboxes(&self, parts: &Parts, key: &SessionKey) -> bool {
        let agent = parts.roster.naming.agent_of(key.as_str());
        match self.config.sandbox(agent.as_str()).mode.as_deref().unwrap_or("off") {
            "off" => false,
            "non-main" => *key != parts.roster.naming.main(&agent),
            // A word that means nothing must not take the sandbox away.
            _ => true,
        }
    }

    pub(super) async fn confinement(&self, turn: &Turn<'_>) -> Confinement {
        let config = self.config.sandbox(turn.profile.id.as_str());
        let wanted = self.sandboxes(&turn.runs.parts, turn.key);
        if !wanted {
            return Confinement { writes: true, ..Confinement::default() };
        }
        let access = match config.workspace_access.as_deref() {
            Some("rw") => WorkspaceAccess::ReadWrite,
            Some("ro") => WorkspaceAccess::ReadOnly,
            _ => WorkspaceAccess::None,
        };
        let around = Around { workspace: &turn.profile.workspace, access, docker: config.docker.unwrap_or_default() };
        let (sandbox, wrapper, warning) = match self.enforcement(config.backend.as_deref(), &around).await {
            Ok(found) => found,
            Err(reason) => {
                tracing::error!(session = %turn.key, reason, "a sandbox cannot be used as configured; nothing is run");
                let unusable = Some(format!("the sandbox cannot be used as configured: {reason}"));
                return Confinement { wanted, unusable, ..Confinement::default() };
            }
        };
        if let Some(warning) = &warning {
            tracing::warn!(session = %turn.key, warning, "a sandbox is degraded");
        }
        let writes = access == WorkspaceAccess::ReadWrite;
        Confinement { wanted, sandbox, wrapper, warning, writes, unusable: None }
    }

    /// Returns what a sandbox is enforced with. Fails when the configuration asks for what would be none.
    async fn enforcement(&self, backend: Option<&str>, around: &Around<'_>) -> Result<Enforced, String> {
        let container = around.docker.checked(std::slice::from_ref(&self.state_dir))?;
        let networked = around.docker.network.as_deref().is_some_and(|network| network != "none");
        let mut warning = None;
        let wanted = backend.unwrap_or("auto");
        if !["auto", "docker", "bubblewrap", "kernel"].contains(&wanted) {
            return Err(format!("sandbox.backend has no value \"{wanted}\""));
        }
        if wanted == "docker" || (wanted == "auto" && around.docker.wanted()) {
            match self.docker().await {
                Some(program) => {
                    let label = self.state_dir.display().to_string();
                    return Ok((None, Some(Wrapper::in_docker(program.clone(), container, around.workspace, around.access, &label)), None));
                }
                None => warning = Some("Docker does not answer; programs are confined without it".to_owned()),
            }
        }
        let strength = *self.strength.get_or_init(Sandbox::strength).await;
        if wanted == "bubblewrap" || strength != Strength::Full {
            if let Some(program) = self.bubblewrap.get_or_init(|| Wrapper::bubblewrap(&self.env)).await {
                let wrapper = Wrapper::in_bubblewrap(program.clone(), around.workspace, around.access, networked);
                return Ok((None, Some(wrapper), warning));
            }
            if wanted == "bubblewrap" {
                warning = Some("bubblewrap is not here or does not work; the kernel's own sandbox is used".to_owned());
            }
        }
        let more = match strength {
            Strength::Full => None,
            Strength::Partial => Some("this host's kernel enforces only a part of the sandbox"),
            Strength::None => Some("this host cannot enforce a sandbox; commands are asked about instead"),
        };
        let warning = match (warning, more) {
            (Some(first), Some(more)) => Some(format!("{first}; {more}")),
            (first, more) => first.or_else(|| more.map(str::to_owned)),
        };
        let sandbox = (strength != Strength::None).then(|| Sandbox::new(around.workspace, around.access, networked));
        Ok((sandbox, None, warning))
    }

    /// Returns Docker, if it answers. What an earlier incarnation has left in it is ended first.
    async fn docker(&self) -> Option<&PathBuf> {
        let found = self.docker.get_or_init(async || {
            let program = Wrapper::docker(&self.env).await?;
            Wrapper::sweep(&program, &self.state_dir.display().to_string(), &self.env).await;
            Some(program)
        });
        found.await.as_ref()
    }
}

/// What a sandbox is made around.
struct Around<'a> {
    workspace: &'a Path,
    access: WorkspaceAccess,
    docker: container::Config,
}

/// The kernel's sandbox, or a wrapper, and why it is weaker than it should be.
type Enforced = (Option<Sandbox>, Option<Wrapper>, Option<String>);
