//! Doors at which networks deliver by HTTP: one listener an address, one door an account.
//!
//! A delivery says by a secret in a header which account it is for. Nobody without one is let in, and a path that several accounts share
//! leads to the one whose secret was shown.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::{info, warn};
use verso_kit::CancellationToken;
use verso_kit::config::Secret;
use verso_kit::tasks::Tasks;

use crate::adapter::Fault;

/// Connections to one listener at a time.
const CONNECTIONS_MAX: usize = 64;

/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest head, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The largest delivery, in bytes …
const BODY_BYTES_MAX: usize = 1 << 20;

/// … and how long it may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Deliveries that may wait for an account.
const QUEUE: usize = 64;

/// How long a delivery waits until its account has kept it.
const KEEP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a wrong secret waits for its answer, so that secrets cannot be tried quickly …
const WRONG_SECRET_PAUSE: Duration = Duration::from_secs(1);

/// … and how many may wait at once; further ones are sent away. Right secrets never wait.
const WRONG_SECRETS_AT_ONCE: usize = 8;

/// The shortest secret.
const SECRET_CHARS_MIN: usize = 8;

/// What asks whether somebody is there.
const HEALTH_PATH: &str = "/healthz";

/// All doors of the process.
#[derive(Debug, Clone)]
pub(crate) struct Webhooks {
    tasks: Tasks,
    next: Arc<AtomicU64>,
    listeners: Arc<tokio::sync::Mutex<HashMap<SocketAddr, Listener>>>,
}

/// What an account asks for.
#[derive(Debug)]
pub(crate) struct Door<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) path: &'a str,
    /// The header that holds the secret.
    pub(crate) header: &'static str,
    pub(crate) secret: Option<&'a Secret<String>>,
}

#[derive(Debug, Clone)]
struct Listener {
    doors: Arc<Mutex<Vec<Open>>>,
    stop: CancellationToken,
}

#[derive(Debug, Clone)]
struct Open {
    id: u64,
    path: String,
    header: &'static str,
    secret: [u8; 32],
    visits: mpsc::Sender<Visit>,
}

/// A delivery.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) body: Bytes,
    kept: oneshot::Sender<()>,
}

impl Visit {
    /// Tells the network that it need not deliver this again.
    pub(crate) fn keep(self) {
        if self.kept.send(()).is_err() {
            tracing::debug!("who delivered has gone meanwhile, and will deliver it again");
        }
    }
}

/// The deliveries of one account. Its door is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Visits {
    id: u64,
    queue: mpsc::Receiver<Visit>,
    listener: Listener,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Visits {
    /// Waits for the next delivery; none when the listener is gone.
    pub(crate) async fn next(&mut self) -> Option<Visit> {
        self.queue.recv().await
    }
}

impl Drop for Visits {
    fn drop(&mut self) {
        let mut doors = self.listener.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|door| door.id != self.id);
        if doors.is_empty() {
            self.listener.stop.cancel();
        }
    }
}

impl Webhooks {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self { tasks, next: Arc::default(), listeners: Arc::default() }
    }

    /// Opens a door. Without a secret there is none.
    pub(crate) async fn open(&self, wanted: Door<'_>) -> Result<Visits, Fault> {
        let secret = wanted.secret.map(|secret| secret.expose().trim()).filter(|secret| secret.chars().count() >= SECRET_CHARS_MIN);
        let missing = || {
            Fault::Account(format!(
                "webhookSecret is missing or has fewer than {SECRET_CHARS_MIN} characters: nobody is let in without one"
            ))
        };
        let secret: [u8; 32] = Sha256::digest(secret.ok_or_else(missing)?.as_bytes()).into();
        let failed = |error: std::io::Error| Fault::Network(format!("cannot listen on {}:{}: {error}", wanted.host, wanted.port));
        let address = tokio::net::lookup_host((wanted.host, wanted.port)).await.map_err(failed)?.next();
        let address = address.ok_or_else(|| Fault::Account(format!("webhookHost {} is no address", wanted.host)))?;
        let mut listeners = self.listeners.lock().await;
        listeners.retain(|_, listener| !listener.stop.is_cancelled());
        let (address, listener) = match listeners.get(&address) {
            Some(listener) => (address, listener.clone()),
            None => self.listen(address).await.map_err(failed)?,
        };
        let (sender, queue) = mpsc::channel(QUEUE);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut doors = listener.doors.lock().unwrap_or_else(PoisonError::into_inner);
            let same = |door: &Open| door.path == wanted.path && bool::from(door.secret.ct_eq(&secret));
            if doors.iter().any(same) {
                return Err(Fault::Account(format!("another account has the same secret at {}: each needs its own", wanted.path)));
            }
            doors.push(Open { id, path: wanted.path.to_owned(), header: wanted.header, secret, visits: sender });
        }
        listeners.insert(address, listener.clone());
        Ok(Visits { id, queue, listener, address })
    }

    async fn listen(&self, address: SocketAddr) -> std::io::Result<(SocketAddr, Listener)> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let listener = Listener { doors: Arc::default(), stop: self.tasks.shutdown().child_token() };
        info!(%address, "listening for deliveries of networks");
        self.tasks.spawn("webhooks", accept(socket, listener.clone(), self.tasks.clone()));
        Ok((address, listener))
    }
}

