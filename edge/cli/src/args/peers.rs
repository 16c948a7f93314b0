//! `verso devices` and `verso nodes`.

use std::time::Duration;

use clap::Subcommand;

use super::NodesCanvas;
use super::duration;

/// The commands under `verso devices`.
#[derive(Debug, Subcommand)]
pub(crate) enum Devices {
    /// List the devices that wait for approval, and those that have it.
    List,
    /// Let a device in.
    Approve {
        /// The request's id. Default: the latest request.
        request_id: Option<String>,
    },
    /// Refuse a device.
    Reject {
        /// The request's id.
        request_id: String,
    },
    /// Forget a device; it must ask again.
    Remove {
        /// The device's id.
        device_id: String,
    },
    /// Give a device another name.
    Rename {
        /// The device's id.
        #[arg(long, value_name = "ID")]
        device: String,
        /// The new name.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Replace a device's token.
    Rotate {
        /// The device's id.
        #[arg(long, value_name = "ID")]
        device: String,
        /// `operator` or `node`.
        #[arg(long, value_name = "ROLE")]
        role: String,
        /// What the new token is good for; may be repeated. Default: as before.
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<String>,
    },
    /// Take a device's token away.
    Revoke {
        /// The device's id.
        #[arg(long, value_name = "ID")]
        device: String,
        /// `operator` or `node`.
        #[arg(long, value_name = "ROLE")]
        role: String,
    },
}

/// The commands under `verso pairing`.
#[derive(Debug, Subcommand)]
pub(crate) enum Pairing {
    /// List the people who wrote on a chat network and wait to be let in.
    List {
        /// Those of this network only, such as telegram.
        channel: Option<String>,
    },
    /// Let a person in.
    Approve {
        /// The network, such as telegram.
        channel: String,
        /// The code that the person was told.
        code: String,
        /// Tell the person.
        #[arg(long)]
        notify: bool,
    },
    /// Turn a request down.
    Dismiss {
        /// The network, such as telegram.
        channel: String,
        /// The code that the person was told.
        code: String,
    },
}

/// The commands under `verso nodes`.
#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// Show the nodes and whether they are connected.
    Status {
        /// Those only that are connected.
        #[arg(long)]
        connected: bool,
        /// Those only that were connected within this time (24h).
        #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
        last_connected: Option<Duration>,
    },
    /// List the nodes that wait for approval, and those that have it.
    List,
    /// List the nodes that wait for approval.
    Pending,
    /// Show all that is known of a node.
    Describe {
        /// Id, name or address.
        #[arg(long, value_name = "NODE")]
        node: String,
    },
    /// Let a node in.
    Approve {
        /// The request's id.
        request_id: String,
    },
    /// Refuse a node.
    Reject {
        /// The request's id.
        request_id: String,
    },
    /// Give a node another name.
    Rename {
        /// Id, name or address.
        #[arg(long, value_name = "NODE")]
        node: String,
        /// The new name.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Have a node do something.
    Invoke {
        /// Id, name or address.
        #[arg(long, value_name = "NODE")]
        node: String,
        /// What to do, such as canvas.snapshot.
        #[arg(long, value_name = "COMMAND")]
        command: String,
        /// The parameters as JSON.
        #[arg(long, value_name = "JSON", default_value = "{}")]
        params: String,
        /// How long the node may take, in milliseconds or with a unit (15s).
        #[arg(long, value_name = "MS", default_value = "15000", value_parser = duration::milliseconds)]
        invoke_timeout: Duration,
        /// Two calls with the same key are one. Default: a new key.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Run a program on a node and end with its exit code.
    Run(NodesRun),
    /// Show pages and interfaces on a node's screen.
    #[command(arg_required_else_help = true)]
    Canvas {
        #[command(subcommand)]
        command: NodesCanvas,
    },
    /// Show a notification on a node.
    Notify {
        /// Id, name or address.
        #[arg(long, value_name = "NODE")]
        node: String,
        /// The headline.
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
        /// The text.
        #[arg(long, value_name = "TEXT")]
        body: Option<String>,
        /// The name of a sound.
        #[arg(long, value_name = "NAME")]
        sound: Option<String>,
        /// How much it may disturb.
        #[arg(long, value_name = "LEVEL", value_parser = ["passive", "active", "timeSensitive"])]
        priority: Option<String>,
        /// Where it is shown.
        #[arg(long, value_name = "WAY", value_parser = ["system", "overlay", "auto"])]
        delivery: Option<String>,
    },
}

/// `verso nodes run`.
#[derive(Debug, clap::Args)]
pub(crate) struct NodesRun {
    /// Id, name or address.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: String,
    /// The folder to run in, on the node.
    #[arg(long, value_name = "PATH")]
    pub(crate) cwd: Option<String>,
    /// A variable, NAME=VALUE; may be repeated.
    #[arg(long, value_name = "PAIR")]
    pub(crate) env: Vec<String>,
    /// A line for the node's shell, instead of a program and its arguments.
    #[arg(long, value_name = "LINE", conflicts_with = "argv")]
    pub(crate) raw: Option<String>,
    /// The agent whose rules apply.
    #[arg(long, value_name = "ID")]
    pub(crate) agent: Option<String>,
    /// How long the program may run, in milliseconds or with a unit (30s).
    #[arg(long, value_name = "MS", value_parser = duration::milliseconds)]
    pub(crate) command_timeout: Option<Duration>,
    /// The program needs to record the screen.
    #[arg(long)]
    pub(crate) needs_screen_recording: bool,
    /// How long the node may take, in milliseconds or with a unit (30s).
    #[arg(long, value_name = "MS", default_value = "30000", value_parser = duration::milliseconds)]
    pub(crate) invoke_timeout: Duration,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) argv: Vec<String>,
}
