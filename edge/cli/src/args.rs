//! The command line: its commands, flags and help.

mod adapters;
mod agents;
mod alone;
mod backup;
mod canvas;
#[cfg(feature = "chaos")]
mod chaos;
mod chats;
mod config;
mod cron;
mod duration;
mod host;
mod house;
mod node;
mod peers;
mod reach;
mod run;
mod services;
mod update;
mod usage;

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use adapters::{Adapter, AdapterCheck, AdapterExec};
pub(crate) use agents::{Agents, Allowlist, AllowlistEntry, Approvals, Models, Protocol, Skills, System};
pub(crate) use alone::{Certificates, ServiceRun};
pub(crate) use backup::Backup;
pub(crate) use canvas::{NodesA2ui, NodesCanvas, OnNode};
#[cfg(feature = "chaos")]
pub(crate) use chaos::Chaos;
pub(crate) use chats::{Channels, Destination, Message, MessagePoll, MessageSend, Sessions, SessionsGroup, SessionsList};
pub(crate) use config::Config;
pub(crate) use cron::{Cron, Job};
pub(crate) use duration::milliseconds;
pub(crate) use host::{
    AuthToken, Dashboard, Discover, Doctor, Export, GatewayRestart, GatewayService, Host, Install, InstallFlags, Man, Migrate, Openclaw,
    Probe, ServiceFlags, UsageCost,
};
pub(crate) use house::{Configure, Onboard, Reset, Security, SecurityAudit, Setup, Uninstall};
pub(crate) use node::{NodeCommand, NodeInstall, NodeRun};
pub(crate) use peers::{Devices, Nodes, NodesRun, Pairing};
pub(crate) use reach::{Group, Reach};
pub(crate) use run::Run;
pub(crate) use services::{Services, ServicesGroup, ServicesLogs};
pub(crate) use update::Update;
pub(crate) use usage::Usage;

/// What `verso configure` can ask about.
pub(crate) const SECTIONS: [&str; 8] = ["workspace", "model", "web", "gateway", "daemon", "channels", "skills", "health"];

/// A self-hosted gateway between chat clients and AI agents.
#[derive(Debug, Parser)]
#[command(name = "verso", disable_version_flag = true)]
pub(crate) struct Cli {
    /// Print the version and exit.
    #[arg(short = 'V', short_alias = 'v', long)]
    pub(crate) version: bool,
    #[arg(long, global = true, help = "Never print in colour (also: NO_COLOR)")]
    pub(crate) no_color: bool,
    // The two below are taken out of the arguments before this parser sees them; here they are for the help.
    /// Use the profile `dev`: state in ~/.verso-dev, port 19001.
    #[arg(long = "dev", global = true)]
    _dev: bool,
    /// Use a profile of this name: state in ~/.verso-NAME.
    #[arg(long = "profile", value_name = "NAME", global = true)]
    _profile: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway in the foreground, or ask about a running one.
    Gateway(Gateway),
    /// Ask the running gateway for its health.
    Health(Health),
    /// Show the gateway, its services, channels and sessions.
    Status(Status),
    /// Send a message to an agent and print its reply.
    Agent(Agent),
    /// Print the gateway's log.
    Logs(Logs),
    /// Look after the gateway's processes, also while the gateway does not answer.
    #[command(arg_required_else_help = true)]
    Services(ServicesGroup),
    /// Run another executable from now on: one service after the other, without closing a connection.
    Update(Update),
    /// Copy everything that the gateway keeps, check a copy, or put it back.
    #[command(arg_required_else_help = true)]
    Backup {
        #[command(subcommand)]
        command: Backup,
    },
    /// Make the certificates with which services in processes of their own know each other over TCP.
    Certificates(Certificates),
    /// Read, change and check the configuration file.
    #[command(arg_required_else_help = true)]
    Config {
        #[command(subcommand)]
        command: Config,
    },
    /// List and look after the conversations.
    Sessions(SessionsGroup),
    /// Send a message to a chat network.
    #[command(arg_required_else_help = true)]
    Message(Group<Message>),
    /// Look after the chat networks.
    #[command(arg_required_else_help = true)]
    Channels(Group<Channels>),
    /// Say which devices may connect.
    #[command(arg_required_else_help = true)]
    Devices(Group<Devices>),
    /// Say who may talk to the agents from chat networks.
    #[command(arg_required_else_help = true)]
    Pairing(Group<Pairing>),
    /// Look after the nodes, and have them do something.
    #[command(arg_required_else_help = true)]
    Nodes(Group<Nodes>),
    /// Look after what is done by the clock.
    #[command(arg_required_else_help = true)]
    Cron(Box<Group<Cron>>),
    /// List the agents.
    #[command(arg_required_else_help = true)]
    Agents(Group<Agents>),
    /// Show and choose models.
    Models(Group<Models>),
    /// Show what agents have learnt to do.
    #[command(arg_required_else_help = true)]
    Skills(Group<Skills>),
    /// Say which programs may run.
    #[command(arg_required_else_help = true, alias = "exec-approvals")]
    Approvals(Group<Approvals>),
    /// Tell the main session something; look at the heartbeat and at who is connected.
    #[command(arg_required_else_help = true)]
    System(Group<System>),
    /// Print the protocol for programmers.
    #[command(arg_required_else_help = true)]
    Protocol {
        #[command(subcommand)]
        command: Protocol,
    },
    /// Be a node of a gateway: run programs for its agents, as far as this machine's rules allow.
    #[command(arg_required_else_help = true)]
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
    #[command(flatten)]
    Host(Host),
    /// Chat with an agent in the terminal.
    Tui(Tui),
    /// Print a completion script for a shell.
    Completion(Completion),
    /// Become the adapter of a chat network, within limits. The channel service does this by itself.
    #[command(hide = true)]
    AdapterExec(AdapterExec),
    /// Run one account of a chat network. The channel service does this by itself.
    #[command(hide = true)]
    ChannelAccount,
    /// Read a PDF and write its text. The gateway does this by itself.
    #[command(hide = true)]
    PdfText {
        /// Pages that are read.
        #[arg(long)]
        pages: usize,
    },
    /// Run one service in the foreground. The gateway does this by itself.
    #[command(hide = true)]
    Service(ServiceRun),
    /// End processes of the running gateway, and see whether anybody notices.
    #[cfg(feature = "chaos")]
    #[command(hide = true)]
    Chaos(Chaos),
}

