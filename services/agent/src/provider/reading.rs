//! Reads the answer of a provider: server-sent events, lines of JSON, or one JSON document.

use std::pin::Pin;
use std::time::Duration;

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use bytes::{Bytes, BytesMut};
use eventsource_stream::{EventStream, EventStreamError, Eventsource as _};
use futures_util::FutureExt as _;
use futures_util::stream::{self, BoxStream, Peekable, StreamExt as _};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use tokio::time::timeout;

use super::{Answer, Delta, Failure, Kind, bedrock};

/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What arrives together is sent together, up to so many pieces …
const MERGED_DELTAS_MAX: usize = 64;

/// … and so many bytes.
const MERGED_BYTES_MAX: usize = 16 << 10;

/// What a piece of a stream means.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// It adds this to the answer.
    Add(Delta),
    /// It adds this, and nothing comes after it.
    End(Delta),
}

impl Step {
    /// It adds nothing.
    pub(super) fn nothing() -> Self {
        Self::Add(Delta::default())
    }
}

/// Understands the answers of one dialect.
pub(super) trait Parse: Send {
    /// Reads a piece of a streamed answer.
    fn piece(&mut self, data: &str) -> Result<Step, Failure>;

    /// Reads an answer that was not streamed.
    fn document(&mut self, body: &[u8]) -> Result<Delta, Failure>;
}

/// Reads JSON that a provider has sent.
pub(super) fn json<'a, T: serde::Deserialize<'a>>(data: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(data).map_err(|error| Failure::new(Kind::Malformed, format!("the provider's answer is not JSON: {error}")))
}

/// How long a provider is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For an answer that is not streamed.
    pub(super) document: Duration,
    /// For the next piece of one that is. None: for ever.
    pub(super) idle: Option<Duration>,
}

/// Reads an answer as it arrives.
pub(super) async fn read(response: Response, mut parser: Box<dyn Parse>, patience: Patience) -> Result<Answer, Failure> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if kind.starts_with("application/json") {
        let body = timeout(patience.document, whole(response)).await.map_err(|_| silent(patience.document))??;
        let delta = parser.document(&body)?;
        return Ok(stream::once(async { Ok(delta) }).boxed());
    }
    let bytes = limited(response);
    let source = if kind.starts_with("application/x-ndjson") {
        Source::Lines { bytes, buffer: BytesMut::new() }
    } else if kind.starts_with("application/vnd.amazon.eventstream") {
        Source::Frames { bytes, buffer: BytesMut::new(), decoder: MessageFrameDecoder::new() }
    } else {
        Source::Events(bytes.eventsource())
    };
    let reading = Reading { source, parser, idle: patience.idle, finished: false, over: false };
    Ok(gathered(stream::unfold(reading, Reading::next).boxed()))
}

/// Makes one of what arrives together: each event holds the whole text so far. The beginning of the text waits for nothing.
fn gathered(pieces: Answer) -> Answer {
    let state = (pieces.peekable(), false);
    let gathered = stream::unfold(state, |(mut pieces, mut has_begun)| async move {
        let mut item = pieces.next().await?;
        if let Ok(delta) = &mut item {
            for _ in 0..if has_begun { MERGED_DELTAS_MAX } else { 0 } {
                if delta.text.len() >= MERGED_BYTES_MAX {
                    break;
                }
                let Some(later) = arrived(&mut pieces).await else { break };
                delta.merge(later);
            }
            has_begun |= !delta.text.is_empty();
        }
        Some((item, (pieces, has_begun)))
    });
    gathered.boxed()
}

/// Returns the next piece if it is there.
async fn arrived(pieces: &mut Peekable<Answer>) -> Option<Delta> {
    let mut found = Pin::new(&mut *pieces).next_if(Result::is_ok).now_or_never();
    if found.is_none() {
        // The connection's own task hands over one piece at a time; it has a chance to bring the next one.
        tokio::task::yield_now().await;
        found = Pin::new(pieces).next_if(Result::is_ok).now_or_never();
    }
    found.flatten()?.ok()
}

async fn whole(response: Response) -> Result<BytesMut, Failure> {
    let (mut bytes, mut body) = (limited(response), BytesMut::new());
    while let Some(piece) = bytes.next().await {
        body.extend_from_slice(&piece?);
    }
    Ok(body)
}

