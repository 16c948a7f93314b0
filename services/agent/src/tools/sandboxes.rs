//! Which turns are in a sandbox, and what that means on this host.

use verso_tools::sandbox::{Sandbox, Strength, WorkspaceAccess};

use super::{Toolbox, Turn};

/// What a turn's programs may touch.
#[derive(Debug)]
pub(super) struct Confinement {
    /// Whether the configuration wants a sandbox.
    pub(super) wanted: bool,
    /// None: none is wanted, or this host cannot enforce one; then commands ask.
    pub(super) sandbox: Option<Sandbox>,
    /// Why there is none although one is wanted.
    pub(super) warning: Option<String>,
    /// Whether the tools for files may write.
    pub(super) writes: bool,
}

impl Toolbox {
    pub(super) async fn confinement(&self, turn: &Turn<'_>) -> Confinement {
        let config = self.config.sandbox(turn.profile.id.as_str());
        let main = turn.runs.parts.roster.naming.main(&turn.profile.id);
        let wanted = match config.mode.as_deref().unwrap_or("off") {
            "off" => false,
            "non-main" => *turn.key != main,
            // A word that means nothing must not take the sandbox away.
            _ => true,
        };
        if !wanted {
            return Confinement { wanted, sandbox: None, warning: None, writes: true };
        }
        let access = match config.workspace_access.as_deref() {
            Some("rw") => WorkspaceAccess::ReadWrite,
            Some("ro") => WorkspaceAccess::ReadOnly,
            _ => WorkspaceAccess::None,
        };
        let network = config.docker.network.as_deref().is_some_and(|network| network != "none");
        let strength = *self.strength.get_or_init(Sandbox::strength).await;
        let writes = access == WorkspaceAccess::ReadWrite;
        let warning = match strength {
            Strength::Full => None,
            Strength::Partial => Some("this host's kernel enforces only a part of the sandbox".to_owned()),
            Strength::None => Some("this host cannot enforce a sandbox; commands are asked about instead".to_owned()),
        };
        if let Some(warning) = &warning {
            tracing::warn!(session = %turn.key, warning, "a sandbox is degraded");
        }
        let sandbox = (strength != Strength::None).then(|| Sandbox::new(&turn.profile.workspace, access, network));
        Confinement { wanted, sandbox, warning, writes }
    }
}
