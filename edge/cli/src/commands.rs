//! From arguments to a command, and from its end to an exit code.

mod adapter;
mod agent;
mod agents;
mod approvals;
mod backup;
mod call;
mod certificates;
mod channels;
#[cfg(feature = "chaos")]
mod chaos;
mod completion;
mod config;
mod configure;
mod cron;
mod dashboard;
mod devices;
mod doctor;
mod gateway_auth;
mod gateway_discover;
mod gateway_probe;
mod gateway_service;
mod gateway_status;
mod health;
mod logs;
mod manual;
mod message;
mod migrate;
mod node;
mod node_service;
mod nodes;
mod onboard;
mod pairing;
mod remote;
mod reset;
mod security;
mod services;
mod sessions;
mod setup;
mod skills;
mod status;
mod system;
mod update;
mod words;

use std::io;
use std::process::ExitCode;

use verso_kit::config::Env;

use crate::args::{Cli, Command, GatewayCommand, GatewayService, Host, NodeCommand, Security, ServiceFlags, Tui, Usage};
use crate::client::{self, Target};
use crate::config::Snapshot;
use crate::environment;
use crate::failure::{self, Failure};
use crate::gateway::{self, runtime};
use crate::instance::Instance;
use crate::output::{self, Style};
use crate::profile::Profile;
use crate::service;
use crate::tui;

/// What scripts expect of a bad profile.
const BAD_PROFILE: u8 = 2;

/// What every command knows.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) instance: Instance,
    pub(crate) snapshot: Snapshot,
    pub(crate) style: Style,
    no_color: bool,
}

/// Runs the command that the arguments ask for.
pub(crate) fn main() -> ExitCode {
    let (profile, arguments) = match Profile::take(std::env::args_os()) {
        Ok(taken) => taken,
        Err(error) => {
            output::notice(format!("[verso] {error}"));
            return ExitCode::from(BAD_PROFILE);
        }
    };
    let result = match Cli::read(arguments) {
        Ok(cli) => run(&profile, cli),
        Err(Usage::Help(text)) => output::part(&text).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Err(Usage::Wrong(text)) => Err(Failure::new(text).into()),
    };
    result.unwrap_or_else(|error| ended_by(&error))
}

