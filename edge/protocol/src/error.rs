//! The error member of a response.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// The codes that clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The caller must change the request.
    InvalidRequest,
    /// Not possible now.
    Unavailable,
    /// The device must be paired first.
    NotPaired,
    /// A channel account is not linked.
    NotLinked,
    /// A run took too long.
    AgentTimeout,
    /// The caller lacks a scope. Protocol 4 only.
    Forbidden,
    /// No such approval. Protocol 4 only.
    ApprovalNotFound,
}

impl Code {
    const ALL: [Self; 7] = [
        Self::InvalidRequest,
        Self::Unavailable,
        Self::NotPaired,
        Self::NotLinked,
        Self::AgentTimeout,
        Self::Forbidden,
        Self::ApprovalNotFound,
    ];

    /// The code as written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::Unavailable => "UNAVAILABLE",
            Self::NotPaired => "NOT_PAIRED",
            Self::NotLinked => "NOT_LINKED",
            Self::AgentTimeout => "AGENT_TIMEOUT",
            Self::Forbidden => "FORBIDDEN",
            Self::ApprovalNotFound => "APPROVAL_NOT_FOUND",
        }
    }

    /// Reads a code as written on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Why a request failed, in the widest form. [`Adapter::error`](crate::Adapter::error) narrows it for older clients.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ErrorShape {
    /// What kind of failure.
    pub code: Code,
    /// Text that clients show, and in places match.
    pub message: Cow<'static, str>,
    /// More for programs, as JSON.
    pub details: Option<Box<RawValue>>,
    /// Whether the same request may succeed later.
    pub retryable: Option<bool>,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl ErrorShape {
    /// An error without details.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), details: None, retryable: None, retry_after_ms: None }
    }

    /// An `INVALID_REQUEST`.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// Adds details. `null` adds none.
    #[must_use]
    pub fn with_details(mut self, details: &Value) -> Self {
        self.details = if details.is_null() { None } else { to_raw_value(details).ok() };
        self
    }

    /// Adds details that are JSON text already. Text that is not JSON, and `null`, add none.
    #[must_use]
    pub fn with_details_text(mut self, details: String) -> Self {
        self.details = RawValue::from_string(details).ok().filter(|details| details.get() != "null");
        self
    }

    /// Says that the same request may succeed after `after_ms` milliseconds.
    #[must_use]
    pub fn retryable(mut self, after_ms: Option<u64>) -> Self {
        self.retryable = Some(true);
        self.retry_after_ms = after_ms;
        self
    }

    /// The member `name` of the details, when it is a string.
    pub fn detail(&self, name: &str) -> Option<String> {
        let object = crate::Object::parse(self.details.as_deref()?.get())?;
        serde_json::from_str(object.get(name)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_every_code_that_it_writes() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
        assert_eq!(Code::parse("TEAPOT"), None);
    }

    #[test]
    fn leaves_out_details_that_say_nothing() {
        let error = ErrorShape::invalid("x");
        assert!(error.clone().with_details(&Value::Null).details.is_none());
        assert!(error.clone().with_details_text("null".to_owned()).details.is_none());
        assert!(error.clone().with_details_text("{oops".to_owned()).details.is_none());
        assert_eq!(error.with_details(&json!({"code": "A"})).detail("code").as_deref(), Some("A"));
    }
}
