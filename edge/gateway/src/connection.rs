//! One WebSocket connection: its handshake, then requests in and frames out, in one task.

mod handshake;
pub(crate) mod hello;
mod incoming;
mod sending;

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};
use tracing::{debug, warn};
use verso_proto::edge::v1::Challenge;
use verso_protocol::close::Close;
use verso_protocol::frames::{Rejected, RequestFrame, event};
use verso_protocol::{Code, ErrorShape};

use crate::admission::Place;
use crate::dispatch::{Admitted, Asking};
use crate::gateway::Gateway;
use crate::handover::{self, Carry, Moved, Packed, Packing, Parcel};
use crate::metered::Metered;
use crate::metrics::{self, Limit};
use crate::outlet::Outlet;
use crate::request_facts::Facts;
use crate::tls::Stream;
use crate::wire::{Batch, TextFrame};
pub(crate) use handshake::leave;
use incoming::next_text;
pub(crate) use incoming::{Incoming, next_message};
use sending::{Sent, Written, send_queued, until_closed};

/// Read and write buffer of one connection, in bytes: ten thousand idle connections must fit. Longer frames get room of their own.
const BUFFER_BYTES: usize = 2 << 10;

/// Read at once from a peer whose bytes no longer count.
const DISCARD_BYTES: usize = 64 << 10;

/// Room for frame headers and pings beside the payload before the handshake is done, in bytes.
const PREAUTH_OVERHEAD_BYTES: usize = 1 << 10;

pub(crate) type Socket = WebSocketStream<Metered<Stream>>;

/// Runs an upgraded connection to its end.
///
/// What an idle connection keeps is the state of this function, so whatever happens only once is on the heap and gone when it is done.
pub(crate) async fn run(gateway: Arc<Gateway>, stream: Stream, early: Bytes, facts: Facts, place: Place) {
    let established = Box::pin(establish(Arc::clone(&gateway), stream, early, facts, place)).await;
    let Some((socket, outlet, place)) = established else { return };
    live(gateway, socket, outlet, place, Vec::new()).await;
}

/// Goes on with a connection that another edge has served so far.
pub(crate) async fn go_on(gateway: Arc<Gateway>, stream: Stream, outlet: Arc<Outlet>, moved: Moved, place: Place) {
    let mut metered = Metered::new(stream, &moved.unread, 0);
    metered.lift();
    let socket = WebSocketStream::from_raw_socket(metered, Role::Server, Some(web_socket(&gateway))).await;
    metrics::opened();
    let asking = Asking { gateway: Arc::clone(&gateway), outlet: Arc::clone(&outlet) };
    for asked in &moved.requests {
        match Admitted::of(asked) {
            Some(admitted) => outlet.begin(&Arc::new(admitted)),
            None => asking.refuse(&asked.id, ErrorShape::new(Code::Unavailable, "the gateway was replaced").retryable(None)),
        }
    }
    debug!(conn = outlet.conn_id, client = outlet.principal.client_id, "taken over");
    let inbox = moved.inbox;
    live(gateway, socket, outlet, place, inbox).await;
}

/// Serves an established connection to its end, here or elsewhere.
async fn live(gateway: Arc<Gateway>, mut socket: Socket, outlet: Arc<Outlet>, place: Place, inbox: Vec<String>) {
    let ending = match serve(&gateway, &mut socket, &outlet, inbox).await {
        Ended::Moves(mut moved) => {
            moved.address = place.address().to_string();
            return Box::pin(move_on(gateway, socket, *moved)).await;
        }
        Ended::Gone => None,
        Ended::Closes(close) => Some(close),
    };
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

/// Sends a connection to the next edge.
async fn move_on(gateway: Arc<Gateway>, socket: Socket, moved: Moved) {
    let conn_id = moved.conn_id.clone();
    let Stream::Plain(stream) = socket.into_inner().into_inner() else { return };
    match stream.into_std() {
        Ok(stream) => handover::send(&gateway, Parcel { moved, socket: stream.into() }).await,
        Err(error) => warn!(error = &error as &dyn std::error::Error, "a connection was lost on its way"),
    }
    gateway.connections.let_go(&conn_id);
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
    let mut socket = WebSocketStream::from_raw_socket(metered, Role::Server, Some(web_socket(&gateway))).await;
    let conn_id = uuid::Uuid::new_v4().to_string();
    let refusal = match timeout(limits.handshake, greet(&gateway, &mut socket, &facts, conn_id)).await {
        Ok(Ok(outlet)) => {
            place.establish();
            metrics::opened();
            socket.get_mut().lift();
            handshake::introduce(&gateway, &outlet.conn_id).await;
            debug!(conn = outlet.conn_id, client = outlet.principal.client_id, "connected");
            return Some((socket, outlet, place));
        }
        Ok(Err(refusal)) => refusal,
        Err(_) => {
            metrics::reached(Limit::Handshake);
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

fn web_socket(gateway: &Gateway) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(gateway.limits.payload_bytes_max))
        .max_frame_size(Some(gateway.limits.payload_bytes_max))
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
            Incoming::Pong | Incoming::Ping(_) => {}
            Incoming::TooBig => {
                metrics::reached(Limit::PreauthPayload);
                return Err(Close::TOO_BIG.into());
            }
            Incoming::End => return Err(Close::NORMAL.into()),
        }
    };
    if text.len() > gateway.limits.preauth_payload_bytes_max {
        metrics::reached(Limit::PreauthPayload);
        return Err(Close::TOO_BIG.into());
    }
    handshake::connect(gateway, &text, &nonce, facts, conn_id).await
}

