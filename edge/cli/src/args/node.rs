//! `verso node`.

use clap::{Args, Subcommand};

use super::{InstallFlags, ServiceFlags};

/// The commands under `verso node`.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Be a node in the foreground. What is not given is as the last time.
    Run(NodeRun),
    /// Have this system keep this machine a node, now and from now on.
    Install(NodeInstall),
    /// Stop the service and remove it.
    Uninstall(ServiceFlags),
    /// Show the service.
    Status(ServiceFlags),
    /// Start the service.
    Start(ServiceFlags),
    /// Stop the service until the next start of this system.
    Stop(ServiceFlags),
    /// Stop the service and start it again.
    Restart(ServiceFlags),
}

/// `verso node install`.
#[derive(Debug, Args)]
pub(crate) struct NodeInstall {
    /// What the node is told as by `node run`; it remembers it.
    #[command(flatten)]
    pub(crate) node: NodeRun,
    #[command(flatten)]
    pub(crate) flags: InstallFlags,
}

/// `verso node run`.
#[derive(Debug, Args)]
pub(crate) struct NodeRun {
    /// Host of the gateway. Default: the gateway of this profile.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Port of the gateway. Default: 18789.
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Connect by TLS.
    #[arg(long)]
    pub(crate) tls: bool,
    /// The only certificate to trust, by its SHA-256 fingerprint. Implies --tls.
    #[arg(long, value_name = "HEX")]
    pub(crate) tls_fingerprint: Option<String>,
    /// What others call this installation of the node. The node's id is that of its device.
    #[arg(long, value_name = "ID")]
    pub(crate) node_id: Option<String>,
    /// What people see. Default: the name of this machine.
    #[arg(long, value_name = "NAME")]
    pub(crate) display_name: Option<String>,
}
