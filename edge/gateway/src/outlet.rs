//! What waits to be sent to one connection: a queue within a byte budget, numbered as it is filled.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};
use verso_kit::principal::Vouched;
use verso_protocol::auth::{Peer, PeerRole, SharedMethod, may_receive};
use verso_protocol::close::Close;
use verso_protocol::frames::EventPrefix;

use crate::dispatch::Admitted;
use crate::event::Rendered;
use crate::following::Following;
use crate::handover::Moved;
use crate::limits::Limits;
use crate::metrics::{self, Limit};
use crate::wire::{Batch, TextFrame};

/// The capability of clients that read the tool events of their runs.
const TOOL_EVENTS: &str = "tool-events";

/// What one queued frame costs besides its text, in bytes.
const OVERHEAD_BYTES: usize = 64;

/// The sending side of one connection. The connection's own task drains it.
#[derive(Debug)]
pub(crate) struct Outlet {
    /// Names the connection on the wire.
    pub(crate) conn_id: String,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// The paired device at the other end.
    pub(crate) device_id: Option<String>,
    /// What let the peer in.
    pub(crate) method: SharedMethod,
    /// The same, as services are told.
    pub(crate) principal: Vouched,
    /// Where the client reaches the gateway, as `http://…`.
    pub(crate) base: Option<Box<str>>,
    /// Whether the client can read the tool events of runs that it started.
    reads_tools: bool,
    following: Mutex<Following>,
    queue: Mutex<Queue>,
    /// Requests that could be made again, while they are being answered.
    unanswered: Mutex<Vec<Arc<Admitted>>>,
    filled: Notify,
    /// A ping was sent and not answered yet.
    awaits_pong: AtomicBool,
    /// Calls in a row that the peer's role does not allow.
    role_refusals: AtomicU32,
    /// It cannot move to the next edge.
    stays: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Outgoing>,
    size_bytes: usize,
    /// The number of the last event.
    seq: u64,
    closing: bool,
}

/// One thing to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A finished frame.
    Text(Utf8Bytes),
    /// An event.
    Event(Numbered),
    /// What another edge has framed already; only as the first of all.
    Raw(Bytes),
    /// A WebSocket ping.
    Ping,
    /// The last thing that is sent.
    Close(Close),
}

/// An event as it goes out on one connection.
#[derive(Debug)]
pub(crate) struct Numbered {
    /// What it shares with other connections.
    pub(crate) prefix: Arc<EventPrefix>,
    /// Its number on this connection; targeted events have none.
    pub(crate) seq: Option<u64>,
    pub(crate) state_version: Option<(u64, u64)>,
}

/// How a connection gets an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reception {
    /// As one of those that it counts.
    Counted,
    /// As a copy for itself.
    Copy,
    Nothing,
}

impl Outgoing {
    fn size_bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Self::Text(text) => text.len(),
                Self::Event(event) => event.prefix.len(),
                Self::Raw(bytes) => bytes.len(),
                Self::Ping | Self::Close(_) => 0,
            }
    }
}

impl Outlet {
    pub(crate) fn new(conn_id: String, peer: Peer, principal: Vouched) -> Self {
        let device_id = principal.device_id.clone();
        Self {
            conn_id,
            peer,
            device_id,
            method: SharedMethod::None,
            principal,
            base: None,
            reads_tools: false,
            following: Mutex::default(),
            queue: Mutex::default(),
            unanswered: Mutex::default(),
            filled: Notify::new(),
            awaits_pong: AtomicBool::new(false),
            role_refusals: AtomicU32::new(0),
            stays: AtomicBool::new(false),
        }
    }

    /// Notes what let the peer in.
    pub(crate) fn admitted_by(mut self, method: SharedMethod) -> Self {
        self.method = method;
        self
    }

    /// Notes where the client reaches the gateway.
    pub(crate) fn reached_at(mut self, base: Option<String>) -> Self {
        self.base = base.map(String::into_boxed_str);
        self
    }

    /// Notes what the client can read.
    pub(crate) fn reading(mut self, caps: &[String]) -> Self {
        self.reads_tools = caps.iter().any(|cap| cap == TOOL_EVENTS);
        self
    }

