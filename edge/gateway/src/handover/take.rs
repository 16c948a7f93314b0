//! The side of the edge that comes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message as _;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};
use verso_proto::methods::EVENT_SOURCES;
use verso_proto::wire::v1::From as Position;
use verso_protocol::Version;
use verso_protocol::auth::{Peer, PeerRole, ScopeSet, SharedMethod};
use verso_protocol::close::Close;

use super::FORMAT;
use super::channel::{Channel, Kind};
use super::give::void_when_changed;
use super::state::{Hello, Moved, Receipt, Start};
use crate::connection;
use crate::gateway::Gateway;
use crate::outlet::Outlet;
use crate::roster::Announced;
use crate::timers;
use crate::tls::Stream;

/// How long to wait for the present edge to come: it is told to once this one serves.
const WINDOW: Duration = Duration::from_secs(90);

/// How long to wait until as many events have arrived here as there.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Between two looks at how many have.
const LOOK: Duration = Duration::from_millis(2);

/// How long the present edge may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// What the present edge has said of all connections.
#[derive(Debug)]
struct Terms {
    positions: BTreeMap<&'static str, Position>,
    /// What let connections in and does not any more.
    void: Vec<SharedMethod>,
}

/// Takes connections over from the edge that this one replaces, and keeps events for them until then.
pub(crate) fn expect(gateway: &Arc<Gateway>, listener: StdUnixListener) {
    gateway.connections.expect_more();
    let (house, shutdown) = (Arc::clone(gateway), gateway.tasks.shutdown().clone());
    gateway.tasks.spawn("takeover", async move {
        let come = tokio::select! {
            come = timeout(WINDOW, predecessor(&house, listener)) => come,
            () = shutdown.cancelled() => return house.connections.expect_no_more(),
        };
        match come {
            Ok(Ok(channel)) => {
                // Not to be cut short: this edge may be replaced in its turn, and hands on what has arrived.
                house.handover.taking.store(true, Ordering::Relaxed);
                match take_over(&house, &channel).await {
                    Ok(count) => {
                        info!(connections = count, "connections taken over");
                        // This edge's own first tick is a whole period away, and it may be replaced before that, again and again.
                        timers::tick(&house);
                    }
                    Err(error) => {
                        warn!(error = &error as &dyn std::error::Error, "the previous edge went away");
                        take_files(&house).await;
                    }
                }
                house.handover.taking.store(false, Ordering::Relaxed);
            }
            Ok(Err(error)) => {
                warn!(error = &error as &dyn std::error::Error, "the previous edge cannot be heard");
                take_files(&house).await;
            }
            Err(_) => take_files(&house).await,
        }
        house.connections.expect_no_more();
    });
}

/// Whatever the previous edge still does, it writes nothing any more.
async fn take_files(gateway: &Gateway) {
    let fence = gateway.fence.clone();
    let claimed = tokio::task::spawn_blocking(move || fence.claim()).await.map_err(io::Error::other).flatten();
    if let Err(error) = claimed {
        warn!(error = &error as &dyn std::error::Error, "the files of the edge were not taken over");
    }
    // Devices that were paired there at the very last are known here too.
    gateway.devices.reread().await;
}

/// Waits for the edge that this one replaces. Whoever else comes is sent away.
async fn predecessor(gateway: &Gateway, listener: StdUnixListener) -> io::Result<Channel> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let replaced = gateway.context.env.get("VERSO_REPLACES_PID").and_then(|pid| pid.parse::<i32>().ok());
    loop {
        let (stream, _) = listener.accept().await?;
        if !is_replaced(&stream, replaced) {
            warn!("refused connections from a process that is not the edge which this one replaces");
            continue;
        }
        let channel = Channel::new(stream);
        let hello = Hello { format: FORMAT, epoch: gateway.context.epoch, build: crate::VERSION.to_owned() };
        channel.send(Kind::Hello, &hello, None).await?;
        return Ok(channel);
    }
}

fn is_replaced(stream: &UnixStream, replaced: Option<i32>) -> bool {
    let user = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == user && replaced.is_some() && peer.pid() == replaced)
}

