//! From a service's error to what crosses the hop: the status code, the words and `google.rpc.ErrorInfo`.

use std::collections::HashMap;
use std::error::Error;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::error;

/// The domain of every `ErrorInfo` that a Verso service writes.
pub const DOMAIN: &str = "verso";

/// The `ErrorInfo` metadata key whose value is the error's details as JSON.
pub const DETAILS_KEY: &str = "details";

/// What a client sees instead of a fault of ours.
pub const FAULT_MESSAGE: &str = "internal error; the gateway's log has the details";

/// The error codes of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireCode {
    /// The caller must change the request.
    InvalidRequest,
    /// The work cannot be done now.
    Unavailable,
    /// The device is not paired.
    NotPaired,
    /// The channel account is not linked.
    NotLinked,
    /// The agent did not finish in time.
    AgentTimeout,
    /// The caller lacks authority.
    Forbidden,
    /// No such approval.
    ApprovalNotFound,
    /// A fault of ours: logged with its causes, shown as one fixed sentence.
    Fault,
}

impl WireCode {
    /// Returns the code as clients read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::Unavailable | Self::Fault => "UNAVAILABLE",
            Self::NotPaired => "NOT_PAIRED",
            Self::NotLinked => "NOT_LINKED",
            Self::AgentTimeout => "AGENT_TIMEOUT",
            Self::Forbidden => "FORBIDDEN",
            Self::ApprovalNotFound => "APPROVAL_NOT_FOUND",
        }
    }

    fn grpc(self) -> Code {
        match self {
            Self::InvalidRequest => Code::InvalidArgument,
            Self::Unavailable => Code::Unavailable,
            Self::NotPaired | Self::NotLinked => Code::FailedPrecondition,
            Self::AgentTimeout => Code::DeadlineExceeded,
            Self::Forbidden => Code::PermissionDenied,
            Self::ApprovalNotFound => Code::NotFound,
            Self::Fault => Code::Internal,
        }
    }
}

/// What a client may see of a service's error.
pub trait WireError: Error + Send + Sync + 'static {
    /// The code. The words are the error's `Display`.
    fn code(&self) -> WireCode;

    /// Facts for programs.
    fn details(&self) -> Option<serde_json::Value> {
        None
    }

    /// When a repeat may succeed, in milliseconds.
    fn retry_after_ms(&self) -> Option<u64> {
        None
    }
}

/// Turns a service's error into a gRPC status that the edge can turn into the wire's error again.
#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
pub fn status<E: WireError>(error: E) -> Status {
    let code = error.code();
    let message = if code == WireCode::Fault {
        error!(error = &error as &dyn Error, "request failed");
        FAULT_MESSAGE.to_owned()
    } else {
        error.to_string()
    };
    let mut metadata = HashMap::new();
    if let Some(details) = error.details() {
        metadata.insert(DETAILS_KEY.to_owned(), details.to_string());
    }
    let mut details = ErrorDetails::with_error_info(code.as_str(), DOMAIN, metadata);
    if let Some(delay_ms) = error.retry_after_ms() {
        details.set_retry_info(Some(std::time::Duration::from_millis(delay_ms)));
    }
    Status::with_error_details(code.grpc(), message, details)
}

/// Whether a service made the status, rather than a transport that broke: only the latter may be retried.
pub fn made_by_service(status: &Status) -> bool {
    !status.details().is_empty()
}
