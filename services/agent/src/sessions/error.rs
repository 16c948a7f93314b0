//! Why something cannot be done to a session.

use verso_kit::error::{WireCode, WireError};

/// When a caller that met an active session may try again, in milliseconds.
const ACTIVE_RETRY_MS: u64 = 2_000;

/// Why something cannot be done to a session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting has no such value.
    #[error("invalid {name} (use {values})")]
    InvalidSetting {
        /// The request's member.
        name: &'static str,
        /// The values that there are.
        values: String,
    },
    /// A setting is blank.
    #[error("invalid {name}: empty")]
    EmptySetting {
        /// The request's member.
        name: &'static str,
    },
    /// The session's model cannot think that hard.
    #[error("thinkingLevel \"xhigh\" is only supported for {models}")]
    ThinkingUnsupported {
        /// The models that can.
        models: String,
    },
    /// Another session has the label.
    #[error("label already in use: {0}")]
    LabelInUse(String),
    /// The session was not started by another one.
    #[error("spawnedBy is only supported for subagent:* sessions")]
    NotSpawned,
    /// The session has another parent.
    #[error("spawnedBy cannot be changed once set")]
    ParentChanged,
    /// The session has a parent.
    #[error("spawnedBy cannot be cleared once set")]
    ParentCleared,
    /// Nothing says which session is meant.
    #[error("Either key, sessionId, or label is required")]
    NothingNamed,
    /// More than one thing says which session is meant.
    #[error("Provide either key, sessionId, or label (not multiple)")]
    TooMuchNamed,
    /// There is no such session.
    #[error("No session found: {0}")]
    NotFound(String),
    /// There is no session with that label.
    #[error("No session found with label: {0}")]
    LabelNotFound(String),
    /// Several sessions are meant.
    #[error("Multiple sessions found with {what}: {value} ({keys})")]
    Ambiguous {
        /// What they have in common: `label` or `sessionId`.
        what: &'static str,
        /// Its value.
        value: String,
        /// Their keys.
        keys: String,
    },
    /// The session was begun afresh, or removed, since the caller looked.
    #[error("Session {key} has changed: its sessionId is not {expected}")]
    OtherId {
        /// The session.
        key: String,
        /// What the caller expected.
        expected: String,
    },
    /// Nothing says what is to be stopped.
    #[error("key or runId is required")]
    NothingToAbort,
    /// A main session stays.
    #[error("Cannot delete the main session ({0}).")]
    MainSession(String),
    /// A run of the session does not end.
    #[error("Session {0} is still active; try again in a moment.")]
    StillActive(String),
}

impl WireError for Error {
    fn code(&self) -> WireCode {
        match self {
            Self::StillActive(_) => WireCode::Unavailable,
            _ => WireCode::InvalidRequest,
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        matches!(self, Self::StillActive(_)).then_some(ACTIVE_RETRY_MS)
    }
}
