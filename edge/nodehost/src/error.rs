//! What can go wrong, in the words that callers of a node know.

use std::io;
use std::path::PathBuf;

/// Why the node host ended, or why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The gateway will not have this node.
    #[error("the gateway refused this node")]
    Refused(#[source] std::sync::Arc<verso_client::Error>),
    /// The file of rules cannot be read.
    #[error("could not read {path}")]
    LoadPolicy {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file of rules is not what it should be.
    #[error("{path} is damaged; repair it or move it away")]
    DamagedPolicy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file of rules cannot be written.
    #[error("could not save {path}")]
    SavePolicy {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The caller asks for something that cannot be meant.
    #[error("{0}")]
    Invalid(String),
    /// The owner of this machine, or this machine, does not let it happen.
    #[error("{0}")]
    Denied(String),
    /// Nobody waits for the command any more.
    #[error("cancelled")]
    Cancelled,
    /// The program could not be started.
    #[error("could not start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Error {
    /// The code that callers of a node know.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_REQUEST",
            Self::Refused(_)
            | Self::LoadPolicy { .. }
            | Self::DamagedPolicy { .. }
            | Self::SavePolicy { .. }
            | Self::Denied(_)
            | Self::Cancelled
            | Self::Start { .. } => "UNAVAILABLE",
        }
    }
}
