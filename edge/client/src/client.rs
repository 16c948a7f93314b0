//! A connected client.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use verso_kit::CancellationToken;
use verso_kit::tasks::Tasks;
use verso_protocol::limits::CLOSE_GRACE_MS;

use crate::connection::{self, Closed, Outgoing, Reader, Shared, Waiter, is_interim};
use crate::events::{EVENTS_WAITING_MAX, Item};
use crate::{CallError, CallErrorKind, Error, Events, Hello, Options, handshake};

/// Requests that wait to be written.
const REQUESTS_WAITING_MAX: usize = 64;
/// Answers to one request that wait to be read.
const ANSWERS_WAITING_MAX: usize = 16;

/// Ticks that may fail to appear before the gateway counts as gone.
const TICKS_MISSED_MAX: u64 = 2;

/// A connection to a gateway. It ends when the client is dropped.
pub struct Client {
    hello: Hello,
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    /// The receiver that the next caller of [`Client::events`] gets.
    events: Mutex<broadcast::Receiver<Item>>,
    requests: AtomicU64,
    call_timeout_ms: u64,
    tasks: Tasks,
    stop: CancellationToken,
}

impl Client {
    /// Connects, proves what the options name, and waits for the hello.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let timeout_ms = options.connect_timeout_ms;
        let greeted = timeout(Duration::from_millis(timeout_ms), Box::pin(handshake::enter(&options)));
        let (socket, hello, early) = greeted.await.map_err(|_| Error::TimedOut { timeout_ms })??;

        let stop = CancellationToken::new();
        let tasks = Tasks::new(stop.clone());
        let shared = Arc::new(Shared::new());
        let (outgoing, requests) = mpsc::channel(REQUESTS_WAITING_MAX);
        let (events, first) = broadcast::channel(EVENTS_WAITING_MAX);
        for event in early {
            drop(events.send(Item::Event(Arc::new(event))));
        }
        let (sink, source) = socket.split();
        let reader = Reader {
            source,
            shared: Arc::clone(&shared),
            events,
            outgoing: outgoing.clone(),
            silence: Duration::from_millis(hello.tick_interval_ms.max(1).saturating_mul(TICKS_MISSED_MAX)),
            stop: stop.clone(),
        };
        tasks.spawn("client read", reader.run());
        tasks.spawn("client write", connection::write(sink, requests, stop.clone()));
        Ok(Self {
            hello,
            shared,
            outgoing,
            events: Mutex::new(first),
            requests: AtomicU64::new(0),
            call_timeout_ms: options.call_timeout_ms,
            tasks,
            stop,
        })
    }

    /// What the gateway said at first.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// A reader of events. The first one begins with the events around the hello, each later one where its predecessor was handed out.
    pub fn events(&self) -> Events {
        let mut next = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = next.resubscribe();
        Events::new(std::mem::replace(&mut *next, fresh))
    }

    /// Calls a method and returns its first answer.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        self.call_within(method, params, self.call_timeout_ms).await
    }

    /// Calls a method and waits at most `timeout_ms` milliseconds for its first answer.
    pub async fn call_within(&self, method: &str, params: Value, timeout_ms: u64) -> Result<Value, CallError> {
        let answered = timeout(Duration::from_millis(timeout_ms), async {
            let mut answers = self.send(method, params, false).await?;
            answers.receive().await
        });
        answered.await.unwrap_or_else(|_| {
            Err(CallError::without_answer(CallErrorKind::TimedOut, format!("no answer to {method} within {timeout_ms} ms")))
        })
    }

    /// Calls a method that answers more than once, such as `agent`. There is no time limit: drop the stream to stop waiting.
    pub async fn call_streaming(&self, method: &str, params: Value) -> Result<CallStream, CallError> {
        self.send(method, params, true).await
    }

    /// Sends a text as it is. Its answer, if any, is ignored: for tests of the gateway's manners.
    pub async fn send_raw(&self, text: impl Into<String>) -> Result<(), Closed> {
        let sent = self.outgoing.send(Outgoing::Frame(text.into())).await;
        sent.map_err(|_| self.ended())
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) -> Closed {
        let mut state = self.shared.watch();
        let ended = state.wait_for(Option::is_some).await;
        ended.ok().and_then(|closed| closed.clone()).unwrap_or_else(Closed::lost)
    }

    /// Says goodbye, and waits a moment for the gateway to do so.
    pub async fn close(self) -> Closed {
        // A writer that is gone has nobody to say goodbye to.
        drop(self.outgoing.send(Outgoing::Close { code: 1000, reason: "" }).await);
        let closed = timeout(Duration::from_millis(CLOSE_GRACE_MS), self.closed()).await;
        self.stop.cancel();
        self.tasks.clone().join().await;
        closed.unwrap_or_else(|_| self.ended())
    }

    async fn send(&self, method: &str, params: Value, all: bool) -> Result<CallStream, CallError> {
        let id = (self.requests.fetch_add(1, Ordering::Relaxed) + 1).to_string();
        let frame = json!({"type": "req", "id": id, "method": method, "params": params}).to_string();
        let (sender, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
        self.shared.wait(&id, Waiter { answers: sender, all }).map_err(|closed| CallError::closed(&closed))?;
        let stream = CallStream { id, shared: Arc::clone(&self.shared), answers, finished: false };
        self.outgoing.send(Outgoing::Frame(frame)).await.map_err(|_| CallError::closed(&self.ended()))?;
        Ok(stream)
    }

    fn ended(&self) -> Closed {
        self.shared.closed().unwrap_or_else(Closed::lost)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("conn", &self.hello.conn_id).finish_non_exhaustive()
    }
}

/// The answers to one request.
#[derive(Debug)]
pub struct CallStream {
    id: String,
    shared: Arc<Shared>,
    answers: mpsc::Receiver<Result<Value, CallError>>,
    finished: bool,
}

impl CallStream {
    /// Waits for the next answer; none after the last. A connection that ends first is an error, once.
    pub async fn next(&mut self) -> Option<Result<Value, CallError>> {
        if self.finished {
            return None;
        }
        let answer = self.receive().await;
        self.finished = !is_interim(&answer);
        Some(answer)
    }

    async fn receive(&mut self) -> Result<Value, CallError> {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => Err(self.cut_short()),
        }
    }

    /// Why the answers ended without a last one.
    fn cut_short(&self) -> CallError {
        self.shared.closed().map_or_else(
            || CallError::without_answer(CallErrorKind::Lagged, format!("more than {ANSWERS_WAITING_MAX} answers waited to be read")),
            |closed| CallError::closed(&closed),
        )
    }
}

impl Drop for CallStream {
    fn drop(&mut self) {
        self.shared.forget(&self.id);
    }
}
