//! What can go wrong.

use std::io;

/// Why the service ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The canvas port cannot be listened on.
    #[error("could not listen on the canvas port {port}")]
    Listen {
        /// The port.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
    /// A socket that was handed over cannot be used.
    #[error("could not use the canvas socket that was handed over")]
    Adopt(#[source] io::Error),
    /// The process could not be set up or served.
    #[error(transparent)]
    Service(#[from] verso_kit::service::Error),
    /// Background work panicked; the log has said where.
    #[error("a background task panicked")]
    Panicked,
}

impl From<verso_kit::config::Error> for Error {
    fn from(error: verso_kit::config::Error) -> Self {
        Self::Service(error.into())
    }
}
