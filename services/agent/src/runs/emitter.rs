//! One run's events, in the order that clients count on: each `agent` event, then the `chat` event that derives from it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use verso_kit::clock::Clock;
use verso_kit::events::Hub;
use verso_proto::Json;
use verso_proto::agent::v1::{AgentEvent, AgentEventData, ChatEvent, Event, SessionToolEvent};
use verso_proto::wire::v1::{Audience, EventMeta, Party};

use super::throttle::{Throttle, Verdict};
use crate::keys::{AgentId, SessionKey};
use crate::messages;
use crate::reply;
use crate::sessions::topics;

/// Events that one attempt of a run may emit: the next attempt's numbers begin above, so that they never go back for a client
/// that stayed connected.
const SEQ_PER_ATTEMPT: i64 = 1_000_000;

/// Callers that can join one run.
const JOINED_MAX: usize = 32;

/// Between two messages of one run.
const MESSAGE_SEPARATOR: &str = "\n\n";

/// Why a run was stopped, as clients read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Somebody called `chat.abort`.
    Rpc,
    /// Somebody said a stop word.
    Stop,
    /// The run took too long.
    Timeout,
    /// Something newer is to be answered instead.
    Interrupted,
    /// Too many waited.
    Dropped,
}

impl StopReason {
    /// Returns the word on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rpc => "rpc",
            Self::Stop => "stop",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupt",
            Self::Dropped => "dropped",
        }
    }
}

/// Whose events they are.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) run_id: String,
    pub(crate) key: SessionKey,
    pub(crate) agent: AgentId,
    pub(crate) traceparent: String,
    /// Nobody asked: the words are not shown as chat.
    pub(crate) quiet: bool,
    /// Who started it.
    pub(crate) party: Option<Party>,
}

impl Source {
    /// Says whose event it is, and for whom it matters.
    fn mark(&self, meta: &mut EventMeta) {
        meta.traceparent.clone_from(&self.traceparent);
        self.key.as_str().clone_into(&mut meta.session_key);
        meta.parties.extend(self.party.clone());
    }
}

/// Emits the events of one run.
#[derive(Debug)]
pub(crate) struct Emitter {
    hub: Hub<Event>,
    clock: Clock,
    source: Source,
    state: Mutex<State>,
    /// Grows with the text.
    progress: watch::Sender<usize>,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    seq: i64,
    session_id: Option<String>,
    /// Those who joined it, besides the one that started it.
    joined: Vec<Party>,
    /// Whether the session wants to be told of every tool call.
    verbose: bool,
    /// The tools that are being called: their calls and names.
    working: Vec<(String, String)>,
    /// Everything that the run has said.
    text: String,
    /// Where the current message begins in it.
    message_start: usize,
    /// How much of it `chat` deltas have shown.
    chat_shown: usize,
    /// Whether the next delta replaces what an earlier attempt has shown.
    replaces: bool,
    throttle: Throttle,
    /// When something was last heard of the run.
    moved: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// The outcome is known and is being written down.
    Settling,
    Closed,
}

impl Emitter {
    /// Prepares the events of one attempt, counted from 1.
    pub(crate) fn new(hub: Hub<Event>, clock: Clock, source: Source, attempt: i64) -> Self {
        let earlier = attempt.saturating_sub(1);
        let state = State {
            mode: Mode::Open,
            seq: earlier.saturating_mul(SEQ_PER_ATTEMPT),
            session_id: None,
            joined: Vec::new(),
            verbose: false,
            working: Vec::new(),
            text: String::new(),
            message_start: 0,
            chat_shown: 0,
            replaces: earlier > 0,
            throttle: Throttle::default(),
            moved: Instant::now(),
        };
        Self { hub, clock, source, state: Mutex::new(state), progress: watch::Sender::new(0) }
    }

    /// Adds somebody who has asked for the same run.
    pub(crate) fn join(&self, party: Option<Party>) {
        let Some(party) = party else { return };
        let mut state = self.state();
        let known = self.source.party.iter().chain(&state.joined).any(|known| known.conn_id == party.conn_id);
        if !known && state.joined.len() < JOINED_MAX {
            state.joined.push(party);
        }
    }

    /// Says that the run has begun. `verbose`: its session wants to be told of every tool call.
    pub(crate) fn started(&self, session_id: &str, verbose: bool, at_ms: i64) {
        let mut state = self.state();
        state.session_id = Some(session_id.to_owned());
        state.verbose = verbose;
        self.agent(
            &mut state,
            "lifecycle",
            AgentEventData { phase: Some("start".to_owned()), started_at_ms: Some(at_ms), ..AgentEventData::default() },
        );
    }

