//! Why a model did not answer: for us, so that somebody else is asked where that helps, and in words for the person who asked.

use std::time::Duration;

use serde_json::Value;

/// The longest text of a provider that is passed on, in characters.
const PROVIDER_TEXT_CHARS_MAX: usize = 500;

/// What went wrong, as far as it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The configuration does not lead to a model.
    Unusable,
    /// The provider does not accept our credentials.
    Auth,
    /// The account has no credit left.
    Billing,
    /// Too many requests.
    RateLimit,
    /// The provider has too much to do.
    Overloaded,
    /// The conversation is longer than the model's window.
    ContextLength,
    /// The conversation is written in a way that the provider does not take.
    Format,
    /// The provider has no such model.
    NoSuchModel,
    /// The provider does not accept the request.
    Refused,
    /// The provider has a fault.
    Server,
    /// Nobody listens.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The answer broke off.
    Cut,
    /// The answer is not what the dialect says.
    Malformed,
}

impl Kind {
    /// Returns its name for programs.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Unusable => "error",
            Self::Auth => "auth",
            Self::Billing => "billing",
            Self::RateLimit => "rate_limit",
            Self::Overloaded => "overloaded",
            Self::ContextLength => "context_overflow",
            Self::Format | Self::Refused => "format",
            Self::NoSuchModel => "model_not_found",
            Self::Server | Self::Unreachable | Self::Cut | Self::Malformed => "server_error",
            Self::Timeout => "timeout",
        }
    }

    /// Whether the next credential of the same provider may fare better.
    pub(crate) fn rotates(self) -> bool {
        matches!(self, Self::Auth | Self::Billing | Self::RateLimit | Self::Overloaded | Self::Timeout | Self::Format)
    }

    /// Whether another model may fare better. A request that makes no sense makes none to any model.
    pub(crate) fn fails_over(self) -> bool {
        !matches!(self, Self::Refused | Self::ContextLength)
    }

    /// Whether the credential is left alone for a while.
    pub(crate) fn cools(self) -> bool {
        matches!(self, Self::Auth | Self::Billing | Self::RateLimit | Self::Overloaded | Self::Format)
    }
}

/// Why a model did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// For the person who asked.
    pub(crate) text: String,
    /// How long the provider wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// What the provider answered with, if it did.
    pub(crate) status: Option<u16>,
}

impl Failure {
    /// Makes a failure.
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), retry_after: None, status: None }
    }

    /// Whether the model does not know the level of thinking that it was asked for.
    pub(crate) fn about_thinking(&self) -> bool {
        let text = self.text.to_lowercase();
        self.kind == Kind::Refused && says(&text, &["reasoning_effort", "reasoning.effort", "thinking", "budget_tokens"])
    }

    /// Reads an HTTP answer that is not a success.
    pub(crate) fn from_answer(status: u16, body: &str, retry_after: Option<Duration>) -> Self {
        let said = provider_text(body);
        let kind = classify(Some(status), &format!("{said} {}", error_code(body)));
        let what = match kind {
            Kind::Auth => "the provider did not accept the API key",
            Kind::Billing => "the provider says that the account has no credit left",
            Kind::RateLimit => "the provider asks for fewer requests",
            Kind::Overloaded => "the provider has too much to do",
            Kind::ContextLength => "the conversation is longer than the model's context window",
            Kind::NoSuchModel => "the provider does not know the model",
            Kind::Refused if says(&said.to_lowercase(), IMAGE_WORDS) => "the provider does not take a picture of this size",
            Kind::Server => "the provider has a fault",
            _ => "the provider refused the request",
        };
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let wait = retry_after.map(|wait| format!("; it may be tried again in {} s", wait.as_secs())).unwrap_or_default();
        Self { kind, text: format!("{what} (HTTP {status}){said}{wait}"), retry_after, status: Some(status) }
    }

    /// Reads an error that came within the stream.
    pub(crate) fn from_stream(error: &Value) -> Self {
        let body = serde_json::json!({"error": error}).to_string();
        let said = provider_text(&body);
        let number = |name: &str| error.get(name).and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let status = number("code").or_else(|| number("status")).filter(|code| (400..600).contains(code));
        let kind = classify(status.or(Some(500)), &format!("{said} {}", error_code(&body)));
        Self { status, ..Self::new(kind, format!("the provider stopped with an error: {said}")) }
    }

    /// Reads an error of the HTTP client.
    pub(crate) fn from_client(error: &reqwest::Error) -> Self {
        let (kind, what) = if error.is_timeout() {
            (Kind::Timeout, "the provider could not be reached in time")
        } else if error.is_connect() {
            (Kind::Unreachable, "the provider could not be reached")
        } else if error.is_builder() {
            (Kind::Unusable, "the provider's address cannot be used")
        } else {
            (Kind::Cut, "the connection to the provider broke")
        };
        Self::new(kind, format!("{what}: {}", root_cause(error)))
    }
}

