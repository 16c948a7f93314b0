//! What can go wrong.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use verso_kit::error::{WireCode, WireError};

use crate::service_name::ServiceName;

/// Why the gateway did not start, or did not do what an operator asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the state folder.
    #[error("gateway already running{}; lock timeout after {waited_ms}ms", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    AlreadyRunning {
        /// The holder, when its lock says.
        pid: Option<i32>,
        /// How long we waited.
        waited_ms: u128,
    },
    /// The lock file cannot be used.
    #[error("failed to acquire gateway lock at {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The public port is taken.
    #[error("another gateway instance is already listening on ws://{0}")]
    PortTaken(SocketAddr),
    /// The public port cannot be had.
    #[error("failed to bind gateway socket on ws://{address}: {source}")]
    Bind {
        /// What we tried to bind.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The canvas port cannot be had.
    #[error("failed to bind canvas socket on http://{address}: {source}")]
    BindCanvas {
        /// What we tried to bind.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// No public host was given.
    #[error("no address to listen on")]
    NoAddress,
    /// A Unix socket cannot be made.
    #[error("could not bind {path}")]
    Control {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The folder of the sockets cannot be used.
    #[error("could not use {path} for sockets")]
    RunDir {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The folder of the sockets could be reached by others.
    #[error("{0} must be a folder of this user with mode 0700")]
    ForeignRunDir(PathBuf),
    /// The incarnation number could not be put on disk.
    #[error("could not save {path}")]
    SaveEpochs {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The process could not be started.
    #[error("could not start {name}")]
    Spawn {
        /// The service.
        name: ServiceName,
        /// The cause.
        source: io::Error,
    },
    /// Signal handlers could not be installed.
    #[error("could not install signal handlers")]
    Signals(#[source] io::Error),
    /// The process that was to replace another ended, or did not get ready.
    #[error("{name} did not come up: {why}")]
    NotUp {
        /// The service.
        name: ServiceName,
        /// How it ended.
        why: String,
    },
    /// All services are being restarted already.
    #[error("a rolling restart or an update is under way; try again when it is over")]
    Rolling,
    /// A file cannot take the place of the executable.
    #[error("not updated: {0}")]
    Executable(String),
    /// The gateway is stopping.
    #[error("gateway stopping")]
    Stopping,
    /// Nobody looks after a service of that name.
    #[error("unknown service \"{name}\" (known: {known})")]
    UnknownService {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A configuration could not be put where the service reads it.
    #[error("{0} could not be given another configuration; the log says why")]
    NotHandedOver(ServiceName),
    /// What an operator does must be on record first.
    #[error("not done: it could not be written to the audit log")]
    Audit(#[source] io::Error),
    /// The log file cannot be read.
    #[error("could not read the log")]
    ReadLog(#[source] io::Error),
    /// The services read the file by themselves.
    #[error("this gateway hands no configuration to its services")]
    NoConfiguration,
    /// There is no earlier state of the configuration to go back to.
    #[error("no earlier configuration to go back to: {0}")]
    NoEarlier(String),
    /// The edge cannot be drained.
    #[error("the edge cannot be drained: its clients would have nobody; restart it, or stop the gateway")]
    EdgeStays,
    /// A second signal arrived while the gateway was stopping.
    #[error("stopped at once by a second signal")]
    StoppedAtOnce,
    /// A task of the supervisor panicked; the log says where.
    #[error("the supervisor stopped because of a fault of its own")]
    Panicked,
}

impl WireError for Error {
    fn code(&self) -> WireCode {
        match self {
            Self::UnknownService { .. } | Self::NoConfiguration | Self::NoEarlier(_) | Self::EdgeStays | Self::Executable(_) => {
                WireCode::InvalidRequest
            }
            Self::NotUp { .. } | Self::Stopping | Self::Rolling | Self::Audit(_) | Self::ReadLog(_) => WireCode::Unavailable,
            Self::AlreadyRunning { .. }
            | Self::Lock { .. }
            | Self::PortTaken(_)
            | Self::Bind { .. }
            | Self::BindCanvas { .. }
            | Self::NoAddress
            | Self::Control { .. }
            | Self::RunDir { .. }
            | Self::ForeignRunDir(_)
            | Self::SaveEpochs { .. }
            | Self::Spawn { .. }
            | Self::Signals(_)
            | Self::NotHandedOver(_)
            | Self::StoppedAtOnce
            | Self::Panicked => WireCode::Fault,
        }
    }
}
