//! `verso service <name>`: one service in this process. The supervisor, compose files and units start it.

mod alone;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use verso_adapter::{Handover, Lifeline};
use verso_channel::Reach;
use verso_kit::CancellationToken;
use verso_kit::config::Env;
use verso_kit::peer::Peer;
use verso_kit::service::{self, Context};
use verso_kit::telemetry;
use verso_supervisor::ServiceName;

use crate::args::ServiceRun;

/// More threads than this gain the edge nothing: the services are the limit then.
const EDGE_THREADS_MAX: usize = 4;

/// The edge's port and the canvas's, when nobody says another.
const PORT: u16 = 18_789;
const CANVAS_PORT: u16 = 18_793;

/// `SERVING` in the health protocol.
const SERVING: i32 = 1;

/// How long a service may take to say whether it serves.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last telemetry of an account's process may take.
const ACCOUNT_FLUSH: Duration = Duration::from_secs(1);

/// Runs the service until it is told to stop.
pub(crate) fn run(arguments: &ServiceRun) -> anyhow::Result<ExitCode> {
    let name: ServiceName = arguments.name.parse()?;
    // Fails only when there is a provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let flags = [
        ("VERSO_LISTEN", arguments.listen.clone()),
        ("VERSO_PEERS", arguments.peers.clone()),
        ("VERSO_TLS_DIR", arguments.tls_dir.as_ref().map(|folder| folder.display().to_string())),
    ];
    let flags = flags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    if arguments.check {
        return check(name);
    }
    let started = || anyhow::Ok(bound(Context::from_environment(name.as_str(), flags)?, name, arguments)?);
    let context = started().with_context(|| format!("the service {name} could not start"))?;
    service::follow_supervisor(&context.env)?;
    service::forbid_core_dumps();
    let reach = confine(name, &context);
    runtime(name)?.block_on(serve(name, context, reach))
}

/// Takes from a process what it has no use for.
fn confine(name: ServiceName, context: &Context) -> io::Result<Reach> {
    match name {
        ServiceName::Channel => verso_channel::confine(context),
        _ => Ok(Reach::Free("it is not exposed to chat networks")),
    }
}

/// Binds the port that the service has besides its own socket, if somebody asks for another than the usual one.
fn bound(context: Context, name: ServiceName, arguments: &ServiceRun) -> anyhow::Result<Context> {
    if arguments.bind.as_deref() != Some("lan") {
        return Ok(context);
    }
    let (socket, variable, usual) = match name {
        ServiceName::Edge => ("public", "VERSO_GATEWAY_PORT", PORT),
        ServiceName::Canvas => ("canvas", "VERSO_CANVAS_HOST_PORT", CANVAS_PORT),
        _ => anyhow::bail!("{name} has no port of its own"),
    };
    let port = context.env.get(variable).map(str::parse).transpose().with_context(|| format!("{variable} is no port"))?;
    let address = (Ipv4Addr::UNSPECIFIED, port.unwrap_or(usual));
    let listener = TcpListener::bind(address).with_context(|| format!("could not listen on port {}", address.1))?;
    let sockets = context.sockets.clone().with_tcp(socket, vec![listener]);
    Ok(Context { sockets, ..context })
}

/// Asks the service that runs beside this process whether it serves.
fn check(name: ServiceName) -> anyhow::Result<ExitCode> {
    let env = Env::process();
    let run_dir = env.get("VERSO_RUN_DIR").map_or_else(|| service::state_dir(&env).join("run"), PathBuf::from);
    let asking = async {
        let mut client = HealthClient::new(Peer::unix(run_dir.join(format!("{name}.sock"))).channel());
        let answer = client.check(HealthCheckRequest { service: name.to_string() });
        timeout(CHECK_TIMEOUT, answer).await.is_ok_and(|answer| answer.is_ok_and(|answer| answer.get_ref().status == SERVING))
    };
    let serves = Builder::new_current_thread().enable_all().build()?.block_on(asking);
    Ok(if serves { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn serve(name: ServiceName, context: Context, reach: io::Result<Reach>) -> anyhow::Result<ExitCode> {
    let telemetry = telemetry::start(name.as_str(), &context.state_dir, &context.config, &context.env)?;
    match reach {
        Ok(Reach::Confined) => tracing::info!("confined to its own files"),
        Ok(Reach::Free(why)) => tracing::debug!(why, "not confined to its own files"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "could not be confined to its own files"),
    }
    let shutdown = CancellationToken::new();
    service::stop_on_signals(shutdown.clone())?;
    let follower = alone::follow(name, &context, &shutdown);
    let served = work(name, context, shutdown).await;
    if let Err(error) = &served {
        // Who reads the log must find out why the process ended.
        tracing::error!(error = error.as_ref() as &dyn std::error::Error, "the service cannot go on");
    }
    telemetry.finish().await;
    served.map(|()| follower.exit_code())
}

async fn work(name: ServiceName, context: Context, shutdown: CancellationToken) -> anyhow::Result<()> {
    match name {
        ServiceName::Edge => verso_gateway::serve(context, shutdown).await?,
        ServiceName::Presence => verso_presence::serve(context, shutdown).await?,
        ServiceName::Node => verso_node::serve(context, shutdown).await?,
        ServiceName::Channel => verso_channel::serve(context, shutdown).await?,
        ServiceName::Agent => verso_agent::serve(context, shutdown).await?,
        ServiceName::Canvas => verso_canvas::serve(context, shutdown).await?,
    }
    Ok(())
}

/// Runs the account that this process was told of on its standard input.
pub(crate) fn run_account() -> anyhow::Result<ExitCode> {
    // Fails only when there is a provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let (told, lifeline) = Handover::take()?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        // The channel service reads what is printed here, and has the log file; what it logs of that, it exports.
        let logging = json!({"level": "silent", "consoleLevel": "info"});
        let (config, env) = told.telemetry.clone().unwrap_or_default().applied(&logging, Env::process());
        let env = env.with([("VERSO_CHANNEL", told.channel.clone()), ("VERSO_ACCOUNT", told.account.clone())]);
        let telemetry = telemetry::start("channel-account", &service::state_dir(&env), &config, &env)?;
        let shutdown = CancellationToken::new();
        service::stop_on_signals(shutdown.clone())?;
        let served = account(told, lifeline, shutdown).await;
        // Who waits for the end of this process kills it soon.
        drop(timeout(ACCOUNT_FLUSH, telemetry.finish()).await);
        served.map(|()| ExitCode::SUCCESS)
    })
}

async fn account(told: Handover, lifeline: Lifeline, shutdown: CancellationToken) -> anyhow::Result<()> {
    if told.channel == verso_whatsapp::CHANNEL {
        return Ok(verso_whatsapp::host(told, lifeline, shutdown).await?);
    }
    Ok(verso_channel::host(told, lifeline, shutdown).await?)
}

/// One thread: passing work between threads costs more than it gains, but for the edge of a large machine.
fn runtime(name: ServiceName) -> io::Result<Runtime> {
    let cores = available_parallelism().map_or(1, usize::from);
    if name == ServiceName::Edge && cores > 2 {
        return Builder::new_multi_thread().worker_threads((cores / 2).min(EDGE_THREADS_MAX)).enable_all().build();
    }
    Builder::new_current_thread().enable_all().build()
}
