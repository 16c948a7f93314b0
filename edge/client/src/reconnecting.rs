//! A client that returns: it connects again when the connection ends, repeats its subscriptions and says what may have been missed.

mod backoff;
mod verdict;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, timeout_at};
use verso_kit::CancellationToken;
use verso_kit::tasks::Tasks;
use verso_proto::methods::{Call, Retry, find};

use crate::events::EVENTS_WAITING_MAX;
use crate::{CallError, CallErrorKind, Client, Closed, Error, Event, EventError, Events, Hello, Options, typed};

pub use backoff::Backoff;
pub use verdict::PairingRequest;

use backoff::Waits;
use verdict::Verdict;

/// Subscriptions that are repeated after each connect.
const SUBSCRIPTIONS_MAX: usize = 64;
/// Between two looks whether a pairing was approved, in milliseconds. The gateway keeps a request for five minutes.
const PAIRING_POLL_MS: u64 = 2_000;

/// A connection that is made again whenever it ends. It stops when it is dropped.
pub struct Reconnecting {
    shared: Arc<Shared>,
    /// The receiver that the next caller of [`Reconnecting::updates`] gets.
    updates: Mutex<broadcast::Receiver<Update>>,
    call_timeout: Duration,
    tasks: Tasks,
    stop: CancellationToken,
}

/// What happens to the connection, and what arrives on it.
#[derive(Debug, Clone)]
pub enum Update {
    /// There is a connection, and every subscription has been asked for again. State that was mirrored must be fetched again,
    /// unless this is the first one.
    Connected(Arc<Hello>),
    /// An event.
    Event(Arc<Event>),
    /// Events are missing: fetch what was mirrored again. Either the gateway left them out, or the reader was too slow.
    Missed(u64),
    /// The connection has ended; the next attempt follows in `retry_in_ms` milliseconds.
    Disconnected {
        /// How, in words.
        reason: String,
        /// From now to the next attempt.
        retry_in_ms: u64,
    },
    /// The gateway waits for somebody to approve this device. Attempts go on.
    PairingRequired(PairingRequest),
    /// There will be no further attempt.
    GaveUp(Arc<Error>),
}

#[derive(Clone)]
enum Status {
    Away,
    Here(Arc<Client>),
    GaveUp(Arc<Error>),
}

struct Shared {
    options: Options,
    backoff: Backoff,
    status: watch::Sender<Status>,
    updates: broadcast::Sender<Update>,
    subscriptions: Mutex<Vec<(String, Value)>>,
}

/// Reads updates.
#[derive(Debug)]
pub struct Updates {
    receiver: broadcast::Receiver<Update>,
}

impl Reconnecting {
    /// Begins to connect, with the usual waits between attempts.
    pub fn start(options: Options) -> Self {
        Self::start_with(options, Backoff::default())
    }

    /// Begins to connect.
    pub fn start_with(options: Options, backoff: Backoff) -> Self {
        let stop = CancellationToken::new();
        let tasks = Tasks::new(stop.clone());
        let (updates, first) = broadcast::channel(EVENTS_WAITING_MAX);
        let call_timeout = Duration::from_millis(options.call_timeout_ms);
        let status = watch::Sender::new(Status::Away);
        let shared = Arc::new(Shared { options, backoff, status, updates, subscriptions: Mutex::new(Vec::new()) });
        let keeping = keep(Arc::clone(&shared));
        let stopped = stop.clone();
        tasks.spawn("client reconnect", async move {
            tokio::select! {
                () = keeping => {}
                () = stopped.cancelled() => {}
            }
        });
        Self { shared, updates: Mutex::new(first), call_timeout, tasks, stop }
    }

    /// A reader of updates. The first one misses nothing; each later one begins where its predecessor was handed out.
    pub fn updates(&self) -> Updates {
        let mut next = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = next.resubscribe();
        Updates { receiver: std::mem::replace(&mut *next, fresh) }
    }

    /// Waits for a connection, at most until the call timeout of the options.
    pub async fn connected(&self) -> Result<Arc<Client>, CallError> {
        self.connected_by(Instant::now() + self.call_timeout).await
    }

