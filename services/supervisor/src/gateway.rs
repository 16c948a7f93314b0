//! One gateway from its lock to its last process.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use verso_kit::clock::Clock;
use verso_kit::config::{Env, File};
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;

use crate::board::{Board, State};
use crate::cgroups::Cgroups;
use crate::config::{Config, Listening};
use crate::epochs::Epochs;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::grpc;
use crate::keeper::Shared;
use crate::launch::Launcher;
use crate::lock::{self, Lock, Tenure};
use crate::metrics;
use crate::pace::Paces;
use crate::reload::Reloader;
use crate::service_name::ServiceName;
use crate::signals::{Signal, Signals};
use crate::sockets::{self, Ports};
use crate::warden::Warden;

/// A gateway whose services have been started.
#[derive(Debug)]
pub(crate) struct Gateway {
    fleet: Fleet,
    reloader: Option<Arc<Reloader>>,
    listening: Listening,
    rpc: (Tasks, CancellationToken),
    // Dropped in this order: nobody may take the folder over while our sockets are in it.
    _sockets: SocketFiles,
    _lock: Lock,
}

/// The names of the sockets; removed with it.
#[derive(Debug)]
struct SocketFiles(PathBuf, Tenure);

impl Drop for SocketFiles {
    fn drop(&mut self) {
        if !self.1.holds() {
            return;
        }
        if let Err(error) = sockets::remove_sockets(&self.0) {
            warn!(error = &error as &dyn std::error::Error, "sockets not removed");
        }
        if !self.0.ends_with("run") {
            // The short folder is ours alone; one that is not empty stays.
            drop(fs::remove_dir(&self.0));
        }
    }
}

impl Gateway {
    /// Takes the state folder, binds every socket and starts every service.
    pub(crate) async fn boot(config: &mut Config, shutdown: &CancellationToken) -> Result<Self, Error> {
        let (env, clock) = (Env::process(), Clock::system());
        let usual = config.state_dir.join("run");
        verso_kit::files::create_private_dir(&usual).map_err(|source| Error::RunDir { path: usual, source })?;
        let run_dir = sockets::run_dir(&config.state_dir, &env);
        let holder = lock::this_process(&config.config_path, &run_dir, &clock);
        let lock = Lock::acquire(&config.state_dir, config.limits.lock_wait, &holder).await?;
        let tenure = lock.tenure().map_err(|source| Error::RunDir { path: run_dir.clone(), source })?;
        sockets::prepare_run_dir(&run_dir)?;
        let socket_files = SocketFiles(run_dir.clone(), tenure.clone());
        let ports = Ports::bind(&config.public, config.canvas_port, &config.limits).await?;
        let listening = Listening {
            public: ports.public_addresses(),
            canvas: ports.canvas_address(),
            run_dir: run_dir.clone(),
            elapsed: Duration::ZERO,
        };
        let launcher = Launcher::new(config, &listening, &env).map_err(|source| Error::RunDir { path: run_dir, source })?;
        let shared = Arc::new(Shared {
            launcher,
            epochs: Epochs::load(&config.state_dir, &clock).during(tenure),
            board: Board::new(&config.services),
            limits: config.limits.clone(),
            paces: Paces::new(&config.limits),
            tasks: Tasks::new(shutdown.clone()),
            at_once: CancellationToken::new(),
        });
        let source = config.configuration.take();
        let first = source.as_ref().and_then(|source| (source.read)().ok());
        for name in &config.services {
            let Some(first) = &first else { break };
            shared.launcher.hand_over(*name, &first.value).map_err(|source| Error::RunDir { path: listening.run_dir.clone(), source })?;
            shared.board.update(*name, |entry| entry.config_generation = 1);
        }
        metrics::start(Arc::downgrade(&shared));
        let groups = Cgroups::delegated();
        let fleet = Fleet::start(&config.services, ports, shared).await?;
        let reloader = source.zip(first).map(|(source, first)| Arc::new(Reloader::new(source, &first, fleet.clone())));
        let rpc = serve_rpcs(config, &fleet, reloader.clone(), (env, shutdown));
        if let Some(reloader) = &reloader {
            rpc.0.spawn("reload", Arc::clone(reloader).follow(rpc.1.clone()));
        }
        rpc.0.spawn("warden", Warden::new(fleet.clone(), reloader.clone(), groups).run(rpc.1.clone()));
        Ok(Self { fleet, reloader, listening, rpc, _sockets: socket_files, _lock: lock })
    }