/// `verso gateway`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Gateway {
    #[command(subcommand)]
    pub(crate) command: Option<GatewayCommand>,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// The commands under `verso gateway`.
#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Run the gateway in the foreground, as `verso gateway` does.
    Run(Box<Run>),
    #[command(flatten)]
    Service(GatewayService),
    /// Call a method of the running gateway.
    Call(Call),
    /// Ask the running gateway for its health.
    Health(GatewayHealth),
    /// Show the configuration, the port and whether the gateway answers.
    Status(GatewayStatus),
}

/// How to reach the gateway.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// WebSocket URL of the gateway, if it is not the one of this profile.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Token, if it is not the one of this profile.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Password, if it is not the one of this profile.
    #[arg(long, value_name = "PASSWORD")]
    pub(crate) password: Option<String>,
}

/// How long to wait for the gateway.
#[derive(Debug, Clone, Args)]
pub(crate) struct Patience {
    /// How long to wait, in milliseconds or with a unit (10s).
    #[arg(long, value_name = "MS", default_value = "10000", value_parser = duration::milliseconds)]
    pub(crate) timeout: Duration,
}

/// `verso gateway call`.
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The method, such as health or sessions.list.
    pub(crate) method: String,
    /// The parameters as JSON.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) params: String,
    /// Wait for the last answer of a method that answers more than once.
    #[arg(long)]
    pub(crate) expect_final: bool,
    /// Print the payload alone.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `verso gateway health`.
