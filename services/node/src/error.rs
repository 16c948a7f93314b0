//! What can go wrong.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};
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
    /// More calls wait for somebody than can be kept.
    #[error("too many pending {what}: at most {max}; try again later")]
    Busy {
        /// What there is too much of.
        what: &'static str,
        /// How many may be pending.
        max: usize,
    },
    /// No pairing waits under that id.
    #[error("unknown requestId")]
    UnknownPairing,
    /// A name of nothing but blanks.
    #[error("displayName required")]
    EmptyName,
    /// Nobody waits for a decision under that id.
    #[error("unknown or expired approval id")]
    UnknownApproval,
    /// There is no decision to wait for under that id.
    #[error("approval expired or not found")]
    ApprovalOver,
    /// A question without anything to run.
    #[error("command is required")]
    NoCommand,
    /// Somebody else waits for a decision under that id.
    #[error("approval id already pending")]
    ApprovalPending,
    /// Not one of the decisions that there are.
    #[error("invalid decision")]
    InvalidDecision,
    /// The file of approvals is to be replaced by somebody who has not said what he read.
    #[error("exec approvals base hash required; re-run exec.approvals.get and retry")]
    BaseHashRequired,
    /// The file of approvals is not the one that the caller has read.
    #[error("exec approvals changed since last load; re-run exec.approvals.get and retry")]
    BaseHashStale,
    /// A browser cannot listen: a phone has to.
    #[error("talk disabled: no connected iOS/Android nodes")]
    TalkDisabled,
    /// The node is not there.
    #[error("node not connected")]
    NotConnected,
    /// The node may not be asked to do that.
    #[error("node command not allowed: {}", why_refused(reason, command, platform))]
    CommandRefused {
        /// Why not.
        reason: &'static str,
        /// What was to be done.
        command: String,
        /// What the node runs on, as it says.
        platform: String,
    },
    /// The node is no longer paired.
    #[error("node pairing changed while invocation was active")]
    PairingChanged,
    /// A request for a browser that does not say what for.
    #[error("method and path are required")]
    BrowserRequestIncomplete,
    /// A browser does not do that.
    #[error("method must be GET, POST, or DELETE")]
    BrowserMethod,
    /// No connected node has a browser to offer.
    #[error("browser control is disabled")]
    NoBrowser,
    /// The node's browser did not answer as one.
    #[error("browser proxy failed")]
    BrowserFailed,
    /// The node did not answer in time.
    #[error("TIMEOUT: node invoke timed out")]
    InvokeTimedOut,
    /// The node went away before it answered.
    #[error("node disconnected ({command})")]
    NodeGone {
        /// What was to be done.
        command: String,
    },
    /// The node could not do it.
    #[error("{message}")]
    NodeFailed {
        /// The node's own code.
        code: Option<String>,
        /// The node's words.
        message: String,
    },
    /// More to read than goes at a time.
    #[error("input too long: at most {max} bytes")]
    InputTooLong {
        /// How many bytes there may be.
        max: usize,
    },
    /// A node answers in another one's name.
    #[error("nodeId mismatch")]
    WrongNode,
    /// A newer incarnation of this service owns the file.
    #[error("the node service was replaced; try again")]
    Replaced,
    /// The file is there but cannot be read.
    #[error("could not read {path}")]
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
    #[error("could not save {path}")]
    Save {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] verso_kit::config::Error),
    /// The process could not be set up or served.
    #[error(transparent)]
    Service(#[from] verso_kit::service::Error),
}

impl WireError for Error {
    fn code(&self) -> WireCode {
        match self {
            Self::UnknownNode
            | Self::UnnamedNode
            | Self::TooMany { .. }
            | Self::UnknownPairing
            | Self::EmptyName
            | Self::UnknownApproval
            | Self::ApprovalOver
            | Self::NoCommand
            | Self::InputTooLong { .. }
            | Self::BrowserRequestIncomplete
            | Self::BrowserMethod
            | Self::ApprovalPending
            | Self::InvalidDecision
            | Self::BaseHashRequired
            | Self::BaseHashStale
            | Self::CommandRefused { .. }
            | Self::WrongNode => WireCode::InvalidRequest,
            Self::Replaced
            | Self::Busy { .. }
            | Self::TalkDisabled
            | Self::NotConnected
            | Self::PairingChanged
            | Self::NoBrowser
            | Self::BrowserFailed
            | Self::InvokeTimedOut
            | Self::NodeGone { .. }
            | Self::NodeFailed { .. } => WireCode::Unavailable,
            Self::Load { .. } | Self::Damaged { .. } | Self::Save { .. } | Self::Config(_) | Self::Service(_) => WireCode::Fault,
        }
    }

    fn details(&self) -> Option<Value> {
        match self {
            Self::NotConnected => Some(json!({"code": "NOT_CONNECTED"})),
            Self::CommandRefused { reason, command, .. } => Some(json!({"reason": reason, "command": command})),
            Self::PairingChanged => Some(json!({"code": "PAIRING_CHANGED"})),
            Self::UnknownApproval => Some(json!({
                "reason": "APPROVAL_NOT_FOUND",
                "remediation": "The question was decided or has run out: ask again.",
            })),
            Self::InvokeTimedOut => {
                Some(json!({"nodeError": {"code": "TIMEOUT", "message": "node invoke timed out"}, "nodeCommandDispatched": true}))
            }
            Self::NodeFailed { code: Some(code), message } => Some(json!({"nodeError": {"code": code, "message": message}})),
            Self::NodeFailed { code: None, message } => Some(json!({"nodeError": {"message": message}})),
            _ => None,
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Replaced | Self::PairingChanged => Some(100),
            Self::Busy { .. } => Some(1_000),
            _ => None,
        }
    }
}

fn why_refused(reason: &str, command: &str, platform: &str) -> String {
    if reason == crate::commands::NOT_LISTED {
        format!("\"{command}\" is not in the allowlist for platform \"{platform}\"")
    } else {
        reason.to_owned()
    }
}