    /// Says more of the current message. Returns when the rest of it is due, if not all of it could be shown yet.
    pub(crate) fn text(&self, delta: &str) -> Option<Instant> {
        let mut state = self.state();
        if state.mode != Mode::Open || delta.is_empty() {
            return None;
        }
        if state.message_start > 0 && state.message_start == state.text.len() {
            state.text.push_str(MESSAGE_SEPARATOR);
            state.message_start = state.text.len();
        }
        state.text.push_str(delta);
        self.progress.send_replace(state.text.len());
        let text = state.text[state.message_start..].to_owned();
        let data = AgentEventData { text: Some(text), delta: Some(delta.to_owned()), ..AgentEventData::default() };
        self.agent(&mut state, "assistant", data);
        self.show(&mut state)
    }

    /// Shows what is due. Returns when the next part is.
    pub(crate) fn show_due(&self) -> Option<Instant> {
        let mut state = self.state();
        if state.mode == Mode::Open { self.show(&mut state) } else { None }
    }

    /// Ends the current message and returns its text; the next one will follow it.
    pub(crate) fn end_message(&self) -> String {
        let mut state = self.state();
        let text = state.text[state.message_start..].to_owned();
        state.message_start = state.text.len();
        // Those who wait for finished messages look again.
        self.progress.send_modify(|_| ());
        text
    }

    /// Returns what has been said of the current message.
    pub(crate) fn current_message(&self) -> String {
        let state = self.state();
        state.text[state.message_start..].to_owned()
    }

    /// Returns the tool that is being called, the newest of several.
    pub(crate) fn activity(&self) -> Option<String> {
        self.state().working.last().map(|(_, name)| name.clone())
    }

