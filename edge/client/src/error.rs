//! What can go wrong between a client and its gateway.

use serde::Deserialize;
use serde_json::Value;

use crate::Closed;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one of a WebSocket.
    #[error("gateway address is not a ws:// or wss:// url: {url}")]
    InvalidUrl {
        /// Without query and credentials.
        url: String,
    },
    /// This system has no authorities that could vouch for a certificate.
    #[error("no certificate authorities on this system: pin the gateway's certificate by its fingerprint")]
    NoAuthorities,
    /// Nobody listens, or the upgrade failed.
    #[error("could not connect to the gateway at {url}")]
    Unreachable {
        /// Without query and credentials.
        url: String,
        /// What the socket said.
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// The gateway refused `connect`.
    #[error("gateway refused the connection")]
    Refused(#[source] CallError),
    /// The gateway closed before it said hello.
    #[error("{0}")]
    Closed(Closed),
    /// No hello in time.
    #[error("no hello from the gateway within {timeout_ms} ms")]
    TimedOut {
        /// How long the client waited.
        timeout_ms: u64,
    },
    /// The peer is not a gateway.
    #[error("the peer does not speak the gateway protocol: {what}")]
    Protocol {
        /// What was wrong.
        what: &'static str,
    },
}

/// Where a failed call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallErrorKind {
    /// The gateway answered with an error.
    Answered,
    /// The connection ended first.
    Closed,
    /// No answer in time. The call may still have an effect.
    TimedOut,
    /// Answers arrived faster than they were read.
    Lagged,
    /// The request could not be written, or the answer not read, as the contract's type.
    Malformed,
}

/// Why a call failed. Failures without an answer have the code `UNAVAILABLE`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CallError {
    /// Where it failed.
    pub kind: CallErrorKind,
    /// The wire's code, such as `INVALID_REQUEST`.
    pub code: String,
    /// Text for people.
    pub message: String,
    /// More for programs.
    pub details: Option<Box<Value>>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// What a failed response carried beside its error: how far a run came.
    pub payload: Option<Box<Value>>,
}

/// The `error` member of a response.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireError {
    code: String,
    message: String,
    details: Option<Box<Value>>,
    #[serde(default)]
    retryable: bool,
    retry_after_ms: Option<u64>,
}

impl CallError {
    pub(crate) fn answered(error: Option<WireError>, payload: Option<Box<Value>>) -> Self {
        let Some(WireError { code, message, details, retryable, retry_after_ms }) = error else {
            return Self { payload, ..Self::without_answer(CallErrorKind::Answered, "the gateway gave no reason".to_owned()) };
        };
        Self { kind: CallErrorKind::Answered, code, message, details, retryable, retry_after_ms, payload }
    }

    pub(crate) fn without_answer(kind: CallErrorKind, message: String) -> Self {
        Self { kind, code: "UNAVAILABLE".to_owned(), message, details: None, retryable: false, retry_after_ms: None, payload: None }
    }

    pub(crate) fn closed(closed: &Closed) -> Self {
        Self::without_answer(CallErrorKind::Closed, closed.to_string())
    }
}
