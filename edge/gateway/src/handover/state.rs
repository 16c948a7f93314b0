//! What one edge tells the next.
//!
//! Fields are only ever added, under new tags: the two edges may be of different builds.

use prost::Message;
use verso_proto::node::v1::AnnounceRequest as NodeAnnounce;
use verso_proto::presence::v1::AnnounceRequest as PresenceAnnounce;
use verso_proto::wire::v1::{From as Position, Principal};

/// The next edge introduces itself.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    /// The number of its incarnation.
    #[prost(uint64, tag = "2")]
    pub(super) epoch: u64,
    /// Its version, for the log.
    #[prost(string, tag = "3")]
    pub(super) build: String,
}

/// The present edge has stopped giving out events.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Start {
    /// The last event of each service that its connections have got.
    #[prost(message, repeated, tag = "1")]
    pub(super) positions: Vec<SourcePosition>,
    /// What let connections in: another value on the other side makes what was let in by it void.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) secret: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) proxy: Vec<u8>,
    #[prost(bool, tag = "4")]
    pub(super) tailnet: bool,
}

/// Where a service's event stream is.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SourcePosition {
    #[prost(string, tag = "1")]
    pub(super) service: String,
    #[prost(message, optional, tag = "2")]
    pub(super) position: Option<Position>,
}

/// Whether a connection was taken.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Receipt {
    #[prost(bool, tag = "1")]
    pub(super) taken: bool,
}

/// One connection, but for its descriptor.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Moved {
    #[prost(string, tag = "1")]
    pub(crate) conn_id: String,
    /// Where its client reaches the gateway.
    #[prost(string, optional, tag = "30")]
    pub(crate) base: Option<String>,
    /// Role, scopes and protocol version are in here.
    #[prost(message, optional, tag = "2")]
    pub(crate) principal: Option<Principal>,
    /// What let it in.
    #[prost(string, tag = "3")]
    pub(crate) method: String,
    #[prost(bool, tag = "4")]
    pub(crate) reads_tools: bool,
    /// The number of its last event.
    #[prost(uint64, tag = "5")]
    pub(crate) seq: u64,
    #[prost(message, repeated, tag = "6")]
    pub(crate) topics: Vec<Topic>,
    /// Where it comes from.
    #[prost(string, tag = "7")]
    pub(crate) address: String,
    /// What was read and belongs to no whole message.
    #[prost(bytes = "bytes", tag = "8")]
    pub(crate) unread: bytes::Bytes,
    /// Messages that were read and not looked at.
    #[prost(string, repeated, tag = "9")]
    pub(crate) inbox: Vec<String>,
    /// What is to be written before anything else; may begin in the middle of a frame.
    #[prost(bytes = "bytes", tag = "10")]
    pub(crate) unsent: bytes::Bytes,
    /// Requests whose answers are not complete.
    #[prost(message, repeated, tag = "11")]
    pub(crate) requests: Vec<Asked>,
    #[prost(message, optional, tag = "12")]
    pub(crate) presence: Option<PresenceAnnounce>,
    #[prost(message, optional, tag = "13")]
    pub(crate) node: Option<NodeAnnounce>,
}

/// What a connection follows, and how it calls that.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Topic {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) alias: String,
}

/// A request that may be made again.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Asked {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    #[prost(string, tag = "3")]
    pub(crate) params: String,
    #[prost(string, tag = "4")]
    pub(crate) trace: String,
    /// Parts of the answer that the client has.
    #[prost(uint64, tag = "5")]
    pub(crate) delivered: u64,
}