/// Returns the innermost cause: the outer ones only say that a request was made.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

const OVERFLOW_WORDS: &[&str] = &[
    "context length",
    "context_length",
    "prompt is too long",
    "request_too_large",
    "context window",
    "exceed_context_size",
    "exceeds the available context",
    "input token count",
    "too many tokens",
];
const IMAGE_WORDS: &[&str] = &["image dimensions exceed", "image exceeds", "image too large", "image size"];
const RATE_WORDS: &[&str] =
    &["rate limit", "rate_limit", "too many requests", "quota", "resource_exhausted", "resource has been exhausted", "usage limit"];
const OVERLOAD_WORDS: &[&str] = &["overloaded", "high demand", "unavailable_model_capacity"];
const FORMAT_WORDS: &[&str] =
    &["tool_use_id", "tool_use.id", "tool_call_id", "tool call id", "roles must alternate", "string should match pattern"];
const BILLING_WORDS: &[&str] =
    &["payment required", "insufficient credits", "insufficient_quota", "credit balance", "plans & billing", "insufficient balance"];
const TIMEOUT_WORDS: &[&str] = &["timeout", "timed out", "deadline exceeded", "deadline_exceeded"];
const AUTH_WORDS: &[&str] = &[
    "invalid api key",
    "invalid_api_key",
    "incorrect api key",
    "api key not valid",
    "no api key",
    "invalid token",
    "authentication_error",
    "authentication failed",
    "unauthorized",
    "forbidden",
    "access denied",
    "token has expired",
    "re-authenticate",
];
const MODEL_WORDS: &[&str] = &["model not found", "model_not_found", "not_found_error", "does not exist", "no such model", "unknown model"];

