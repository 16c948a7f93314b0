//! The side of the edge that goes.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};
use verso_protocol::close::Close;

use super::channel::{Channel, Kind};
use super::state::{Hello, Receipt, SourcePosition, Start};
use super::{FORMAT, Parcel, SOCKET};
use crate::config::Config;
use crate::connection;
use crate::gateway::Gateway;
use crate::roster::Announced;

/// How long the next edge may take to introduce itself.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// How long connections may take to get ready to move. What is in the middle of something has time to finish.
const PACK: Duration = Duration::from_secs(6);

/// How long the next edge may take to acknowledge what it was sent.
const RECEIPTS: Duration = Duration::from_secs(4);

/// How long connections of an earlier edge may still be arriving.
const TAKING: Duration = Duration::from_secs(5);

/// Between two looks at whether everybody has moved.
const LOOK: Duration = Duration::from_millis(20);

/// At least this long a handshake that has begun here may end here, and move then.
const HANDSHAKES: Duration = Duration::from_millis(250);

/// Connections that are packed and not sent.
const PARCELS_MAX: usize = 64;

/// Why nothing is handed over.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("could not reach the next edge")]
    Connect(#[source] io::Error),
    #[error("the socket of the next edge was not made by our supervisor")]
    Foreign,
    #[error("the next edge does not introduce itself")]
    Silent(#[source] io::Error),
    #[error("the next edge speaks format {0}, this one {FORMAT}")]
    Format(u32),
    #[error("the next edge is no successor: its number is {theirs}, this one's {ours}")]
    Stale { ours: u64, theirs: u64 },
    #[error("could not tell the next edge")]
    Send(#[source] io::Error),
}

/// Sends every connection that can move to the next edge. Whatever is still here afterwards has to be seen off.
pub(crate) async fn give(gateway: &Arc<Gateway>) {
    // Connections that are still arriving from an earlier edge go on with the others.
    let deadline = Instant::now() + TAKING;
    while gateway.handover.taking.load(Ordering::Relaxed) && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    let before = gateway.connections.count();
    match hand_over(gateway).await {
        Ok(moved) => info!(connections = before, moved, "connections handed over"),
        Err(error) => warn!(error = &error as &dyn std::error::Error, "no connection is handed over"),
    }
    gateway.handover.end();
}

async fn hand_over(gateway: &Arc<Gateway>) -> Result<usize, Error> {
    let channel = meet(gateway).await?;
    let positions = gateway.connections.freeze();
    let positions =
        positions.into_iter().map(|(service, position)| SourcePosition { service: service.to_owned(), position: Some(position) });
    let start = Start { positions: positions.collect(), ..void_when_changed(&gateway.config()) };
    channel.send(Kind::Start, &start, None).await.map_err(Error::Send)?;
    let (sender, parcels) = mpsc::channel(PARCELS_MAX);
    gateway.handover.begin(sender);
    gateway.connections.nudge();
    let unacknowledged = Unacknowledged::default();
    let sending = async {
        let result = send_all(gateway, &channel, parcels, &unacknowledged).await;
        let ended = channel.send(Kind::End, &Receipt { taken: true }, None).await;
        result.and(ended)
    };
    let (sent, moved) = tokio::join!(sending, acknowledge(gateway, &channel, &unacknowledged));
    let left = std::mem::take(&mut *unacknowledged.lock());
    for parcel in left.into_iter().filter_map(Arc::into_inner) {
        turn_away(gateway, parcel);
    }
    if let Err(error) = sent {
        warn!(error = &error as &dyn std::error::Error, "the next edge went away");
    }
    Ok(moved)
}

/// Connects to the next edge, and makes sure that it is.
///
/// The kernel says who called `listen` on a socket: only our supervisor binds the one of the next edge, and gives it to nobody else.
async fn meet(gateway: &Gateway) -> Result<Channel, Error> {
    let path = gateway.context.run_dir.join(SOCKET);
    let stream = UnixStream::connect(&path).await.map_err(Error::Connect)?;
    let listener = stream.peer_cred().map_err(Error::Connect)?;
    let supervisor = gateway.context.env.get("VERSO_SUPERVISOR_PID").and_then(|pid| pid.parse::<i32>().ok());
    if listener.uid() != rustix::process::geteuid().as_raw() || listener.pid() != supervisor || supervisor.is_none() {
        return Err(Error::Foreign);
    }
    let channel = Channel::new(stream);
    let silent = || io::ErrorKind::TimedOut.into();
    let hello: Hello = timeout(HELLO_WAIT, channel.expect(Kind::Hello)).await.unwrap_or_else(|_| Err(silent())).map_err(Error::Silent)?;
    if hello.format != FORMAT {
        return Err(Error::Format(hello.format));
    }
    if hello.epoch <= gateway.context.epoch {
        return Err(Error::Stale { ours: gateway.context.epoch, theirs: hello.epoch });
    }
    info!(epoch = hello.epoch, build = hello.build, "handing over to the next edge");
    Ok(channel)
}

/// What of the configuration decides who is let in: the next edge may have read another one.
pub(crate) fn void_when_changed(config: &Config) -> Start {
    let secret = config.auth.server_secret();
    let proxy = format!("{:?} {:?} {:?}", config.auth.mode(), config.auth.trusted_proxy, config.trusted_proxies);
    let secret = format!("{:?} {}", secret.mode, secret.secret.unwrap_or_default());
    let digest = |text: String| Sha256::digest(text).to_vec();
    Start { positions: Vec::new(), secret: digest(secret), proxy: digest(proxy), tailnet: config.allows_tailscale() }
}

/// Sends what is packed until nobody is left, or time is up.
async fn send_all(
    gateway: &Gateway,
    channel: &Channel,
    mut parcels: mpsc::Receiver<Parcel>,
    unacknowledged: &Unacknowledged,
) -> io::Result<()> {
    let (begun, deadline) = (Instant::now(), Instant::now() + PACK);
    loop {
        let parcel = tokio::select! {
            biased;
            parcel = parcels.recv() => parcel,
            () = sleep(LOOK) => {
                let (waiting, _, _) = gateway.admission.counts();
                let everybody = gateway.connections.left_to_move() + waiting == 0 && begun.elapsed() >= HANDSHAKES;
                if everybody || Instant::now() >= deadline {
                    return Ok(());
                }
                continue;
            }
        };
        let Some(parcel) = parcel.map(Arc::new) else { return Ok(()) };
        // Before it is sent: its receipt may be here before the sending has returned.
        unacknowledged.lock().push_back(Arc::clone(&parcel));
        let sent = timeout_at(deadline, channel.send(Kind::Connection, &parcel.moved, Some(parcel.socket.as_fd()))).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    }
}

/// Reads receipts until the next edge has said that it has everything; returns how many connections it took.
async fn acknowledge(gateway: &Arc<Gateway>, channel: &Channel, unacknowledged: &Unacknowledged) -> usize {
    let mut taken = 0;
    // Longer than sending can take.
    let deadline = Instant::now() + PACK + RECEIPTS;
    loop {
        let received = timeout_at(deadline, channel.receive()).await;
        let Ok(Ok((kind, body, _))) = received else { return taken };
        if kind != Kind::Receipt {
            return taken;
        }
        let Some(parcel) = unacknowledged.lock().pop_front() else { return taken };
        if <Receipt as prost::Message>::decode(body.as_slice()).is_ok_and(|receipt| receipt.taken) {
            taken += 1;
        } else if let Some(parcel) = Arc::into_inner(parcel) {
            turn_away(gateway, parcel);
        }
    }
}

/// Tells a peer that nobody serves any more to come back.
pub(super) fn turn_away(gateway: &Arc<Gateway>, parcel: Parcel) {
    let Parcel { moved, socket } = parcel;
    let Close { code, reason } = Close::SERVICE_RESTART;
    let mut frame = vec![0x88, u8::try_from(reason.len() + 2).unwrap_or(2)];
    frame.extend(code.to_be_bytes());
    frame.extend(reason.as_bytes());
    let mut stream = TcpStream::from(socket);
    // The socket does not block: a peer that is not reading misses it.
    drop(stream.write_all(&[&moved.unsent[..], &frame].concat()));
    drop(stream.shutdown(std::net::Shutdown::Write));
    // The services hear that it is gone.
    let announced = Announced { presence: moved.presence.map(Box::new), node: moved.node.map(Box::new) };
    gateway.roster.add(&moved.conn_id, announced);
    connection::leave(gateway, &moved.conn_id);
}

/// What was sent and not acknowledged, in order.
#[derive(Debug, Default)]
struct Unacknowledged(Mutex<VecDeque<Arc<Parcel>>>);

impl Unacknowledged {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Parcel>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
