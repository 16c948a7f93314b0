//! Reading messages from a connection.

use futures_util::StreamExt as _;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::{self, Bytes, Utf8Bytes};
use tracing::debug;

use super::Socket;

/// What came from the peer.
pub(crate) enum Incoming {
    Text(Utf8Bytes),
    Pong,
    /// The library answers it.
    Ping(Bytes),
    TooBig,
    End,
}

/// The next message that is for us.
pub(super) async fn next_text(socket: &mut Socket) -> Incoming {
    loop {
        match next_message(socket).await {
            Incoming::Ping(_) => {}
            incoming => return incoming,
        }
    }
}

/// The next message, pings included.
pub(crate) async fn next_message(socket: &mut Socket) -> Incoming {
    loop {
        return match socket.next().await {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Binary(bytes))) => match Utf8Bytes::try_from(bytes) {
                Ok(text) => Incoming::Text(text),
                Err(_) => continue,
            },
            Some(Ok(Message::Pong(_))) => Incoming::Pong,
            Some(Ok(Message::Ping(payload))) => Incoming::Ping(payload),
            Some(Ok(Message::Frame(_))) => continue,
            Some(Err(tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }))) => Incoming::TooBig,
            Some(Err(tungstenite::Error::Io(error))) if error.kind() == std::io::ErrorKind::FileTooLarge => Incoming::TooBig,
            Some(Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) | Ok(Message::Close(_))) | None => {
                Incoming::End
            }
            Some(Err(error)) => {
                debug!(error = &error as &dyn std::error::Error, "connection broke");
                Incoming::End
            }
        };
    }
}
