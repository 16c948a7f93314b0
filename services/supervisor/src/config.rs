//! What the supervisor is told by the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;
use verso_config::Problem;

use crate::service_name::ServiceName;

/// Everything that one gateway needs to start.
#[derive(Debug)]
pub struct Config {
    /// The state folder. One supervisor at a time holds it.
    pub state_dir: PathBuf,
    /// The config file; only its path is handed on.
    pub config_path: PathBuf,
    /// The executable that runs `service <name>`.
    pub executable: PathBuf,
    /// Where clients connect.
    pub public: Listen,
    /// The port of the canvas server, on the first public host; none leaves it out.
    pub canvas_port: Option<u16>,
    /// The services to run.
    pub services: Vec<ServiceName>,
    /// Handed to the services that need them by file descriptor.
    pub secrets: Secrets,
    /// `VERSO_*` variables that every service gets as they are. Never a secret.
    pub pass_env: BTreeMap<String, String>,
    /// Whether SIGUSR1 and SIGUSR2 restart the services one by one; otherwise they are ignored with a warning.
    pub restart_on_signal: bool,
    /// Times and budgets.
    pub limits: Limits,
    /// How the caller hears about the start.
    pub announce: Announce,
    /// The configuration of the services, to be followed while they run; none leaves each service to read the file by itself.
    pub configuration: Option<Source>,
}

/// Where the configuration comes from.
pub struct Source {
    /// Reads and checks it afresh.
    pub read: Box<dyn Fn() -> Result<Reading, Vec<Problem>> + Send + Sync>,
    /// Reads a kept state by its number, or the newest that differs from the present one and can be used; says why there is none.
    pub earlier: Box<Earlier>,
}

/// Finds a kept state of the configuration.
pub type Earlier = dyn Fn(Option<u64>) -> Result<(u64, Value), String> + Send + Sync;

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The whole of it, included files in their places, variables not replaced.
    pub value: Value,
    /// Every file that it was read from.
    pub files: Vec<PathBuf>,
    /// The values of its variables, and other secrets.
    pub secrets: Secrets,
    /// Whether a signal may restart the services.
    pub restart_on_signal: bool,
}

/// Addresses to listen on.
#[derive(Debug, Clone)]
pub struct Listen {
    /// The first must be free; the others are left out with a warning when they are not.
    pub hosts: Vec<IpAddr>,
    /// The port on every host; 0 takes any free one.
    pub port: u16,
}

/// Secrets by the name of the environment variable that they stand for. Printing them shows the names only.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Every secret.
    pub values: BTreeMap<String, String>,
    /// The names that the configuration of each service refers to.
    pub readers: BTreeMap<String, BTreeSet<String>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// Where to send the news of the start. Each is sent once.
#[derive(Debug, Default)]
pub struct Announce {
    /// The public port accepts connections.
    pub listening: Option<oneshot::Sender<Listening>>,
    /// Every service is serving.
    pub ready: Option<oneshot::Sender<Vec<ServiceName>>>,
}

/// What the gateway listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The public addresses, with their actual port.
    pub public: Vec<SocketAddr>,
    /// The address of the canvas server.
    pub canvas: Option<SocketAddr>,
    /// The folder of the Unix sockets.
    pub run_dir: PathBuf,
    /// Time since the start.
    pub elapsed: Duration,
}

/// Times and budgets of supervision.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long to wait for the previous gateway of the same state folder.
    pub lock_wait: Duration,
    /// How often to try a busy port.
    pub bind_attempts: u32,
    /// Pause between two tries of a busy port.
    pub bind_retry: Duration,
    /// How long a process may take until it serves.
    pub start_timeout: Duration,
    /// Pause between two health checks.
    pub health_interval: Duration,
    /// How long a process may take to answer a health check.
    pub health_deadline: Duration,
    /// How many health checks in a row may go unanswered; one more and the process is killed.
    pub health_misses_max: u32,
    /// The second failure in a row waits this long; the first is restarted at once.
    pub backoff_first: Duration,
    /// The wait doubles up to this.
    pub backoff_max: Duration,
    /// A process that served this long has its failures forgotten.
    pub healthy_after: Duration,
    /// This many failures within `budget_window` use the budget up.
    pub budget_failures: usize,
    /// The window of the budget.
    pub budget_window: Duration,
    /// Pause between two starts of a service without a budget.
    pub failed_retry: Duration,
    /// How long the edge may take to say goodbye to its clients.
    pub edge_drain: Duration,
    /// How long an edge that was replaced may go on with what it could not hand over.
    pub edge_linger: Duration,
    /// How long any other service may take to stop.
    pub service_drain: Duration,
}

