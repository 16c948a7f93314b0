//! `verso channels adapter`, and how the channel service starts one.

use std::ffi::OsString;

use clap::{Args, Subcommand};

/// The commands under `verso channels adapter`.
#[derive(Debug, Subcommand)]
pub(crate) enum Adapter {
    /// Print the contract that an adapter implements, as a .proto file.
    Proto,
    /// Start an adapter, and find out whether it keeps each rule of the contract.
    Check(AdapterCheck),
}

/// `verso channels adapter check`.
#[derive(Debug, Args)]
pub(crate) struct AdapterCheck {
    /// The account's settings, as they would stand in the configuration.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) settings: String,
    /// Where a message may be sent. Without it, the rules about sending are not tried.
    #[arg(long, value_name = "DEST")]
    pub(crate) to: Option<String>,
    /// A shell command that has the network deliver a new message. Without it, the rules about incoming messages are not tried.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) inbound: Option<String>,
    /// The account's name.
    #[arg(long, value_name = "ID", default_value = "default")]
    pub(crate) account: String,
    /// A variable for the adapter's environment, which is empty otherwise but for PATH, HOME, LANG and TZ; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Memory that it may use, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub(crate) memory_mib: u64,
    /// The adapter and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// `verso adapter-exec`.
#[derive(Debug, Args)]
pub(crate) struct AdapterExec {
    /// Memory that it may use, in MiB.
    #[arg(long)]
    pub(crate) memory_mib: u64,
    /// Files and sockets that it may open.
    #[arg(long)]
    pub(crate) descriptors: u64,
    /// The process that it ends with.
    #[arg(long)]
    pub(crate) parent: i32,
    /// What to become.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}
