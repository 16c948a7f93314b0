//! A service's events: emitted once, kept for a while, streamed to every edge from the point that it asks for.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_stream::Stream;
use tonic::Status;
use verso_proto::methods::ServiceEvent;
use verso_proto::wire::v1::{EventMeta, From as Position};

use crate::metrics::REACHED;
use crate::tasks::Tasks;

/// How many past events an edge that was away can catch up with.
const RING_EVENTS_MAX: usize = 16_384;

/// How many bytes of past events are kept, unless the service needs less.
const RING_BYTES_MAX: usize = 8 << 20;

/// How long a past event is kept that every subscriber has taken. An edge notices a broken link within 15 seconds and then comes back as soon
/// as it can; one that was away for longer has missed something.
const RING_AGE_MAX: Duration = Duration::from_mins(1);

/// Between two looks at what has become too old while nothing is emitted.
const RING_LOOK: Duration = Duration::from_secs(15);

/// Places for past events that are never given back.
const RING_PLACES_MIN: usize = 256;

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
    /// There is something to forget again.
    filled: Notify,
}

/// Past events as they are sent: many times smaller than as messages in memory.
#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Past>,
    size_bytes: usize,
    bytes_max: usize,
    /// The number of the newest event; the first one is 1.
    last: u64,
    /// How far each subscriber has got, by the subscription's number.
    subscriptions: BTreeMap<u64, u64>,
    next_subscription: u64,
}

#[derive(Debug)]
struct Past {
    at: Instant,
    event: Bytes,
}

impl<E> Clone for Hub<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), event: PhantomData }
    }
}

impl<E: ServiceEvent> Hub<E> {
    /// Makes the hub of one incarnation of a service. One of `tasks` forgets old events while no new ones come.
    pub fn start(incarnation: &str, tasks: &Tasks) -> Self {
        Self::start_with(incarnation, RING_BYTES_MAX, tasks)
    }

    /// The same, where `bytes_max` of past events are enough.
    pub fn start_with(incarnation: &str, bytes_max: usize, tasks: &Tasks) -> Self {
        let hub = Self::new(incarnation, bytes_max);
        let (forgetting, shutdown) = (hub.clone(), tasks.shutdown().clone());
        tasks.spawn("past events", async move {
            shutdown.run_until_cancelled(forgetting.forget_old()).await;
        });
        hub
    }

    fn new(incarnation: &str, bytes_max: usize) -> Self {
        let shared = Shared {
            incarnation: incarnation.to_owned(),
            ring: Mutex::new(Ring { bytes_max, ..Ring::default() }),
            last: watch::Sender::new(0),
            arrivals: Notify::new(),
            filled: Notify::new(),
        };
        Self { shared: Arc::new(shared), event: PhantomData }
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
            if ring.events.is_empty() {
                self.shared.filled.notify_one();
            }
            ring.keep(Bytes::from(event.encode_to_vec()), Instant::now());
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

    /// Forgets events that have become too old although no new ones come.
    async fn forget_old(&self) {
        loop {
            self.shared.filled.notified().await;
            // One timer however many events there are, and none while nothing is kept.
            while !self.ring().events.is_empty() {
                sleep(RING_LOOK).await;
                self.ring().prune(Instant::now());
            }
        }
    }

    /// Streams a greeting and then every event after `from`. A position in another incarnation's stream, and none, mean "from now".
    ///
    /// A subscriber that falls behind the kept events gets `DATA_LOSS` and must subscribe again.
    pub fn subscribe(&self, from: Option<Position>) -> impl Stream<Item = Result<E, Status>> + Send + Unpin + 'static {
        let mut greeting = E::default();
        let (number, start) = {
            let mut ring = self.ring();
            let start = match from {
                Some(position) if position.epoch == self.shared.incarnation => position.seq.min(ring.last),
                // A subscriber of an earlier incarnation has missed whatever this one has emitted so far.
                Some(position) if !position.epoch.is_empty() => ring.forgotten(),
                _ => ring.last,
            };
            *greeting.meta_mut() = EventMeta { epoch: self.shared.incarnation.clone(), seq: start, ..EventMeta::default() };
            (ring.enter(start), start)
        };
        let subscription = Subscription {
            shared: Arc::clone(&self.shared),
            event: PhantomData,
            number,
            changes: self.shared.last.subscribe(),
            seen: start,
            batch: VecDeque::from([Bytes::from(greeting.encode_to_vec())]),
            lost: false,
        };
        self.shared.arrivals.notify_waiters();
        Box::pin(futures_util::stream::unfold(subscription, Subscription::next))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.shared.ring()
    }
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// The number of the newest event that is not kept any more.
    fn forgotten(&self) -> u64 {
        self.last - self.events.len() as u64
    }

