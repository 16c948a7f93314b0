//! One service in a process of its own, as compose files, units and Kubernetes run it, and the certificates that such services need.

use std::path::PathBuf;

use clap::Args;

/// `verso service`.
#[derive(Debug, Args)]
pub(crate) struct ServiceRun {
    /// `edge`, `presence`, `node`, `channel`, `agent` or `canvas`.
    pub(crate) name: String,
    #[arg(
        long,
        value_name = "ADDRESS",
        help = "Where other services connect over TLS, such as tcp://0.0.0.0:50051 (also: VERSO_LISTEN). Default: the Unix socket alone"
    )]
    pub(crate) listen: Option<String>,
    #[arg(
        long,
        value_name = "LIST",
        help = "Where the others are, such as agent=tcp://agent:50051,node=tcp://node:50051 (also: VERSO_PEERS). Default: their Unix sockets"
    )]
    pub(crate) peers: Option<String>,
    #[arg(
        long,
        value_name = "PATH",
        help = "The folder with ca.pem, cert.pem and key.pem, looked at for every connection (also: VERSO_TLS_DIR)"
    )]
    pub(crate) tls_dir: Option<PathBuf>,
    /// Who may connect to the edge's own port, or to the canvas's: loopback (default) or lan.
    #[arg(long, value_name = "MODE", value_parser = ["loopback", "lan"])]
    pub(crate) bind: Option<String>,
    /// Ask the service of that name whether it serves, and run none.
    #[arg(long)]
    pub(crate) check: bool,
}

/// `verso certificates`.
#[derive(Debug, Args)]
pub(crate) struct Certificates {
    /// The folder: `ca/` holds the authority and its key, and each service finds its own certificate in a folder of its name.
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    /// For whom; may be repeated. Default: every service.
    #[arg(long = "service", value_name = "NAME")]
    pub(crate) services: Vec<String>,
    /// How long certificates are valid, in days.
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=825))]
    pub(crate) days: u16,
    /// Make another authority; the certificates of the ones before stay valid until they are replaced.
    #[arg(long)]
    pub(crate) new_authority: bool,
    /// Trust only the present authority from now on: the last step of a change of the authority.
    #[arg(long, conflicts_with = "new_authority")]
    pub(crate) forget_old: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
