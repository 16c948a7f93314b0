//! From what an agent tells of its answer to the outbox, and signs that it is on its way.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};
use verso_kit::tasks::Tasks;

use crate::adapter::Ability;
use crate::agent::{Growth, Pending, Pieces, Said};
use crate::composing::Quote;
use crate::dispatch::Dispatch;
use crate::error::Error;
use crate::gather::Batch;
use crate::message::{Address, ChatKind, Incoming, Part};
use crate::preview::Preview;
use crate::profile::{ReplyTo, Streaming};
use crate::store::outbox::Posting;

/// How often an answer that is being written is announced …
const TYPING_INTERVAL: Duration = Duration::from_secs(5);

/// … and until how long after the last sign of it.
const TYPING_MAX: Duration = Duration::from_mins(2);

impl Dispatch {
    /// Returns how much of an answer is wanted before it is whole.
    pub(crate) fn growth(&self) -> Growth {
        let streaming = self.profile.streaming();
        let edits = self.adapter.abilities().contains(&Ability::Edits);
        Growth {
            parts: streaming == Streaming::Block || self.profile.block_streaming == Some(true),
            drafts: edits && matches!(streaming, Streaming::Partial | Streaming::Progress),
        }
    }

    /// Puts an answer into the outbox, piece by piece as it is told.
    pub(crate) async fn answer(&self, batch: &Batch, mut pending: Pending) -> Result<(), Error> {
        let address = batch.incoming.address();
        let mut preview = Preview::new(self, batch);
        let mut typing = Typing { next: Instant::now(), until: Instant::now() + TYPING_MAX };
        loop {
            let said = tokio::select! {
                said = pending.next() => said,
                never = self.keep_typing(&address, &mut typing) => never,
            };
            typing.until = Instant::now() + TYPING_MAX;
            match said {
                Said::Draft { text, activity } => preview.show(&text, activity.as_deref()).await,
                Said::Part(pieces) => {
                    let postings = self.postings(batch, &pieces, preview.shown()).await;
                    if self.store.post_pieces(&self.key, batch.seqs(), postings).await? {
                        preview.was_replaced();
                        self.posted.notify_one();
                    }
                }
                Said::End(pieces) => {
                    let postings = self.postings(batch, &pieces, preview.shown()).await;
                    if postings.is_empty() {
                        preview.take_back().await;
                    }
                    self.end(&batch.seqs(), "answered", None, postings).await?;
                    break;
                }
                Said::Failed(error) => {
                    let words = Pieces { payloads: vec![text(&format!("⚠️ {error}"))], ..Pieces::default() };
                    let postings = self.name(batch, "error", &self.compose_answer(batch, &words, preview.shown()).await);
                    self.end(&batch.seqs(), "failed", Some(error), postings).await?;
                    break;
                }
            }
        }
        if self.profile.manners.remove_ack_after_reply {
            self.react(&batch.incoming, None).await;
        }
        Ok(())
    }

    /// Returns the messages that pieces of an answer become. Each is named by what it answers and its number, so that it is sent once.
    async fn postings(&self, batch: &Batch, pieces: &Pieces, preview: Option<String>) -> Vec<Posting> {
        let mut postings = Vec::new();
        let mut preview = preview;
        for (at, payload) in pieces.payloads.iter().enumerate() {
            let number = pieces.first.saturating_add(i64::try_from(at).unwrap_or(i64::MAX));
            let one = Pieces { first: number, payloads: vec![payload.clone()], ..pieces.clone() };
            let parts = self.compose_answer(batch, &one, preview.take()).await;
            postings.extend(self.name(batch, &number.to_string(), &parts));
        }
        postings
    }

    fn name(&self, batch: &Batch, number: &str, parts: &[Part]) -> Vec<Posting> {
        let id = |at: usize| format!("{}:{number}.{at}", batch.name());
        parts.iter().enumerate().map(|(at, part)| Posting::new(id(at), part, self.clock.now_ms())).collect()
    }

    /// Returns what an answer quotes.
    pub(crate) fn quote(&self, incoming: &Incoming, first: bool) -> Quote {
        let usual = if self.adapter.abilities().contains(&Ability::Buttons) { ReplyTo::First } else { ReplyTo::Off };
        let mode = self.profile.reply_to_mode.unwrap_or(usual);
        let current = incoming.message_id.clone();
        let everywhere = (mode == ReplyTo::All).then(|| current.clone()).flatten();
        let in_group = mode == ReplyTo::First && first && incoming.chat == ChatKind::Group;
        Quote { current, listens: mode != ReplyTo::Off, first: in_group.then(|| incoming.message_id.clone()).flatten(), everywhere }
    }

    /// Says something of our own.
    pub(crate) fn say(&self, name: &str, incoming: &Incoming, words: &str) -> Vec<Posting> {
        let parts = self.composer().texts(&incoming.address(), words);
        parts.iter().enumerate().map(|(at, part)| Posting::new(format!("{name}:{at}"), part, self.clock.now_ms())).collect()
    }

    /// Announces an answer until it is there.
    async fn keep_typing(&self, address: &Address, typing: &mut Typing) -> Said {
        loop {
            tokio::time::sleep_until(typing.next).await;
            if Instant::now() > typing.until {
                // Whoever waits for so long does not look at it any more.
                std::future::pending::<()>().await;
            }
            typing.next = Instant::now() + TYPING_INTERVAL;
            self.adapter.typing(address).await;
        }
    }

    /// Marks a message as seen, where that is wanted.
    pub(crate) fn acknowledge(&self, incoming: &Incoming, tasks: &Tasks) {
        let group = incoming.chat == ChatKind::Group;
        if !self.profile.acknowledges(group, incoming.mentioned)
            || self.profile.ack_reaction().is_none()
            || incoming.kind != crate::message::EventKind::Message
        {
            return;
        }
        let (this, incoming, stop) = (self.clone(), incoming.clone(), tasks.shutdown().clone());
        tasks.spawn("acknowledgement", async move {
            let reacting = this.react(&incoming, this.profile.ack_reaction());
            if stop.run_until_cancelled(reacting).await.is_none() {
                debug!("the account stops before a message was marked");
            }
        });
    }

    /// Marks a message. That is never worth a complaint to anybody but the operator.
    async fn react(&self, incoming: &Incoming, emoji: Option<&str>) {
        let Some(message) = &incoming.message_id else { return };
        if !self.adapter.abilities().contains(&Ability::Reactions) || self.profile.ack_reaction().is_none() {
            return;
        }
        if let Err(error) = self.adapter.react(&incoming.address(), message, emoji).await {
            warn!(channel = %self.key.channel, account = %self.key.account, %error, "a message could not be marked");
        }
    }
}

/// When an answer is announced.
struct Typing {
    next: Instant,
    until: Instant,
}

fn text(words: &str) -> verso_proto::agent::v1::Payload {
    verso_proto::agent::v1::Payload { text: words.to_owned(), ..Default::default() }
}
