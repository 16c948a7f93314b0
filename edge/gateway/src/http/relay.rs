//! What streamed answers share: how a run is followed for a client that reads along, and how its answer is completed.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use tokio::time::timeout;
use verso_proto::agent::v1::CompleteEnd;
use verso_proto::agent::v1::complete_response::Item;

use super::client_tools::Must;
use super::errors::Refusal;
use super::run::Run;

/// Silence after which a comment is sent: proxies cut connections that look dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The comment.
pub(super) const COMMENT: Bytes = Bytes::from_static(b": keepalive\n\n");

/// What a client reads when the agent had nothing to say.
pub(super) const SILENCE: &str = "No response from Verso.";

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Opening,
    Text,
    Over,
}

/// What comes next in an answer.
pub(super) enum Next {
    /// Nothing for so long that the client is sent [`COMMENT`].
    Silence,
    Text(String),
    End(CompleteEnd),
    /// The service is gone, and the rest of the answer with it.
    Broken(Refusal),
}

/// Why a run ended that has an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    ToolCalls,
}

impl Finish {
    /// Reads the end of a run; one without an answer is a refusal.
    pub(super) fn of(end: &CompleteEnd) -> Result<Self, Refusal> {
        let finish = match end.stop_reason.as_str() {
            // Whoever stopped the run meant what there is to be the answer.
            "stop" | "aborted" => Self::Stop,
            "length" => Self::Length,
            "tool_calls" => Self::ToolCalls,
            reason => return Err(Refusal::from_run(reason, end.error.clone())),
        };
        // An error counts for more than a reason that goes with an answer.
        if end.error.is_some() { Err(Refusal::from_run("error", end.error.clone())) } else { Ok(finish) }
    }
}

/// Waits for what comes next. Text is kept back until it is known that what must be called is.
pub(super) async fn next(run: &mut Run, must: &Must) -> Next {
    loop {
        return match timeout(KEEP_ALIVE, run.next()).await {
            Err(_) => Next::Silence,
            // What has to be a call may turn out not to be one, and text could not be taken back.
            Ok(Ok(Item::Delta(text))) if text.is_empty() || must.withholds_text() => continue,
            Ok(Ok(Item::Delta(text))) => {
                run.mark_shown();
                Next::Text(text)
            }
            Ok(Ok(Item::End(end))) => Next::End(end),
            Ok(Err(refusal)) => Next::Broken(refusal),
        };
    }
}

/// Returns a response whose body is a stream of server-sent events.
pub(super) fn response(events: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let headers = [(CONTENT_TYPE, "text/event-stream; charset=utf-8"), (CACHE_CONTROL, "no-cache"), (CONNECTION, "keep-alive")];
    (headers, Body::from_stream(events.fuse().map(Ok::<_, Infallible>))).into_response()
}

/// Returns what `whole` has beyond what was sent; a refusal if it says something else. White space does not count: it is sent as it comes,
/// and trimmed from what is whole.
pub(super) fn rest<'a>(sent: &str, whole: &'a str) -> Result<&'a str, Refusal> {
    missing(sent, whole)
        .ok_or_else(|| Refusal::api(StatusCode::BAD_GATEWAY, "Assistant output cannot be represented as an append-only response stream."))
}

fn missing<'a>(sent: &str, whole: &'a str) -> Option<&'a str> {
    if whole.trim().is_empty() {
        return Some("");
    }
    if let Some(rest) = whole.strip_prefix(sent) {
        return Some(rest);
    }
    let mut rest = whole.chars();
    for letter in sent.chars().filter(|letter| !letter.is_whitespace()) {
        if rest.find(|letter| !letter.is_whitespace()) != Some(letter) {
            return None;
        }
    }
    Some(rest.as_str().trim_end())
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn a_stream_is_completed_but_never_contradicted() {
        for (sent, whole, expected) in [
            ("", "Hello.", Some("Hello.")),
            ("Hel", "Hello.", Some("lo.")),
            ("Hello ", "Hello world", Some("world")),
            ("Hello.", "Hello.", Some("")),
            (" Hello.\n", "Hello.", Some("")),
            ("One. \n\nTwo.", "One.\n\nTwo.", Some("")),
            ("One. \n\nTw", "One.\n\nTwo.", Some("o.")),
            ("Hello.", "", Some("")),
            ("Hello.", "Bye.", None),
            ("Hello.", "Hell", None),
        ] {
            assert_eq!(missing(sent, whole), expected, "{sent:?} {whole:?}");
        }
    }
}
