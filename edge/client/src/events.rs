//! Events, in the order in which the gateway sent them.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast;

/// Events that wait for a slow reader; the oldest are then dropped, and the reader is told how many.
pub(crate) const EVENTS_WAITING_MAX: usize = 1_024;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The name, such as `chat`.
    pub name: String,
    /// The payload; null if there is none.
    pub payload: Value,
    /// Counts the broadcasts of this connection; absent on events for this connection only.
    pub seq: Option<u64>,
    /// On `presence` and `health`.
    pub state_version: Option<StateVersion>,
}

/// Versions of the two states that clients mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct StateVersion {
    /// Of the presence list.
    pub presence: u64,
    /// Of the health summary.
    pub health: u64,
}

/// Reads events.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Item>,
}

/// What the reading task hands out.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Event(Arc<Event>),
    /// The gateway counted on without us, by this many.
    Gap(u64),
}

/// Why there is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The reader was too slow; reading goes on with the oldest event that is left.
    #[error("{0} events were dropped before they were read")]
    Lagged(u64),
    /// The gateway left events out for this connection, because it was slow; what they would have said must be fetched.
    #[error("{0} events were left out by the gateway")]
    Gap(u64),
    /// The connection has ended, and all its events were read.
    #[error("the connection has ended")]
    Closed,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Item>) -> Self {
        Self { receiver }
    }

    /// Waits for the next event.
    pub async fn next(&mut self) -> Result<Arc<Event>, EventError> {
        match self.receiver.recv().await {
            Ok(Item::Event(event)) => Ok(event),
            Ok(Item::Gap(count)) => Err(EventError::Gap(count)),
            Err(broadcast::error::RecvError::Lagged(count)) => Err(EventError::Lagged(count)),
            Err(broadcast::error::RecvError::Closed) => Err(EventError::Closed),
        }
    }

    /// Waits for the next event called `name`. Events that were left out are not reported: use [`Events::next`] to mirror state.
    pub async fn next_named(&mut self, name: &str) -> Result<Arc<Event>, EventError> {
        loop {
            match self.next().await {
                Ok(event) if event.name == name => return Ok(event),
                Ok(_) | Err(EventError::Gap(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
