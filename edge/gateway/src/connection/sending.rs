//! Writing what is queued for a connection.

use std::io;
use std::time::Duration;

use futures_util::SinkExt as _;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Bytes;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::{Ended, Socket};
use crate::gateway::Gateway;
use crate::handover::Carry;
use crate::outlet::{Outgoing, Outlet};
use crate::wire::{Batch, TextFrame};

/// Frames that are written before the socket is flushed.
const BATCH_FRAMES: usize = 64;

/// How long frames may take to leave once the connection is to be closed.
const CLOSE_FLUSH: Duration = Duration::from_millis(500);

/// What came of writing what is queued.
pub(super) enum Sent {
    All,
    Ended(Ended),
    /// The connection is to move, and its peer does not read fast enough to wait for.
    Interrupted(Carry),
}

/// Writes what is queued.
pub(super) async fn send_queued(gateway: &Gateway, socket: &mut Socket, outlet: &Outlet) -> Sent {
    // Allocated for the moment: ten thousand idle connections keep nothing.
    let mut queued = Vec::new();
    loop {
        outlet.take(BATCH_FRAMES, &mut queued);
        if queued.is_empty() {
            return Sent::All;
        }
        let (mut frames, mut ping, mut ending) = (Vec::with_capacity(queued.len()), false, None);
        for outgoing in queued.drain(..) {
            match outgoing {
                Outgoing::Text(text) => frames.push(TextFrame::text(text)),
                Outgoing::Event(event) => frames.push(TextFrame::event(event)),
                Outgoing::Raw(bytes) => frames.push(TextFrame::raw(bytes)),
                Outgoing::Ping => ping = true,
                Outgoing::Close(close) => ending = Some(close),
            }
        }
        let mut batch = Batch::new(frames);
        let writing = async {
            if ping {
                socket.feed(Message::Ping(Bytes::new())).await.map_err(io::Error::other)?;
            }
            // What the library has to say, pings and pongs, goes first and whole: frames must not mix.
            socket.flush().await.map_err(io::Error::other)?;
            batch.write(socket.get_mut()).await
        };
        let written = match ending {
            Some(_) => timeout(CLOSE_FLUSH, writing).await.map_or(Written::Broken, Written::from),
            None => until_closed(gateway, outlet, writing, true).await,
        };
        match (written, ending) {
            (Written::Broken, _) => return Sent::Ended(Ended::Gone),
            (Written::Interrupted, _) => return Sent::Interrupted(Carry { bytes: batch.rest(), begun: batch.has_begun() }),
            (Written::Whole, Some(close)) => return Sent::Ended(Ended::Closes(close)),
            (Written::Whole, None) => {}
        }
    }
}

/// What came of writing.
pub(super) enum Written {
    Whole,
    Broken,
    /// The connection is to move.
    Interrupted,
}

impl From<io::Result<()>> for Written {
    fn from(result: io::Result<()>) -> Self {
        if result.is_ok() { Self::Whole } else { Self::Broken }
    }
}

/// Writes to a peer that may not be reading; gives up when the connection is to be closed meanwhile, or to move if it `may_move`.
pub(super) async fn until_closed(
    gateway: &Gateway,
    outlet: &Outlet,
    writing: impl Future<Output = io::Result<()>>,
    may_move: bool,
) -> Written {
    let mut writing = std::pin::pin!(writing);
    loop {
        tokio::select! {
            biased;
            written = &mut writing => return written.into(),
            () = outlet.filled() => {
                if outlet.is_closed() {
                    return timeout(CLOSE_FLUSH, &mut writing).await.map_or(Written::Broken, Written::from);
                }
                if may_move && gateway.handover.has_begun() {
                    return Written::Interrupted;
                }
            }
        }
    }
}
