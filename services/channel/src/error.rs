//! What can go wrong.

use std::io;
use std::path::PathBuf;

use verso_kit::error::{WireCode, WireError};

/// Why a call is refused, or the service ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no network of that name.
    #[error("invalid channels.status channel")]
    UnknownChannel,
    /// Nobody is reached by that name of a network.
    #[error("unsupported channel: {0}")]
    UnsupportedChannel(String),
    /// The network has no polls.
    #[error("unsupported poll channel: {0}")]
    UnsupportedPollChannel(String),
    /// The network knows nobody of that address.
    #[error("Delivering to {label} requires target {hint}")]
    NoTarget {
        /// What people call the network.
        label: &'static str,
        /// What its addresses look like.
        hint: &'static str,
    },
    /// The network has no account of that name.
    #[error("unknown account \"{account}\" for channel {channel}")]
    UnknownAccount {
        /// The network.
        channel: &'static str,
        /// The account.
        account: String,
    },
    /// The account cannot send.
    #[error("{channel} is not available: {reason}")]
    NotRunning {
        /// The network.
        channel: &'static str,
        /// Why not.
        reason: String,
    },
    /// There is no network of that name to log out of.
    #[error("invalid channels.logout channel")]
    UnknownLogoutChannel,
    /// The network's credentials are the configuration's.
    #[error("channel {0} does not support logout")]
    NoLogout(&'static str),
    /// No network links by a code in this build.
    #[error("web login provider is not available")]
    NoWebLogin,
    /// The network is not linked by a code.
    #[error("web login is not supported by provider {0}")]
    WebLoginUnsupported(String),
    /// The credentials cannot be removed.
    #[error("could not remove {path}")]
    RemoveCredentials {
        /// Where they are.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Nobody asks with that code.
    #[error("no pairing request has the code {0}")]
    UnknownCode(String),
    /// The configuration names too many accounts.
    #[error("channels.{channel}.accounts: at most {max} accounts")]
    TooManyAccounts {
        /// The network.
        channel: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// The configuration names too many programs that speak chat networks.
    #[error("adapters: at most {0} programs")]
    TooManyAdapters(usize),
    /// The account waits for its owner to link it.
    #[error("{channel} is not linked: {reason}")]
    NotLinked {
        /// The network.
        channel: &'static str,
        /// What to do.
        reason: String,
    },
    /// The account's process did not do what a login needs.
    #[error("could not link {channel}: {reason}")]
    Login {
        /// The network.
        channel: &'static str,
        /// Why.
        reason: String,
    },
    /// An account's process could not be what it was started for.
    #[error(transparent)]
    Adapter(#[from] verso_adapter::Error),
    /// A newer incarnation of this service owns the database.
    #[error("the channel service was replaced; try again")]
    Replaced,
    /// The database was written by a later version of the program.
    #[error("{path} has layout {found}, and this version knows up to {known}")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: u32,
        /// The latest layout that is known here.
        known: u32,
    },
    /// The database's file cannot be made.
    #[error("could not create {path}")]
    Create {
        /// The database.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The database is there and holds nothing, which no database of ours ever does.
    #[error("{0} is empty: restore it from a backup, or move it away to begin afresh")]
    Empty(PathBuf),
    /// A file cannot be sent.
    #[error("the file cannot be sent: {reason}")]
    Media {
        /// Why not.
        reason: String,
    },
    /// The network cannot do that.
    #[error("{channel} {what}")]
    CannotDo {
        /// The network.
        channel: &'static str,
        /// What it cannot do.
        what: &'static str,
    },
    /// The folder of files cannot be made.
    #[error("could not create the folder of media")]
    Shelf(#[source] io::Error),
    /// The database does not do what it was asked.
    #[error("could not use the channel database")]
    Database(#[from] rusqlite::Error),
    /// The process could not be set up or served.
    #[error(transparent)]
    Service(#[from] verso_kit::service::Error),
}

impl From<verso_kit::config::Error> for Error {
    fn from(error: verso_kit::config::Error) -> Self {
        Self::Service(error.into())
    }
}

impl WireError for Error {
    fn code(&self) -> WireCode {
        match self {
            Self::UnknownChannel
            | Self::UnknownCode(_)
            | Self::UnsupportedChannel(_)
            | Self::UnsupportedPollChannel(_)
            | Self::NoTarget { .. }
            | Self::UnknownAccount { .. }
            | Self::UnknownLogoutChannel
            | Self::NoLogout(_)
            | Self::NoWebLogin
            | Self::Media { .. }
            | Self::CannotDo { .. }
            | Self::WebLoginUnsupported(_) => WireCode::InvalidRequest,
            Self::NotLinked { .. } => WireCode::NotLinked,
            Self::Replaced | Self::NotRunning { .. } | Self::Login { .. } => WireCode::Unavailable,
            Self::RemoveCredentials { .. }
            | Self::TooManyAccounts { .. }
            | Self::TooManyAdapters(_)
            | Self::Adapter(_)
            | Self::Newer { .. }
            | Self::Create { .. }
            | Self::Empty(_)
            | Self::Shelf(_)
            | Self::Database(_)
            | Self::Service(_) => WireCode::Fault,
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        matches!(self, Self::Replaced).then_some(100)
    }
}