async fn accept(socket: TcpListener, listener: Listener, tasks: Tasks) {
    let (places, wrong) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(Semaphore::new(WRONG_SECRETS_AT_ONCE)));
    let next = async || -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&places).acquire_owned().await.map_err(std::io::Error::other)?;
        Ok((socket.accept().await?.0, place))
    };
    while let Some(accepted) = listener.stop.run_until_cancelled(next()).await {
        match accepted {
            Ok((stream, place)) => tasks.spawn("delivery", serve(stream, place, listener.clone(), Arc::clone(&wrong))),
            Err(error) => {
                warn!(%error, "a delivery could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, place: OwnedSemaphorePermit, listener: Listener, wrong: Arc<Semaphore>) {
    let stop = listener.stop.clone();
    let service = service_fn(move |request| {
        let (doors, wrong) = (Arc::clone(&listener.doors), Arc::clone(&wrong));
        async move {
            let (status, words) = answer(request, &doors, &wrong).await;
            let mut response = Response::new(Full::new(Bytes::from_static(words.as_bytes())));
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A network that breaks its connection delivers again.
    drop(stop.run_until_cancelled(serving).await);
    drop(place);
}

async fn answer(request: Request<Incoming>, doors: &Mutex<Vec<Open>>, wrong: &Semaphore) -> (StatusCode, &'static str) {
    if request.method() == Method::GET && request.uri().path() == HEALTH_PATH {
        return (StatusCode::OK, "ok");
    }
    let at_path = {
        let doors = doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.iter().filter(|door| door.path == request.uri().path()).cloned().collect::<Vec<_>>()
    };
    if at_path.is_empty() || request.method() != Method::POST {
        return (StatusCode::NOT_FOUND, "not found");
    }
    let Some(door) = at_path.into_iter().find(|door| shows(&request, door)) else {
        // Before anything of the body is read.
        let Ok(_place) = wrong.try_acquire() else { return (StatusCode::TOO_MANY_REQUESTS, "too many wrong secrets") };
        tokio::time::sleep(WRONG_SECRET_PAUSE).await;
        return (StatusCode::UNAUTHORIZED, "wrong secret");
    };
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), BODY_BYTES_MAX).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return (StatusCode::PAYLOAD_TOO_LARGE, "too large"),
        Ok(Err(_)) => return (StatusCode::BAD_REQUEST, "the body cannot be read"),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    let (kept, heard) = oneshot::channel();
    let keeping = async {
        door.visits.send(Visit { body, kept }).await.ok()?;
        heard.await.ok()
    };
    match tokio::time::timeout(KEEP_TIMEOUT, keeping).await {
        Ok(Some(())) => (StatusCode::OK, "ok"),
        // The network delivers again later.
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the account is not there"),
    }
}

/// Whether a request shows the secret of a door. The time that it takes tells nothing of either.
fn shows(request: &Request<Incoming>, door: &Open) -> bool {
    let shown = request.headers().get(door.header).map(|value| Sha256::digest(value.as_bytes()));
    shown.is_some_and(|shown| bool::from(<[u8; 32]>::from(shown).ct_eq(&door.secret)))
}
