//! Connections: how many there may be, how long they may take, and how they end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};
use verso_kit::tasks::Tasks;

use crate::grpc::Host;
use crate::metrics;
use crate::route::Route;
use crate::site::Body;
use crate::socket;

/// How many connections there may be; others wait in the socket's queue.
const CONNECTIONS_MAX: usize = 256;

/// How long a request's head may take, and how long a connection may be idle.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// How large a request's head may be, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long a connection may exist: nobody reads a file more slowly than that.
const CONNECTION_LIFE: Duration = Duration::from_mins(15);

/// How long responses in progress may go on after the shutdown began.
const DRAIN: Duration = Duration::from_millis(1_500);

/// How long to wait after the system refused a connection, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for the host.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    host: Host,
    tasks: Tasks,
}

impl Listener {
    /// Adopts a socket that listens already.
    pub(crate) fn adopt(listener: std::net::TcpListener, host: Host, tasks: Tasks) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { socket: TcpListener::from_std(listener)?, host, tasks })
    }

    /// Accepts until the shutdown. Responses in progress then still have a moment.
    pub(crate) async fn run(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let shutdown = self.tasks.shutdown().clone();
        while let Some((stream, peer, place)) = shutdown.run_until_cancelled(self.accept(&places)).await {
            let (host, tasks) = (self.host.clone(), self.tasks.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (host, tasks) = (host.clone(), tasks.clone());
                async move {
                    let answer = answer(&host, &tasks, request, peer).await;
                    if let Ok(answer) = &answer {
                        metrics::served(answer.status().as_u16());
                    }
                    answer
                }
            });
            let shutdown = shutdown.clone();
            self.tasks.spawn("canvas connection", async move {
                let _place = place;
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_WAIT)
                    .max_buf_size(HEAD_BYTES_MAX)
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                let mut serving = std::pin::pin!(serving);
                tokio::select! {
                    ended = &mut serving => if let Err(error) = ended {
                        debug!(error = &error as &dyn std::error::Error, "canvas connection broke");
                    },
                    () = tokio::time::sleep(CONNECTION_LIFE) => debug!("canvas connection took too long"),
                    () = shutdown.cancelled() => {
                        serving.as_mut().graceful_shutdown();
                        // What is not sent by then is cut off.
                        drop(tokio::time::timeout(DRAIN, serving).await);
                    }
                }
            });
        }
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => return (stream, peer, place),
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "canvas connection refused");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Answers a request, or opens the socket that a page asks for. There is one kind of socket; whoever asks for another one is answered with
/// the end of his connection.
async fn answer(host: &Host, tasks: &Tasks, request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Body>, Infallible> {
    if !request.headers().contains_key(UPGRADE) {
        return host.site.answer(request, peer.ip()).await;
    }
    let response = if Route::read(request.uri().path()) == Route::Reload {
        host.site.admits_socket(&request, peer.ip()).unwrap_or_else(|| socket::open(request, &host.live, &host.sessions, tasks))
    } else {
        let mut response = host.site.answer(request, peer.ip()).await?;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    };
    Ok(response)
}
