//! `verso node`.

use clap::{Args, Subcommand};

/// The commands under `verso node`.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Be a node in the foreground. What is not given is as the last time.
    Run(NodeRun),
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
