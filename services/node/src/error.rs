//! What can go wrong.

use std::io;
use std::path::PathBuf;

use verso_kit::error::{WireCode, WireError};

/// Why a call is refused, or the service ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody of that name is paired or connected.
    #[error("unknown nodeId")]
    UnknownNode,
    /// An announcement does not say whose it is.
    #[error("nodeId and connId required")]
    UnnamedNode,
    /// A node offers more than can be kept.
    #[error("too many {what}: at most {max}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// A newer incarnation of this service owns the file.
    #[error("the node service was replaced; try again")]
    Replaced,
    /// The file is there but cannot be read.
    #[error("could not read nodes from {path}")]
    Load {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not what this service writes.
    #[error("{path} is damaged; repair it or move it away")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("could not save nodes to {path}")]
    Save {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The process could not be set up or served.
    #[error(transparent)]
    Service(#[from] verso_kit::service::Error),
}

impl WireError for Error {
    fn code(&self) -> WireCode {
        match self {
            Self::UnknownNode | Self::UnnamedNode | Self::TooMany { .. } => WireCode::InvalidRequest,
            Self::Replaced => WireCode::Unavailable,
            Self::Load { .. } | Self::Damaged { .. } | Self::Save { .. } | Self::Service(_) => WireCode::Fault,
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        matches!(self, Self::Replaced).then_some(100)
    }
}
