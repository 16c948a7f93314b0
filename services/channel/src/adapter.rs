//! What a chat network has to be able to do to be one of ours.

use std::time::Duration;

use futures_util::future::BoxFuture;
use verso_kit::CancellationToken;

use crate::link::Link;
use crate::message::{Address, Part, Receipt};
use crate::text::Rich;

/// One account of a network, while it runs.
pub(crate) trait Adapter: std::fmt::Debug + Send + Sync {
    /// Receives until `stop`, or until something is wrong that a new start may mend.
    fn receive<'a>(&'a self, link: &'a Link, stop: &'a CancellationToken) -> BoxFuture<'a, Result<(), Fault>>;

    /// Sends one message.
    fn send<'a>(&'a self, part: &'a Part) -> BoxFuture<'a, Result<Receipt, Refusal>>;

    /// Shows that an answer is being written, if the network can.
    fn typing<'a>(&'a self, _to: &'a Address) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Asks the network whether the account is well. Returns what it is called there.
    fn probe(&self) -> BoxFuture<'_, Result<String, Fault>>;

    /// Returns how formatted text is written there.
    fn render(&self, rich: &Rich) -> String;

    /// Returns after how long without any sign of life the account is started anew.
    fn silence_max(&self) -> Duration;

    /// Reads where somebody wants to send something.
    fn address(&self, target: &str, thread: Option<&str>) -> Option<Address>;
}

/// Why an account stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The network cannot be reached, or does not keep the connection.
    #[error("{0}")]
    Network(String),
    /// The network does not accept the account.
    #[error("{0}")]
    Account(String),
    /// What came in could not be kept.
    #[error("{0}")]
    Storage(String),
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The network did not get it, or said that it wants it later.
    #[error("{reason}")]
    Later {
        /// Why.
        reason: String,
        /// When, if it said so.
        after: Option<Duration>,
    },
    /// The network does not want it.
    #[error("{0}")]
    Never(String),
    /// The network may have it, or not.
    #[error("{0}")]
    Unknown(String),
}
