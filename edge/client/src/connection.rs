//! The two tasks of an established connection: one reads and hands out, one writes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use verso_kit::CancellationToken;
use verso_protocol::limits::CLOSE_GRACE_MS;

use crate::error::WireError;
use crate::events::Item;
use crate::handshake::Socket;
use crate::{CallError, Event, StateVersion};

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The close code; 1006 if the connection broke without one.
    pub code: u16,
    /// What the gateway said.
    pub reason: String,
}

impl Closed {
    pub(crate) fn by_peer(frame: Option<CloseFrame>) -> Self {
        // 1005 is the code for a close frame without a code.
        frame.map_or_else(
            || Self { code: 1005, reason: String::new() },
            |frame| Self { code: frame.code.into(), reason: frame.reason.to_string() },
        )
    }

    pub(crate) fn lost() -> Self {
        Self { code: 1006, reason: "connection lost".to_owned() }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "gateway closed ({}): {}", self.code, self.reason)
    }
}

/// A frame from the gateway.
#[derive(Debug)]
pub(crate) enum Inbound {
    Answer(Answer),
    Event(Event),
    /// Not a frame of the protocol, or one of a later version.
    Unknown,
}

/// One response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) id: String,
    pub(crate) result: Result<Value, CallError>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Frame {
    Res {
        id: String,
        ok: bool,
        payload: Option<Value>,
        error: Option<WireError>,
    },
    #[serde(rename_all = "camelCase")]
    Event {
        event: String,
        #[serde(default)]
        payload: Value,
        seq: Option<u64>,
        state_version: Option<StateVersion>,
    },
}

impl Inbound {
    pub(crate) fn read(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(Frame::Res { id, ok: true, payload, .. }) => Self::Answer(Answer { id, result: Ok(payload.unwrap_or_default()) }),
            Ok(Frame::Res { id, ok: false, payload, error }) => {
                Self::Answer(Answer { id, result: Err(CallError::answered(error, payload.map(Box::new))) })
            }
            Ok(Frame::Event { event, payload, seq, state_version }) => Self::Event(Event { name: event, payload, seq, state_version }),
            Err(_) => Self::Unknown,
        }
    }
}

/// Whether an answer announces another one with the same id.
pub(crate) fn is_interim(result: &Result<Value, CallError>) -> bool {
    let status = result.as_ref().ok().and_then(|payload| payload.get("status")?.as_str());
    matches!(status, Some("accepted" | "in_flight"))
}

/// Who waits for the answers to one request.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) answers: mpsc::Sender<Result<Value, CallError>>,
    /// Also for those that follow an interim answer.
    pub(crate) all: bool,
}

/// What the client and its two tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// None once the connection has ended: nobody may begin to wait then.
    waiters: Mutex<Option<HashMap<String, Waiter>>>,
    closed: watch::Sender<Option<Closed>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self { waiters: Mutex::new(Some(HashMap::new())), closed: watch::Sender::new(None) }
    }

    /// Registers a waiter, or says how the connection ended.
    pub(crate) fn wait(&self, id: &str, waiter: Waiter) -> Result<(), Closed> {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiters) = waiters.as_mut() else { return Err(self.closed().unwrap_or_else(Closed::lost)) };
        waiters.insert(id.to_owned(), waiter);
        Ok(())
    }

    pub(crate) fn forget(&self, id: &str) {
        if let Some(waiters) = self.waiters.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            waiters.remove(id);
        }
    }

    /// How the connection ended; none while it lasts.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.closed.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<Closed>> {
        self.closed.subscribe()
    }

    fn answer(&self, Answer { id, result }: Answer) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiters) = waiters.as_mut() else { return };
        let Some(waiter) = waiters.get(&id) else { return };
        let more = waiter.all && is_interim(&result);
        // A waiter that does not keep up loses its place; it notices that its answers end without a last one.
        let delivered = waiter.answers.try_send(result).is_ok();
        if !(more && delivered) {
            waiters.remove(&id);
        }
    }

    /// Records the end and wakes everybody who waits.
    fn end(&self, closed: Closed) {
        self.closed.send_if_modified(|state| {
            let first = state.is_none();
            state.get_or_insert(closed);
            first
        });
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What the writing task is told.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Frame(String),
    Close { code: u16, reason: &'static str },
}

/// What clients say when the gateway has fallen silent.
const TICK_TIMEOUT: u16 = 4000;

/// The task that reads.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) source: SplitStream<Socket>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: broadcast::Sender<Item>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    /// Without a tick for this long, the gateway is gone.
    pub(crate) silence: Duration,
    pub(crate) stop: CancellationToken,
}

impl Reader {
    /// Reads until the connection ends. The sender of events goes away with it, so that their readers learn of the end.
    pub(crate) async fn run(mut self) {
        let closed = self.read().await;
        self.shared.end(closed);
        let Self { mut source, events, stop, .. } = self;
        drop(events);
        // Polled on, the socket answers the peer's close frame; a peer that then lingers is not waited for.
        let goodbye = async { while matches!(source.next().await, Some(Ok(_))) {} };
        tokio::select! {
            () = goodbye => {}
            () = tokio::time::sleep(Duration::from_millis(CLOSE_GRACE_MS)) => {}
            () = stop.cancelled() => {}
        }
        stop.cancel();
    }

    async fn read(&mut self) -> Closed {
        let mut deadline = Instant::now() + self.silence;
        let mut last_seq = None;
        loop {
            let message = tokio::select! {
                message = self.source.next() => message,
                () = self.stop.cancelled() => return Closed { code: 1000, reason: "closed by the client".to_owned() },
                () = tokio::time::sleep_until(deadline) => {
                    let reason = "tick timeout";
                    // A writer that is stuck cannot say goodbye either.
                    drop(self.outgoing.try_send(Outgoing::Close { code: TICK_TIMEOUT, reason }));
                    return Closed { code: TICK_TIMEOUT, reason: reason.to_owned() };
                }
            };
            match message {
                Some(Ok(Message::Text(text))) => match Inbound::read(&text) {
                    Inbound::Answer(answer) => self.shared.answer(answer),
                    Inbound::Event(event) => {
                        if event.name == "tick" {
                            deadline = Instant::now() + self.silence;
                        }
                        self.hand_out(event, &mut last_seq);
                    }
                    Inbound::Unknown => tracing::debug!("ignored a frame that is not of the protocol"),
                },
                Some(Ok(Message::Close(frame))) => return Closed::by_peer(frame),
                // The socket answers pings by itself.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Closed::lost(),
            }
        }
    }

    /// Without a reader there is nobody to miss the event.
    fn hand_out(&self, event: Event, last_seq: &mut Option<u64>) {
        if let Some(seq) = event.seq {
            let missing = last_seq.map_or(0, |last| seq.saturating_sub(last).saturating_sub(1));
            if missing > 0 {
                drop(self.events.send(Item::Gap(missing)));
            }
            *last_seq = Some(seq);
        }
        drop(self.events.send(Item::Event(Arc::new(event))));
    }
}

/// Writes until the connection ends.
pub(crate) async fn write(mut sink: SplitSink<Socket, Message>, mut outgoing: mpsc::Receiver<Outgoing>, stop: CancellationToken) {
    loop {
        let next = tokio::select! {
            next = outgoing.recv() => next,
            () = stop.cancelled() => return,
        };
        let sent = match next {
            Some(Outgoing::Frame(frame)) => sink.send(Message::text(frame)).await,
            Some(Outgoing::Close { code, reason }) => {
                sink.send(Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))).await
            }
            None => return,
        };
        // The reading task learns of the same failure and records it.
        if sent.is_err() {
            return;
        }
    }
}
