//! A reply in pieces: server-sent events, each sent as soon as the agent says it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use tokio::time::timeout;
use verso_proto::agent::v1::CompleteEnd;
use verso_proto::agent::v1::complete_response::Item;

use super::super::run::Run;
use super::reply::{Ending, Frames, Head, contradiction};
use super::request::Extras;

/// Silence after which a comment is sent: proxies cut connections that look dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// From a run's items to the events of its client. Dropping it, as the server does when the client is gone, ends the run.
pub(super) struct Relay {
    head: Head,
    run: Run,
    extras: Extras,
    /// What the client has been sent of the text.
    sent: String,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Text,
    Over,
}

impl Relay {
    pub(super) fn new(head: Head, run: Run, extras: Extras) -> Self {
        Self { head, run, extras, sent: String::new(), stage: Stage::Opening }
    }

    /// Returns the response whose body is the stream.
    pub(super) fn into_response(self) -> Response {
        let events = stream::unfold(self, async |mut relay| relay.next().await.map(|bytes| (Ok::<_, Infallible>(bytes), relay))).fuse();
        let headers = [(CONTENT_TYPE, "text/event-stream; charset=utf-8"), (CACHE_CONTROL, "no-cache"), (CONNECTION, "keep-alive")];
        (headers, Body::from_stream(events)).into_response()
    }

    /// Returns the next bytes; none after the end.
    async fn next(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Text;
                Some(Frames::default().role(&self.head).into_bytes().into())
            }
            Stage::Text => Some(self.next_text().await),
            Stage::Over => None,
        }
    }

    async fn next_text(&mut self) -> Bytes {
        loop {
            let frames = match timeout(KEEP_ALIVE, self.run.next()).await {
                Err(_) => return Bytes::from_static(b": keepalive\n\n"),
                // What has to be a call may turn out not to be one, and text could not be taken back.
                Ok(Ok(Item::Delta(text))) if text.is_empty() || self.extras.must.withholds_text() => continue,
                Ok(Ok(Item::Delta(text))) => {
                    self.run.mark_shown();
                    self.sent.push_str(&text);
                    Frames::default().text(&self.head, &text)
                }
                Ok(Ok(Item::End(end))) => self.end(end),
                // The service is gone, and the rest of the answer with it: what has been sent is no whole reply.
                Ok(Err(refusal)) => {
                    self.stage = Stage::Over;
                    Frames::default().error(&refusal)
                }
            };
            return frames.into_bytes().into();
        }
    }

    fn end(&mut self, end: CompleteEnd) -> Frames {
        self.stage = Stage::Over;
        let read = self.extras.must.check(&end).and_then(|()| Ending::read(end));
        let ending = match read {
            Ok(ending) => ending,
            Err(refusal) => return Frames::default().error(&refusal).done(),
        };
        let whole = if self.sent.is_empty() { ending.text_or_silence() } else { &ending.text };
        let Some(rest) = missing(&self.sent, whole) else {
            return Frames::default().error(&contradiction()).done();
        };
        let frames = if rest.is_empty() { Frames::default() } else { Frames::default().text(&self.head, rest) };
        let frames = frames.calls(&self.head, &ending.calls);
        let frames = frames.finish(&self.head, ending.finish_reason);
        let frames = if self.extras.include_usage { frames.usage(&self.head, ending.usage) } else { frames };
        frames.done()
    }
}

/// Returns what `whole` has beyond what was sent; none if it says something else. White space does not count: it is sent as it comes,
/// and trimmed from what is whole.
pub(in crate::http) fn missing<'a>(sent: &str, whole: &'a str) -> Option<&'a str> {
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
