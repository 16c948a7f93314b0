//! Why something cannot be done with a job.

use serde_json::json;
use verso_kit::error::{WireCode, WireError};

/// Why something cannot be done with a job.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no such job.
    #[error("unknown cron job id: {0}")]
    UnknownJob(String),
    /// The request names no job.
    #[error("invalid {0} params: missing id")]
    MissingId(&'static str),
    /// A member is missing that this kind needs.
    #[error("at {path}: must have required property '{member}'")]
    Missing {
        /// Where.
        path: &'static str,
        /// The member.
        member: &'static str,
    },
    /// A job of the main session can only report something.
    #[error("Error: main cron jobs require payload.kind=\"systemEvent\"")]
    MainNeedsEvent,
    /// A job with a session of its own can only run a turn.
    #[error("Error: isolated cron jobs require payload.kind=\"agentTurn\"")]
    IsolatedNeedsTurn,
    /// The expression cannot be read.
    #[error("at /schedule/expr: \"{expr}\" is not a cron expression: {reason}")]
    Expression {
        /// The expression.
        expr: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The zone is unknown.
    #[error("at /schedule/tz: unknown time zone: {0}")]
    UnknownZone(String),
    /// The time cannot be read.
    #[error("at /schedule/at: not an ISO 8601 time: {0}")]
    Time(String),
    /// There are enough jobs.
    #[error("there are {max} jobs already")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// What is wrong with the parameters of a method.
    #[error("invalid {method} params: {source}")]
    Params {
        /// The wire method.
        method: &'static str,
        /// What is wrong.
        source: Box<Self>,
    },
}

impl Error {
    /// Says in which method's parameters the error is.
    pub(crate) fn of(self, method: &'static str) -> Self {
        match self {
            Self::Missing { .. } | Self::Expression { .. } | Self::UnknownZone(_) | Self::Time(_) => {
                Self::Params { method, source: Box::new(self) }
            }
            other => other,
        }
    }
}

impl WireError for Error {
    fn code(&self) -> WireCode {
        match self {
            Self::MainNeedsEvent | Self::IsolatedNeedsTurn | Self::TooMany { .. } => WireCode::Unavailable,
            Self::UnknownJob(_)
            | Self::MissingId(_)
            | Self::Missing { .. }
            | Self::Expression { .. }
            | Self::UnknownZone(_)
            | Self::Time(_)
            | Self::Params { .. } => WireCode::InvalidRequest,
        }
    }

    fn details(&self) -> Option<serde_json::Value> {
        matches!(self, Self::UnknownJob(_)).then(|| json!({"code": "CRON_JOB_NOT_FOUND"}))
    }
}