fn limited(response: Response) -> BoxStream<'static, Result<Bytes, Failure>> {
    let mut left = ANSWER_BYTES_MAX;
    let limited = response.bytes_stream().map(move |piece| {
        let piece = piece.map_err(|error| Failure::from_client(&error))?;
        left = left.checked_sub(piece.len()).ok_or_else(|| Failure::new(Kind::Malformed, "the provider's answer is endless"))?;
        Ok(piece)
    });
    limited.boxed()
}

/// Where the pieces of an answer come from.
enum Source {
    Events(EventStream<BoxStream<'static, Result<Bytes, Failure>>>),
    Lines { bytes: BoxStream<'static, Result<Bytes, Failure>>, buffer: BytesMut },
    Frames { bytes: BoxStream<'static, Result<Bytes, Failure>>, buffer: BytesMut, decoder: MessageFrameDecoder },
}

impl Source {
    /// Returns the next piece; none when the connection has ended.
    async fn next(&mut self) -> Result<Option<String>, Failure> {
        match self {
            Self::Events(events) => match events.next().await {
                Some(Ok(event)) => Ok(Some(event.data)),
                Some(Err(EventStreamError::Transport(failure))) => Err(broken(failure)),
                Some(Err(error)) => Err(Failure::new(Kind::Malformed, format!("the provider's answer is not an event stream: {error}"))),
                None => Ok(None),
            },
            Self::Frames { bytes, buffer, decoder } => loop {
                match decoder.decode_frame(&mut *buffer) {
                    Ok(DecodedFrame::Complete(message)) => return bedrock::frame(&message).map(Some),
                    Ok(_) => {}
                    Err(error) => return Err(Failure::new(Kind::Malformed, format!("the provider's answer has a broken frame: {error}"))),
                }
                match bytes.next().await {
                    Some(Ok(more)) => buffer.extend_from_slice(&more),
                    Some(Err(failure)) => return Err(broken(failure)),
                    None => return Ok(None),
                }
            },
            Self::Lines { bytes, buffer } => loop {
                if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line = buffer.split_to(end + 1);
                    return Ok(Some(String::from_utf8_lossy(&line).trim().to_owned()));
                }
                match bytes.next().await {
                    Some(Ok(more)) => buffer.extend_from_slice(&more),
                    Some(Err(failure)) => return Err(broken(failure)),
                    None if buffer.is_empty() => return Ok(None),
                    None => return Ok(Some(String::from_utf8_lossy(&buffer.split()).trim().to_owned())),
                }
            },
        }
    }
}

struct Reading {
    source: Source,
    parser: Box<dyn Parse>,
    /// How long the provider may be silent.
    idle: Option<Duration>,
    /// Whether the model has said why it stopped: what follows is only about costs.
    finished: bool,
    over: bool,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Delta, Failure>, Self)> {
        while !self.over {
            let next = self.source.next();
            let next = match self.idle {
                Some(idle) => timeout(idle, next).await.unwrap_or_else(|_| Err(silent(idle))),
                None => next.await,
            };
            let step = match next {
                Ok(Some(data)) if data.is_empty() => continue,
                Ok(Some(data)) if data.trim() == "[DONE]" => return None,
                Ok(Some(data)) => self.parser.piece(&data),
                Ok(None) => Err(cut()),
                Err(failure) => Err(failure),
            };
            let item = match step {
                Ok(Step::Add(delta)) => Ok(delta),
                Ok(Step::End(delta)) => {
                    self.over = true;
                    Ok(delta)
                }
                Err(failure) => {
                    self.over = true;
                    if self.finished && matches!(failure.kind, Kind::Cut | Kind::Timeout) {
                        return None;
                    }
                    Err(failure)
                }
            };
            if let Ok(delta) = &item {
                self.finished |= delta.finish.is_some();
                if delta.is_empty() {
                    continue;
                }
            }
            return Some((item, self));
        }
        None
    }
}

fn broken(failure: Failure) -> Failure {
    if failure.kind == Kind::Malformed { failure } else { cut() }
}

fn cut() -> Failure {
    Failure::new(Kind::Cut, "the provider's answer broke off in the middle")
}

fn silent(waited: Duration) -> Failure {
    Failure::new(Kind::Timeout, format!("the provider fell silent for {} s", waited.as_secs()))
}
