//! From the outbox to a network: one message of an account at a time, each chat in its order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;

use crate::adapter::{Adapter, Refusal};
use crate::error::Error;
use crate::link::Pulse;
use crate::message::Part;
use crate::store::outbox::{Claimed, Fate};
use crate::store::{AccountKey, Store};

/// How often a message is tried.
const ATTEMPTS_MAX: u32 = 6;

/// The pause before the second attempt; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(400);

/// The longest pause, unless the network asks for more.
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// How long the network may ask to be left alone.
const RETRY_ASKED_MAX: Duration = Duration::from_mins(15);

/// How long a message may wait. An answer that is later than that is worth less than none.
const AGE_MAX: Duration = Duration::from_hours(1);

/// How long one sending may take.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);

/// Sends what the outbox of one account holds.
#[derive(Debug)]
pub(crate) struct Courier {
    pub(crate) key: AccountKey,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
    /// Told when there is something new.
    pub(crate) posted: Arc<Notify>,
    /// Told when something was settled.
    pub(crate) settled: Arc<Notify>,
}

impl Courier {
    /// Sends until `stop`.
    pub(crate) async fn run(&self, adapter: &dyn Adapter, stop: &CancellationToken) -> Result<(), Error> {
        loop {
            let now_ms = self.clock.now_ms();
            let (claimed, due_at_ms) = self.store.claim(&self.key, now_ms).await?;
            let Some(claimed) = claimed else {
                let wait = due_at_ms.map(|due_at_ms| Duration::from_millis(u64::try_from(due_at_ms - now_ms).unwrap_or(0)));
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = self.posted.notified() => {}
                    () = tokio::time::sleep(wait.unwrap_or(RETRY_LONGEST)) => {}
                }
                continue;
            };
            let seq = claimed.seq;
            let fate = self.send(adapter, &claimed).await;
            self.report(&claimed, &fate);
            self.store.settle(seq, fate, self.clock.now_ms()).await?;
            self.settled.notify_waiters();
        }
    }

    async fn send(&self, adapter: &dyn Adapter, claimed: &Claimed) -> Fate {
        let now_ms = self.clock.now_ms();
        if u128::try_from(now_ms - claimed.created_at_ms).is_ok_and(|age| age > AGE_MAX.as_millis()) {
            return Fate::Expired;
        }
        let part: Part = match serde_json::from_str(&claimed.part) {
            Ok(part) => part,
            Err(error) => return Fate::Failed { error: format!("the message cannot be read: {error}") },
        };
        let sent = tokio::time::timeout(SEND_TIMEOUT, adapter.deliver(&claimed.id, &part)).await;
        match sent {
            Ok(Ok(receipt)) => {
                self.pulse.sent(self.clock.now_ms());
                Fate::Sent { receipt: serde_json::to_string(&receipt).unwrap_or_default() }
            }
            Ok(Err(Refusal::Never(error))) => Fate::Failed { error },
            Ok(Err(Refusal::Unknown(error))) => Fate::Uncertain { error },
            Err(_) => Fate::Uncertain { error: format!("no answer within {} s", SEND_TIMEOUT.as_secs()) },
            Ok(Err(Refusal::Later { reason, .. })) if claimed.attempts + 1 >= ATTEMPTS_MAX => Fate::Failed { error: reason },
            Ok(Err(Refusal::Later { reason, after })) => {
                let usual = RETRY_FIRST.saturating_mul(1 << claimed.attempts.min(10)).min(RETRY_LONGEST);
                let pause = after.map_or(usual, |after| after.max(usual).min(RETRY_ASKED_MAX));
                Fate::Later { due_at_ms: now_ms.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)), error: reason }
            }
        }
    }

    fn report(&self, claimed: &Claimed, fate: &Fate) {
        let AccountKey { channel, account } = &self.key;
        match fate {
            Fate::Sent { .. } => {}
            Fate::Later { error, .. } => info!(%channel, %account, message = %claimed.id, %error, "message is sent again later"),
            Fate::Failed { error } => warn!(%channel, %account, message = %claimed.id, %error, "message was not taken"),
            Fate::Expired => warn!(%channel, %account, message = %claimed.id, "message waited too long and is not sent"),
            Fate::Uncertain { error } => {
                warn!(%channel, %account, message = %claimed.id, %error, "nobody can tell whether the message was taken; it is not sent again");
            }
        }
    }
}
