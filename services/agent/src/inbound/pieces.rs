//! An answer while it is written: in finished pieces, and what is unfinished as a draft. Piece and run name each other: a repeat tells the
//! same pieces from the first. A draft is nothing that anybody could miss.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;
use verso_proto::agent::v1::{Payload, SubmitResponse};

use super::says_something;
use crate::agents::Answers;
use crate::commands::Place;
use crate::error::Error;
use crate::reply::{self, Chunker, Chunks};
use crate::runs::{Ended, Run};

/// The pause between two drafts: networks show fewer.
const DRAFT_PAUSE: Duration = Duration::from_millis(400);

/// What is wanted of an answer before it is whole.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    /// Its finished pieces.
    pub(super) parts: bool,
    /// What is being written.
    pub(super) drafts: bool,
}

/// Somebody who wants to see a run's answer grow.
struct Pieces {
    run: Arc<Run>,
    wanted: Wanted,
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
    /// What the last draft showed, and when the next may.
    drafted: Draft,
    next_draft: Instant,
    over: bool,
}

/// What is unfinished: words, and what goes on besides.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Draft {
    text: String,
    activity: Option<String>,
}

/// Returns that a run was accepted, what is wanted of its answer while it grows, and its end.
pub(super) fn of(run: Arc<Run>, place: Place, chunks: Chunks, wanted: Wanted) -> Answers<SubmitResponse> {
    let accepted = place.response("accepted");
    let chunker = Chunker::new(chunks);
    let pieces = Pieces {
        run,
        wanted,
        place,
        chunker,
        seen: 0,
        flushed: 0,
        held: String::new(),
        speaks: false,
        ready: VecDeque::new(),
        told: 0,
        drafted: Draft::default(),
        next_draft: Instant::now(),
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
            if self.wanted.parts && !self.ready.is_empty() {
                return Some((Ok(self.part()), self));
            }
            let due = self.draft();
            let waits = due.is_some();
            if let Some(draft) = due.filter(|_| self.next_draft <= Instant::now()) {
                return Some((Ok(self.show(draft)), self));
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
                () = tokio::time::sleep_until(self.next_draft), if waits => {}
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

    /// Returns what is unfinished, if it is to be shown and was not yet.
    fn draft(&self) -> Option<Draft> {
        if !self.wanted.drafts {
            return None;
        }
        let text = if self.wanted.parts { self.chunker.rest() } else { self.run.emitter.current_message() };
        let silent = !self.speaks && reply::may_become_silent(&text);
        let text = if silent { String::new() } else { reply::draft(&text) };
        let draft = Draft { text, activity: self.run.emitter.activity() };
        (draft != self.drafted && draft != Draft::default()).then_some(draft)
    }

    fn show(&mut self, draft: Draft) -> SubmitResponse {
        self.next_draft = Instant::now() + DRAFT_PAUSE;
        self.drafted = draft.clone();
        SubmitResponse { draft: Some(draft.text), activity: draft.activity, ..self.place.response("draft") }
    }

    fn part(&mut self) -> SubmitResponse {
        let payloads: Vec<Payload> = self.ready.drain(..).collect();
        let pieces_before = self.told;
        self.told += i64::try_from(payloads.len()).unwrap_or(0);
        SubmitResponse { payloads, pieces_before, answerer: self.run.answerer(), ..self.place.response("part") }
    }

    fn end(&mut self, ended: &Ended) -> SubmitResponse {
        if !self.wanted.parts {
            return self.place.ended(ended);
        }
        self.look();
        self.finish_message();
        let rest = self.part();
        SubmitResponse { payloads: rest.payloads, pieces_before: rest.pieces_before, ..self.place.ended(ended) }
    }
}
