//! What every process counts: the rpcs that it serves and those that it asks for.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use tonic::Code;
use verso_proto::methods::{EVENT_SOURCES, METHODS};

use super::OTHER;

crate::metrics! {
    /// Rpcs until their answer began, by method and gRPC code.
    SERVED: Histogram(SECONDS) = "verso_grpc_server_duration_seconds" ["code", "method"] as "rpc.server.duration" per process;
    /// Calls of other services with all their repetitions, by method and gRPC code.
    ASKED: Histogram(SECONDS) = "verso_grpc_client_duration_seconds" ["code", "method"] as "verso.grpc.client.duration" per process;
    /// Calls that were made again because the service went away under them.
    pub(crate) REPEATED: Counter = "verso_grpc_client_repeats" ["method"] per process;
    /// Times that a limit was reached, by the limit's name.
    pub REACHED: Counter = "verso_limit_reached" ["limit"] per process;
    /// What was sent to a collector of telemetry, or was not, in batches.
    pub(crate) EXPORTED: Counter = "openclaw_telemetry_exporter" ["exporter", "reason", "signal", "status"] as "openclaw.telemetry.exporter.events" per process;
    /// Records and spans that were not sent because too many waited.
    pub(crate) UNSENT: Counter = "openclaw_diagnostic_async_queue_dropped" ["drop_class"] as "openclaw.diagnostic.async_queue.dropped" per process;
    /// Series that would have been too many.
    pub(super) SERIES_DROPPED: Counter = "openclaw_prometheus_series_dropped" [] per process;
}

/// The label of a gRPC path: a method of the contract, or that it is none.
fn method(path: &str) -> &'static str {
    static KNOWN: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
        let paths = METHODS.iter().map(|method| method.path).chain(EVENT_SOURCES.iter().map(|source| source.path));
        paths.map(|path| (path, path.trim_start_matches('/').trim_start_matches("verso."))).collect()
    });
    KNOWN.get(path).copied().unwrap_or(OTHER)
}

/// Takes down an rpc that was served.
pub(crate) fn served(path: &str, code: Code, elapsed: Duration) {
    SERVED.observe([code_name(code), method(path)], elapsed.as_secs_f64());
}

/// Takes down a call of another service.
pub(crate) fn asked(path: &str, code: Code, elapsed: Duration) {
    ASKED.observe([code_name(code), method(path)], elapsed.as_secs_f64());
}

/// The name of a code, as gRPC spells it.
const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_nobody_serves_is_no_series_of_its_own() {
        assert_eq!(method("/verso.agent.v1.Sessions/List"), method("/verso.agent.v1.Sessions/List"));
        assert_eq!(method("/made.up/Path"), OTHER);
        assert!(METHODS.iter().all(|known| method(known.path) != OTHER));
    }
}