#[derive(Debug, Args)]
pub(crate) struct GatewayHealth {
    /// Print the payload as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `verso gateway status`.
#[derive(Debug, Args)]
pub(crate) struct GatewayStatus {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Do not connect to the gateway.
    #[arg(long)]
    pub(crate) no_probe: bool,
    /// Exit with 1 when the gateway does not answer.
    #[arg(long)]
    pub(crate) require_rpc: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `verso health`.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Print the payload as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Have every channel checked now.
    #[arg(long, alias = "debug")]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `verso status`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Status {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Include the gateway's health.
    #[arg(long)]
    pub(crate) deep: bool,
    /// Everything that helps somebody else to help, without secrets: to be pasted.
    #[arg(long, conflicts_with = "json")]
    pub(crate) all: bool,
    /// Include what the agents have used.
    #[arg(long)]
    pub(crate) usage: bool,
    /// The same as --deep.
    #[arg(long, alias = "debug")]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `verso agent`.
#[derive(Debug, Args)]
#[allow(clippy::struct_field_names, reason = "fields are named like their flags")]
pub(crate) struct Agent {
    /// What to say.
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: String,
    /// The agent to talk to. Default: the default agent.
    #[arg(long, value_name = "ID")]
    pub(crate) agent: Option<String>,
    /// The session to continue, by its id.
    #[arg(long, value_name = "ID")]
    pub(crate) session_id: Option<String>,
    /// The session to continue, by its key. Default: the agent's main session.
    #[arg(long, value_name = "KEY")]
    pub(crate) session_key: Option<String>,
    /// Whom the session is with, such as a telephone number.
    #[arg(short, long, value_name = "DEST")]
    pub(crate) to: Option<String>,
    /// How much to think: off, minimal, low, medium, high or xhigh.
    #[arg(long, value_name = "LEVEL", value_parser = ["off", "minimal", "low", "medium", "high", "xhigh"])]
    pub(crate) thinking: Option<String>,
    /// Send the reply to the session's chat network too.
    #[arg(long)]
    pub(crate) deliver: bool,
    /// Print what would be sent to the model, and send nothing.
    #[arg(long, conflicts_with = "deliver")]
    pub(crate) dry_run: bool,
    /// Print the whole answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// How long the reply may take, in seconds or with a unit (10m).
    #[arg(long, value_name = "S", default_value = "600", value_parser = duration::seconds)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `verso tui`.
#[derive(Debug, Args)]
pub(crate) struct Tui {
    /// The session to talk in. Default: the main session.
    #[arg(long, value_name = "KEY")]
    pub(crate) session: Option<String>,
    /// Say this at once.
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// How much the agent thinks.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) thinking: Option<String>,
    /// Send the replies to the session's chat network too.
    #[arg(long)]
    pub(crate) deliver: bool,
    /// How many earlier messages to show.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) history_limit: u32,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// `verso logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// How many lines to print first.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub(crate) limit: u16,
    /// How much of the file to read at once, in bytes.
    #[arg(long, value_name = "N", default_value_t = 250_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_bytes: u32,
    /// Go on printing what is added.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How often to look for more, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = duration::milliseconds)]
    pub(crate) interval: Duration,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print without colour.
    #[arg(long)]
    pub(crate) plain: bool,
    /// Lines of this service or part only, such as agent or channels/telegram; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Vec<String>,
    /// Lines from this time on only: a time (2026-01-31T08:00:00Z), or how long ago (10m).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Lines of this level and worse only: trace, debug, info, warn or error.
    #[arg(long, value_name = "LEVEL", value_parser = ["trace", "debug", "info", "warn", "error"])]
    pub(crate) level: Option<String>,
    #[command(flatten)]
    pub(crate) patience: Patience,
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Logs {
    /// The last lines of one part of the gateway.
    pub(crate) fn of_subsystem(reach: &Reach, lines: u16, subsystem: &str) -> Self {
        Self {
            limit: lines,
            max_bytes: 1_000_000,
            follow: false,
            interval: Duration::from_secs(1),
            json: reach.json,
            plain: false,
            service: vec![subsystem.to_owned()],
            since: None,
            level: None,
            patience: Patience { timeout: reach.timeout },
            target: reach.target(),
        }
    }
}

/// `verso completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell. Default: that of $SHELL.
    pub(crate) shell: Option<Shell>,
    /// The same, as a flag.
    #[arg(long = "shell", value_name = "SHELL", conflicts_with = "shell")]
    pub(crate) shell_flag: Option<Shell>,
}

impl Cli {
    /// Parses the arguments, the program's name included.
    pub(crate) fn read(arguments: Vec<OsString>) -> Result<Self, Usage> {
        if let Some(service) = ServiceAlone::read(&arguments) {
            return Ok(service);
        }
        Self::try_parse_from(arguments).map_err(|error| Usage::of(&error))
    }

    /// Returns the help of the whole program.
    pub(crate) fn help() -> String {
        Self::command().render_help().to_string()
    }
}

/// `verso service` without the definitions of everything else, which a process that stays would make once and keep the memory of.
#[derive(Debug, Parser)]
struct ServiceAlone {
    #[command(flatten)]
    run: ServiceRun,
}

impl ServiceAlone {
    /// Returns what is asked for if it is this and no more. Help and mistakes are for the whole parser.
    fn read(arguments: &[OsString]) -> Option<Cli> {
        let (_, own) = arguments.split_first().filter(|(_, own)| own.first().is_some_and(|word| word == "service"))?;
        let Self { run } = Self::try_parse_from(own).ok()?;
        Some(Cli { version: false, no_color: false, _dev: false, _profile: None, command: Some(Command::Service(run)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_read_the_same_without_the_rest() {
        for line in ["verso service agent", "verso service edge --bind lan --listen tcp://[::1]:1 --check"] {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            let alone = ServiceAlone::read(&words).expect("a service");
            let whole = Cli::try_parse_from(words).expect("a command");
            assert_eq!(format!("{alone:?}"), format!("{whole:?}"));
        }
        for line in ["verso service", "verso service --help", "verso service agent --no-color", "verso services list", "verso"] {
            assert!(ServiceAlone::read(&line.split(' ').map(Into::into).collect::<Vec<_>>()).is_none(), "{line}");
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