/// How the service of a connection ended.
enum Ended {
    /// The peer is gone.
    Gone,
    /// It is to be closed.
    Closes(Close),
    /// It goes on at the next edge.
    Moves(Box<Moved>),
}

/// Serves an established connection. `inbox` is what was read of it before.
async fn serve(gateway: &Arc<Gateway>, socket: &mut Socket, outlet: &Arc<Outlet>, inbox: Vec<String>) -> Ended {
    let asking = Asking { gateway: Arc::clone(gateway), outlet: Arc::clone(outlet) };
    let in_flight = Arc::new(Semaphore::new(gateway.limits.requests_per_connection_max));
    let (mut inbox, mut moves) = (VecDeque::from(inbox), true);
    // What a connection moved in the middle of is asked for again.
    for admitted in outlet.unanswered() {
        begin(&asking, &in_flight, admitted);
    }
    loop {
        if moves && gateway.handover.has_begun() {
            match Box::pin(leave_or_stay(&asking, socket, &in_flight, &mut inbox, None)).await {
                Some(ended) => return ended,
                None => moves = false,
            }
        }
        while in_flight.available_permits() > 0
            && let Some(text) = inbox.pop_front()
        {
            take(&asking, &in_flight, &text);
        }
        tokio::select! {
            () = outlet.filled() => {
                match Box::pin(send_queued(gateway, socket, outlet)).await {
                    Sent::All => {}
                    Sent::Ended(ended) => return ended,
                    Sent::Interrupted(carry) => {
                        match Box::pin(leave_or_stay(&asking, socket, &in_flight, &mut inbox, Some(carry))).await {
                            Some(ended) => return ended,
                            None => moves = false,
                        }
                    }
                }
            }
            // A full house leaves further requests in the socket: the client feels it, nobody else does.
            incoming = next_text(socket), if in_flight.available_permits() > 0 && inbox.is_empty() => match incoming {
                Incoming::Text(text) => take(&asking, &in_flight, &text),
                Incoming::Pong => outlet.pong(),
                Incoming::Ping(_) => {}
                Incoming::TooBig => {
                    metrics::reached(Limit::Payload);
                    return Ended::Closes(Close::TOO_BIG);
                }
                Incoming::End => return Ended::Gone,
            },
            () = room(&in_flight), if in_flight.available_permits() == 0 => {}
        }
    }
}

/// Gets the connection ready to move to the next edge. When it cannot, everything is again as it was.
async fn leave_or_stay(
    asking: &Asking,
    socket: &mut Socket,
    in_flight: &Arc<Semaphore>,
    inbox: &mut VecDeque<String>,
    carry: Option<Carry>,
) -> Option<Ended> {
    let Asking { gateway, outlet } = asking;
    let mut carry = carry.unwrap_or_default();
    let packing = Packing { gateway, socket: &mut *socket, outlet, in_flight, carry: &mut carry };
    match handover::pack(packing).await {
        Packed::Moves(mut moved) => {
            moved.inbox = inbox.drain(..).chain(moved.inbox).collect();
            Some(Ended::Moves(moved))
        }
        Packed::Gone => Some(Ended::Gone),
        Packed::Stays(read) => {
            outlet.stay();
            inbox.extend(read);
            for admitted in outlet.unanswered() {
                begin(asking, in_flight, admitted);
            }
            let mut rest = Batch::new(vec![TextFrame::raw(carry.bytes.into())]);
            let written = until_closed(gateway, outlet, rest.write(socket.get_mut()), false).await;
            (!matches!(written, Written::Whole)).then_some(Ended::Gone)
        }
    }
}

/// Waits until one of the requests in flight is answered.
async fn room(in_flight: &Semaphore) {
    metrics::reached(Limit::RequestsPerConnection);
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
    begin(asking, in_flight, Arc::new(admitted));
}

/// Begins to answer a request.
fn begin(asking: &Asking, in_flight: &Arc<Semaphore>, admitted: Arc<Admitted>) {
    let Ok(permit) = Arc::clone(in_flight).try_acquire_owned() else {
        // Nothing is read while there is no room; should that ever change, no request goes without an answer.
        return asking.refuse(admitted.id(), ErrorShape::new(Code::Unavailable, "too many requests at once").retryable(None));
    };
    let mut answering = Box::pin(asking.clone().answer(Arc::clone(&admitted)));
    // What is answered from memory is done after one poll and needs no task.
    if (&mut answering).now_or_never().is_some() {
        return;
    }
    let Asking { gateway, outlet } = asking.clone();
    asking.gateway.tasks.spawn("request", async move {
        if admitted.is_repeatable() {
            outlet.begin(&admitted);
            tokio::select! {
                biased;
                () = answering => outlet.end(&admitted),
                // Stays among those without an answer: the connection takes it along.
                () = gateway.handover.begun() => {}
            }
        } else {
            answering.await;
        }
        drop(permit);
    });
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