    /// Notes what another edge knew of the connection.
    pub(crate) fn moved_here(mut self, moved: &Moved) -> Self {
        self.reads_tools = moved.reads_tools;
        self.queue.get_mut().unwrap_or_else(PoisonError::into_inner).seq = moved.seq;
        let following = self.following.get_mut().unwrap_or_else(PoisonError::into_inner);
        for topic in &moved.topics {
            // There were no more than fit where it came from.
            drop(following.add(topic.name.clone(), topic.alias.clone(), moved.seq));
        }
        self
    }

    /// Whether the client can read the tool events of runs that it started.
    pub(crate) fn reads_tools(&self) -> bool {
        self.reads_tools
    }

    /// Notes a request that is being answered and could be made again.
    pub(crate) fn begin(&self, request: &Arc<Admitted>) {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(request));
    }

    /// Notes that it is answered.
    pub(crate) fn end(&self, request: &Arc<Admitted>) {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, request));
    }

    /// The requests that were begun and not ended.
    pub(crate) fn unanswered(&self) -> Vec<Arc<Admitted>> {
        std::mem::take(&mut *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the connection is about to end: nothing more will be sent.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue().closing
    }

    /// Queues a response. A peer that does not read its responses is closed.
    pub(crate) fn respond(&self, text: String, limits: &Limits) {
        self.push(Outgoing::Text(text.into()), limits, false);
    }

    /// How this connection gets an event that is not for named connections.
    pub(crate) fn reception(&self, event: &Rendered) -> Reception {
        let version = self.peer.version;
        if !event.exists_in(version) {
            return Reception::Nothing;
        }
        let party = || event.party(&self.conn_id).is_some();
        let counted = may_receive(self.peer, event.kind())
            && (event.topics().is_empty() || self.following().any(event.topics()))
            && !(event.without_parties() && party())
            && (!event.for_starters(version) || (self.reads_tools && party()));
        let copied = || self.peer.role == PeerRole::Node && event.topics().is_empty() && !event.session_key().is_empty();
        if counted {
            Reception::Counted
        } else if copied() && self.following().chat_alias(event.session_key()).is_some() {
            Reception::Copy
        } else {
            Reception::Nothing
        }
    }

    /// Queues an event that everybody may see; it takes the connection's next number.
    pub(crate) fn publish(&self, event: &Rendered, limits: &Limits) {
        let Some(prefix) = self.prefix(event) else { return };
        let mut queue = self.queue();
        queue.seq += 1;
        let seq = Some(queue.seq);
        let outgoing = Outgoing::Event(Numbered { prefix, seq, state_version: event.state_version() });
        self.push_locked(queue, outgoing, limits, event.drop_if_slow());
    }

    /// Queues an event that is for this connection alone; it has no number.
    pub(crate) fn publish_targeted(&self, event: &Rendered, limits: &Limits) {
        let Some(prefix) = self.prefix(event) else { return };
        let outgoing = Outgoing::Event(Numbered { prefix, seq: None, state_version: event.state_version() });
        self.push(outgoing, limits, event.drop_if_slow());
    }

    fn prefix(&self, event: &Rendered) -> Option<Arc<EventPrefix>> {
        match event.party(&self.conn_id) {
            Some(party) => event.prefix(self.peer.version, Some(&party.session_key)),
            None => event.prefix(self.peer.version, self.following().chat_alias(event.session_key())),
        }
    }

    /// What the connection follows.
    pub(crate) fn following(&self) -> MutexGuard<'_, Following> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last event.
    pub(crate) fn seq(&self) -> u64 {
        self.queue().seq
    }

    /// Whether the client at the other end is the same as that of another connection, as far as both say.
    pub(crate) fn same_client(&self, other: &Self) -> bool {
        self.device_id == other.device_id
            && self.peer.role == other.peer.role
            && self.principal.user == other.principal.user
            && self.principal.instance_id.is_some()
            && self.principal.instance_id == other.principal.instance_id
    }

    /// Drops what is queued: the connection is gone.
    pub(crate) fn retire(&self) {
        let mut queue = self.queue();
        queue.closing = true;
        queue.frames = VecDeque::new();
        queue.size_bytes = 0;
    }

    /// Queues a ping; false when the last one was not answered: the peer is gone.
    pub(crate) fn ping(&self, limits: &Limits) -> bool {
        if self.awaits_pong.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.push(Outgoing::Ping, limits, true);
        true
    }

    /// Notes that the peer answered.
    pub(crate) fn pong(&self) {
        self.awaits_pong.store(false, Ordering::Relaxed);
    }

    /// Notes whether the peer's role allowed its last call; one that keeps calling what it may not is closed.
    pub(crate) fn note_role(&self, allowed: bool, limits: &Limits) {
        if allowed {
            self.role_refusals.store(0, Ordering::Relaxed);
        } else if self.role_refusals.fetch_add(1, Ordering::Relaxed) >= limits.unauthorized_calls_max {
            metrics::reached(Limit::UnauthorizedCalls);
            self.close(Close::REPEATED_UNAUTHORIZED);
        }
    }

    /// Sends what is queued, then closes the connection.
    pub(crate) fn close(&self, close: Close) {
        let mut queue = self.queue();
        if !queue.closing {
            queue.closing = true;
            queue.frames.push_back(Outgoing::Close(close));
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Drops what is queued and closes the connection.
    fn close_at_once(&self, mut queue: MutexGuard<'_, Queue>, close: Close) {
        queue.frames.clear();
        queue.size_bytes = 0;
        queue.closing = true;
        queue.frames.push_back(Outgoing::Close(close));
        drop(queue);
        self.filled.notify_one();
    }

    /// Wakes the connection's task.
    pub(crate) fn nudge(&self) {
        self.filled.notify_one();
    }

    /// Notes that the connection cannot move to the next edge.
    pub(crate) fn stay(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }

    /// Whether the connection is still to move to the next edge.
    pub(crate) fn is_to_move(&self) -> bool {
        !self.stays.load(Ordering::Relaxed)
    }

    /// Queues what another edge has framed, and has not written. The queue is empty then.
    pub(crate) fn write_first(&self, bytes: Bytes) {
        let mut queue = self.queue();
        let outgoing = Outgoing::Raw(bytes);
        queue.size_bytes += outgoing.size_bytes();
        queue.frames.push_front(outgoing);
        drop(queue);
        self.filled.notify_one();
    }

    /// Takes all that is queued, as bytes, and queues nothing more; none when the connection is to end.
    pub(crate) fn seal(&self) -> Option<Vec<u8>> {
        let mut queue = self.queue();
        if queue.closing {
            return None;
        }
        queue.closing = true;
        queue.size_bytes = 0;
        let frames = std::mem::take(&mut queue.frames);
        drop(queue);
        let frames = frames.into_iter().filter_map(|outgoing| match outgoing {
            Outgoing::Text(text) => Some(TextFrame::text(text)),
            Outgoing::Event(event) => Some(TextFrame::event(event)),
            Outgoing::Raw(bytes) => Some(TextFrame::raw(bytes)),
            Outgoing::Ping | Outgoing::Close(_) => None,
        });
        Some(Batch::new(frames.collect()).rest())
    }

    /// Waits until there is something to send.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes up to `count_max` queued things.
    pub(crate) fn take(&self, count_max: usize, into: &mut Vec<Outgoing>) {
        let mut queue = self.queue();
        let count = queue.frames.len().min(count_max);
        for outgoing in queue.frames.drain(..count) {
            into.push(outgoing);
        }
        let freed_bytes: usize = into.iter().map(Outgoing::size_bytes).sum();
        queue.size_bytes = queue.size_bytes.saturating_sub(freed_bytes);
        if queue.frames.is_empty() {
            // An idle connection should not keep the memory of its busiest moment.
            queue.frames.shrink_to(8);
        }
    }

    fn push(&self, outgoing: Outgoing, limits: &Limits, drop_if_slow: bool) {
        self.push_locked(self.queue(), outgoing, limits, drop_if_slow);
    }

    fn push_locked(&self, mut queue: MutexGuard<'_, Queue>, outgoing: Outgoing, limits: &Limits, drop_if_slow: bool) {
        if queue.closing {
            return;
        }
        let size_bytes = outgoing.size_bytes();
        // One frame may always wait, however large: a response above the budget is not the reader's fault.
        if !queue.frames.is_empty() && queue.size_bytes + size_bytes > limits.buffered_bytes_max {
            metrics::reached(Limit::BufferedBytes);
            if drop_if_slow {
                metrics::dropped();
            } else {
                self.close_at_once(queue, Close::SLOW_CONSUMER);
            }
            return;
        }
        queue.size_bytes += size_bytes;
        queue.frames.push_back(outgoing);
        drop(queue);
        self.filled.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