    /// Returns how long nothing was heard of the run; none when it is over.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let state = self.state();
        (state.mode == Mode::Open).then(|| state.moved.elapsed())
    }

    /// Says that the conversation is being shortened, or that it has been and the turn goes on.
    pub(crate) fn shortening(&self, over: bool) {
        let phase = if over { "end" } else { "start" };
        let data = AgentEventData { phase: Some(phase.to_owned()), will_retry: over.then_some(true), ..AgentEventData::default() };
        self.agent(&mut self.state(), "compaction", data);
    }

    /// Says that a tool is being called.
    pub(crate) fn tool_started(&self, call_id: &str, name: &str, arguments: &Json) {
        self.state().working.push((call_id.to_owned(), name.to_owned()));
        self.progress.send_modify(|_| ());
        let data = AgentEventData { phase: Some("start".to_owned()), args: Some(arguments.clone()), ..tool(call_id, name) };
        self.tool(data);
    }

    /// Says how far a tool is.
    pub(crate) fn tool_updated(&self, call_id: &str, name: &str, partial: Json) {
        let data = AgentEventData { phase: Some("update".to_owned()), partial_result: Some(partial), ..tool(call_id, name) };
        self.agent(&mut self.state(), "tool", data);
    }

    /// Says what a tool has answered.
    pub(crate) fn tool_ended(&self, call_id: &str, name: &str, result: Json, is_error: bool) {
        let data =
            AgentEventData { phase: Some("result".to_owned()), result: Some(result), is_error: Some(is_error), ..tool(call_id, name) };
        self.state().working.retain(|(working, _)| working != call_id);
        self.progress.send_modify(|_| ());
        self.tool(data);
    }

    /// Claims the end of the run for its outcome: from here on it cannot be stopped. Returns whether it was not stopped before.
    pub(crate) fn settle(&self) -> bool {
        let mut state = self.state();
        let open = state.mode == Mode::Open;
        if open {
            state.mode = Mode::Settling;
        }
        open
    }

    /// Says that the run has ended well.
    pub(crate) fn ended(&self, at_ms: i64) {
        let mut state = self.state();
        self.show_rest(&mut state);
        self.agent(
            &mut state,
            "lifecycle",
            AgentEventData { phase: Some("end".to_owned()), ended_at_ms: Some(at_ms), ..AgentEventData::default() },
        );
        let text = reply::visible(&state.text);
        let message = (!text.is_empty()).then(|| messages::shown(&text, at_ms));
        if !self.source.quiet {
            self.chat(&state, ChatEvent { message, stop_reason: Some("stop".to_owned()), ..self.chat_event(&state, "final") });
        }
        state.mode = Mode::Closed;
    }

    /// Says that the run has failed, and why.
    pub(crate) fn failed(&self, error: &str, at_ms: i64) {
        let mut state = self.state();
        self.show_rest(&mut state);
        let data = AgentEventData {
            phase: Some("error".to_owned()),
            error: Some(error.to_owned()),
            ended_at_ms: Some(at_ms),
            ..AgentEventData::default()
        };
        self.agent(&mut state, "lifecycle", data);
        self.chat(&state, ChatEvent { error_message: Some(error.to_owned()), ..self.chat_event(&state, "error") });
        state.mode = Mode::Closed;
    }

    /// Says that the run was stopped, which is the last that is heard of it. Returns false if it had ended before.
    pub(crate) fn aborted(&self, reason: StopReason) -> bool {
        let mut state = self.state();
        if state.mode != Mode::Open {
            return false;
        }
        state.mode = Mode::Closed;
        state.seq += 1;
        self.chat(&state, ChatEvent { stop_reason: Some(reason.as_str().to_owned()), ..self.chat_event(&state, "aborted") });
        true
    }

    /// Returns what has been said beyond the first `seen` bytes.
    pub(crate) fn text_since(&self, seen: usize) -> String {
        self.state().text.get(seen..).unwrap_or_default().to_owned()
    }

    /// Returns what has been said beyond the first `seen` bytes, and how much of all is in finished messages.
    pub(crate) fn text_and_messages_since(&self, seen: usize) -> (String, usize) {
        let state = self.state();
        (state.text.get(seen..).unwrap_or_default().to_owned(), state.message_start)
    }

    /// Watches how much has been said, in bytes.
    pub(crate) fn progress(&self) -> watch::Receiver<usize> {
        self.progress.subscribe()
    }

    fn show(&self, state: &mut State) -> Option<Instant> {
        // A heartbeat is not chat, and silence must not be shown before it is known to be none.
        if state.chat_shown == state.text.len() || self.source.quiet || reply::may_become_silent(&state.text) {
            return None;
        }
        match state.throttle.offer(Instant::now()) {
            Verdict::HoldUntil(at) => Some(at),
            Verdict::Send => {
                self.delta(state);
                None
            }
        }
    }

    fn show_rest(&self, state: &mut State) {
        if state.chat_shown < state.text.len() && !self.source.quiet && !reply::is_silent(&state.text) {
            self.delta(state);
        }
    }

    fn delta(&self, state: &mut State) {
        let event = ChatEvent {
            message: Some(messages::shown(&state.text, self.clock.now_ms())),
            delta_text: Some(state.text[state.chat_shown..].to_owned()),
            replace: std::mem::take(&mut state.replaces).then_some(true),
            ..self.chat_event(state, "delta")
        };
        state.chat_shown = state.text.len();
        self.hub.emit_with(event, |meta| {
            self.mark(state, meta);
            // The next delta, or the final, holds all of it again.
            meta.droppable = true;
        });
    }

    fn agent(&self, state: &mut State, stream: &str, data: AgentEventData) {
        if state.mode == Mode::Closed {
            return;
        }
        state.seq += 1;
        state.moved = Instant::now();
        let event = AgentEvent {
            run_id: self.source.run_id.clone(),
            stream: stream.to_owned(),
            data: Some(data),
            session_key: Some(self.source.key.to_string()),
            seq: state.seq,
            ts_ms: self.clock.now_ms(),
            agent_id: Some(self.source.agent.to_string()),
            session_id: state.session_id.clone(),
            is_heartbeat: Some(false),
        };
        self.hub.emit_with(event, |meta| self.mark(state, meta));
    }

    /// Tells those who started the run of a tool call, and those who only watch its session.
    fn tool(&self, data: AgentEventData) {
        let mut state = self.state();
        if state.mode == Mode::Closed {
            return;
        }
        self.agent(&mut state, "tool", data.clone());
        let event = SessionToolEvent {
            run_id: self.source.run_id.clone(),
            session_key: self.source.key.to_string(),
            stream: "tool".to_owned(),
            data: Some(data),
            seq: state.seq,
            ts_ms: self.clock.now_ms(),
        };
        self.hub.emit_with(event, |meta| {
            self.mark(&state, meta);
            let topics = vec![topics::SESSIONS.to_owned(), topics::session(&self.source.key)];
            meta.audience = Some(Audience { topics, without_parties: true, ..Audience::default() });
        });
    }

    fn mark(&self, state: &State, meta: &mut EventMeta) {
        self.source.mark(meta);
        meta.parties.extend_from_slice(&state.joined);
        meta.verbose = state.verbose;
    }

    fn chat(&self, state: &State, event: ChatEvent) {
        debug_assert_eq!(event.seq, state.seq, "a chat event has the number of the agent event that it derives from");
        self.hub.emit_with(event, |meta| self.mark(state, meta));
    }

    fn chat_event(&self, state: &State, name: &str) -> ChatEvent {
        ChatEvent {
            run_id: self.source.run_id.clone(),
            session_key: self.source.key.to_string(),
            seq: state.seq,
            state: name.to_owned(),
            agent_id: Some(self.source.agent.to_string()),
            ..ChatEvent::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Emits the reply of a command, or what somebody put into a transcript: a `chat` final without a run.
pub(crate) fn emit_reply(hub: &Hub<Event>, source: &Source, seq: i64, message: verso_proto::agent::v1::ChatMessage) {
    let event = ChatEvent {
        run_id: source.run_id.clone(),
        session_key: source.key.to_string(),
        seq,
        state: "final".to_owned(),
        message: Some(message),
        agent_id: Some(source.agent.to_string()),
        ..ChatEvent::default()
    };
    hub.emit_with(event, |meta| source.mark(meta));
}

fn tool(call_id: &str, name: &str) -> AgentEventData {
    AgentEventData { name: Some(name.to_owned()), tool_call_id: Some(call_id.to_owned()), ..AgentEventData::default() }
}
