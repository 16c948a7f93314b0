//! Why an HTTP request was not served, in the shapes that clients of these APIs read.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use tonic::Status;
use utoipa::ToSchema;
use verso_kit::error::made_by_service;
use verso_protocol::Code;

use crate::error::wire;

/// The type of an answer to a request that its sender must change.
const INVALID: &str = "invalid_request_error";

/// The type of an answer that says that something behind the API went wrong.
const API: &str = "api_error";

/// When a client may ask again if nobody knows better.
const RETRY: Duration = Duration::from_secs(1);

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing is served at the path.
    NotFound,
    /// The path has another method.
    WrongMethod(&'static str),
    /// No credential, or a wrong one.
    Unauthorized,
    /// Too many wrong credentials from the client's address; the time until it may try again.
    Locked(Duration),
    /// Somebody speaks for a client whom nobody vouches for.
    UnknownProxy,
    /// A web page that has no business here.
    ForeignPage,
    /// The sender must change the request.
    Invalid(Cow<'static, str>),
    /// What the path or a parameter names does not exist.
    Missing(String),
    /// The body is larger than the route takes.
    TooLarge,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is packed, and what it would become is nobody's guess.
    Packed,
    /// The gateway, or a service behind it, is away for a moment.
    Away {
        message: Cow<'static, str>,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The work was begun, or nearly, and failed.
    Failed { status: StatusCode, kind: &'static str, message: Cow<'static, str> },
}

impl Refusal {
    /// The sender must change the request.
    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(message.into())
    }

    /// The gateway is about to stop.
    pub(super) fn draining() -> Self {
        Self::Away { message: "Gateway is temporarily unavailable while suspending or restarting".into(), retry_after: RETRY }
    }

    /// A fault of ours; the log has the details.
    pub(super) fn internal() -> Self {
        Self::failed(StatusCode::INTERNAL_SERVER_ERROR, API, "internal error")
    }

    /// The model's answer cannot be shown.
    pub(super) fn api(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::failed(status, API, message)
    }

    /// What the agent service, or the way to it, answered instead.
    pub(super) fn from_status(status: &Status) -> Self {
        if made_by_service(status) && status.code() == tonic::Code::Internal {
            return Self::internal();
        }
        let error = wire(status, "agent");
        match error.code {
            Code::InvalidRequest => Self::Invalid(error.message),
            Code::NotPaired | Code::NotLinked | Code::Forbidden | Code::ApprovalNotFound => {
                Self::failed(StatusCode::FORBIDDEN, "forbidden", error.message)
            }
            Code::AgentTimeout => Self::failed(StatusCode::GATEWAY_TIMEOUT, API, error.message),
            Code::Unavailable => {
                let retry_after = error.retry_after_ms.map_or(RETRY, Duration::from_millis);
                Self::Away { message: error.message, retry_after }
            }
        }
    }

    /// A run that ended without an answer: `reason` is what its end names, `text` the words for the person who asked.
    pub(super) fn from_run(reason: &str, text: Option<String>) -> Self {
        let (status, kind, fixed) = match reason {
            "auth" => (StatusCode::UNAUTHORIZED, "authentication_error", None),
            "auth_permanent" => (StatusCode::FORBIDDEN, "permission_error", None),
            "format" => (StatusCode::BAD_REQUEST, INVALID, None),
            "rate_limit" => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", None),
            "overloaded" => (StatusCode::SERVICE_UNAVAILABLE, API, Some("upstream provider overloaded")),
            "billing" => (StatusCode::PAYMENT_REQUIRED, "insufficient_quota", None),
            "server_error" => (StatusCode::BAD_GATEWAY, API, Some("upstream provider error")),
            "timeout" => (StatusCode::GATEWAY_TIMEOUT, API, Some("upstream provider timeout")),
            "context_overflow" => (StatusCode::PAYLOAD_TOO_LARGE, INVALID, None),
            "model_not_found" => (StatusCode::NOT_FOUND, INVALID, None),
            "session_expired" => (StatusCode::GONE, INVALID, None),
            // The run says that it failed, and in its text why.
            "error" => (StatusCode::BAD_GATEWAY, API, None),
            _ => return Self::internal(),
        };
        let message = fixed.map(Cow::Borrowed).or_else(|| text.map(Cow::Owned));
        Self::failed(status, kind, message.unwrap_or(Cow::Borrowed("internal error")))
    }

    /// Returns the JSON body.
    pub(super) fn json(&self) -> String {
        let (_, kind, message) = self.parts();
        let code = matches!(self, Self::Away { .. }).then_some("gateway_unavailable");
        let body = ErrorBody { error: ErrorMember { message: message.into_owned(), r#type: kind, code } };
        serde_json::to_string(&body).expect("strings can be written as JSON")
    }

    /// Returns the HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.parts().0
    }

    /// Returns the name of its kind for programs.
    pub(super) fn kind(&self) -> &'static str {
        self.parts().1
    }

    /// Returns its words.
    pub(super) fn message(&self) -> String {
        self.parts().2.into_owned()
    }

    fn failed(status: StatusCode, kind: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed { status, kind, message: message.into() }
    }

    fn parts(&self) -> (StatusCode, &'static str, Cow<'_, str>) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, INVALID, "Not Found".into()),
            Self::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, INVALID, "Method Not Allowed".into()),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized".into()),
            Self::Locked(_) => {
                let message = "Too many failed authentication attempts. Please try again later.";
                (StatusCode::TOO_MANY_REQUESTS, "rate_limited", message.into())
            }
            Self::UnknownProxy => {
                let message = "Proxy client attribution is required. Name the proxy in gateway.trustedProxies.";
                (StatusCode::FORBIDDEN, "proxy_attribution_required", message.into())
            }
            Self::ForeignPage => {
                let message = "Origin not allowed. Name it in gateway.controlUi.allowedOrigins, or let the gateway ask for a secret.";
                (StatusCode::FORBIDDEN, "forbidden", message.into())
            }
            Self::Invalid(message) => (StatusCode::BAD_REQUEST, INVALID, message.as_ref().into()),
            Self::Missing(message) => (StatusCode::NOT_FOUND, INVALID, message.as_str().into()),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, INVALID, "Payload too large".into()),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, INVALID, "Request body timeout".into()),
            Self::Packed => {
                let message = "Content-Encoding is not supported; send the body as it is";
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, message.into())
            }
            Self::Away { message, .. } => (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", message.as_ref().into()),
            Self::Failed { status, kind, message } => (*status, kind, message.as_ref().into()),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::WrongMethod(allowed) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Locked(left) => {
                headers.insert(RETRY_AFTER, seconds(*left));
            }
            Self::Away { retry_after, .. } => {
                headers.insert(RETRY_AFTER, seconds(*retry_after));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            // What is left of the body must not be taken for the next request.
            Self::TooLarge | Self::BodyTimeout | Self::Packed => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        headers
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, _, message) = self.parts();
        let (media_type, body) = match self {
            Self::NotFound | Self::WrongMethod(_) => ("text/plain; charset=utf-8", message.into_owned()),
            _ => (JSON, self.json()),
        };
        (status, self.headers(), [(CONTENT_TYPE, media_type)], body).into_response()
    }
}