async fn take_over(gateway: &Arc<Gateway>, channel: &Channel) -> io::Result<usize> {
    let start: Start = timeout(SILENCE, channel.expect(Kind::Start)).await??;
    let terms = agree(gateway, &start).await;
    let mut count = 0;
    loop {
        let (kind, body, socket) = timeout(SILENCE, channel.receive()).await??;
        if kind != Kind::Connection {
            break;
        }
        let moved = Moved::decode(body.as_slice()).map_err(io::Error::other)?;
        let taken = match socket {
            Some(socket) => adopt(gateway, &terms, moved, socket).await,
            None => false,
        };
        count += usize::from(taken);
        channel.send(Kind::Receipt, &Receipt { taken }, None).await?;
    }
    channel.send(Kind::End, &Receipt { taken: true }, None).await?;
    take_files(gateway).await;
    for (kind, payload) in gateway.connections.unheard(&terms.positions) {
        crate::local::follow::heard(gateway, kind, &payload).await;
    }
    Ok(count)
}

/// Gets to where the present edge stopped.
async fn agree(gateway: &Arc<Gateway>, start: &Start) -> Terms {
    let mut positions = BTreeMap::new();
    for source in EVENT_SOURCES {
        let known = start.positions.iter().find(|known| known.service == source.service);
        if let Some(position) = known.and_then(|known| known.position.clone()) {
            gateway.connections.begin_at(source.service, &position);
            positions.insert(source.service, position);
        }
    }
    gateway.devices.reread().await;
    let deadline = Instant::now() + CATCH_UP;
    while !gateway.connections.has_reached(&positions) && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    let own = void_when_changed(&gateway.config());
    let void = [
        (own.secret != start.secret, SharedMethod::None),
        (own.secret != start.secret, SharedMethod::Token),
        (own.secret != start.secret, SharedMethod::Password),
        (own.proxy != start.proxy, SharedMethod::TrustedProxy),
        (start.tailnet && !own.tailnet, SharedMethod::Tailscale),
    ];
    Terms { positions, void: void.into_iter().filter_map(|(is_void, method)| is_void.then_some(method)).collect() }
}

/// Goes on with a connection where the present edge stopped; false when it cannot be used.
async fn adopt(gateway: &Arc<Gateway>, terms: &Terms, moved: Moved, socket: OwnedFd) -> bool {
    let Some((outlet, stream)) = rebuild(gateway, &moved, socket) else { return false };
    if !gateway.connections.can_adopt() {
        return false;
    }
    let outlet = Arc::new(outlet);
    let announced = Announced { presence: moved.presence.clone().map(Box::new), node: moved.node.clone().map(Box::new) };
    gateway.roster.add(&outlet.conn_id, announced);
    if !moved.unsent.is_empty() {
        outlet.write_first(moved.unsent.clone());
    }
    gateway.connections.adopt(Arc::clone(&outlet), &terms.positions, &gateway.limits);
    if terms.void.contains(&outlet.method) {
        outlet.close(Close::AUTH_CHANGED);
    } else if !still_paired(gateway, &outlet).await {
        outlet.close(Close::DEVICE_REMOVED);
    }
    let address = moved.address.parse().unwrap_or(std::net::IpAddr::from([0, 0, 0, 0]));
    let place = gateway.admission.take_over(address);
    gateway.tasks.spawn("socket", connection::go_on(Arc::clone(gateway), Stream::Plain(stream), outlet, moved, place));
    true
}

fn rebuild(gateway: &Gateway, moved: &Moved, socket: OwnedFd) -> Option<(Outlet, TcpStream)> {
    let principal = moved.principal.clone()?;
    let role = PeerRole::parse(Some(&principal.role)).ok()?;
    let version = Version::from_number(principal.protocol)?;
    let method = SharedMethod::ALL.into_iter().find(|method| method.as_str() == moved.method)?;
    let peer = Peer { version, role, scopes: ScopeSet::from_names(&principal.scopes) };
    let stream = std::net::TcpStream::from(socket);
    // Also makes sure that it is a TCP connection, and one that is still there.
    stream.peer_addr().ok()?;
    stream.set_nonblocking(true).ok()?;
    let stream = TcpStream::from_std(stream).ok()?;
    let principal = gateway.context.vouch(principal);
    let outlet = Outlet::new(moved.conn_id.clone(), peer, principal).admitted_by(method).reached_at(moved.base.clone());
    Some((outlet.moved_here(moved), stream))
}

/// A device may have been removed here while its connection was there.
async fn still_paired(gateway: &Gateway, outlet: &Outlet) -> bool {
    match &outlet.device_id {
        Some(device_id) => gateway.devices.is_paired(device_id, outlet.peer.role.as_str()).await,
        None => true,
    }
}