fn says(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// Says what went wrong. The order matters: one text may hold the words of several.
fn classify(status: Option<u16>, said: &str) -> Kind {
    let said = said.to_lowercase();
    let says = |words: &[&str]| says(&said, words);
    if says(OVERFLOW_WORDS) || (status == Some(413) && says(&["too large", "too long"])) {
        return Kind::ContextLength;
    }
    match status {
        // Some accounts without credit are told to slow down, by one code for both.
        Some(402) => return Kind::Billing,
        Some(429) if says(&["insufficient_quota", "credit balance"]) => return Kind::Billing,
        Some(429) => return Kind::RateLimit,
        Some(529) => return Kind::Overloaded,
        Some(401 | 403) => return Kind::Auth,
        Some(408) => return Kind::Timeout,
        _ => {}
    }
    match said.as_str() {
        _ if says(IMAGE_WORDS) => Kind::Refused,
        _ if says(RATE_WORDS) => Kind::RateLimit,
        _ if says(OVERLOAD_WORDS) => Kind::Overloaded,
        _ if says(FORMAT_WORDS) => Kind::Format,
        _ if says(BILLING_WORDS) => Kind::Billing,
        _ if says(AUTH_WORDS) => Kind::Auth,
        _ if status == Some(504) || says(TIMEOUT_WORDS) => Kind::Timeout,
        _ if status == Some(404) || says(MODEL_WORDS) => Kind::NoSuchModel,
        _ if status.is_some_and(|status| status >= 500) => Kind::Server,
        _ => Kind::Refused,
    }
}

/// Returns the sentence within an error body, in whichever of the usual places it stands.
fn provider_text(body: &str) -> String {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let places = ["/error/message", "/error", "/0/error/message", "/message", "/detail"];
    let said = json.as_ref().and_then(|json| places.iter().find_map(|place| json.pointer(place).and_then(Value::as_str)));
    // What is not JSON is a page of some proxy: its first line at best.
    let text = said.unwrap_or_else(|| if body.trim_start().starts_with('<') { "" } else { body });
    crate::messages::shorten(text, PROVIDER_TEXT_CHARS_MAX)
}

/// Returns the words by which a provider tells programs what went wrong.
fn error_code(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let places = ["/error/type", "/error/code", "/error/status", "/0/error/status", "/type"];
    let words: Vec<&str> = places.iter().filter_map(|place| json.pointer(place).and_then(Value::as_str)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_answers() {
        for (status, body, kind) in [
            (400, r#"{"error":{"message":"mock status 400"}}"#, Kind::Refused),
            (400, r#"{"error":{"message":"This model's maximum context length is 8192 tokens"}}"#, Kind::ContextLength),
            (400, r#"{"error":{"type":"exceed_context_size_error","message":"the request is too big"}}"#, Kind::ContextLength),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#,
                Kind::ContextLength,
            ),
            (413, r#"{"error":{"message":"Request too large"}}"#, Kind::ContextLength),
            (400, r#"{"error":{"message":"messages.1.content.0.tool_use.id: String should match pattern"}}"#, Kind::Format),
            (400, r#"{"error":{"message":"Your credit balance is too low"}}"#, Kind::Billing),
            (400, r#"[{"error":{"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]"#, Kind::Auth),
            (400, r#"{"error":{"message":"image exceeds 5 MB maximum"}}"#, Kind::Refused),
            (401, "", Kind::Auth),
            (402, "", Kind::Billing),
            (403, "{}", Kind::Auth),
            (404, r#"{"error":"model not found"}"#, Kind::NoSuchModel),
            (408, "", Kind::Timeout),
            (429, "", Kind::RateLimit),
            (429, r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#, Kind::Billing),
            (500, "<html>", Kind::Server),
            (500, r#"{"error":{"message":"deadline exceeded"}}"#, Kind::Timeout),
            (503, r#"{"message":"Overloaded"}"#, Kind::Overloaded),
            (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Kind::Overloaded),
        ] {
            assert_eq!(Failure::from_answer(status, body, None).kind, kind, "{status} {body}");
        }
    }

    #[test]
    fn classifies_errors_within_a_stream() {
        for (error, kind) in [
            (serde_json::json!({"type": "overloaded_error", "message": "Overloaded"}), Kind::Overloaded),
            (serde_json::json!({"code": 429, "message": "slow down"}), Kind::RateLimit),
            (serde_json::json!({"code": "rate_limit_exceeded", "message": "slow down"}), Kind::RateLimit),
            (serde_json::json!({"message": "internal"}), Kind::Server),
        ] {
            assert_eq!(Failure::from_stream(&error).kind, kind, "{error}");
        }
    }

    #[test]
    fn passes_on_what_the_provider_said() {
        let text = |status, body| Failure::from_answer(status, body, None).text;
        assert_eq!(text(400, r#"{"error":{"message":"mock status 400"}}"#), "the provider refused the request (HTTP 400): mock status 400");
        assert_eq!(text(404, r#"{"error":"no such model"}"#), "the provider does not know the model (HTTP 404): no such model");
        assert_eq!(text(500, "<html>a page</html>"), "the provider has a fault (HTTP 500)");
        let wait = Failure::from_answer(429, "", Some(Duration::from_secs(90))).text;
        assert_eq!(wait, "the provider asks for fewer requests (HTTP 429); it may be tried again in 90 s");
    }
}