    /// Tells the caller how the start goes on.
    pub(crate) fn announce(&self, config: &mut Config, started: Instant) {
        let (board, services) = (Arc::clone(&self.fleet.shared), config.services.clone());
        let (to_listening, to_ready) = (config.announce.listening.take(), config.announce.ready.take());
        let mut listening = self.listening.clone();
        let shutdown = self.rpc.1.clone();
        self.rpc.0.spawn("announce", async move {
            let news = async {
                if services.contains(&ServiceName::Edge) {
                    board.board.reached(&[ServiceName::Edge], State::Serving).await;
                }
                listening.elapsed = started.elapsed();
                // A caller that does not listen any more misses nothing.
                to_listening.map(|sender| sender.send(listening));
                board.board.reached(&services, State::Serving).await;
                info!(elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), "services ready");
                to_ready.map(|sender| sender.send(services));
            };
            tokio::select! {
                () = news => {}
                () = shutdown.cancelled() => {}
            }
        });
    }

    /// Follows signals until the gateway is to stop.
    pub(crate) async fn steer(&self, config: &Config, signals: &mut Signals, shutdown: &CancellationToken) {
        loop {
            let signal = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                signal = signals.next() => signal,
            };
            match signal {
                Signal::Stop(name) => {
                    info!("received {name}; shutting down");
                    return;
                }
                Signal::Restart(name)
                    if self.reloader.as_ref().map_or(config.restart_on_signal, |reloader| reloader.restart_on_signal()) =>
                {
                    info!("received {name}; restarting");
                    self.fleet.roll();
                }
                Signal::Restart(name) => {
                    warn!("{name} restart ignored (not authorized; enable commands.restart or use gateway tool).");
                }
                Signal::Reload => match &self.reloader {
                    Some(reloader) => reloader.ask(),
                    None => self.fleet.reload(),
                },
            }
        }
    }

    /// Stops everything.
    pub(crate) async fn close(self, signals: &mut Signals) -> Result<(), Error> {
        let all_stopped = self.fleet.stop();
        tokio::pin!(all_stopped);
        let cut_short = tokio::select! {
            biased;
            () = &mut all_stopped => false,
            signal = signals.stop() => {
                warn!("received {signal} during shutdown; killing what is left");
                self.fleet.shared.at_once.cancel();
                all_stopped.await;
                true
            }
        };
        let (tasks, rpc_stop) = self.rpc;
        rpc_stop.cancel();
        tasks.join().await;
        if self.fleet.shared.tasks.failed() {
            return Err(Error::Panicked);
        }
        if cut_short { Err(Error::StoppedAtOnce) } else { Ok(()) }
    }
}

/// Serves `services.list` and `services.restart` on a socket of our own.
fn serve_rpcs(
    config: &Config,
    fleet: &Fleet,
    reloader: Option<Arc<Reloader>>,
    (env, shutdown): (Env, &CancellationToken),
) -> (Tasks, CancellationToken) {
    let run_dir = fleet.shared.launcher.run_dir().to_owned();
    let context = Context {
        name: "supervisor",
        state_dir: config.state_dir.clone(),
        sockets: verso_kit::service::Sockets::bound_at(run_dir.join("supervisor.sock")),
        run_dir,
        config: Arc::new(File::empty()),
        env,
        epoch: 0,
        incarnation: String::new(),
        clock: Clock::system(),
        credential: Some(fleet.shared.launcher.credential().clone()),
        reload: verso_kit::reload::Reload::default(),
        links: verso_kit::links::Links::default(),
    };
    let (tasks, stop) = (Tasks::new(shutdown.clone()), CancellationToken::new());
    let (routes, stopped) = (grpc::routes(fleet.clone(), reloader, &config.state_dir), stop.clone());
    tasks.spawn("rpc", async move {
        if let Err(error) = verso_kit::grpc::serve(&context, routes, stopped).await {
            error!(error = &error as &dyn std::error::Error, "operators cannot reach the supervisor");
        }
    });
    (tasks, stop)
}
