//! One WebSocket connection: its handshake, then requests in and frames out, in one task.

mod handshake;
mod hello;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Bytes, Utf8Bytes};
use tracing::debug;
use verso_proto::edge::v1::Challenge;
use verso_protocol::close::Close;
use verso_protocol::frames::{Rejected, RequestFrame, event};
use verso_protocol::{Code, ErrorShape};

use crate::admission::Place;
use crate::dispatch::Asking;
use crate::gateway::Gateway;
use crate::metered::Metered;
use crate::metrics::Limit;
use crate::outlet::{Outgoing, Outlet};
use crate::request_facts::Facts;
use crate::tls::Stream;
use crate::wire::{self, TextFrame};

/// Read and write buffer of one connection, in bytes: ten thousand idle connections must fit. Longer frames get room of their own.
const BUFFER_BYTES: usize = 2 << 10;

/// Frames that are written before the socket is flushed.
const BATCH_FRAMES: usize = 64;

/// Read at once from a peer whose bytes no longer count.
const DISCARD_BYTES: usize = 64 << 10;

/// Room for frame headers and pings beside the payload before the handshake is done, in bytes.
const PREAUTH_OVERHEAD_BYTES: usize = 1 << 10;

type Socket = WebSocketStream<Metered<Stream>>;

/// Runs an upgraded connection to its end.
///
/// What an idle connection keeps is the state of this function, so whatever happens only once is on the heap and gone when it is done.
pub(crate) async fn run(gateway: Arc<Gateway>, stream: Stream, early: Bytes, facts: Facts, place: Place) {
    let established = Box::pin(establish(Arc::clone(&gateway), stream, early, facts, place)).await;
    let Some((mut socket, outlet, place)) = established else { return };
    let ending = serve(&gateway, &mut socket, &outlet).await;
    gateway.connections.remove(&outlet.conn_id);
    if let Some(device_id) = &outlet.device_id {
        gateway.devices.saw(device_id, "disconnect");
    }
    handshake::leave(&gateway, &outlet.conn_id);
    debug!(conn = outlet.conn_id, "disconnected");
    if let Some(ending) = ending {
        Box::pin(close(gateway, socket, ending)).await;
    }
    drop(place);
}

/// Shakes hands in time; none when that did not come to a connection.
async fn establish(
    gateway: Arc<Gateway>,
    stream: Stream,
    early: Bytes,
    facts: Facts,
    mut place: Place,
) -> Option<(Socket, Arc<Outlet>, Place)> {
    let limits = &gateway.limits;
    let metered = Metered::new(stream, &early, limits.preauth_payload_bytes_max + PREAUTH_OVERHEAD_BYTES);
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(limits.payload_bytes_max))
        .max_frame_size(Some(limits.payload_bytes_max));
    let mut socket = WebSocketStream::from_raw_socket(metered, Role::Server, Some(config)).await;
    let conn_id = uuid::Uuid::new_v4().to_string();
    let refusal = match timeout(limits.handshake, greet(&gateway, &mut socket, &facts, conn_id)).await {
        Ok(Ok(outlet)) => {
            place.establish();
            limits.metrics.opened();
            socket.get_mut().lift();
            handshake::introduce(&gateway, &outlet.conn_id).await;
            debug!(conn = outlet.conn_id, client = outlet.principal.client_id, "connected");
            return Some((socket, outlet, place));
        }
        Ok(Err(refusal)) => refusal,
        Err(_) => {
            limits.metrics.reached(Limit::Handshake);
            Close::NORMAL.into()
        }
    };
    if let Some(response) = refusal.response {
        // A peer that is gone already cannot be told.
        drop(socket.send(Message::text(response)).await);
    }
    close(gateway, socket, refusal.close).await;
    None
}

/// Why a connection got no further than its handshake.
#[derive(Debug)]
struct Refusal {
    /// The response to the request that failed.
    response: Option<String>,
    close: Close,
}

impl From<Close> for Refusal {
    fn from(close: Close) -> Self {
        Self { response: None, close }
    }
}

/// The handshake: challenge, `connect`, `hello-ok`.
async fn greet(gateway: &Arc<Gateway>, socket: &mut Socket, facts: &Facts, conn_id: String) -> Result<Arc<Outlet>, Refusal> {
    let nonce = uuid::Uuid::new_v4().to_string();
    let challenge = Challenge { nonce: nonce.clone(), ts_ms: gateway.context.clock.now_ms() };
    let payload = serde_json::to_string(&challenge).unwrap_or_default();
    let frame = event("connect.challenge", &payload, None, None);
    socket.send(Message::text(frame)).await.map_err(|_| Close::NORMAL)?;
    let text = loop {
        match next_text(socket).await {
            Incoming::Text(text) => break text,
            Incoming::Pong => {}
            Incoming::TooBig => {
                gateway.limits.metrics.reached(Limit::PreauthPayload);
                return Err(Close::TOO_BIG.into());
            }
            Incoming::End => return Err(Close::NORMAL.into()),
        }
    };
    if text.len() > gateway.limits.preauth_payload_bytes_max {
        gateway.limits.metrics.reached(Limit::PreauthPayload);
        return Err(Close::TOO_BIG.into());
    }
    handshake::connect(gateway, &text, &nonce, facts, conn_id).await
}

