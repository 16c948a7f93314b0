//! The public port: accepting connections, telling WebSocket upgrades from HTTP requests, and stopping without losing anybody.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower::ServiceExt as _;
use tracing::{info, warn};
use verso_kit::CancellationToken;
use verso_kit::service::is_replaced;
use verso_proto::edge::v1::Shutdown;
use verso_protocol::close::Close;

use crate::admission::{Place, Stage, Visitor};
use crate::connection;
use crate::gateway::Gateway;
use crate::handover;
use crate::http::{Asked, canvas};
use crate::metrics::{self, Limit};
use crate::request_facts::Facts;
use crate::tls::{Stream, Terminator};

/// How long a peer may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes. Larger ones are answered 431.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Headers of one request. More are answered 431.
const HEADERS_MAX: usize = 100;

/// The pause after a failed accept: somebody has to leave first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// From the end of accepting to the `shutdown` event: a successor accepts already, and what was accepted last gets its answer.
const HAND_OVER: Duration = Duration::from_millis(250);

/// How long clients may take to leave after the `shutdown` event.
const LEAVE: Duration = Duration::from_millis(1500);

/// How long HTTP requests may go on in an edge that was replaced. It is no longer in anybody's way; the supervisor ends it soon after.
pub(crate) const LINGER: Duration = Duration::from_secs(30);

/// When clients may expect the gateway back, in milliseconds.
const RESTART_EXPECTED_MS: i64 = 1500;

/// Serves the listeners, over TLS if that is on, until the shutdown, then sees the clients off.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    (listeners, tls): (Vec<std::net::TcpListener>, Option<Terminator>),
    router: Router,
) -> io::Result<()> {
    let shutdown = gateway.tasks.shutdown().clone();
    let closing = CancellationToken::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        info!(address = %listener.local_addr()?, "listening");
        let door = Door { gateway: Arc::clone(&gateway), router: router.clone(), closing: closing.clone(), tls: tls.clone() };
        gateway.tasks.spawn("accept", door.accept(listener, shutdown.clone()));
    }
    shutdown.cancelled().await;
    let replaced = is_replaced();
    if replaced {
        // Whoever was accepted here already is still let in, and moves with the rest.
        handover::give(&gateway).await;
    }
    gateway.drain();
    if !replaced {
        tokio::time::sleep(HAND_OVER).await;
    }
    gateway.emit(farewell());
    gateway.connections.close_all(&Close::SERVICE_RESTART);
    closing.cancel();
    let leave = if replaced { LINGER + LEAVE } else { LEAVE };
    if tokio::time::timeout(leave, gateway.tasks.clone().join()).await.is_err() {
        warn!(connections = gateway.connections.count(), "some clients did not leave in time");
    }
    Ok(())
}

/// A client that knows of a restart comes back at once instead of backing off.
fn farewell() -> Shutdown {
    if is_replaced() {
        Shutdown { reason: "gateway restarting".to_owned(), restart_expected_ms: Some(RESTART_EXPECTED_MS) }
    } else {
        Shutdown { reason: "gateway stopping".to_owned(), restart_expected_ms: None }
    }
}

/// What every accepted connection needs.
#[derive(Clone)]
struct Door {
    gateway: Arc<Gateway>,
    router: Router,
    /// Ends idle HTTP connections.
    closing: CancellationToken,
    tls: Option<Terminator>,
}

impl Door {
    async fn accept(self, listener: TcpListener, shutdown: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    // A frame must not wait for its successor.
                    drop(stream.set_nodelay(true));
                    let visitor = self.visitor(address.ip().to_canonical());
                    // One too many is closed unheard: an answer would cost what the limit is to save.
                    if let Ok(place) = self.gateway.admission.enter(visitor, Stage::Http, &self.gateway.limits) {
                        self.gateway.tasks.spawn("connection", self.clone().serve(stream, address, place));
                    }
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn visitor(&self, address: IpAddr) -> Visitor {
        let stands_for_many = address.is_loopback() || self.gateway.config().is_trusted_proxy(address);
        Visitor { address, stands_for_many }
    }

    /// Serves HTTP on a connection, which has its place until then.
    async fn serve(self, stream: TcpStream, address: SocketAddr, place: Place) {
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => match tls.accept(stream).await {
                Some(stream) => stream,
                None => return,
            },
        };
        let closing = self.closing.clone();
        let service = service_fn(move |request| {
            let door = self.clone();
            async move { Ok::<_, Infallible>(door.answer(request, address).await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            // A client that breaks its connection is no news.
            _ = &mut serving => {}
            () = closing.cancelled() => {
                serving.as_mut().graceful_shutdown();
                drop(serving.await);
            }
        }
        drop(place);
    }

    async fn answer(self, mut request: Request<Incoming>, address: SocketAddr) -> Response<Body> {
        let facts = Facts::of(&self.gateway, &request, address);
        if wants_upgrade(request.headers()) {
            if canvas::Target::wants_socket(request.uri()) {
                let asked = Asked { facts };
                return match canvas::enter(&self.gateway, &asked, request.headers(), request.uri()).await {
                    Ok(page) => self.upgrade(request, asked.facts, Some(page)),
                    Err(refused) => refused,
                };
            }
            return self.upgrade(request, facts, None);
        }
        metrics::http_request();
        request.extensions_mut().insert(Asked { facts });
        let routed = self.router.oneshot(request.map(Body::new)).await;
        routed.unwrap_or_else(|never| match never {})
    }

    /// Makes a connection a WebSocket: of the gateway's protocol, or of an open page of the canvas.
    fn upgrade(self, mut request: Request<Incoming>, facts: Facts, page: Option<canvas::Page>) -> Response<Body> {
        let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
        let version = request.headers().get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let Some(key) = key.filter(|_| version && is_websocket(request.headers())) else {
            return (StatusCode::BAD_REQUEST, [(CONNECTION, "close")], "Bad Request").into_response();
        };
        if self.gateway.is_draining() {
            return (StatusCode::SERVICE_UNAVAILABLE, [(CONNECTION, "close")], "The gateway is restarting").into_response();
        }
        let place = match self.gateway.admission.enter(self.visitor(facts.client_ip), Stage::Waiting, &self.gateway.limits) {
            Ok(place) => place,
            Err(Limit::UnauthenticatedPerAddress | Limit::Unauthenticated) => return too_many("Too many unauthenticated sockets"),
            Err(_) => return too_many("Too many connections"),
        };
        let upgraded = hyper::upgrade::on(&mut request);
        let gateway = self.gateway;
        gateway.tasks.clone().spawn("socket", async move {
            let Ok(upgraded) = upgraded.await else { return };
            let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else { return };
            let stream = parts.io.into_inner();
            match page {
                None => connection::run(gateway, stream, parts.read_buf, facts, place).await,
                Some(page) => {
                    let mut place = place;
                    place.establish();
                    // On the heap: what it needs would be room in every other connection's state.
                    Box::pin(page.run(&gateway, stream, parts.read_buf)).await;
                }
            }
        });
        let accept = derive_accept_key(key.as_bytes());
        let headers = [(CONNECTION, "Upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_ACCEPT, accept.as_str())];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

fn too_many(text: &'static str) -> Response<Body> {
    (StatusCode::SERVICE_UNAVAILABLE, [(CONNECTION, "close")], text).into_response()
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let connection = headers.get(CONNECTION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    upgrade && connection.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}
