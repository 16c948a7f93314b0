//! From the outbox to a network: several chats of an account at once, each in its order.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, debug_span, info, warn};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::trace::{self, TraceContext};

use crate::adapter::{Adapter, Refusal};
use crate::error::Error;
use crate::link::Pulse;
use crate::media::{Shelf, Way};
use crate::message::Part;
use crate::metrics;
use crate::profile::Retry;
use crate::store::outbox::{Claimed, Fate};
use crate::store::{AccountKey, Store};

/// Chats that are written to at once.
const AT_ONCE: usize = 8;

/// How long the network may ask to be left alone.
const RETRY_ASKED_MAX: Duration = Duration::from_mins(15);

/// How long a message may wait. An answer that is later than that is worth less than none.
const AGE_MAX: Duration = Duration::from_hours(1);

/// How long one sending may take; files take longer.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);
const SEND_FILE_TIMEOUT: Duration = Duration::from_mins(5);

/// How long it is waited for news at most.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// How long what is being sent may take when the account stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Sends what the outbox of one account holds.
#[derive(Debug)]
pub(crate) struct Courier {
    pub(crate) key: AccountKey,
    pub(crate) store: Store,
    pub(crate) shelf: Shelf,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) retry: Retry,
    /// Told when there is something new.
    pub(crate) posted: Arc<Notify>,
    /// Told when something was settled.
    pub(crate) settled: Arc<Notify>,
}

impl Courier {
    /// Sends until `stop`, and then what is being sent, if it takes no longer than that.
    pub(crate) async fn run(&self, adapter: &dyn Adapter, stop: &CancellationToken) -> Result<(), Error> {
        let mut sending = FuturesUnordered::new();
        while !stop.is_cancelled() {
            let mut wait = IDLE_MAX;
            while sending.len() < AT_ONCE {
                let now_ms = self.clock.now_ms();
                let (claimed, due_at_ms) = self.store.claim(&self.key, now_ms).await?;
                let Some(claimed) = claimed else {
                    wait =
                        due_at_ms.map_or(wait, |due_at_ms| Duration::from_millis(u64::try_from(due_at_ms - now_ms).unwrap_or(0)).min(wait));
                    break;
                };
                sending.push(self.deal_with(adapter, claimed));
            }
            let room = sending.len() < AT_ONCE;
            tokio::select! {
                () = stop.cancelled() => {}
                Some(dealt) = sending.next() => dealt?,
                () = self.posted.notified(), if room => {}
                () = tokio::time::sleep(wait), if room => {}
            }
        }
        let rest = async {
            while let Some(dealt) = sending.next().await {
                dealt?;
            }
            Ok(())
        };
        // What is not through by then is marked when the account starts again.
        tokio::time::timeout(STOP_GRACE, rest).await.unwrap_or(Ok(()))
    }

    async fn deal_with(&self, adapter: &dyn Adapter, claimed: Claimed) -> Result<(), Error> {
        let part = serde_json::from_str::<Part>(&claimed.part);
        let begun = Instant::now();
        let fate = match &part {
            Ok(part) => self.send(adapter, &claimed, part).await,
            Err(error) => Fate::Failed { error: format!("the message cannot be read: {error}") },
        };
        metrics::sent(&self.key, part.as_ref().map_or("text", Part::kind), &fate, begun.elapsed());
        self.report(&claimed, &fate);
        let over = !matches!(fate, Fate::Later { .. } | Fate::Paced { .. });
        self.store.settle(claimed.seq, fate, self.clock.now_ms()).await?;
        self.settled.notify_waiters();
        if let Some(enclosed) = part.ok().and_then(|part| part.media).filter(|_| over) {
            self.shelf.remove(Way::Out, &enclosed.file).await;
        }
        Ok(())
    }

    async fn send(&self, adapter: &dyn Adapter, claimed: &Claimed, part: &Part) -> Fate {
        let now_ms = self.clock.now_ms();
        let later = |pause: Duration| now_ms.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
        if u128::try_from(now_ms - claimed.created_at_ms).is_ok_and(|age| age > AGE_MAX.as_millis()) {
            return Fate::Expired;
        }
        if let Some(pause) = adapter.pause(&part.to) {
            return Fate::Paced { due_at_ms: later(pause.max(Duration::from_millis(1))) };
        }
        let limit = if part.media.is_some() { SEND_FILE_TIMEOUT } else { SEND_TIMEOUT };
        let sent = self.within_span(part, tokio::time::timeout(limit, adapter.deliver(&claimed.id, part))).await;
        match sent {
            Ok(Ok(receipt)) => {
                self.pulse.sent(self.clock.now_ms());
                Fate::Sent { receipt }
            }
            Ok(Err(Refusal::Never(error))) => Fate::Failed { error },
            Ok(Err(Refusal::Unknown(error))) => Fate::Uncertain { error },
            Err(_) => Fate::Uncertain { error: format!("no answer within {} s", limit.as_secs()) },
            Ok(Err(Refusal::Later { reason, .. })) if claimed.attempts + 1 >= self.retry.attempts.max(1) => Fate::Failed { error: reason },
            Ok(Err(Refusal::Later { reason, after })) => {
                let usual = self.usual_pause(claimed.attempts);
                let pause = after.map_or(usual, |after| after.max(usual).min(RETRY_ASKED_MAX));
                Fate::Later { due_at_ms: later(pause), error: reason }
            }
        }
    }

    /// Does the sending as a part of the trace that the message was written in.
    async fn within_span<T, E>(
        &self,
        part: &Part,
        sending: impl Future<Output = Result<Result<T, Refusal>, E>>,
    ) -> Result<Result<T, Refusal>, E> {
        let channel = self.key.channel.as_str();
        let span = debug_span!(
            "openclaw.message.delivery",
            otel.kind = "producer",
            otel.status_code = Empty,
            messaging.system = channel,
            messaging.operation.name = "send",
            messaging.operation.r#type = "send",
            openclaw.channel = channel,
            openclaw.delivery.kind = part.kind()
        );
        let above = part.traceparent.as_deref().and_then(TraceContext::parse).unwrap_or_else(TraceContext::generate);
        let sent = trace::scope(above.enter(&span), sending).instrument(span.clone()).await;
        if !matches!(sent, Ok(Ok(_))) {
            span.record("otel.status_code", "ERROR");
        }
        sent
    }

    /// Twice as long after each attempt, and never quite the same.
    fn usual_pause(&self, attempts: u32) -> Duration {
        let Retry { min_delay_ms, max_delay_ms, jitter, .. } = self.retry;
        let pause = Duration::from_millis(min_delay_ms).saturating_mul(1 << attempts.min(10)).min(Duration::from_millis(max_delay_ms));
        let jitter = jitter.clamp(0.0, 1.0);
        pause.mul_f64(rand::random_range(1.0 - jitter..=1.0 + jitter))
    }

    fn report(&self, claimed: &Claimed, fate: &Fate) {
        let AccountKey { channel, account } = &self.key;
        match fate {
            Fate::Sent { .. } | Fate::Paced { .. } => {}
            Fate::Later { error, .. } => info!(%channel, %account, message = %claimed.id, %error, "message is sent again later"),
            Fate::Failed { error } => warn!(%channel, %account, message = %claimed.id, %error, "message was not taken"),
            Fate::Expired => warn!(%channel, %account, message = %claimed.id, "message waited too long and is not sent"),
            Fate::Uncertain { error } => {
                warn!(%channel, %account, message = %claimed.id, %error, "nobody can tell whether the message was taken; it is not sent again");
            }
        }
    }
}
