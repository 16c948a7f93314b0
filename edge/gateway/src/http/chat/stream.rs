//! A reply in pieces: server-sent events, each sent as soon as the agent says it.

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use verso_proto::agent::v1::CompleteEnd;

use super::super::relay::{self, COMMENT, Next, Stage};
use super::super::run::Run;
use super::reply::{Ending, Frames, Head};
use super::request::Extras;

/// From a run's items to the events of its client. Dropping it, as the server does when the client is gone, ends the run.
pub(super) struct Relay {
    head: Head,
    run: Run,
    extras: Extras,
    /// What the client has been sent of the text.
    sent: String,
    stage: Stage,
}

impl Relay {
    pub(super) fn new(head: Head, run: Run, extras: Extras) -> Self {
        Self { head, run, extras, sent: String::new(), stage: Stage::Opening }
    }

    /// Returns the response whose body is the stream.
    pub(super) fn into_response(self) -> Response {
        relay::response(stream::unfold(self, async |mut relay| relay.next().await.map(|bytes| (bytes, relay))))
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
        let frames = match relay::next(&mut self.run, &self.extras.must).await {
            Next::Silence => return COMMENT,
            Next::Text(text) => {
                self.sent.push_str(&text);
                Frames::default().text(&self.head, &text)
            }
            Next::End(end) => self.end(end),
            // What has been sent is no whole reply.
            Next::Broken(refusal) => {
                self.stage = Stage::Over;
                Frames::default().error(&refusal)
            }
        };
        frames.into_bytes().into()
    }

    fn end(&mut self, end: CompleteEnd) -> Frames {
        self.stage = Stage::Over;
        let read = self.extras.must.check(&end).and_then(|()| Ending::read(end));
        let ending = match read {
            Ok(ending) => ending,
            Err(refusal) => return Frames::default().error(&refusal).done(),
        };
        let whole = if self.sent.is_empty() { ending.text_or_silence() } else { &ending.text };
        let rest = match relay::rest(&self.sent, whole) {
            Ok(rest) => rest,
            Err(refusal) => return Frames::default().error(&refusal).done(),
        };
        let frames = if rest.is_empty() { Frames::default() } else { Frames::default().text(&self.head, rest) };
        let frames = frames.calls(&self.head, &ending.calls);
        let frames = frames.finish(&self.head, ending.finish_reason);
        let frames = if self.extras.include_usage { frames.usage(&self.head, ending.usage) } else { frames };
        frames.done()
    }
}
