//! An answer in finished pieces while it is written. Piece and run name each other: a repeat tells the same pieces from the first.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use verso_proto::agent::v1::{Payload, SubmitResponse};

use super::says_something;
use crate::agents::Answers;
use crate::commands::Place;
use crate::error::Error;
use crate::reply::{self, Chunker, Chunks};
use crate::runs::{Ended, Run};

/// Somebody who wants the pieces of a run's answer.
struct Pieces {
    run: Arc<Run>,
    place: Place,
    chunker: Chunker,
    /// How much of the run's text was looked at, in bytes.
    seen: usize,
    /// How much of it was in finished messages then.
    flushed: usize,
    /// What of the current message is held back, because it may turn out to be silence.
    held: String,
    /// Whether the current message is none.
    speaks: bool,
    ready: VecDeque<Payload>,
    told: i64,
    over: bool,
}

/// Returns that a run was accepted, the pieces of its answer, and its end.
pub(super) fn of(run: Arc<Run>, place: Place, chunks: Chunks) -> Answers<SubmitResponse> {
    let accepted = place.response("accepted");
    let chunker = Chunker::new(chunks);
    let pieces = Pieces {
        run,
        place,
        chunker,
        seen: 0,
        flushed: 0,
        held: String::new(),
        speaks: false,
        ready: VecDeque::new(),
        told: 0,
        over: false,
    };
    stream::once(async { Ok(accepted) }).chain(stream::unfold(pieces, Pieces::next)).boxed()
}

/// Returns the pieces of an answer that was given before, as they were told then.
pub(super) fn again(ended: &Ended, place: &Place, chunks: Chunks) -> SubmitResponse {
    let whole = place.ended(ended);
    let pieces = whole.payloads.iter().flat_map(|payload| {
        let mut chunker = Chunker::new(chunks);
        let mut texts = chunker.write(&payload.text);
        texts.extend(chunker.drain(true));
        let media = Payload { text: String::new(), ..payload.clone() };
        let texts = texts.into_iter().map(|text| Payload { text, ..Payload::default() });
        texts.chain(says_something(&media).then_some(media)).collect::<Vec<_>>()
    });
    SubmitResponse { payloads: pieces.collect(), ..whole.clone() }
}

impl Pieces {
    async fn next(mut self) -> Option<(Result<SubmitResponse, Error>, Self)> {
        if self.over {
            return None;
        }
        let mut progress = self.run.emitter.progress();
        let run = Arc::clone(&self.run);
        loop {
            self.look();
            if !self.ready.is_empty() {
                return Some((Ok(self.part()), self));
            }
            tokio::select! {
                biased;
                changed = progress.changed() => if changed.is_err() {
                    self.over = true;
                    return Some((Err(Error::Restarting), self));
                },
                ended = run.ended() => {
                    self.over = true;
                    let response = ended.map(|ended| self.end(&ended));
                    return Some((response, self));
                }
            }
        }
    }

    /// Takes in what was written since.
    fn look(&mut self) {
        let (text, finished) = self.run.emitter.text_and_messages_since(self.seen);
        let split = finished.saturating_sub(self.seen).min(text.len());
        self.seen += text.len();
        self.held.push_str(&text[..split]);
        if finished > self.flushed {
            self.flushed = finished;
            self.finish_message();
        }
        self.held.push_str(&text[split..]);
        if self.speaks || !reply::may_become_silent(&self.held) {
            self.speaks = true;
            let held = std::mem::take(&mut self.held);
            let blocks = self.chunker.write(&held);
            self.take(&blocks);
        }
    }

    fn finish_message(&mut self) {
        let held = std::mem::take(&mut self.held);
        if self.speaks || !reply::is_silent(&held) {
            let blocks = self.chunker.write(&held);
            self.take(&blocks);
        }
        let blocks = self.chunker.drain(true);
        self.take(&blocks);
        self.speaks = false;
    }

    fn take(&mut self, blocks: &[String]) {
        self.ready.extend(blocks.iter().filter_map(|block| reply::payload(block)));
    }

    fn part(&mut self) -> SubmitResponse {
        let payloads: Vec<Payload> = self.ready.drain(..).collect();
        let pieces_before = self.told;
        self.told += i64::try_from(payloads.len()).unwrap_or(0);
        SubmitResponse { payloads, pieces_before, ..self.place.response("part") }
    }

    fn end(&mut self, ended: &Ended) -> SubmitResponse {
        self.look();
        self.finish_message();
        let rest = self.part();
        SubmitResponse { payloads: rest.payloads, pieces_before: rest.pieces_before, ..self.place.ended(ended) }
    }
}
