//! Why a model did not answer, in words for the person who asked.

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
    /// Too many requests, or no credit left.
    RateLimit,
    /// The conversation is longer than the model's window.
    ContextLength,
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

/// Why a model did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// For the person who asked.
    pub(crate) text: String,
    /// How long the provider wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// Makes a failure.
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), retry_after: None }
    }

    /// Reads an HTTP answer that is not a success.
    pub(crate) fn from_answer(status: u16, body: &str, retry_after: Option<Duration>) -> Self {
        let said = provider_text(body);
        let kind = classify(status, &said);
        let what = match kind {
            Kind::Auth => "the provider did not accept the API key",
            Kind::RateLimit if status == 402 => "the provider says that the account has no credit left",
            Kind::RateLimit => "the provider asks for fewer requests",
            Kind::ContextLength => "the conversation is longer than the model's context window",
            Kind::Server => "the provider has a fault",
            _ => "the provider refused the request",
        };
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let wait = retry_after.map(|wait| format!("; it may be tried again in {} s", wait.as_secs())).unwrap_or_default();
        Self { kind, text: format!("{what} (HTTP {status}){said}{wait}"), retry_after }
    }

    /// Reads an error that came within the stream.
    pub(crate) fn from_stream(error: &Value) -> Self {
        let said = provider_text(&serde_json::json!({"error": error}).to_string());
        let status = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
        Self::new(classify(status, &said), format!("the provider stopped with an error: {said}"))
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

fn classify(status: u16, said: &str) -> Kind {
    let said = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let overflow = ["context length", "context_length", "prompt is too long", "request_too_large", "context window", "exceed_context_size"];
    if says(&overflow) || (status == 413 && says(&["too large"])) {
        return Kind::ContextLength;
    }
    match status {
        401 | 403 => Kind::Auth,
        402 | 429 | 529 => Kind::RateLimit,
        408 => Kind::Timeout,
        503 if says(&["overloaded", "rate limit"]) => Kind::RateLimit,
        500..=599 => Kind::Server,
        _ if says(&["rate limit", "too many requests", "quota"]) => Kind::RateLimit,
        _ if says(&["invalid api key", "incorrect api key", "unauthorized"]) => Kind::Auth,
        _ => Kind::Refused,
    }
}

/// Returns the sentence within an error body, in whichever of the usual places it stands.
fn provider_text(body: &str) -> String {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let places = ["/error/message", "/error", "/message", "/detail"];
    let said = json.as_ref().and_then(|json| places.iter().find_map(|place| json.pointer(place).and_then(Value::as_str)));
    // What is not JSON is a page of some proxy: its first line at best.
    let text = said.unwrap_or_else(|| if body.trim_start().starts_with('<') { "" } else { body });
    crate::messages::shorten(text, PROVIDER_TEXT_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_answers() {
        for (status, body, kind) in [
            (400, r#"{"error":{"message":"mock status 400"}}"#, Kind::Refused),
            (400, r#"{"error":{"message":"This model's maximum context length is 8192 tokens"}}"#, Kind::ContextLength),
            (400, r#"{"error":{"type":"exceed_context_size_error","message":"exceed_context_size"}}"#, Kind::ContextLength),
            (401, "", Kind::Auth),
            (402, "", Kind::RateLimit),
            (403, "{}", Kind::Auth),
            (404, r#"{"error":"model not found"}"#, Kind::Refused),
            (429, "", Kind::RateLimit),
            (500, "<html>", Kind::Server),
            (503, r#"{"message":"Overloaded"}"#, Kind::RateLimit),
        ] {
            assert_eq!(Failure::from_answer(status, body, None).kind, kind, "{status} {body}");
        }
    }

    #[test]
    fn passes_on_what_the_provider_said() {
        let text = |status, body| Failure::from_answer(status, body, None).text;
        assert_eq!(text(400, r#"{"error":{"message":"mock status 400"}}"#), "the provider refused the request (HTTP 400): mock status 400");
        assert_eq!(text(404, r#"{"error":"no such model"}"#), "the provider refused the request (HTTP 404): no such model");
        assert_eq!(text(500, "<html>a page</html>"), "the provider has a fault (HTTP 500)");
        let wait = Failure::from_answer(429, "", Some(Duration::from_secs(90))).text;
        assert_eq!(wait, "the provider asks for fewer requests (HTTP 429); it may be tried again in 90 s");
    }
}