/// As the reference gateway waits for its lock.
pub const LOCK_WAIT_MS: u64 = 5_000;
/// Rides over the restart of a gateway that is slow to leave.
pub const BIND_ATTEMPTS: u32 = 20;
/// See [`BIND_ATTEMPTS`].
pub const BIND_RETRY_MS: u64 = 500;
/// Recovery of a large store is the slowest start there is.
pub const START_TIMEOUT_MS: u64 = 60_000;
/// A hung process is noticed after about this plus three deadlines.
pub const HEALTH_INTERVAL_MS: u64 = 5_000;
/// A healthy process answers within a millisecond; a swapping machine needs more.
pub const HEALTH_DEADLINE_MS: u64 = 2_000;
/// See [`Limits::health_misses_max`].
pub const HEALTH_MISSES_MAX: u32 = 2;
/// See [`Limits::backoff_first`].
pub const BACKOFF_FIRST_MS: u64 = 100;
/// See [`Limits::backoff_max`].
pub const BACKOFF_MAX_MS: u64 = 10_000;
/// Longer than a service that cannot stay up takes to fall, shorter than misfortunes follow each other: those must not add up.
pub const HEALTHY_AFTER_MS: u64 = 5_000;
/// The same budget that the systemd unit has.
pub const BUDGET_FAILURES: usize = 10;
/// See [`BUDGET_FAILURES`].
pub const BUDGET_WINDOW_MS: u64 = 300_000;
/// See [`Limits::failed_retry`].
pub const FAILED_RETRY_MS: u64 = 30_000;
/// Together with [`SERVICE_DRAIN_MS`] below the 10 s after which container engines kill.
pub const EDGE_DRAIN_MS: u64 = 4_000;
/// Longer than the edge gives to what it could not hand over: 30 s, after up to 20 s of handing over on a busy machine.
pub const EDGE_LINGER_MS: u64 = 60_000;
/// See [`EDGE_DRAIN_MS`].
pub const SERVICE_DRAIN_MS: u64 = 5_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_millis(LOCK_WAIT_MS),
            bind_attempts: BIND_ATTEMPTS,
            bind_retry: Duration::from_millis(BIND_RETRY_MS),
            start_timeout: Duration::from_millis(START_TIMEOUT_MS),
            health_interval: Duration::from_millis(HEALTH_INTERVAL_MS),
            health_deadline: Duration::from_millis(HEALTH_DEADLINE_MS),
            health_misses_max: HEALTH_MISSES_MAX,
            backoff_first: Duration::from_millis(BACKOFF_FIRST_MS),
            backoff_max: Duration::from_millis(BACKOFF_MAX_MS),
            healthy_after: Duration::from_millis(HEALTHY_AFTER_MS),
            budget_failures: BUDGET_FAILURES,
            budget_window: Duration::from_millis(BUDGET_WINDOW_MS),
            failed_retry: Duration::from_millis(FAILED_RETRY_MS),
            edge_drain: Duration::from_millis(EDGE_DRAIN_MS),
            edge_linger: Duration::from_millis(EDGE_LINGER_MS),
            service_drain: Duration::from_millis(SERVICE_DRAIN_MS),
        }
    }
}

impl Limits {
    /// Returns how long the service may take to stop.
    pub(crate) const fn drain(&self, name: ServiceName) -> Duration {
        match name {
            ServiceName::Edge => self.edge_drain,
            _ => self.service_drain,
        }
    }
}
