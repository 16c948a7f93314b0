//! What a service process is given: its name, folders, configuration, sockets and secrets.

mod sockets;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use verso_proto::wire::v1::Principal;

use crate::clock::Clock;
use crate::config::{self, Env, File};
use crate::credential::{self, Credential};
use crate::files;
use crate::links::Links;
use crate::peer::Peer;
use crate::principal::Vouched;
use crate::reload::Reload;
pub use sockets::Sockets;

/// Why a service ended, other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A folder of the service cannot be made.
    #[error("could not create {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The supervisor handed over no socket of that name.
    #[error("no socket named {0} was handed over and it cannot be bound")]
    Socket(&'static str),
    /// A socket cannot be used.
    #[error("could not use a socket")]
    Io(#[from] io::Error),
    /// The credential that the supervisor handed over cannot be used.
    #[error("could not use the credential that the supervisor handed over")]
    Credential(#[from] credential::Unusable),
    /// The secrets that the supervisor handed over cannot be read.
    #[error("could not read the secrets that the supervisor handed over")]
    Secrets(#[source] io::Error),
    /// Where the other services are said to be makes no sense.
    #[error(transparent)]
    Links(#[from] crate::links::Error),
    /// Another service's place, or none at all.
    #[error("could not listen at {address}")]
    Listen {
        /// The TCP address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The gRPC server broke.
    #[error("could not serve gRPC")]
    Serve(#[source] tonic::transport::Error),
    /// The process that started this one is gone.
    #[error("the supervisor is gone")]
    Orphaned,
}

/// What a service process is given.
#[derive(Debug, Clone)]
pub struct Context {
    /// `edge`, `presence`, `node`, `channel`, `agent` or `canvas`.
    pub name: &'static str,
    /// Holds all state of one gateway.
    pub state_dir: PathBuf,
    /// Holds the Unix sockets of all services.
    pub run_dir: PathBuf,
    /// The configuration at start.
    pub config: Arc<File>,
    /// The environment, secrets included.
    pub env: Env,
    /// The incarnation's number, minted by the supervisor: a higher one has replaced this one. 0 without a supervisor.
    pub epoch: u64,
    /// Names this incarnation in event streams.
    pub incarnation: String,
    /// The time.
    pub clock: Clock,
    /// Proves to other processes who this one is; none without a supervisor.
    pub credential: Option<Credential>,
    /// The sockets that were handed over.
    pub sockets: Sockets,
    /// What is done when the configuration changes.
    pub reload: Reload,
    /// Where it listens besides its Unix socket, and where the others do.
    pub links: Links,
}

impl Context {
    /// Reads what the process was given in its environment, and by `flags`, which count before it. The caller reads each process's
    /// environment once.
    pub fn from_environment(name: &'static str, flags: Vec<(String, String)>) -> Result<Self, Error> {
        let process = Env::process().with(flags);
        let env = match process.get("VERSO_SECRETS_FD").map(sockets::secrets).transpose().map_err(Error::Secrets)? {
            Some(secrets) => process.with(secrets),
            None => process,
        };
        let state_dir = state_dir(&env);
        let config_path = env.get("VERSO_CONFIG_PATH").map_or_else(|| state_dir.join("verso.json"), PathBuf::from);
        let run_dir = env.get("VERSO_RUN_DIR").map_or_else(|| state_dir.join("run"), PathBuf::from);
        files::create_private_dir(&run_dir).map_err(|source| Error::Folder { path: run_dir.clone(), source })?;
        let config = Arc::new(load_config(&config_path, &env)?);
        let epoch = env.get("VERSO_EPOCH").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        let sockets = Sockets::inherited(&env, run_dir.join(format!("{name}.sock")))?;
        let credential = env.get(credential::SECRET).map(Credential::parse).transpose()?;
        let links = Links::from_env(name, &env)?;
        Ok(Self {
            name,
            state_dir,
            run_dir,
            config,
            env: env.without(credential::SECRET),
            epoch,
            incarnation: uuid::Uuid::new_v4().to_string(),
            clock: Clock::system(),
            credential,
            sockets,
            reload: Reload::default(),
            links,
        })
    }

    /// Reads the configuration again, as it is now.
    pub fn reread_config(&self) -> Result<File, config::Error> {
        load_config(self.config.path(), &self.env)
    }

    /// A service alone in `state_dir`, with an empty configuration, for its own tests.
    pub fn for_test(name: &'static str, state_dir: &Path) -> Self {
        let run_dir = state_dir.join("run");
        Self {
            name,
            state_dir: state_dir.to_owned(),
            sockets: Sockets::bound_at(run_dir.join(format!("{name}.sock"))),
            run_dir,
            config: Arc::new(File::empty()),
            env: Env::default(),
            epoch: 1,
            incarnation: uuid::Uuid::new_v4().to_string(),
            clock: Clock::system(),
            credential: None,
            reload: Reload::default(),
            links: Links::default(),
        }
    }

    /// Returns the service's own folder, `<state>/<name>`, which it alone writes. Creates it when it is missing.
    pub fn folder(&self) -> Result<PathBuf, Error> {
        let path = self.state_dir.join(self.name);
        files::create_private_dir(&path).map_err(|source| Error::Folder { path: path.clone(), source })?;
        Ok(path)
    }

    /// Returns another service of the same gateway.
    pub fn peer(&self, service: &str) -> Peer {
        let local = || Peer::unix(self.run_dir.join(format!("{service}.sock")));
        let peer = self.links.peer(service).unwrap_or_else(local);
        match &self.credential {
            Some(credential) => peer.identified(credential.clone(), service, self.clock.clone()),
            None => peer,
        }
    }

    /// Vouches for whom this process has let in.
    pub fn vouch(&self, principal: Principal) -> Vouched {
        Vouched::new(principal, self.credential.as_ref())
    }
}

/// Reads the file, or what the supervisor made of it: a service that starts while the file is broken starts with the last good one.
fn load_config(path: &Path, env: &Env) -> Result<File, config::Error> {
    match env.get("VERSO_CONFIG_SNAPSHOT").map(Path::new).filter(|snapshot| snapshot.exists()) {
        Some(snapshot) => Ok(File::load(snapshot, env)?.with_path(path.to_owned())),
        None => File::load(path, env),
    }
}

/// Counts how often the process was told to read its configuration again. A signal is for the process, so this is too.
static RELOADS: LazyLock<watch::Sender<u64>> = LazyLock::new(|| watch::Sender::new(0));

/// Follows the requests to read the configuration again.
pub fn reload_requests() -> watch::Receiver<u64> {
    RELOADS.subscribe()
}

/// Returns where state is kept: `VERSO_STATE_DIR`, else `~/.verso`.
pub fn state_dir(env: &Env) -> PathBuf {
    env.get("VERSO_STATE_DIR").map_or_else(|| Path::new(env.get("HOME").unwrap_or(".")).join(".verso"), PathBuf::from)
}

/// Makes sure that this process does not outlive the supervisor that started it.
pub fn follow_supervisor(env: &Env) -> Result<(), Error> {
    let Some(supervisor) = env.get("VERSO_SUPERVISOR_PID").and_then(|pid| pid.parse::<i32>().ok()) else { return Ok(()) };
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(io::Error::from)?;
    // It may have gone before the signal was asked for.
    let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
    if parent.is_some_and(|parent| parent.get() == supervisor) { Ok(()) } else { Err(Error::Orphaned) }
}

/// Lets the process open as many files as the system allows it: every connection is one.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(error = &error as &dyn std::error::Error, "could not raise the limit of open files");
    }
}

/// Has the process, and whatever it starts, leave no core dump: what it holds in memory are also secrets.
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(error = &error as &dyn std::error::Error, "could not turn core dumps off");
    }
}

/// Set by SIGUSR1. A signal is for the process, so this is too.
static REPLACED: AtomicBool = AtomicBool::new(false);

/// Whether this process stops because another one has taken its place.
pub fn is_replaced() -> bool {
    REPLACED.load(Ordering::Relaxed)
}

/// Triggers `shutdown` on SIGTERM, SIGINT or, when another process has taken this one's place, SIGUSR1. SIGHUP asks for the configuration to
/// be read again: see [`reload_requests`].
#[allow(clippy::disallowed_methods, reason = "lives as long as the process")]
pub fn stop_on_signals(shutdown: CancellationToken) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (mut hang_up, mut replaced) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = replaced.recv() => {
                    REPLACED.store(true, Ordering::Relaxed);
                    break;
                }
                _ = hang_up.recv() => RELOADS.send_modify(|count| *count += 1),
            }
        }
        shutdown.cancel();
    });
    Ok(())
}
