//! `verso services`: asks the supervisor itself, so it works while the gateway's port does not; or, by a URL, a gateway elsewhere.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;
use verso_kit::config::Env;
use verso_kit::peer::{Caller, Peer};
use verso_proto::methods::Call;
use verso_proto::supervisor::v1::{
    ServiceInfo, ServiceUsage, ServicesDrainRequest, ServicesListRequest, ServicesLogsRequest, ServicesRestartRequest,
    ServicesRollbackRequest,
};
use verso_supervisor::{Holder, ServiceName};

use super::logs::record::Record;
use super::{Session, words};
use crate::args::{self, Services, ServicesGroup, ServicesLogs};
use crate::client::{Connection, Mode};
use crate::environment;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output::{self, Style, Table, Tone, watched};
use crate::profile::Profile;

/// How long a gateway elsewhere may take.
const PATIENCE: Duration = Duration::from_mins(6);

/// How long a process may take to stop, by the supervisor's rules.
const DRAIN_MAX: Duration = Duration::from_secs(315);

/// What a rescue may do, and nothing else.
const SCOPE: &str = "operator.rescue";

/// Variables that would lead from another profile back to this one.
const OF_THIS_PROFILE: [&str; 5] =
    ["VERSO_PROFILE", "VERSO_STATE_DIR", "VERSO_CONFIG_PATH", "VERSO_GATEWAY_PORT", "VERSO_CANVAS_HOST_PORT"];

pub(super) async fn run(session: &Session, group: &ServicesGroup) -> anyhow::Result<()> {
    // A name that is none is said before anybody is looked for.
    if let Services::Restart { name } | Services::Drain { name, .. } | Services::Rollback { name, .. } = &group.command {
        name.parse::<ServiceName>()?;
    }
    let mut rescue = Rescue::reach(session, group).await?;
    match &group.command {
        Services::List => {
            let answer = rescue.ask(ServicesListRequest {}).await?;
            if group.json {
                return Ok(output::document(&answer)?);
            }
            Ok(output::line(table(session.style, &answer.services))?)
        }
        Services::Restart { name } => {
            let name: ServiceName = name.parse()?;
            let request = ServicesRestartRequest { name: name.to_string(), on_behalf_of: rescue.on_behalf_of.clone() };
            let answer = rescue.working(&format!("Restarting {name}"), request).await?;
            report(group.json, &answer, || format!("{name} restarted{}", pid(answer.service.as_ref())))
        }
        Services::Drain { name, deadline } => {
            let name: ServiceName = name.parse()?;
            let deadline_ms = deadline.map(|deadline| i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX));
            let request = ServicesDrainRequest { name: name.to_string(), deadline_ms, on_behalf_of: rescue.on_behalf_of.clone() };
            let answer = rescue.working(&format!("Draining {name}"), request).await?;
            let again = rescue.command(session, &format!("restart {name}"));
            report(group.json, &answer, || format!("{name} is down. Start it with: {again}"))
        }
        Services::Rollback { name, to } => {
            let name: ServiceName = name.parse()?;
            let request = ServicesRollbackRequest { name: name.to_string(), generation: *to, on_behalf_of: rescue.on_behalf_of.clone() };
            let answer = rescue.working(&format!("Rolling {name} back"), request).await?;
            report(group.json, &answer, || {
                let pid = pid(answer.service.as_ref());
                format!("{name} works with generation {} of the file{pid}. The file itself is as it was: correct it.", answer.generation)
            })
        }
        Services::Logs(arguments) => logs(session, group, arguments, &mut rescue).await,
    }
}

fn report(as_json: bool, answer: &impl serde::Serialize, words: impl FnOnce() -> String) -> anyhow::Result<()> {
    if as_json { Ok(output::document(answer)?) } else { Ok(output::line(words())?) }
}