    fn keep(&mut self, event: Bytes, now: Instant) {
        self.size_bytes += event.len();
        self.events.push_back(Past { at: now, event });
        self.prune(now);
    }

    fn enter(&mut self, seen: u64) -> u64 {
        self.next_subscription += 1;
        self.subscriptions.insert(self.next_subscription, seen);
        self.next_subscription
    }

    fn prune(&mut self, now: Instant) {
        // A subscriber that is there and slow has all the time that the other limits leave it.
        let taken = self.subscriptions.values().copied().min().unwrap_or(u64::MAX);
        while let Some(oldest) = self.events.front()
            && (self.events.len() > RING_EVENTS_MAX
                || self.size_bytes > self.bytes_max && self.events.len() > 1
                || self.forgotten() < taken && now.saturating_duration_since(oldest.at) > RING_AGE_MAX)
        {
            self.size_bytes -= oldest.event.len();
            self.events.pop_front();
        }
        // A burst's places are not needed for ever. Half of them stay free, so that this is rare.
        if self.events.capacity() > RING_PLACES_MIN.max(self.events.len() * 4) {
            self.events.shrink_to(RING_PLACES_MIN.max(self.events.len() * 2));
        }
    }
}

struct Subscription<E> {
    shared: Arc<Shared>,
    event: PhantomData<fn() -> E>,
    number: u64,
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
        let mut ring = self.shared.ring();
        self.changes.mark_unchanged();
        let Some(skip) = self.seen.checked_sub(ring.forgotten()) else {
            ring.subscriptions.remove(&self.number);
            return false;
        };
        let unseen = ring.events.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX));
        self.batch.extend(unseen.take(BATCH_EVENTS_MAX).map(|past| past.event.clone()));
        self.seen += self.batch.len() as u64;
        ring.subscriptions.insert(self.number, self.seen);
        true
    }
}

