//! The service and two edges on a simulated network that delays, holds back and loses what they say, while the service is restarted.
//!
//! Time and network are the simulation's, and what happens to them is the seed's; only the pauses between repeated calls are random.
//! `VERSO_SIMULATIONS` is how many seeds, `VERSO_SIMULATION_SEED` the first.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use turmoil::net::{TcpListener, TcpStream};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::peer::{Caller, Peer};
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::methods::EVENT_SOURCES;
use verso_proto::presence::v1::{AnnounceRequest, RestoreRequest, SystemPresenceRequest};
use verso_proto::wire::v1::{EventMeta, From};

use super::{NOW_MS, connection, entries};

const PORT: u16 = 7000;

/// Those who call.
const EDGES: [&str; 2] = ["edge-1", "edge-2"];

/// Connections that come to each edge.
const CONNECTIONS: usize = 20;

/// How long the network is bad. Afterwards everything has to come right.
const BAD: Duration = Duration::from_mins(1);

/// The end of the simulation: nothing may need longer.
const LENGTH: Duration = Duration::from_mins(3);

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A connection that has arrived.
struct Arrived(TcpStream);

impl Connected for Arrived {
    type ConnectInfo = ();
    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Arrived {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut task::Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Arrived {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut task::Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// One incarnation of the service.
async fn serve(epoch: u64) -> Outcome {
    let folder = tempfile::tempdir()?;
    let incarnation = format!("incarnation-{epoch}");
    let context = Context { clock: Clock::fixed(NOW_MS), epoch, incarnation, ..Context::for_test("presence", folder.path()) };
    let tasks = Tasks::new(CancellationToken::new());
    let routes = verso_presence::routes(&context, &tasks)?;
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let incoming = futures_util::stream::unfold(listener, async |listener| {
        let arrived = listener.accept().await.map(|(stream, _)| Arrived(stream));
        Some((arrived, listener))
    });
    Ok(verso_kit::grpc::serve_over(incoming, routes).await?)
}

/// What an edge knows.
#[derive(Default)]
struct Edge {
    held: Vec<AnnounceRequest>,
    /// The highest version that it has shown to anybody.
    shown: u64,
    position: Option<From>,
}

impl Edge {
    /// Takes an event, or the greeting of a stream. Returns whether another incarnation has greeted.
    fn hear(&mut self, meta: &EventMeta, greeting: bool) -> bool {
        let before = self.position.replace(From { epoch: meta.epoch.clone(), seq: meta.seq });
        let known = before.filter(|before| before.epoch == meta.epoch);
        if let Some(before) = &known {
            let expected = before.seq + u64::from(!greeting);
            assert_eq!(meta.seq, expected, "no event is lost, none comes twice");
        }
        if let Some(version) = meta.state_version {
            assert!(version.presence > self.shown, "{} after {}", version.presence, self.shown);
            self.shown = version.presence;
        }
        greeting && known.is_none()
    }
}

/// Announces what comes, restores what it holds whenever another incarnation serves, and waits until all of every edge is listed.
async fn be_an_edge(name: &'static str) -> Outcome {
    let peer = Peer::through(|| TcpStream::connect(("presence", PORT)));
    let source = EVENT_SOURCES.iter().find(|source| source.path.starts_with("/verso.presence.")).ok_or("no events of presence")?;
    let mut edge = Edge::default();
    for number in 0.. {
        let Ok(mut events) = peer.events(source, edge.position.clone()).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let mut greeting = true;
        // The stream may hang as long as nobody sees that it is broken.
        while let Ok(Some(Ok(event))) = tokio::time::timeout(Duration::from_secs(2), events.next()).await {
            let emitted = (source.read)(&event)?;
            if edge.hear(&emitted.meta, greeting) {
                let request = RestoreRequest { connections: edge.held.clone(), version: edge.shown };
                if peer.call(request, &Caller::default()).await.is_err() {
                    // Greeted again, it does so again.
                    edge.position = None;
                    break;
                }
            }
            greeting = false;
        }
        if edge.held.len() < CONNECTIONS {
            let announced = connection(&format!("{name}-{number}"), "connect", true);
            edge.held.push(announced.clone());
            if peer.call(announced, &Caller::default()).await.is_err() {
                // Whether it is listed is not known.
                edge.position = None;
            }
        } else if turmoil::sim_elapsed().is_some_and(|elapsed| elapsed > BAD) && all_listed(&peer).await {
            return Ok(());
        }
    }
    Ok(())
}

async fn all_listed(peer: &Peer) -> bool {
    let Ok(answer) = peer.call(SystemPresenceRequest {}, &Caller::default()).await else { return false };
    entries(answer.entries).len() == 1 + EDGES.len() * CONNECTIONS
}

/// One run. Returns how often something happened.
fn simulate(seed: u64) -> usize {
    let mut builder = turmoil::Builder::new();
    builder.rng_seed(seed).simulation_duration(LENGTH).tick_duration(Duration::from_millis(5));
    builder.min_message_latency(Duration::from_millis(1)).max_message_latency(Duration::from_millis(80));
    let mut simulation = builder.build();
    let epochs = Rc::new(Cell::new(0));
    simulation.host("presence", move || {
        epochs.set(epochs.get() + 1);
        serve(epochs.get())
    });
    for name in EDGES {
        simulation.client(name, be_an_edge(name));
    }
    let (mut random, mut log, mut over) = (SmallRng::seed_from_u64(seed), Vec::new(), false);
    let mut next = Duration::from_secs(1);
    loop {
        if simulation.step().unwrap_or_else(|error| panic!("seed {seed}: {error}; {log:#?}")) {
            return log.len();
        }
        let now = simulation.elapsed();
        if now > BAD && !over {
            over = true;
            for name in EDGES {
                simulation.release(name, "presence");
                simulation.repair(name, "presence");
            }
        } else if now > next && !over {
            next = now + Duration::from_millis(random.random_range(100..3_000));
            let name = EDGES[random.random_range(0..EDGES.len())];
            let what = match random.random_range(0..6) {
                0 => {
                    simulation.partition(name, "presence");
                    "partition"
                }
                1 => {
                    simulation.hold(name, "presence");
                    "hold"
                }
                2 => {
                    simulation.bounce("presence");
                    "restart"
                }
                3 => {
                    simulation.release(name, "presence");
                    "release"
                }
                _ => {
                    simulation.repair(name, "presence");
                    "repair"
                }
            };
            log.push(format!("{now:?}: {what} {name}"));
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a test asks its surroundings how long it may take")]
fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

#[test]
fn edges_and_the_service_agree_in_the_end_whatever_the_network_does() {
    let first = number("VERSO_SIMULATION_SEED", 1);
    let seeds = first..first + number("VERSO_SIMULATIONS", 3);
    for seed in seeds {
        let happened = simulate(seed);
        assert!(happened > 0, "something happens with seed {seed}");
    }
}
