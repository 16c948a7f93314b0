//! `verso services`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::duration;

/// `verso services`, of this profile's gateway or of another one.
#[derive(Debug, Args)]
pub(crate) struct ServicesGroup {
    /// Look after the gateway of this profile instead (`main`: the one without a profile).
    #[arg(long, value_name = "PROFILE", global = true)]
    pub(crate) of: Option<String>,
    /// Ask a gateway elsewhere, by its WebSocket URL; it must grant `operator.rescue`.
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) url: Option<String>,
    /// The token for that gateway.
    #[arg(long, value_name = "TOKEN", global = true, requires = "url")]
    pub(crate) token: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Services,
}

/// The commands under `verso services`.
#[derive(Debug, Subcommand)]
pub(crate) enum Services {
    /// List the processes.
    #[command(alias = "status")]
    List,
    /// Stop one process gracefully and start it again.
    Restart {
        /// `edge`, `presence`, `node`, `channel`, `agent` or `canvas`.
        name: String,
    },
    /// Stop one process gracefully, and leave it down until it is restarted.
    Drain {
        /// `presence`, `node`, `channel`, `agent` or `canvas`.
        name: String,
        /// How long it may take, in milliseconds or with a unit (30s).
        #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
        deadline: Option<Duration>,
    },
    /// Give one process alone an earlier state of the configuration, until the file changes next.
    Rollback {
        /// `edge`, `presence`, `node`, `channel`, `agent` or `canvas`.
        name: String,
        /// The number of the state. Default: the newest that is not the present one and can be used.
        #[arg(long, value_name = "N")]
        to: Option<u64>,
    },
    /// Print what one process has logged.
    Logs(ServicesLogs),
}

/// `verso services logs`.
#[derive(Debug, Args)]
pub(crate) struct ServicesLogs {
    /// `edge`, `presence`, `node`, `channel`, `agent`, `canvas` or `supervisor`. Default: all of them.
    pub(crate) name: Option<String>,
    /// How many lines.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub(crate) limit: u16,
}
