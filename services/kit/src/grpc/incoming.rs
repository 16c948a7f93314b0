//! Connections from processes of the same user.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::net::{UnixListener, UnixStream};
use tokio_stream::Stream;
use tracing::warn;

/// Accepts connections and drops those of other users.
#[derive(Debug)]
pub(super) struct Incoming {
    listener: UnixListener,
    user: u32,
}

impl Incoming {
    pub(super) fn adopt(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, user: rustix::process::geteuid().as_raw() })
    }

    fn admits(&self, stream: &UnixStream) -> bool {
        match stream.peer_cred() {
            // Root may look into everything anyway.
            Ok(peer) => peer.uid() == self.user || peer.uid() == 0,
            Err(_) => false,
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<UnixStream>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.listener.poll_accept(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok((stream, _))) if self.admits(&stream) => return Poll::Ready(Some(Ok(stream))),
                Poll::Ready(Ok(_)) => warn!("refused a connection of another user"),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}
