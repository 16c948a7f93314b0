//! A WebSocket client of the gateway: the CLI and the tests talk through it.
//!
//! It speaks both protocol versions, proves a device or goes without one, and gives each request its answers and each event its order.
//!
//! [`Client`] is one connection; [`Reconnecting`] makes a new one whenever it ends. Calls are typed by the contract:
//!
//! ```no_run
//! use verso_client::{Client, Options};
//! use verso_proto::agent::v1::SessionsListRequest;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Options::new("ws://127.0.0.1:18789").with_token("secret")).await?;
//! let sessions = client.request(SessionsListRequest { limit: Some(10), ..Default::default() }).await?;
//! for session in sessions.sessions {
//!     println!("{}", session.key);
//! }
//! let mut events = client.events();
//! while let Ok(event) = events.next().await {
//!     println!("{} {}", event.name, event.payload);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A method that this build does not know is called by its name: `client.call("some.method", json!({}))`.

mod client;
mod connection;
mod device_tokens;
mod error;
mod events;
mod handshake;
mod identity;
mod options;
mod reconnecting;
mod tls;
mod typed;

pub use client::{CallStream, Client};
pub use connection::Closed;
pub use device_tokens::{DeviceToken, DeviceTokens};
pub use error::{CallError, CallErrorKind, Error};
pub use events::{Event, EventError, Events, StateVersion};
pub use handshake::Hello;
pub use identity::{Identity, IdentityError};
pub use options::Options;
pub use reconnecting::{Backoff, PairingRequest, Reconnecting, Update, Updates};
pub use tls::{Fingerprint, InvalidFingerprint, Trust};
pub use typed::Answers;