    /// Calls a method. A call that waits for a connection, and one that may be repeated, survives the end of a connection.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let deadline = Instant::now() + self.call_timeout;
        loop {
            let client = self.connected_by(deadline).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = client.call_within(method, params.clone(), u64::try_from(left.as_millis()).unwrap_or(u64::MAX)).await;
            match answer {
                Err(error) if error.kind == CallErrorKind::Closed && may_be_repeated(method) => self.gone(&client, deadline).await?,
                answer => return answer,
            }
        }
    }

    /// Calls the method that `request` belongs to.
    pub async fn request<C>(&self, request: C) -> Result<C::Response, CallError>
    where
        C: Call + Serialize,
        C::Response: DeserializeOwned,
    {
        typed::read::<C>(self.call(C::METHOD.name, typed::write(&request)?).await?)
    }

    /// Calls a method now, if there is a connection, and again after each later connect: `sessions.subscribe` and its like.
    pub async fn subscribe(&self, method: &str, params: Value) -> Result<(), CallError> {
        let client = {
            let mut subscriptions = self.shared.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
            if subscriptions.len() >= SUBSCRIPTIONS_MAX {
                let text = format!("more than {SUBSCRIPTIONS_MAX} subscriptions");
                return Err(CallError::without_answer(CallErrorKind::Lagged, text));
            }
            subscriptions.push((method.to_owned(), params.clone()));
            // Under the lock: whoever connects now asks for what is in the list.
            match &*self.shared.status.borrow() {
                Status::Here(client) => Arc::clone(client),
                _ => return Ok(()),
            }
        };
        client.call(method, params).await.map(drop)
    }

    /// Stops repeating a subscription.
    pub fn forget(&self, method: &str, params: &Value) {
        let mut subscriptions = self.shared.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.retain(|(name, with)| name != method || with != params);
    }

    /// Ends the connection, and waits until it has ended.
    pub async fn close(self) {
        let client = match self.shared.status.send_replace(Status::Away) {
            Status::Here(client) => Some(client),
            _ => None,
        };
        self.stop.cancel();
        self.tasks.clone().join().await;
        if let Some(client) = client.and_then(Arc::into_inner) {
            client.close().await;
        }
    }

    async fn connected_by(&self, deadline: Instant) -> Result<Arc<Client>, CallError> {
        let mut status = self.shared.status.subscribe();
        let settled = timeout_at(deadline, status.wait_for(|status| !matches!(status, Status::Away))).await;
        match settled {
            Ok(Ok(status)) => match &*status {
                Status::Here(client) => Ok(Arc::clone(client)),
                Status::GaveUp(error) => Err(CallError::without_answer(CallErrorKind::Closed, worded(error))),
                Status::Away => Err(CallError::closed(&Closed::lost())),
            },
            Ok(Err(_)) => Err(CallError::closed(&Closed::lost())),
            Err(_) => Err(CallError::without_answer(CallErrorKind::TimedOut, "no connection to the gateway".to_owned())),
        }
    }

    /// Waits until `client` is no longer the current one.
    async fn gone(&self, client: &Arc<Client>, deadline: Instant) -> Result<(), CallError> {
        let mut status = self.shared.status.subscribe();
        let is_another = |status: &Status| !matches!(status, Status::Here(current) if Arc::ptr_eq(current, client));
        let gone = timeout_at(deadline, status.wait_for(is_another)).await;
        gone.map(|_| ()).map_err(|_| CallError::without_answer(CallErrorKind::TimedOut, "no connection to the gateway".to_owned()))
    }
}

impl Drop for Reconnecting {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reconnecting").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Updates {
    /// Waits for the next update; none after the end.
    pub async fn next(&mut self) -> Option<Update> {
        match self.receiver.recv().await {
            Ok(update) => Some(update),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Update::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Connects, again and again, until it is of no use.
async fn keep(shared: Arc<Shared>) {
    let mut waits = Waits::new(shared.backoff);
    loop {
        let (reason, at_least) = match Client::connect(shared.options.clone()).await {
            Ok(client) => {
                waits.reset();
                (shared.stay(client).await, Duration::ZERO)
            }
            Err(error) => match verdict::of(&error) {
                Verdict::Again(at_least) => (worded(&error), at_least),
                Verdict::Pairing(request) => {
                    shared.tell(Update::PairingRequired(request));
                    sleep(Duration::from_millis(PAIRING_POLL_MS.min(shared.backoff.longest_ms))).await;
                    continue;
                }
                Verdict::GiveUp => {
                    let error = Arc::new(error);
                    shared.status.send_replace(Status::GaveUp(Arc::clone(&error)));
                    shared.tell(Update::GaveUp(error));
                    return;
                }
            },
        };
        let wait = waits.draw().max(at_least);
        shared.tell(Update::Disconnected { reason, retry_in_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) });
        sleep(wait).await;
    }
}

impl Shared {
    /// Lives with a connection until it ends, and returns how it ended.
    async fn stay(&self, client: Client) -> String {
        let hello = Arc::new(client.hello().clone());
        let mut events = client.events();
        let client = Arc::new(client);
        let mut asked = 0;
        while let Some(fresh) = self.arrive(&client, asked) {
            asked += fresh.len();
            for (method, params) in fresh {
                if let Err(error) = client.call(&method, params).await {
                    tracing::warn!(method, error = &error as &dyn std::error::Error, "a subscription was refused");
                }
            }
        }
        self.tell(Update::Connected(hello));
        self.pass_on(&mut events).await;
        self.status.send_replace(Status::Away);
        client.closed().await.to_string()
    }

    /// Returns the subscriptions from the `asked`th on; when there are none, the connection is open to callers.
    fn arrive(&self, client: &Arc<Client>, asked: usize) -> Option<Vec<(String, Value)>> {
        let subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = subscriptions.get(asked..).unwrap_or_default();
        if fresh.is_empty() {
            self.status.send_replace(Status::Here(Arc::clone(client)));
            return None;
        }
        Some(fresh.to_vec())
    }

    async fn pass_on(&self, events: &mut Events) {
        loop {
            match events.next().await {
                Ok(event) => self.tell(Update::Event(event)),
                Err(EventError::Lagged(count) | EventError::Gap(count)) => self.tell(Update::Missed(count)),
                Err(EventError::Closed) => return,
            }
        }
    }

    /// Without a reader there is nobody to miss the update.
    fn tell(&self, update: Update) {
        drop(self.updates.send(update));
    }
}

/// Whether the contract lets a call be made twice. A keyed call carries its key, so its owner knows it again.
fn may_be_repeated(method: &str) -> bool {
    find(method).is_some_and(|method| method.retry != Retry::Never)
}

/// Words an error with its causes.
fn worded(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
