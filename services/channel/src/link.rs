//! The way of an account's messages into the inbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::metrics::REACHED;

use crate::adapter::Fault;
use crate::host::Polls;
use crate::message::{Address, Incoming, Receipt};
use crate::metrics;
use crate::store::inbox::Arrived;
use crate::store::{AccountKey, Store};

/// Messages of an account that may wait to be dealt with. When there are more, its network keeps the rest.
const OPEN_MAX: i64 = 5_000;

/// How often it is looked whether there is room again.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// When an account did what, in milliseconds since 1970 and 0 before, for those who ask and for the watch over it.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// The network said anything.
    alive: AtomicI64,
    inbound: AtomicI64,
    outbound: AtomicI64,
    connected: AtomicI64,
    lost: AtomicI64,
}

impl Pulse {
    pub(crate) fn beat(&self, now_ms: i64) {
        self.alive.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self, now_ms: i64) {
        self.beat(now_ms);
        self.connected.store(now_ms, Ordering::Relaxed);
    }

    /// The network is not reached any more, and the account goes on trying.
    pub(crate) fn lost(&self, now_ms: i64) {
        self.lost.store(now_ms, Ordering::Relaxed);
    }

    /// Whether the network is reached by the run that began then.
    pub(crate) fn is_connected(&self, since_ms: Option<i64>) -> bool {
        let connected = self.connected_at_ms();
        connected >= since_ms && connected >= since(&self.lost)
    }

    pub(crate) fn sent(&self, now_ms: i64) {
        self.outbound.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn alive_at_ms(&self) -> i64 {
        self.alive.load(Ordering::Relaxed)
    }

    pub(crate) fn inbound_at_ms(&self) -> Option<i64> {
        since(&self.inbound)
    }

    pub(crate) fn outbound_at_ms(&self) -> Option<i64> {
        since(&self.outbound)
    }

    pub(crate) fn connected_at_ms(&self) -> Option<i64> {
        since(&self.connected)
    }
}

fn since(at_ms: &AtomicI64) -> Option<i64> {
    Some(at_ms.load(Ordering::Relaxed)).filter(|at_ms| *at_ms > 0)
}

/// The way of one account's messages into the inbox.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) key: AccountKey,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
    sink: Sink,
}

/// Where messages are kept.
#[derive(Debug)]
enum Sink {
    /// In our database.
    Inbox { store: Store, arrived: Arc<Notify> },
    /// In that of another process.
    Away(Away),
}

/// The way to another process.
#[derive(Debug)]
pub(crate) struct Away {
    pub(crate) deliveries: mpsc::Sender<Delivery>,
    /// How far the network was read.
    pub(crate) position: Option<i64>,
    /// What this process has sent itself.
    pub(crate) polls: Polls,
}

/// A message for another process.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) incoming: Option<Incoming>,
    pub(crate) position: Option<i64>,
    /// Told when it is kept.
    pub(crate) kept: oneshot::Sender<()>,
}

impl Link {
    pub(crate) fn new(key: AccountKey, store: Store, clock: Clock, pulse: Arc<Pulse>, arrived: Arc<Notify>) -> Self {
        Self { key, clock, pulse, sink: Sink::Inbox { store, arrived } }
    }

    /// A way to another process.
    pub(crate) fn away(key: AccountKey, clock: Clock, pulse: Arc<Pulse>, away: Away) -> Self {
        Self { key, clock, pulse, sink: Sink::Away(away) }
    }

    /// Keeps a message, and how far the network has been read. The network may be told once this has returned.
    pub(crate) async fn take(&self, incoming: Option<&Incoming>, position: Option<i64>) -> Result<(), Fault> {
        let now_ms = self.clock.now_ms();
        self.pulse.beat(now_ms);
        let (store, arriving) = match &self.sink {
            Sink::Inbox { store, arrived } => (store, arrived),
            Sink::Away(away) => return hand_over(&away.deliveries, incoming.cloned(), position).await,
        };
        let arrived = incoming.map(|incoming| -> Result<_, serde_json::Error> {
            Ok(Arrived {
                event: incoming.event.clone(),
                chat: incoming.order_key(),
                message: serde_json::to_string(incoming)?,
                at_ms: now_ms,
            })
        });
        let arrived = arrived.transpose().map_err(|error| Fault::Storage(error.to_string()))?;
        let taken = store.take(&self.key, arrived, position, now_ms).await.map_err(|error| stored(&error))?;
        if taken.is_some() {
            self.pulse.inbound.store(now_ms, Ordering::Relaxed);
            metrics::received(&self.key);
            arriving.notify_one();
        }
        Ok(())
    }

    /// Returns how far the network has been read.
    pub(crate) async fn position(&self) -> Result<Option<i64>, Fault> {
        match &self.sink {
            Sink::Inbox { store, .. } => store.position(&self.key, self.clock.now_ms()).await.map_err(|error| stored(&error)),
            Sink::Away(away) => Ok(away.position),
        }
    }

    /// Waits until the inbox has room for more; another process's makes its senders wait by itself.
    pub(crate) async fn ready(&self, stop: &CancellationToken) -> Result<(), Fault> {
        let Sink::Inbox { store, .. } = &self.sink else { return Ok(()) };
        while store.open_count(&self.key).await.map_err(|error| stored(&error))? >= OPEN_MAX {
            REACHED.one_more(["inbox_open"]);
            // The network is there; it is we who are late.
            self.pulse.beat(self.clock.now_ms());
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(ROOM_INTERVAL) => {}
            }
        }
        Ok(())
    }

    /// Returns where a poll of this account was sent to, and its receipt.
    pub(crate) async fn poll(&self, poll_id: &str) -> Result<Option<(Address, Receipt)>, Fault> {
        let store = match &self.sink {
            Sink::Inbox { store, .. } => store,
            Sink::Away(away) => return Ok(away.polls.get(poll_id)),
        };
        let Some((chat, receipt)) = store.poll(&self.key, poll_id).await.map_err(|error| stored(&error))? else { return Ok(None) };
        let receipt = serde_json::from_str(&receipt).map_err(|error| Fault::Storage(error.to_string()))?;
        Ok(Some((Address::of_order_key(&chat), receipt)))
    }
}

/// Hands a message to another process, and waits until it is kept there.
async fn hand_over(deliveries: &mpsc::Sender<Delivery>, incoming: Option<Incoming>, position: Option<i64>) -> Result<(), Fault> {
    let gone = || Fault::Storage("the channel service is gone".to_owned());
    let (kept, keeping) = oneshot::channel();
    deliveries.send(Delivery { incoming, position, kept }).await.map_err(|_| gone())?;
    keeping.await.map_err(|_| gone())
}

fn stored(error: &crate::error::Error) -> Fault {
    Fault::Storage(error.to_string())
}
