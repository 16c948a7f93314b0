//! A service's events: emitted once, kept for a while, streamed to every edge from the point that it asks for.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio_stream::Stream;
use tonic::Status;
use verso_proto::methods::ServiceEvent;
use verso_proto::wire::v1::{EventMeta, From as Position};

use crate::metrics::REACHED;

/// How many past events an edge that was away can catch up with.
const RING_EVENTS_MAX: usize = 16_384;

/// How many bytes of past events are kept.
const RING_BYTES_MAX: usize = 8 << 20;

/// How many events one subscriber takes at a time.
const BATCH_EVENTS_MAX: usize = 256;

/// Where a service emits its events. Clones share them.
#[derive(Debug)]
pub struct Hub<E> {
    shared: Arc<Shared>,
    event: PhantomData<fn() -> E>,
}

#[derive(Debug)]
struct Shared {
    incarnation: String,
    ring: Mutex<Ring>,
    /// The number of the last event; subscribers wait for it to grow.
    last: watch::Sender<u64>,
    arrivals: Notify,
}

/// Past events as they are sent: many times smaller than as messages in memory.
#[derive(Debug)]
struct Ring {
    events: VecDeque<Bytes>,
    size_bytes: usize,
    /// The number of the newest event; the first one is 1.
    last: u64,
}

impl<E> Clone for Hub<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), event: PhantomData }
    }
}

impl<E: ServiceEvent> Hub<E> {
    /// Makes the hub of one incarnation of a service.
    pub fn new(incarnation: &str) -> Self {
        let ring = Mutex::new(Ring { events: VecDeque::new(), size_bytes: 0, last: 0 });
        Self {
            shared: Arc::new(Shared { incarnation: incarnation.to_owned(), ring, last: watch::Sender::new(0), arrivals: Notify::new() }),
            event: PhantomData,
        }
    }

    /// Emits an event to everybody whom its kind allows.
    pub fn emit(&self, event: impl Into<E>) {
        self.emit_with(event, |_| {});
    }

    /// Emits an event whose audience or other circumstances `edit` sets.
    pub fn emit_with(&self, event: impl Into<E>, edit: impl FnOnce(&mut EventMeta)) {
        let mut event = event.into();
        edit(event.meta_mut());
        let last = {
            let mut ring = self.ring();
            ring.last += 1;
            let meta = event.meta_mut();
            meta.seq = ring.last;
            meta.epoch.clone_from(&self.shared.incarnation);
            let event = Bytes::from(event.encode_to_vec());
            ring.size_bytes += event.len();
            ring.events.push_back(event);
            while ring.events.len() > RING_EVENTS_MAX || ring.size_bytes > RING_BYTES_MAX {
                let Some(freed) = ring.events.pop_front() else { break };
                ring.size_bytes -= freed.len();
            }
            ring.last
        };
        self.shared.last.send_replace(last);
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        self.shared.last.receiver_count()
    }

    /// Waits until somebody subscribes.
    pub async fn subscribed(&self) {
        loop {
            let arrival = self.shared.arrivals.notified();
            if self.subscribers() > 0 {
                return;
            }
            arrival.await;
        }
    }

    /// Streams a greeting and then every event after `from`. A position in another incarnation's stream, and none, mean "from now".
    ///
    /// A subscriber that falls behind the kept events gets `DATA_LOSS` and must subscribe again.
    pub fn subscribe(&self, from: Option<Position>) -> impl Stream<Item = Result<E, Status>> + Send + Unpin + 'static {
        let mut greeting = E::default();
        let start = {
            let ring = self.ring();
            let start = match from {
                Some(position) if position.epoch == self.shared.incarnation => position.seq.min(ring.last),
                // A subscriber of an earlier incarnation has missed whatever this one has emitted so far.
                Some(position) if !position.epoch.is_empty() => ring.last - ring.events.len() as u64,
                _ => ring.last,
            };
            *greeting.meta_mut() = EventMeta { epoch: self.shared.incarnation.clone(), seq: start, ..EventMeta::default() };
            start
        };
        let subscription = Subscription {
            hub: self.clone(),
            changes: self.shared.last.subscribe(),
            seen: start,
            batch: VecDeque::from([Bytes::from(greeting.encode_to_vec())]),
            lost: false,
        };
        self.shared.arrivals.notify_waiters();
        Box::pin(futures_util::stream::unfold(subscription, Subscription::next))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Subscription<E> {
    hub: Hub<E>,
    changes: watch::Receiver<u64>,
    seen: u64,
    batch: VecDeque<Bytes>,
    lost: bool,
}

impl<E: ServiceEvent> Subscription<E> {
    async fn next(mut self) -> Option<(Result<E, Status>, Self)> {
        loop {
            if let Some(event) = self.batch.pop_front() {
                let event = E::decode(event).map_err(|error| Status::internal(format!("a kept event cannot be read: {error}")));
                return Some((event, self));
            }
            if self.lost {
                return None;
            }
            if !self.fill() {
                self.lost = true;
                REACHED.one_more(["kept_events"]);
                return Some((Err(Status::data_loss("the subscriber fell behind the kept events")), self));
            }
            if self.batch.is_empty() && self.changes.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Takes what came since the last time; false when some of it is gone.
    fn fill(&mut self) -> bool {
        let hub = self.hub.clone();
        let ring = hub.ring();
        self.changes.mark_unchanged();
        let oldest = ring.last - ring.events.len() as u64;
        if self.seen < oldest {
            return false;
        }
        let skip = usize::try_from(self.seen - oldest).unwrap_or(usize::MAX);
        self.batch.extend(ring.events.iter().skip(skip).take(BATCH_EVENTS_MAX).cloned());
        self.seen += self.batch.len() as u64;
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;
    use verso_proto::presence::v1::{Event, PresenceEvent};

    use super::*;

    async fn seqs(stream: &mut (impl Stream<Item = Result<Event, Status>> + Unpin), count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        for _ in 0..count {
            seqs.push(stream.next().await.unwrap().unwrap().meta.unwrap().seq);
        }
        seqs
    }

    #[tokio::test]
    async fn streams_in_order_after_the_greeting() {
        let hub = Hub::<Event>::new("one");
        hub.emit(PresenceEvent::default());
        let mut stream = hub.subscribe(None);
        hub.emit(PresenceEvent::default());
        hub.emit(PresenceEvent::default());
        assert_eq!(seqs(&mut stream, 3).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn resumes_where_the_subscriber_was() {
        let hub = Hub::<Event>::new("one");
        for _ in 0..5 {
            hub.emit(PresenceEvent::default());
        }
        let mut stream = hub.subscribe(Some(Position { epoch: "one".to_owned(), seq: 3 }));
        assert_eq!(seqs(&mut stream, 3).await, [3, 4, 5]);
        let mut stream = hub.subscribe(Some(Position { epoch: "earlier".to_owned(), seq: 99 }));
        assert_eq!(seqs(&mut stream, 6).await, [0, 1, 2, 3, 4, 5]);
    }

    #[tokio::test]
    async fn a_subscriber_that_fell_behind_is_told() {
        let hub = Hub::<Event>::new("one");
        let mut stream = hub.subscribe(None);
        for _ in 0..=RING_EVENTS_MAX {
            hub.emit(PresenceEvent::default());
        }
        assert_eq!(seqs(&mut stream, 1).await, [0]);
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), tonic::Code::DataLoss);
        assert!(stream.next().await.is_none());
    }
}
