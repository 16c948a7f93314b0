//! What can go wrong.

use verso_kit::error::{WireCode, WireError};

/// Why a call is refused, or the service ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system event says nothing.
    #[error("text required")]
    TextRequired,
    /// An announcement names neither a device, nor an instance, nor a connection.
    #[error("connId required")]
    UnnamedConnection,
    /// An announcement says nothing about its connection.
    #[error("entry required")]
    EntryRequired,
    /// The process could not be set up or served.
    #[error(transparent)]
    Service(#[from] verso_kit::service::Error),
    /// Background work panicked; the log has said where.
    #[error("a background task panicked")]
    Panicked,
}

impl WireError for Error {
    fn code(&self) -> WireCode {
        match self {
            Self::TextRequired | Self::UnnamedConnection | Self::EntryRequired => WireCode::InvalidRequest,
            Self::Service(_) | Self::Panicked => WireCode::Fault,
        }
    }
}