/// Serves an established connection; the answer is how to end it, or none if the peer is gone.
async fn serve(gateway: &Arc<Gateway>, socket: &mut Socket, outlet: &Arc<Outlet>) -> Option<Close> {
    let asking = Asking { gateway: Arc::clone(gateway), outlet: Arc::clone(outlet) };
    let in_flight = Arc::new(Semaphore::new(gateway.limits.requests_per_connection_max));
    loop {
        tokio::select! {
            () = outlet.filled() => {
                if let Some(ending) = Box::pin(send_queued(socket, outlet)).await {
                    return ending;
                }
            }
            // A full house leaves further requests in the socket: the client feels it, nobody else does.
            incoming = next_text(socket), if in_flight.available_permits() > 0 => match incoming {
                Incoming::Text(text) => take(&asking, &in_flight, &text),
                Incoming::Pong => outlet.pong(),
                Incoming::TooBig => {
                    gateway.limits.metrics.reached(Limit::Payload);
                    return Some(Close::TOO_BIG);
                }
                Incoming::End => return None,
            },
            () = room(gateway, &in_flight), if in_flight.available_permits() == 0 => {}
        }
    }
}

/// Waits until one of the requests in flight is answered.
async fn room(gateway: &Gateway, in_flight: &Semaphore) {
    gateway.limits.metrics.reached(Limit::RequestsPerConnection);
    drop(in_flight.acquire().await);
}

/// Reads one request and begins to answer it.
fn take(asking: &Asking, in_flight: &Arc<Semaphore>, text: &str) {
    let frame = match RequestFrame::parse(text, asking.outlet.peer.version) {
        Ok(frame) => frame,
        Err(Rejected::NotJson) => return,
        Err(Rejected::NotARequest { id, message }) => return asking.refuse(&id, ErrorShape::invalid(message)),
    };
    let Some(admitted) = asking.admit(&frame) else { return };
    let Ok(permit) = Arc::clone(in_flight).try_acquire_owned() else {
        // Nothing is read while there is no room; should that ever change, no request goes without an answer.
        return asking.refuse(&frame.id, ErrorShape::new(Code::Unavailable, "too many requests at once").retryable(None));
    };
    let mut answering = Box::pin(asking.clone().answer(admitted));
    // What is answered from memory is done after one poll and needs no task.
    if (&mut answering).now_or_never().is_some() {
        return;
    }
    asking.gateway.tasks.spawn("request", async move {
        answering.await;
        drop(permit);
    });
}

/// Writes what is queued; the answer is set when the connection is to end.
async fn send_queued(socket: &mut Socket, outlet: &Outlet) -> Option<Option<Close>> {
    // Allocated for the moment: ten thousand idle connections keep nothing.
    let mut batch = Vec::new();
    loop {
        outlet.take(BATCH_FRAMES, &mut batch);
        if batch.is_empty() {
            return None;
        }
        let (mut frames, mut ping, mut ending) = (Vec::with_capacity(batch.len()), false, None);
        for outgoing in batch.drain(..) {
            match outgoing {
                Outgoing::Text(text) => frames.push(TextFrame::text(text)),
                Outgoing::Event(event) => frames.push(TextFrame::event(event)),
                Outgoing::Ping => ping = true,
                Outgoing::Close(close) => ending = Some(close),
            }
        }
        let writing = async {
            if ping {
                socket.feed(Message::Ping(Bytes::new())).await.map_err(|_| ())?;
            }
            // What the library has to say, pings and pongs, goes first and whole: frames must not mix.
            socket.flush().await.map_err(|_| ())?;
            wire::write_all(socket.get_mut(), &frames).await.map_err(|_| ())
        };
        let written = match ending {
            Some(_) => timeout(CLOSE_FLUSH, writing).await.map_err(|_| ()).flatten(),
            None => until_closed(outlet, writing).await,
        };
        match (written, ending) {
            (Err(()), _) => return Some(None),
            (Ok(()), Some(close)) => return Some(Some(close)),
            (Ok(()), None) => {}
        }
    }
}

/// How long frames may take to leave once the connection is to be closed.
const CLOSE_FLUSH: Duration = Duration::from_millis(500);

/// Writes to a peer that may not be reading; gives up when the connection is to be closed meanwhile.
async fn until_closed(outlet: &Outlet, writing: impl Future<Output = Result<(), ()>>) -> Result<(), ()> {
    let mut writing = std::pin::pin!(writing);
    loop {
        tokio::select! {
            biased;
            written = &mut writing => return written,
            () = outlet.filled() => {
                if outlet.is_closed() {
                    return timeout(CLOSE_FLUSH, &mut writing).await.map_err(|_| ()).flatten();
                }
            }
        }
    }
}

/// What came from the peer.
enum Incoming {
    Text(Utf8Bytes),
    Pong,
    TooBig,
    End,
}

async fn next_text(socket: &mut Socket) -> Incoming {
    loop {
        return match socket.next().await {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Binary(bytes))) => match Utf8Bytes::try_from(bytes) {
                Ok(text) => Incoming::Text(text),
                Err(_) => continue,
            },
            Some(Ok(Message::Pong(_))) => Incoming::Pong,
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => continue,
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

/// Says why the connection ends, gives the peer a moment to say the same, and ends it.
async fn close(gateway: Arc<Gateway>, mut socket: Socket, ending: Close) {
    let frame = CloseFrame { code: CloseCode::from(ending.code), reason: Utf8Bytes::from(ending.reason.as_ref()) };
    let farewell = async {
        if socket.close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
            discard(socket.get_mut()).await;
        }
    };
    drop(timeout(gateway.limits.close_grace, farewell).await);
}

/// Reads what a peer is still sending: a connection that is ended over unread bytes is reset, and the peer never learns why.
async fn discard(stream: &mut Metered<Stream>) {
    stream.lift();
    let mut scratch = vec![0; DISCARD_BYTES];
    while let Ok(1..) = stream.read(&mut scratch).await {}
}