fn run(profile: &Profile, cli: Cli) -> anyhow::Result<ExitCode> {
    if cli.version {
        output::line(env!("CARGO_PKG_VERSION"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let no_color = cli.no_color;
    let session = || {
        let instance = Instance::new(profile.clone(), environment::complete(Env::process(), profile));
        let snapshot = Snapshot::read(&instance);
        Session { style: Style::of_stdout(&snapshot.env, no_color), instance, snapshot, no_color }
    };
    match cli.command {
        None => output::part(&Cli::help())?,
        Some(Command::Protocol { command }) => system::protocol(&command)?,
        Some(Command::Completion(arguments)) => completion::run(&arguments, &Env::process())?,
        Some(Command::AdapterExec(arguments)) => return Err(adapter::exec(&arguments).into()),
        Some(Command::ChannelAccount) => return service::run_account(),
        Some(Command::PdfText { pages }) => verso_gateway::read_pdf(pages)?,
        // Its environment is complete: whoever started it has seen to that.
        Some(Command::Service(arguments)) => return service::run(&arguments),
        #[cfg(feature = "chaos")]
        Some(Command::Chaos(arguments)) => return runtime()?.block_on(chaos::run(&session(), &arguments)),
        Some(Command::Certificates(arguments)) => certificates::run(&arguments)?,
        Some(Command::Gateway(gateway)) => return of_gateway(session(), gateway),
        Some(Command::Health(arguments)) => runtime()?.block_on(health::run(&session(), &arguments))?,
        Some(Command::Status(arguments)) => runtime()?.block_on(status::run(&session(), &arguments))?,
        Some(Command::Agent(arguments)) => {
            let session = session();
            session.guard()?;
            runtime()?.block_on(agent::run(&session, &arguments))?;
        }
        Some(Command::Node { command }) => of_node(&session(), &command)?,
        Some(Command::Logs(arguments)) => runtime()?.block_on(logs::run(&session(), &arguments))?,
        Some(Command::Host(Host::Man(arguments))) => manual::run(&arguments)?,
        Some(Command::Host(Host::Migrate { command })) => migrate::run(&session(), &command)?,
        Some(Command::Host(Host::Dashboard(arguments))) => dashboard::run(&session(), &arguments)?,
        Some(Command::Host(Host::Setup(arguments))) => setup::run(&usable(session())?, &arguments)?,
        Some(Command::Host(Host::Onboard(arguments))) => onboard::run(&usable(session())?, &arguments)?,
        Some(Command::Host(Host::Configure(arguments))) => configure::run(&usable(session())?, &arguments)?,
        Some(Command::Host(Host::Security { command: Security::Audit(arguments) })) => {
            runtime()?.block_on(security::run(&session(), &arguments))?;
        }
        Some(Command::Host(Host::Reset(arguments))) => reset::reset(&session(), &arguments)?,
        Some(Command::Host(Host::Uninstall(arguments))) => reset::uninstall(&session(), &arguments)?,
        Some(Command::Host(Host::Doctor(arguments))) => runtime()?.block_on(Box::pin(doctor::run(&session(), &arguments)))?,
        Some(Command::Tui(arguments)) => {
            let session = session();
            session.guard()?;
            let options = client::options(&session, &Target::find(&session, &arguments.target)?);
            let Tui { session: key, message, thinking, deliver, history_limit, .. } = arguments;
            let start = tui::Start { session: key, message, thinking, deliver, history_limit };
            runtime()?.block_on(Box::pin(tui::run(options, start)))?;
        }
        Some(Command::Services(group)) => runtime()?.block_on(services::run(&session(), &group))?,
        Some(Command::Update(arguments)) => runtime()?.block_on(update::run(&session(), &arguments))?,
        Some(Command::Backup { command }) => backup::run(&session(), &command)?,
        Some(Command::Config { command }) => config::run(&session(), &command)?,
        Some(other) => {
            let session = session();
            session.guard()?;
            runtime()?.block_on(Box::pin(of_group(&session, other)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A configuration that cannot be used is mended first.
fn usable(session: Session) -> Result<Session, Failure> {
    session.guard().map(|()| session)
}

/// Families of commands that ask the gateway.
async fn of_group(session: &Session, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Sessions(group) => sessions::run(session, &group).await,
        Command::Message(group) => message::run(session, &group).await,
        Command::Channels(group) => channels::run(session, &group).await,
        Command::Devices(group) => devices::run(session, &group).await,
        Command::Pairing(group) => pairing::run(session, &group).await,
        Command::Nodes(group) => nodes::run(session, &group).await,
        Command::Cron(group) => cron::run(session, &group).await,
        Command::Agents(group) => agents::run(session, &group).await,
        Command::Models(group) => agents::models(session, &group).await,
        Command::Skills(group) => skills::run(session, &group).await,
        Command::Approvals(group) => approvals::run(session, &group).await,
        Command::System(group) => system::run(session, &group).await,
        other => Err(Failure::new(format!("not a command of the gateway: {other:?}")).into()),
    }
}

fn of_gateway(session: Session, gateway: crate::args::Gateway) -> anyhow::Result<ExitCode> {
    let flags = match gateway.command {
        Some(GatewayCommand::Call(arguments)) => {
            runtime()?.block_on(call::run(&session, &arguments))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(GatewayCommand::Service(command)) => return of_service(&session, &command).map(|()| ExitCode::SUCCESS),
        Some(GatewayCommand::Health(arguments)) => {
            runtime()?.block_on(health::run_gateway(&session, &arguments))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(GatewayCommand::Status(arguments)) => return runtime()?.block_on(gateway_status::run(&session, &arguments)),
        Some(GatewayCommand::Run(flags)) => *flags,
        None => gateway.run,
    };
    session.guard()?;
    if session.snapshot.missing.is_some() {
        return Err(session.invalid().into());
    }
    let Session { instance, snapshot, no_color, .. } = session;
    gateway::run(&instance, snapshot, no_color, &flags)
}

fn of_node(session: &Session, command: &NodeCommand) -> anyhow::Result<()> {
    let act = |action, flags: &ServiceFlags| node_service::act(session, action, *flags);
    match command {
        NodeCommand::Run(arguments) => {
            session.guard()?;
            runtime()?.block_on(node::run(session, arguments))
        }
        NodeCommand::Install(arguments) => node::install(session, arguments),
        NodeCommand::Status(flags) => node_service::status(session, *flags),
        NodeCommand::Uninstall(flags) => act("uninstall", flags),
        NodeCommand::Start(flags) => act("start", flags),
        NodeCommand::Stop(flags) => act("stop", flags),
        NodeCommand::Restart(flags) => act("restart", flags),
    }
}

fn of_service(session: &Session, command: &GatewayService) -> anyhow::Result<()> {
    let act = |action, flags: &ServiceFlags| gateway_service::act(session, action, *flags);
    match command {
        GatewayService::Probe(arguments) => runtime()?.block_on(gateway_probe::run(session, arguments)),
        GatewayService::Discover(arguments) => gateway_discover::run(session, arguments),
        GatewayService::UsageCost(arguments) => runtime()?.block_on(gateway_probe::usage_cost(session, arguments)),
        GatewayService::Install(arguments) => gateway_service::install(session, arguments),
        GatewayService::Uninstall(flags) => act("uninstall", flags),
        GatewayService::Start(flags) => act("start", flags),
        GatewayService::Stop(flags) => act("stop", flags),
        GatewayService::Restart(arguments) => runtime()?.block_on(gateway_service::restart(session, arguments)),
        GatewayService::AuthToken(arguments) => gateway_auth::run(session, arguments),
    }
}

impl Session {
    /// The same session, with what was read so far.
    fn again(&self) -> Self {
        let snapshot = Snapshot::read(&self.instance);
        let instance = Instance::new(self.instance.profile.clone(), self.instance.env.clone());
        Self { instance, snapshot, style: self.style, no_color: self.no_color }
    }

    /// Refuses to go on with a configuration that cannot be used. Commands that look into what is wrong do not ask.
    fn guard(&self) -> Result<(), Failure> {
        if self.snapshot.is_valid() { Ok(()) } else { Err(self.invalid()) }
    }

    fn invalid(&self) -> Failure {
        Failure::refusal(self.snapshot.complaint(&self.instance), &self.snapshot.env)
    }
}

/// Prints the error once, with its causes, and chooses the exit code.
fn ended_by(error: &anyhow::Error) -> ExitCode {
    let is_closed_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if let Some(failure) = error.downcast_ref::<Failure>() {
        if !failure.text().is_empty() {
            output::notice(failure.text());
        }
        return failure.code();
    }
    // Whoever read our output has seen enough.
    if error.chain().any(is_closed_pipe) {
        return ExitCode::SUCCESS;
    }
    output::notice(format!("Error: {}", failure::chain(error.as_ref())));
    ExitCode::FAILURE
}