fn pid(service: Option<&ServiceInfo>) -> String {
    service.and_then(|service| service.pid).map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

async fn logs(session: &Session, group: &ServicesGroup, arguments: &ServicesLogs, rescue: &mut Rescue) -> anyhow::Result<()> {
    let request = ServicesLogsRequest {
        name: arguments.name.clone(),
        limit: Some(arguments.limit.into()),
        max_bytes: Some(1_000_000),
        on_behalf_of: rescue.on_behalf_of.clone(),
        ..ServicesLogsRequest::default()
    };
    let answer = rescue.ask(request).await?;
    if group.json {
        return Ok(output::document(&answer)?);
    }
    for line in &answer.lines {
        match Record::parse(line) {
            Some(record) => output::line(record.render(session.style, output::stdout_is_terminal()))?,
            None => output::line(line)?,
        }
    }
    Ok(())
}

/// Whoever looks after the processes: over their supervisor's socket, or through a gateway.
struct Rescue {
    channel: Channel,
    /// Whom the audit log names beside the process that asks.
    on_behalf_of: Option<String>,
    of: Option<String>,
}

enum Channel {
    Supervisor(Peer),
    Gateway(Box<Connection>),
}

impl Rescue {
    async fn reach(session: &Session, group: &ServicesGroup) -> anyhow::Result<Self> {
        let on_behalf_of = session.instance.profile.name().map(|name| format!("profile {name}"));
        let of = group.of.clone();
        if let Some(url) = &group.url {
            let target = args::Target { url: Some(url.clone()), token: group.token.clone(), password: None };
            let connection = Connection::open_with(session, &target, Duration::from_secs(10), Mode::Cli, &[SCOPE]).await?;
            return Ok(Self { channel: Channel::Gateway(Box::new(connection)), on_behalf_of, of });
        }
        let peer = match &of {
            Some(name) => supervisor(&other(&session.instance.env, name)?)?,
            None => supervisor(&session.instance)?,
        };
        Ok(Self { channel: Channel::Supervisor(peer), on_behalf_of, of })
    }

    async fn ask<C>(&mut self, request: C) -> anyhow::Result<C::Response>
    where
        C: Call + serde::Serialize,
        C::Response: serde::de::DeserializeOwned,
    {
        match &mut self.channel {
            Channel::Supervisor(peer) => peer.call(request, &Caller::default()).await.map_err(refused),
            Channel::Gateway(connection) => {
                let params: Value = serde_json::to_value(&request)?;
                Ok(serde_json::from_value(connection.call(C::METHOD.name, params, PATIENCE).await?)?)
            }
        }
    }

    /// The same for what may take a while.
    async fn working<C>(&mut self, words: &str, request: C) -> anyhow::Result<C::Response>
    where
        C: Call + serde::Serialize,
        C::Response: serde::de::DeserializeOwned,
    {
        watched(words, self.ask(request)).await
    }

    fn command(&self, session: &Session, rest: &str) -> String {
        let of = self.of.as_ref().map(|name| format!("--of {name} ")).unwrap_or_default();
        session.instance.command(&format!("services {of}{rest}"))
    }
}

/// Restarts one process of this machine's gateway.
pub(super) async fn restart(session: &Session, name: &str, json: bool) -> anyhow::Result<()> {
    let group = ServicesGroup { command: Services::Restart { name: name.to_owned() }, of: None, url: None, token: None, json };
    run(session, &group).await
}

/// Has the agent service take no new turns and finish those it has, `wait` long at most. It stays down for the restart that follows.
pub(super) async fn let_turns_end(session: &Session, wait: Duration) -> anyhow::Result<()> {
    let deadline_ms = i64::try_from(wait.min(DRAIN_MAX).as_millis()).unwrap_or(i64::MAX);
    let request = ServicesDrainRequest { name: ServiceName::Agent.to_string(), deadline_ms: Some(deadline_ms), on_behalf_of: None };
    let supervisor = supervisor(&session.instance)?;
    let answer = watched("Waiting for running turns to end", supervisor.call(request, &Caller::default())).await;
    answer.map(drop).map_err(refused)
}

/// Finds the gateway of another profile on this machine.
fn other(env: &Env, name: &str) -> anyhow::Result<Instance> {
    let profile = if name == "main" { Profile::default() } else { Profile::named(name)? };
    let env = Env::from_pairs(env.iter().filter(|(name, _)| !OF_THIS_PROFILE.contains(name)));
    Ok(Instance::new(profile.clone(), environment::complete(env, &profile)))
}

/// Fetches the processes of the gateway.
pub(super) async fn list(session: &Session) -> anyhow::Result<Vec<ServiceInfo>> {
    let answer = supervisor(&session.instance)?.call(ServicesListRequest {}, &Caller::default()).await.map_err(refused)?;
    Ok(answer.services)
}

/// Draws the processes for people.
pub(super) fn table(style: Style, services: &[ServiceInfo]) -> Table {
    let mut table = Table::new(&["Service", "State", "Pid", "Up", "Memory", "Starts", "Last exit"]);
    for service in services {
        let tone = match service.state.as_str() {
            "serving" => Tone::Good,
            "failed" | "stopped" => Tone::Bad,
            _ => Tone::Warning,
        };
        let retry = service.retry_in_ms.map(|ms| format!(" (next try in {})", words::duration(ms))).unwrap_or_default();
        let problem = if service.config_problem.is_some() { " (!)" } else { "" };
        let short = if service.pressure.is_empty() { String::new() } else { format!(" (short of {})", service.pressure.join(", ")) };
        table.row([
            service.name.clone(),
            format!("{}{problem}{short}{retry}", style.paint(tone, &service.state)),
            service.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            service.uptime_ms.map_or_else(|| "-".to_owned(), words::duration),
            memory(service),
            service.starts.to_string(),
            service.last_exit.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

/// What the process uses of its own, and above what it is replaced.
fn memory(service: &ServiceInfo) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let words = |usage: &ServiceUsage| format!("{} of {} MiB", mib(usage.memory_bytes), mib(usage.memory_soft_bytes));
    service.usage.as_ref().map_or_else(|| "-".to_owned(), words)
}

/// Says which services are short of what.
pub(super) fn shortages(services: &[ServiceInfo]) -> Vec<String> {
    let short = services.iter().filter(|service| !service.pressure.is_empty());
    short.map(|service| format!("{} is short of {}", service.name, service.pressure.join(", "))).collect()
}

/// Says which services do not work with the newest configuration, and why.
pub(super) fn problems(services: &[ServiceInfo]) -> Vec<String> {
    let words = |service: &ServiceInfo| Some(format!("{}: {}", service.name, service.config_problem.as_ref()?));
    services.iter().filter_map(words).collect()
}

/// Finds the supervisor. A call would wait for one that may be restarting; none is running at all when nobody holds its socket.
pub(super) fn supervisor(instance: &Instance) -> anyhow::Result<Peer> {
    let run_dir = Holder::of(&instance.state_dir).map_or_else(|| instance.run_dir(), |holder| holder.run_dir);
    let socket = run_dir.join("supervisor.sock");
    if UnixStream::connect(&socket).is_err() {
        let text =
            format!("No gateway is running in {}.\nStart it with: {}", instance.short(&instance.state_dir), instance.command("gateway"));
        return Err(Failure::new(text).into());
    }
    Ok(Peer::supervisor(&run_dir))
}

pub(super) fn refused(status: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    anyhow::Error::new(status)
}
