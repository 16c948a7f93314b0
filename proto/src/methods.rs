//! The method table and the event table.

#![allow(clippy::unreadable_literal, reason = "the included tables are generated")]

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::v1::EventMeta;
pub use crate::wire::v1::{Role, Scope};

/// One rpc. A row with an empty `name` is internal: no client can call it.
#[derive(Debug)]
pub struct Method {
    /// The name in a request frame, such as `chat.send`.
    pub name: &'static str,
    /// The gRPC service that answers, such as `verso.agent.v1.Agent`.
    pub service: &'static str,
    /// The gRPC path.
    pub path: &'static str,
    /// The authority that a caller needs.
    pub scope: Scope,
    /// The authority that a client of protocol 3 needs, where that differs.
    pub scope_v3: Option<Scope>,
    /// The kind of peer that may call.
    pub role: Role,
    /// Whether a call may be repeated when its service died under it.
    pub retry: Retry,
    /// Answers with a stream: each item is one `res` frame.
    pub streaming: bool,
    /// The first protocol version whose clients know the method.
    pub since: u32,
    /// Whether `hello-ok` lists it.
    pub listed: bool,
    /// How long one call may take, in milliseconds. A stream has no limit of its own.
    pub timeout_ms: u32,
    /// Changes how the gateway itself runs: one client may call it only so often.
    pub control_write: bool,
    /// A rule that changes the scope of one call by what the call contains.
    pub dynamic_scope: Option<DynamicScopeRule>,
    /// The processes of the gateway that may call.
    pub callers: &'static [&'static str],
    /// JSON Schema of the parameters, as text.
    pub params_schema: &'static str,
    /// JSON Schema of the answer (one item of it, when it streams), as text; empty for internal rpcs. For readers: it is not enforced.
    pub result_schema: &'static str,
    /// Between the JSON of frames and the messages of gRPC; none for internal rpcs.
    pub transcode: Option<Transcode>,
}

/// Whether a call may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No effect on state: repeated freely.
    ReadOnly,
    /// The owner keeps the call's idempotency key on disk: repeated freely.
    Keyed,
    /// Answered `UNAVAILABLE` instead.
    Never,
}

impl Retry {
    /// Whether a call whose answer was lost may be made again.
    pub const fn repeatable(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Keyed)
    }
}

/// Counts `scope` instead of the method's own when the call matches.
#[derive(Debug)]
pub struct DynamicScopeRule {
    /// The string member to look at.
    pub field: &'static str,
    /// Matches when the first word of `field`, in any case, is one of these.
    pub first_words: &'static [&'static str],
    /// Matches when the call has at least one of these, and beside them none but `subject_members`.
    pub only_members: &'static [&'static str],
    /// Members that say what the call is about, and change nothing.
    pub subject_members: &'static [&'static str],
    /// What then counts.
    pub scope: Scope,
}

/// How a method's JSON becomes protobuf and back.
#[derive(Debug, Clone, Copy)]
pub struct Transcode {
    /// Parses parameters that the schema has accepted.
    pub encode: fn(&str) -> Result<Encoded, serde_json::Error>,
    /// Renders a response as JSON text.
    pub decode: fn(&[u8]) -> Result<String, DecodeError>,
}

/// A request, ready to send.
#[derive(Debug)]
pub struct Encoded {
    /// The protobuf message.
    pub message: Vec<u8>,
    /// How long the call itself asked to wait, in milliseconds.
    pub wait_ms: Option<u64>,
}

/// A service's answer that is not what the contract says.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the protobuf message that was expected.
    #[error("could not decode a message")]
    Protobuf(#[from] prost::DecodeError),
    /// Holds `Json` text that is not JSON.
    #[error("could not render a message as JSON")]
    Json(#[from] serde_json::Error),
}

/// A request message: names its method and its response.
pub trait Call: Message + Default + 'static {
    /// What the method answers (one item of it, when it streams).
    type Response: Message + Default + 'static;
    /// The method's row.
    const METHOD: &'static Method;

    /// How long the call itself asks to wait, in milliseconds.
    fn wait_ms(&self) -> Option<u64> {
        None
    }
}

/// One kind of event, as clients see it.
#[derive(Debug)]
pub struct EventKind {
    /// The name in an event frame.
    pub name: &'static str,
    /// The authority that a receiver needs. Unspecified: the event is for the edge alone.
    pub scope: Scope,
    /// Whether nodes receive it.
    pub nodes: bool,
    /// Left out for a slow reader, instead of closing its connection.
    pub drop_if_slow: bool,
    /// JSON Schema of the payload, as text.
    pub payload_schema: &'static str,
}

/// A service that emits events.
#[derive(Debug)]
pub struct EventSource {
    /// The gRPC service.
    pub service: &'static str,
    /// The path of its `Subscribe`.
    pub path: &'static str,
    /// The processes of the gateway that may call it.
    pub callers: &'static [&'static str],
    /// Reads one item of the stream.
    pub read: fn(&[u8]) -> Result<Emitted, DecodeError>,
}

/// One item of an event stream.
#[derive(Debug)]
pub struct Emitted {
    /// Where it stands in its service's stream, and for whom it is.
    pub meta: EventMeta,
    /// The kind and the payload as JSON; none for the greeting that opens a stream.
    pub event: Option<(&'static EventKind, String)>,
}

/// An item of a service's event stream.
pub trait ServiceEvent: Message + Default + Clone + 'static {
    /// The item's place and audience.
    fn meta(&self) -> Option<&EventMeta>;
    /// The same, to be filled in.
    fn meta_mut(&mut self) -> &mut EventMeta;
    /// The kind and the payload as JSON; none for the greeting that opens a stream.
    fn payload(&self) -> Result<Option<(&'static EventKind, String)>, serde_json::Error>;
}

/// Finds a wire method by its name.
pub fn find(name: &str) -> Option<&'static Method> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static Method>> =
        LazyLock::new(|| METHODS.iter().filter(|method| !method.name.is_empty()).map(|method| (method.name, method)).collect());
    BY_NAME.get(name).copied()
}

/// Returns the processes that may call an rpc, by its path; none when the contract has no such rpc.
pub fn callers(path: &str) -> Option<&'static [&'static str]> {
    static BY_PATH: LazyLock<HashMap<&'static str, &'static [&'static str]>> = LazyLock::new(|| {
        let sources = EVENT_SOURCES.iter().map(|source| (source.path, source.callers));
        METHODS.iter().map(|method| (method.path, method.callers)).chain(sources).collect()
    });
    BY_PATH.get(path).copied()
}

fn encode<T: Call + DeserializeOwned>(params: &str) -> Result<Encoded, serde_json::Error> {
    let request: T = serde_json::from_str(params)?;
    Ok(Encoded { wait_ms: request.wait_ms(), message: request.encode_to_vec() })
}

fn decode<T: Message + Default + Serialize>(message: &[u8]) -> Result<String, DecodeError> {
    Ok(serde_json::to_string(&T::decode(message)?)?)
}

fn read_event<T: ServiceEvent>(message: &[u8]) -> Result<Emitted, DecodeError> {
    let mut event = T::decode(message)?;
    let payload = event.payload()?;
    Ok(Emitted { meta: std::mem::take(event.meta_mut()), event: payload })
}

include!(concat!(env!("OUT_DIR"), "/tables.rs"));
