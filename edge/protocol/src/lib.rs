//! The WebSocket protocol: frames, handshake rules, wire errors and the differences between protocol versions.
//!
//! Everything here is a pure function of its arguments: no sockets, no clock, no async. The server and the client share it.

pub mod auth;
pub mod close;
pub mod contract;
mod error;
pub mod frames;
pub mod limits;
mod object;
pub mod validation;
pub mod version;

pub use error::{Code, ErrorShape};
pub use object::Object;
pub use version::{Adapter, Circumstances, Version};
