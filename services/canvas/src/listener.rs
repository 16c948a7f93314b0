//! Connections: how many there may be, how long they may take, and how they end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};
use verso_kit::CancellationToken;
use verso_kit::tasks::Tasks;

use crate::site::Site;

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

/// Accepts connections for a site.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    site: Site,
    tasks: Tasks,
}

impl Listener {
    /// Adopts a socket that listens already.
    pub(crate) fn adopt(listener: std::net::TcpListener, site: Site, tasks: Tasks) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { socket: TcpListener::from_std(listener)?, site, tasks })
    }

    /// Serves until the shutdown, and then until the responses in progress are sent or their time is over.
    pub(crate) async fn run(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (graceful, cut) = (GracefulShutdown::new(), CancellationToken::new());
        let shutdown = self.tasks.shutdown().clone();
        while let Some((stream, peer, place)) = shutdown.run_until_cancelled(self.accept(&places)).await {
            let site = self.site.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let site = site.clone();
                async move { site.answer(request, peer.ip()).await }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WAIT)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            let (served, cut) = (graceful.watch(connection), cut.clone());
            self.tasks.spawn("canvas connection", async move {
                let _place = place;
                tokio::select! {
                    ended = served => if let Err(error) = ended {
                        debug!(error = &error as &dyn std::error::Error, "canvas connection broke");
                    },
                    () = tokio::time::sleep(CONNECTION_LIFE) => debug!("canvas connection took too long"),
                    () = cut.cancelled() => {}
                }
            });
        }
        // What is not sent by then is cut off.
        let drained = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
        debug!(complete = drained.is_ok(), "canvas connections ended");
        cut.cancel();
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
