//! What can go wrong with an adapter.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process could not be started.
    #[error("could not start the adapter {program}")]
    Start {
        /// The program.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A folder or a socket could not be made.
    #[error("could not create {path}")]
    Create {
        /// What.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The process ended before it served.
    #[error("the adapter ended before it served: {0}")]
    Ended(String),
    /// It did not serve in time.
    #[error("the adapter did not serve within {} s", .0.as_secs())]
    Late(Duration),
    /// The other side speaks another version of the contract.
    #[error("the adapter does not speak version {ours} of the contract{}; update whichever is older", theirs.as_ref().map(|theirs| format!(": it says {theirs}")).unwrap_or_default())]
    Version {
        /// What this side speaks.
        ours: u32,
        /// What the other side said.
        theirs: Option<String>,
    },
    /// The other side answered another version than it was asked for, instead of refusing.
    #[error("the adapter was asked for version {ours} of the contract and answered with {theirs}; update whichever is older")]
    Disagreed {
        /// What this side speaks.
        ours: u32,
        /// What the other side answered.
        theirs: u32,
    },
    /// The address cannot be used.
    #[error("an adapter's address is unix:/a/path, or http://127.0.0.1:port on this machine; not {0}")]
    Address(String),
    /// The connection to the adapter broke, or there is none.
    #[error("the adapter is not reached: {0}")]
    Gone(String),
    /// It did not answer in time.
    #[error("the adapter did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// It said no.
    #[error("the adapter refused: {message} ({code})")]
    Refused {
        /// The gRPC code.
        code: String,
        /// Its words.
        message: String,
    },
    /// A file is larger than was asked for.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// What was handed over on the standard input cannot be read.
    #[error(
        "a line of JSON was expected on the standard input: an adapter is started by the channel service or by `verso channels adapter check`"
    )]
    Handover(#[source] io::Error),
    /// The socket could not be served.
    #[error("could not serve the adapter's socket")]
    Serve(#[source] tonic::transport::Error),
}

impl Error {
    /// Whether the other side may have done what it was asked.
    pub fn is_uncertain(&self) -> bool {
        match self {
            Self::Gone(_) | Self::Timeout(_) => true,
            // What a program says when it fell over in the middle.
            Self::Refused { code, .. } => matches!(code.as_str(), "Unknown" | "Internal" | "Aborted" | "Cancelled"),
            _ => false,
        }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        // What a connection breaks with has a cause; what an adapter says, in whatever language, has none.
        if std::error::Error::source(&status).is_some() {
            return Self::Gone(status.message().to_owned());
        }
        Self::Refused { code: format!("{:?}", status.code()), message: status.message().to_owned() }
    }
}
