//! A WebSocket client of the gateway: the CLI and the tests talk through it.
//!
//! It speaks both protocol versions, proves a device or goes without one, and gives each request its answers and each event its order.

mod client;
mod connection;
mod error;
mod events;
mod handshake;
mod identity;
mod options;

pub use client::{CallStream, Client};
pub use connection::Closed;
pub use error::{CallError, CallErrorKind, Error};
pub use events::{Event, EventError, Events, StateVersion};
pub use handshake::Hello;
pub use identity::{Identity, IdentityError};
pub use options::Options;