/// The media type of every JSON response.
pub(super) const JSON: &str = "application/json; charset=utf-8";

/// Returns a JSON response.
pub(super) fn json(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => ([(CONTENT_TYPE, JSON)], body).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "could not write a response");
            Refusal::internal().into_response()
        }
    }
}

/// Rounds up: a client that comes back too early is refused again.
fn seconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(duration.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX).max(1))
}

/// What a refusal looks like.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: ErrorMember,
}

#[derive(Debug, Serialize, ToSchema)]
struct ErrorMember {
    message: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_has_the_status_of_its_reason() {
        for (reason, status, kind, message) in [
            ("auth", 401, "authentication_error", "said"),
            ("auth_permanent", 403, "permission_error", "said"),
            ("format", 400, "invalid_request_error", "said"),
            ("rate_limit", 429, "rate_limit_error", "said"),
            ("overloaded", 503, "api_error", "upstream provider overloaded"),
            ("billing", 402, "insufficient_quota", "said"),
            ("server_error", 502, "api_error", "upstream provider error"),
            ("timeout", 504, "api_error", "upstream provider timeout"),
            ("context_overflow", 413, "invalid_request_error", "said"),
            ("model_not_found", 404, "invalid_request_error", "said"),
            ("session_expired", 410, "invalid_request_error", "said"),
            ("error", 502, "api_error", "said"),
            ("something new", 500, "api_error", "internal error"),
        ] {
            let refusal = Refusal::from_run(reason, Some("said".to_owned()));
            let (got, got_kind, got_message) = refusal.parts();
            assert_eq!((got.as_u16(), got_kind, got_message.as_ref()), (status, kind, message), "{reason}");
        }
    }

    #[test]
    fn rounds_waits_up_to_whole_seconds() {
        for (wait_ms, expected) in [(0, "1"), (250, "1"), (1_000, "1"), (1_001, "2"), (299_400, "300")] {
            assert_eq!(seconds(Duration::from_millis(wait_ms)), expected);
        }
    }

    #[test]
    fn what_is_away_says_so_in_the_shape_that_clients_know() {
        let away = Refusal::draining();
        let json: serde_json::Value = serde_json::from_str(&away.json()).unwrap();
        assert_eq!(json["error"]["code"], "gateway_unavailable");
        assert_eq!(json["error"]["type"], "service_unavailable");
        let headers = away.headers();
        assert_eq!(headers.get(RETRY_AFTER).unwrap(), "1");
        assert_eq!(headers.get(CACHE_CONTROL).unwrap(), "no-store");
        assert_eq!(Refusal::Unauthorized.json(), r#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#);
    }
}
