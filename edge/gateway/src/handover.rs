//! Moving live connections from an edge to its successor, so that replacing the edge closes none of them.
//!
//! The supervisor binds a socket, gives it to the next edge, and tells the present one to go once the next one serves. The present edge
//! connects to that socket, stops giving out events, and sends each connection's descriptor with all that is known of it. The next edge
//! has kept the events since its own start; it gives each connection those that came after the present edge had stopped.
//!
//! What cannot move stays and is seen off as before: TLS, whose keys live in this process, HTTP requests, and a connection that is in the
//! middle of something that must not be begun again.

mod backlog;
mod channel;
mod give;
mod pack;
mod state;
mod take;

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;

pub(crate) use backlog::{Backlog, Origin};
pub(crate) use give::{give, void_when_changed};
pub(crate) use pack::{Carry, Packed, Packing, pack};
pub(crate) use state::{Asked, Moved};
pub(crate) use take::expect;

/// The shape of what is sent; an edge that speaks another one gets nothing.
const FORMAT: u32 = 1;

/// The name of the socket in the folder of the sockets. The supervisor binds it for each replacement.
const SOCKET: &str = "handover.sock";

/// A connection that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) moved: Moved,
    pub(crate) socket: OwnedFd,
}

/// Whether this edge is handing over its connections, and where they go.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    begun: CancellationToken,
    parcels: Mutex<Option<mpsc::Sender<Parcel>>>,
    /// Connections of an earlier edge are arriving.
    taking: AtomicBool,
}

impl Handover {
    /// Whether connections are to be packed.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until connections are to be packed.
    pub(crate) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Sends a packed connection off; it comes back when nobody takes it.
    async fn send(&self, parcel: Parcel) -> Option<Parcel> {
        let parcels = self.parcels.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match parcels {
            Some(parcels) => parcels.send(parcel).await.err().map(|error| error.0),
            None => Some(parcel),
        }
    }

    fn begin(&self, parcels: mpsc::Sender<Parcel>) {
        *self.parcels.lock().unwrap_or_else(PoisonError::into_inner) = Some(parcels);
        self.begun.cancel();
    }

    /// Gives up what would be sent from now on.
    fn end(&self) {
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Sends a packed connection off; when nobody takes it, its peer is told to come back.
pub(crate) async fn send(gateway: &Arc<Gateway>, parcel: Parcel) {
    if let Some(parcel) = gateway.handover.send(parcel).await {
        give::turn_away(gateway, parcel);
    }
}
