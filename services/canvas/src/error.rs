//! What can go wrong.

use std::io;

use verso_kit::error::{WireCode, WireError};

use crate::a2ui::{Problem, TooMuch};

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

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// `canvasHost.enabled` is false.
    #[error("the canvas is switched off; set canvasHost.enabled")]
    SwitchedOff,
    /// Messages that are no messages of A2UI v0.8.
    #[error("{0}")]
    Messages(#[from] Problem),
    /// More than a session may have.
    #[error("{0}")]
    TooMuch(#[from] TooMuch),
    /// What a page says that a user did.
    #[error("{0}")]
    Action(&'static str),
    /// The surface is gone, or has changed since.
    #[error("there is no component \"{component}\" on surface \"{surface}\" any more")]
    Untouchable { surface: String, component: String },
    /// The agent service cannot be asked.
    #[error("the agent service does not answer: {0}")]
    Agent(String),
    /// Surfaces cannot be kept.
    #[error("could not save the session's surfaces")]
    Save(#[source] io::Error),
}

impl WireError for Refused {
    fn code(&self) -> WireCode {
        match self {
            Self::Messages(_) | Self::TooMuch(_) | Self::Action(_) | Self::Untouchable { .. } => WireCode::InvalidRequest,
            Self::SwitchedOff | Self::Agent(_) => WireCode::Unavailable,
            Self::Save(_) => WireCode::Fault,
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        matches!(self, Self::Agent(_)).then_some(1_000)
    }
}