impl<E> Drop for Subscription<E> {
    fn drop(&mut self) {
        self.shared.ring().subscriptions.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;
    use tokio_stream::StreamExt as _;
    use verso_proto::presence::v1::{Event, PresenceEvent};

    use super::*;

    fn hub() -> Hub<Event> {
        Hub::new("one", RING_BYTES_MAX)
    }

    async fn seqs(stream: &mut (impl Stream<Item = Result<Event, Status>> + Unpin), count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        for _ in 0..count {
            seqs.push(stream.next().await.unwrap().unwrap().meta.unwrap().seq);
        }
        seqs
    }

    #[tokio::test]
    async fn streams_in_order_after_the_greeting() {
        let hub = hub();
        hub.emit(PresenceEvent::default());
        let mut stream = hub.subscribe(None);
        hub.emit(PresenceEvent::default());
        hub.emit(PresenceEvent::default());
        assert_eq!(seqs(&mut stream, 3).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn resumes_where_the_subscriber_was() {
        let hub = hub();
        for _ in 0..5 {
            hub.emit(PresenceEvent::default());
        }
        let mut stream = hub.subscribe(Some(Position { epoch: "one".to_owned(), seq: 3 }));
        assert_eq!(seqs(&mut stream, 3).await, [3, 4, 5]);
        let mut stream = hub.subscribe(Some(Position { epoch: "earlier".to_owned(), seq: 99 }));
        assert_eq!(seqs(&mut stream, 6).await, [0, 1, 2, 3, 4, 5]);
    }

    #[tokio::test]
    async fn the_newest_event_is_kept_however_large_it_is() {
        let hub = Hub::<Event>::new("one", 1);
        let mut stream = hub.subscribe(None);
        hub.emit(PresenceEvent::default());
        hub.emit(PresenceEvent::default());
        assert_eq!(hub.ring().forgotten(), 1);
        assert_eq!(seqs(&mut hub.subscribe(Some(after(1))), 2).await, [1, 2]);
        assert_eq!(seqs(&mut stream, 1).await, [0]);
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), tonic::Code::DataLoss);
    }

    #[tokio::test]
    async fn a_subscriber_that_fell_behind_is_told() {
        let hub = hub();
        let mut stream = hub.subscribe(None);
        for _ in 0..=RING_EVENTS_MAX {
            hub.emit(PresenceEvent::default());
        }
        assert_eq!(seqs(&mut stream, 1).await, [0]);
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), tonic::Code::DataLoss);
        assert!(stream.next().await.is_none());
    }

    fn after(seq: u64) -> Position {
        Position { epoch: "one".to_owned(), seq }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_old_is_gone_for_those_who_come_back() {
        let hub = hub();
        hub.emit(PresenceEvent::default());
        hub.emit(PresenceEvent::default());
        advance(RING_AGE_MAX).await;
        hub.emit(PresenceEvent::default());
        assert_eq!(seqs(&mut hub.subscribe(Some(after(0))), 4).await, [0, 1, 2, 3], "as old as it may be");
        advance(Duration::from_millis(1)).await;
        hub.emit(PresenceEvent::default());
        assert_eq!(seqs(&mut hub.subscribe(Some(after(2))), 3).await, [2, 3, 4]);
        assert_eq!(seqs(&mut hub.subscribe(Some(Position { epoch: "earlier".to_owned(), seq: 1 })), 3).await, [2, 3, 4]);
        let mut stream = hub.subscribe(Some(after(1)));
        assert_eq!(seqs(&mut stream, 1).await, [1]);
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), tonic::Code::DataLoss);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_that_stayed_loses_nothing_by_age() {
        let hub = hub();
        let mut slow = hub.subscribe(None);
        for _ in 0..3 {
            hub.emit(PresenceEvent::default());
            advance(RING_AGE_MAX * 2).await;
        }
        assert_eq!(seqs(&mut slow, 4).await, [0, 1, 2, 3]);
        hub.emit(PresenceEvent::default());
        assert_eq!(hub.ring().forgotten(), 3, "what it has taken");
        assert_eq!(seqs(&mut slow, 1).await, [4]);
        drop(slow);
        assert!(hub.ring().subscriptions.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_hub_forgets_and_gives_its_memory_back() {
        let tasks = Tasks::new(tokio_util::sync::CancellationToken::new());
        let hub = Hub::<Event>::start("one", &tasks);
        for round in 1..=2 {
            for _ in 0..10_000 {
                hub.emit(PresenceEvent::default());
            }
            sleep(RING_AGE_MAX + RING_LOOK * 2).await;
            let ring = hub.ring();
            assert_eq!((ring.events.len(), ring.size_bytes, ring.forgotten()), (0, 0, round * 10_000));
            assert!(ring.events.capacity() <= RING_PLACES_MIN * 2, "{}", ring.events.capacity());
        }
        hub.emit(PresenceEvent::default());
        assert_eq!(seqs(&mut hub.subscribe(Some(after(20_000))), 2).await, [20_000, 20_001]);
        tasks.shutdown().cancel();
        tasks.join().await;
    }
}
