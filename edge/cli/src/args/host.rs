//! Commands about this machine: the service, its health, its files.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::duration;
use super::house::{Configure, Onboard, Reset, Security, Setup, Uninstall};

/// `verso gateway install`.
#[derive(Debug, Default, Args)]
pub(crate) struct Install {
    /// Port for WebSocket and HTTP. Default: the configured one.
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<String>,
    #[command(flatten)]
    pub(crate) flags: InstallFlags,
    /// One unit for each service, tied together by a target and started by their sockets (systemd only).
    #[arg(long, alias = "layout-split")]
    pub(crate) split: bool,
    /// With --print: as this system reads it. Default: the one that this was built for.
    #[arg(long, value_name = "NAME", value_parser = ["systemd", "launchd", "windows"], requires = "print")]
    pub(crate) platform: Option<String>,
    /// Accepted for older scripts; the gateway needs no runtime.
    #[arg(long, value_name = "NAME", value_parser = ["node", "bun"], hide = true)]
    pub(crate) runtime: Option<String>,
}

/// How a definition of a service is installed.
#[derive(Debug, Clone, Copy, Default, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct InstallFlags {
    /// Replace a definition that is installed already.
    #[arg(long)]
    pub(crate) force: bool,
    /// Make it the machine's service instead of yours.
    #[arg(long)]
    pub(crate) system: bool,
    /// Print the definition and install nothing.
    #[arg(long)]
    pub(crate) print: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `verso gateway start` and its like.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ServiceFlags {
    /// The machine's service instead of yours.
    #[arg(long)]
    pub(crate) system: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `verso gateway usage-cost`.
#[derive(Debug, Args)]
pub(crate) struct UsageCost {
    /// How many days back.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub(crate) days: u32,
    #[command(flatten)]
    pub(crate) reach: super::Reach,
}

/// `verso gateway probe`.
#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// How long to wait, in milliseconds or with a unit (3s).
    #[arg(long, value_name = "MS", default_value = "3000", value_parser = duration::milliseconds)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) target: super::Target,
}

/// `verso gateway discover`.
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// How long to look, in milliseconds or with a unit (3s).
    #[arg(long, value_name = "MS", default_value = "2000", value_parser = duration::milliseconds)]
    pub(crate) timeout: Duration,
    /// Look only on this network interface; may be repeated. Default: all.
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Vec<String>,
}

/// `verso doctor`.
#[derive(Debug, Default, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Doctor {
    /// Mend what can be mended without a question.
    #[arg(long, visible_alias = "repair")]
    pub(crate) fix: bool,
    /// With --fix: also replace what somebody has changed by hand, such as a service's definition.
    #[arg(long)]
    pub(crate) force: bool,
    /// Make a token when the gateway has no secret.
    #[arg(long)]
    pub(crate) generate_gateway_token: bool,
    /// Say why a client could not connect: its device id, its connection, or an address.
    #[arg(long, value_name = "CLIENT")]
    pub(crate) client: Option<String>,
    /// Accepted for older scripts.
    #[arg(long, hide = true)]
    pub(crate) no_workspace_suggestions: bool,
    /// Also look for other gateways of this machine, and have the chat networks checked.
    #[arg(long)]
    pub(crate) deep: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Accepted for older scripts: nothing is ever asked.
    #[arg(long, hide = true)]
    pub(crate) yes: bool,
    /// Accepted for older scripts: nothing is ever asked.
    #[arg(long, hide = true)]
    pub(crate) non_interactive: bool,
}

impl Doctor {
    /// Looks, and mends nothing.
    pub(crate) fn looking() -> Self {
        Self::default()
    }
}

/// `verso dashboard`.
#[derive(Debug, Args)]
pub(crate) struct Dashboard {
    /// Print the address only.
    #[arg(long)]
    pub(crate) no_open: bool,
}

/// `verso man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write one page for each command into this folder, instead of printing the first.
    #[arg(long, value_name = "PATH")]
    pub(crate) dir: Option<PathBuf>,
}

/// Where `verso migrate` takes from.
#[derive(Debug, Subcommand)]
pub(crate) enum Migrate {
    /// Take over the sessions, transcripts, jobs and credentials of an OpenClaw state folder. Nothing is changed there.
    Openclaw(Openclaw),
    /// Write the sessions, transcripts and jobs as an OpenClaw state folder holds them.
    Export(Export),
}

/// `verso migrate export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The folder to write into. It is made if need be, and may hold no sessions yet.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `verso migrate openclaw`.
#[derive(Debug, Args)]
pub(crate) struct Openclaw {
    /// Its state folder, such as ~/.openclaw.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Only say what would be taken.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Commands about this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Look for what is wrong, and say how to mend it.
    Doctor(Doctor),
    /// Print where the gateway's own page is, and open it.
    Dashboard(Dashboard),
    /// Print the manual page.
    Man(Man),
    /// Make the configuration, the state folder and the workspace, as far as they are missing.
    Setup(Setup),
    /// Set a gateway up: model, gateway, service.
    Onboard(Box<Onboard>),
    /// Change settings by questions and answers.
    Configure(Configure),
    /// Look for what lets others in.
    #[command(arg_required_else_help = true)]
    Security {
        #[command(subcommand)]
        command: Security,
    },
    /// Remove the configuration, credentials and sessions; this program stays.
    Reset(Reset),
    /// Remove the service and everything that the gateway keeps; this program stays.
    Uninstall(Uninstall),
    /// Take over what another gateway has kept, or write what this one keeps for another.
    Migrate {
        #[command(subcommand)]
        command: Migrate,
    },
}

/// The commands under `verso gateway` that are about its service, or look from outside.
#[derive(Debug, Subcommand)]
pub(crate) enum GatewayService {
    /// Look whether a gateway answers, and what it says of itself.
    Probe(Probe),
    /// Look for gateways on the local network.
    Discover(Discover),
    /// Show what the agents have used.
    UsageCost(UsageCost),
    /// Have this system start the gateway now and from now on.
    Install(Install),
    /// Stop the service and remove it.
    Uninstall(ServiceFlags),
    /// Start the service.
    Start(ServiceFlags),
    /// Stop the service until the next start of this system.
    Stop(ServiceFlags),
    /// Stop the service and start it again, or restart one of its processes.
    Restart(GatewayRestart),
    /// Say whether clients need a token, and which.
    AuthToken(AuthToken),
}

/// `verso gateway restart`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct GatewayRestart {
    /// Only this process: edge, presence, node, channel, agent or canvas. Nobody notices the others.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["wait", "safe", "system"])]
    pub(crate) service: Option<String>,
    /// First let running turns end, this long at most. Those that have not ended go on after the restart.
    #[arg(long, value_name = "DURATION", value_parser = duration::milliseconds)]
    pub(crate) wait: Option<Duration>,
    /// The same, for as long as a turn usually takes: 5 minutes.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) safe: bool,
    /// Let no turn end first. This is so without --wait and --safe.
    #[arg(long, visible_alias = "skip-deferral", conflicts_with_all = ["wait", "safe"])]
    pub(crate) force: bool,
    /// The machine's service instead of yours.
    #[arg(long)]
    pub(crate) system: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `verso gateway auth-token`.
#[derive(Debug, Args)]
pub(crate) struct AuthToken {
    /// Print the token itself, and nothing else.
    #[arg(long)]
    pub(crate) show: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
