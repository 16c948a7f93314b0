//! An answer while it grows: a message that is changed every now and then, until the whole answer takes its place.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use crate::dispatch::Dispatch;
use crate::gather::Batch;
use crate::message::{ChatKind, Part};
use crate::profile::Streaming;
use crate::text;

/// An answer that is whole by then is never shown before.
const FIRST_AFTER: Duration = Duration::from_secs(1);

/// The least that is shown, in characters.
const FIRST_CHARS: usize = 24;

/// The pause between two changes; groups take fewer.
const PAUSE: Duration = Duration::from_millis(1_200);
const PAUSE_IN_GROUPS: Duration = Duration::from_secs(4);

/// What stands after words that are not the last.
const GOES_ON: &str = " …";

/// The message that shows an answer while it grows.
#[derive(Debug)]
pub(crate) struct Preview<'a> {
    dispatch: &'a Dispatch,
    batch: &'a Batch,
    /// What the network calls it, once it is there.
    message_id: Option<String>,
    /// When it may be shown or changed next.
    next: Instant,
    shown: String,
    /// Once the network has refused it, it is not tried again.
    refused: bool,
}

impl<'a> Preview<'a> {
    /// Goes on with the one that an earlier incarnation has shown, if it has.
    pub(crate) fn new(dispatch: &'a Dispatch, batch: &'a Batch) -> Self {
        let next = Instant::now() + FIRST_AFTER;
        Self { dispatch, batch, message_id: batch.preview(), next, shown: String::new(), refused: false }
    }

    /// Shows how far the answer is, if it is time.
    pub(crate) async fn show(&mut self, draft: &str, activity: Option<&str>) {
        let words = match self.dispatch.profile.streaming() {
            Streaming::Off | Streaming::Block => return,
            Streaming::Partial => draft.trim_end().to_owned(),
            Streaming::Progress => activity.map_or_else(|| "✍️".to_owned(), |activity| format!("⚙️ {activity}")),
        };
        let too_short =
            self.message_id.is_none() && self.dispatch.profile.streaming() == Streaming::Partial && words.chars().count() < FIRST_CHARS;
        let to = self.batch.incoming.address();
        if self.refused || too_short || words == self.shown || Instant::now() < self.next || self.dispatch.adapter.pause(&to).is_some() {
            return;
        }
        let part = self.part(&words);
        let done = match &self.message_id {
            Some(id) => self.dispatch.adapter.edit(id, &part).await,
            None => match self.dispatch.adapter.send(&part).await {
                Ok(receipt) => {
                    // Kept, so that the whole answer finds it also after a restart.
                    let seq = self.batch.first().seq;
                    if let Err(error) = self.dispatch.store.preview(seq, &receipt.message_id).await {
                        debug!(error = &error as &dyn std::error::Error, "the beginning of an answer could not be noted");
                    }
                    self.message_id = Some(receipt.message_id);
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            },
        };
        if let Err(refusal) = done {
            debug!(error = %refusal, "the beginning of an answer could not be shown");
            self.refused = true;
        }
        self.shown = words;
        self.next = Instant::now() + if self.batch.incoming.chat == ChatKind::Group { PAUSE_IN_GROUPS } else { PAUSE };
    }

    /// Returns the message that the next piece takes the place of.
    pub(crate) fn shown(&self) -> Option<String> {
        self.message_id.clone()
    }

    /// The next piece begins with nothing shown.
    pub(crate) fn was_replaced(&mut self) {
        self.message_id = None;
        self.shown.clear();
        self.next = Instant::now() + FIRST_AFTER;
    }

    /// Takes back what was shown: there is no answer.
    pub(crate) async fn take_back(&mut self) {
        let Some(id) = self.message_id.take() else { return };
        if let Err(error) = self.dispatch.adapter.remove(&self.batch.incoming.address(), &id).await {
            debug!(%error, "the beginning of an answer could not be taken back");
        }
    }

    fn part(&self, words: &str) -> Part {
        let composer = self.dispatch.composer();
        let mut chunks = composer.chunks(words);
        // What is longer than one message is shown from its end.
        let rich = chunks.pop().unwrap_or_default();
        let (to, quote) = (self.batch.incoming.address(), self.dispatch.quote(&self.batch.incoming, true));
        let part = Part::text(to, self.dispatch.adapter.render(&rich) + GOES_ON, text::plain(&rich) + GOES_ON);
        Part { reply_to: quote.everywhere.or(quote.first), silent: true, ..part }
    }
}
