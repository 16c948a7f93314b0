//! Every way in which the service can refuse or fail, and what a client may see of it.

use verso_kit::error::{WireCode, WireError};

use crate::{cron, sessions, skills, store, tts};

/// When a caller that met a full queue may try again, in milliseconds.
const QUEUE_RETRY_MS: u64 = 1_000;

/// When a caller that met a stopping service may try again, in milliseconds.
const RESTART_RETRY_MS: u64 = 250;

/// Why the agent service refused a request, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request names an agent that is not configured.
    #[error("invalid {method} params: unknown agent id \"{agent}\"")]
    UnknownAgent {
        /// The wire method.
        method: &'static str,
        /// The agent.
        agent: String,
    },
    /// The request names a channel that nobody serves.
    #[error("invalid {method} params: unknown channel: {channel}")]
    UnknownChannel {
        /// The wire method.
        method: &'static str,
        /// The channel.
        channel: String,
    },
    /// The request names one agent, and the session of another.
    #[error("invalid {method} params: agent \"{agent}\" does not match session key agent \"{owner}\"")]
    AgentMismatch {
        /// The wire method.
        method: &'static str,
        /// The agent that was named.
        agent: String,
        /// The agent that the session belongs to.
        owner: String,
    },
    /// The session key is longer than any real one.
    #[error("session key is longer than {max} bytes")]
    SessionKeyTooLong {
        /// The limit, in bytes.
        max: usize,
    },
    /// The request asks for a model that is not configured.
    #[error("model not allowed: {0}")]
    ModelNotAllowed(String),
    /// The caller brought a tool that is called like one of ours.
    #[error("tool name is taken: {0}")]
    ToolNameTaken(String),
    /// A text cannot be spoken, or a provider of speech not be chosen.
    #[error(transparent)]
    Speech(#[from] tts::Error),
    /// The label is empty or too long.
    #[error("invalid label: {0}")]
    InvalidLabel(String),
    /// A member that must be true or false is not.
    #[error("invalid {method} params: {member} (boolean) required")]
    NotABoolean {
        /// The wire method.
        method: &'static str,
        /// The member.
        member: &'static str,
    },
    /// A turn that nobody sees has failed.
    #[error("{0}")]
    TurnFailed(String),
    /// There is nothing to send.
    #[error("message or attachment required")]
    NothingToSend,
    /// An attachment cannot be used.
    #[error("attachment {name}: {reason}")]
    Attachment {
        /// Its file name, or its place in the list.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is behind an address cannot be had.
    #[error(transparent)]
    Media(verso_tools::web::MediaError),
    /// The run belongs to another session.
    #[error("runId does not match sessionKey")]
    RunOfAnotherSession,
    /// The session takes no messages.
    #[error("send blocked by session policy")]
    SendDenied,
    /// Nobody knows where the answer is to go.
    #[error("no recipient: {0}; name a channel and `to`")]
    NoRecipient(String),
    /// There is no such session.
    #[error("session not found")]
    SessionNotFound,
    /// The session's queue is full.
    #[error("session queue is full: {max} runs are waiting")]
    SessionQueueFull {
        /// The limit.
        max: usize,
    },
    /// The queue of the whole service is full.
    #[error("agent queue is full: {max} runs are waiting")]
    QueueFull {
        /// The limit.
        max: usize,
    },
    /// The service is about to stop.
    #[error("the agent service is restarting")]
    Restarting,
    /// What is asked of a session cannot be done.
    #[error(transparent)]
    Session(#[from] sessions::Error),
    /// What is asked of a skill cannot be done.
    #[error(transparent)]
    Skill(#[from] skills::Error),
    /// What is asked of a job cannot be done.
    #[error(transparent)]
    Cron(#[from] cron::Error),
    /// Something that is to be taken over cannot be read or written.
    #[error("could not take over {path}")]
    Import {
        /// The file or folder.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Something is to be written where something of its kind is.
    #[error("{path} is there already: name a new folder")]
    ExportExists {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What every service needs could not be had.
    #[error(transparent)]
    Service(#[from] verso_kit::service::Error),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] verso_kit::config::Error),
    /// The HTTP client for model providers could not be made.
    #[error("could not make the HTTP client for model providers")]
    HttpClient(#[source] reqwest::Error),
    /// The file of credentials cannot be changed.
    #[error("could not change the file of credentials")]
    Credentials(#[source] std::io::Error),
    /// A background task panicked.
    #[error("a background task panicked")]
    Panicked,
}

impl Error {
    /// Whether the next incarnation of the service can do what this one cannot.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Restarting | Self::Store(store::Error::Fenced))
    }
}

impl WireError for Error {
    fn code(&self) -> WireCode {
        match self {
            Self::UnknownAgent { .. }
            | Self::UnknownChannel { .. }
            | Self::AgentMismatch { .. }
            | Self::SessionKeyTooLong { .. }
            | Self::ModelNotAllowed(_)
            | Self::InvalidLabel(_)
            | Self::ToolNameTaken(_)
            | Self::NothingToSend
            | Self::NotABoolean { .. }
            | Self::Attachment { .. }
            | Self::Media(_)
            | Self::RunOfAnotherSession
            | Self::SendDenied
            | Self::NoRecipient(_)
            | Self::SessionNotFound => WireCode::InvalidRequest,
            Self::SessionQueueFull { .. } | Self::QueueFull { .. } | Self::TurnFailed(_) | Self::Restarting => WireCode::Unavailable,
            Self::Session(error) => error.code(),
            Self::Skill(error) => error.code(),
            Self::Speech(error) => error.code(),
            Self::Cron(error) => error.code(),
            Self::Store(error) if error.caused_outside() => WireCode::Unavailable,
            Self::Store(_)
            | Self::Import { .. }
            | Self::ExportExists { .. }
            | Self::Service(_)
            | Self::Config(_)
            | Self::HttpClient(_)
            | Self::Credentials(_)
            | Self::Panicked => WireCode::Fault,
        }
    }

    fn details(&self) -> Option<serde_json::Value> {
        match self {
            Self::Skill(error) => error.details(),
            Self::Cron(error) => error.details(),
            _ => None,
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::SessionQueueFull { .. } | Self::QueueFull { .. } => Some(QUEUE_RETRY_MS),
            Self::Session(error) => error.retry_after_ms(),
            Self::Restarting => Some(RESTART_RETRY_MS),
            _ => None,
        }
    }
}
