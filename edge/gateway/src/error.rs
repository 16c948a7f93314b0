//! From a gRPC status to the error that a client sees.

use tonic::{Code as Grpc, Status};
use tonic_types::StatusExt as _;
use tracing::error;
use verso_kit::error::{DETAILS_KEY, FAULT_MESSAGE};
use verso_kit::peer::broken_by_transport;
use verso_protocol::{Code, ErrorShape};

/// When a client should ask again while a service restarts, in milliseconds.
const RESTART_RETRY_MS: u64 = 250;

/// When a client should ask again while a service is overloaded, in milliseconds.
const BUSY_RETRY_MS: u64 = 1_000;

/// Turns what a service (or the way to it) answered into the wire's error.
pub(crate) fn wire(status: &Status, process: &str) -> ErrorShape {
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        let code = Code::parse(&info.reason).unwrap_or(Code::Unavailable);
        let mut shape = ErrorShape::new(code, status.message().to_owned());
        if let Some(details) = info.metadata.get(DETAILS_KEY) {
            shape = shape.with_details_text(details.clone());
        }
        if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
            shape = shape.retryable(u64::try_from(delay.as_millis()).ok());
        }
        return shape;
    }
    if broken_by_transport(status) {
        let message = format!("the {process} service is restarting; retry shortly");
        return ErrorShape::new(Code::Unavailable, message).retryable(Some(RESTART_RETRY_MS));
    }
    match status.code() {
        Grpc::DeadlineExceeded => {
            ErrorShape::new(Code::Unavailable, format!("the {process} service did not answer in time")).retryable(Some(RESTART_RETRY_MS))
        }
        Grpc::ResourceExhausted | Grpc::OutOfRange => {
            ErrorShape::new(Code::Unavailable, format!("the {process} service's answer is larger than a message may be"))
        }
        Grpc::Unimplemented => {
            ErrorShape::new(Code::Unavailable, format!("the {process} service is of another version and lacks this method"))
        }
        Grpc::Ok
        | Grpc::Cancelled
        | Grpc::Unknown
        | Grpc::InvalidArgument
        | Grpc::NotFound
        | Grpc::AlreadyExists
        | Grpc::PermissionDenied
        | Grpc::FailedPrecondition
        | Grpc::Aborted
        | Grpc::Internal
        | Grpc::Unavailable
        | Grpc::DataLoss
        | Grpc::Unauthenticated => fault(status),
    }
}

/// A service that has as much to do as it may have: one more would only make the others wait longer.
pub(crate) fn busy(process: &str) -> ErrorShape {
    ErrorShape::new(Code::Unavailable, format!("the {process} service has too much to do; retry shortly")).retryable(Some(BUSY_RETRY_MS))
}

/// An answer of ours that breaks the contract: logged whole, shown as one sentence.
pub(crate) fn fault(cause: &(dyn std::error::Error + 'static)) -> ErrorShape {
    error!(error = cause, "a service broke the contract");
    ErrorShape::new(Code::Unavailable, FAULT_MESSAGE)
}
