//! Calls to another service: one lazy connection that heals itself, a deadline on every call, repeats where the contract allows them.

mod carrier;
mod codec;
mod retry;

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, debug_span};
use verso_proto::GENERATION;
use verso_proto::methods::{Call, EventSource, Method};
use verso_proto::wire::v1::From as Position;

use crate::clock::Clock;
use crate::credential::{self, Credential};
use crate::grpc::gate::{CALLER_KEY, GENERATION_KEY};
use crate::links::{Identity, name_in_certificate};
use crate::principal::Vouched;
use crate::trace::TraceContext;
use crate::{metrics, resume, trace};
use carrier::{Carrier, Outcome};
pub(crate) use codec::BytesCodec;
pub use retry::{Backoff, broken_by_transport};

/// The largest message between services, in bytes: above the largest frame of a client.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Flow-control window of one stream, in bytes.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Flow-control window of a connection, in bytes.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// How often an idle connection is probed. Without it, a silent partition would never be noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long a probe may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection over TCP may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a call that says how long it waits gets on top of that, in milliseconds.
const WAIT_GRACE_MS: u64 = 5_000;

/// On whose behalf a call is made, and within which trace.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The client, if the call is a client's.
    pub principal: Option<Vouched>,
    /// The trace to continue; none continues that of the rpc being served.
    pub trace: Option<TraceContext>,
}

/// Another service. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Peer {
    channel: Channel,
    carrier: Carrier,
    own: Option<Badge>,
}

/// What this process is to the other one.
#[derive(Debug, Clone)]
struct Badge {
    credential: Credential,
    audience: Arc<str>,
    clock: Clock,
}

impl Peer {
    /// A service that listens on the Unix socket at `path`. Connects when it is first called.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::through(move || UnixStream::connect(path.clone()))
    }

    /// A service at the other end of what `dial` returns. Dials when it is first called, and whenever a connection is lost.
    pub fn through<S, F>(dial: impl Fn() -> F + Send + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let connector = tower::service_fn(move |_: Uri| {
            let dialing = dial();
            async { dialing.await.map(TokioIo::new) }
        });
        Self::over(endpoint().connect_with_connector_lazy(connector))
    }

    /// The supervisor of the gateway that has its sockets in `run_dir`, as the command line of the gateway's owner calls it.
    pub fn supervisor(run_dir: &Path) -> Self {
        let peer = Self::unix(run_dir.join("supervisor.sock"));
        let text = std::fs::read_to_string(run_dir.join(credential::OPERATOR_FILE)).ok();
        match text.and_then(|text| Credential::parse(&text).ok()) {
            Some(credential) => peer.identified(credential, "supervisor", Clock::system()),
            // It says itself what is wrong.
            None => peer,
        }
    }

    /// A service at a TCP address, which proves with a certificate of ours that it is that service. Connects when it is first called.
    pub(crate) fn tls(address: &str, service: &str, identity: Arc<Identity>) -> Self {
        let (address, name) = (address.to_owned(), name_in_certificate(service));
        Self::through(move || {
            let (address, name, identity) = (address.clone(), name.clone(), Arc::clone(&identity));
            async move {
                let name = ServerName::try_from(name).map_err(io::Error::other)?;
                let connecting = async {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    TlsConnector::from(identity.client()).connect(name, stream).await
                };
                timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| io::ErrorKind::TimedOut)?
            }
        })
    }

    /// A service behind a channel that exists already.
    pub fn over(channel: Channel) -> Self {
        Self { channel, carrier: Carrier::default(), own: None }
    }

    /// Calls as the process that `credential` names; the other one is `audience`.
    #[must_use]
    pub fn identified(self, credential: Credential, audience: &str, clock: Clock) -> Self {
        Self { own: Some(Badge { credential, audience: audience.into(), clock }), ..self }
    }

    /// Returns the connection, for a generated client.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Makes one call. Repeats it while the service restarts, if the contract allows that, until its deadline.
    pub async fn call<C: Call>(&self, request: C, caller: &Caller) -> Result<C::Response, Status> {
        let wait_ms = request.wait_ms();
        let answer = self.call_raw(C::METHOD, request.encode_to_vec().into(), wait_ms, caller).await?;
        C::Response::decode(answer).map_err(|error| Status::internal(format!("could not decode the answer of {}: {error}", C::METHOD.path)))
    }

    /// Makes one call whose messages are already encoded.
    pub async fn call_raw(&self, method: &'static Method, message: Bytes, wait_ms: Option<u64>, caller: &Caller) -> Result<Bytes, Status> {
        let begun = Instant::now();
        let (span, caller) = asking(method, caller);
        let answer = self.until_answered(method, message, wait_ms, &caller).instrument(span.clone()).await;
        let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
        metrics::asked(method.path, code, begun.elapsed());
        trace::answered(&span, code);
        answer
    }

    async fn until_answered(
        &self,
        method: &'static Method,
        message: Bytes,
        wait_ms: Option<u64>,
        caller: &Caller,
    ) -> Result<Bytes, Status> {
        let timeout_ms = wait_ms.map_or(u64::from(method.timeout_ms), |wait_ms| wait_ms.saturating_add(WAIT_GRACE_MS));
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let mut backoff = Backoff::default();
        loop {
            let attempt = timeout_at(deadline, self.unary(method.path, message.clone(), caller)).await;
            let status = match attempt {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                Err(_) => return Err(Status::deadline_exceeded(format!("no answer within {timeout_ms} ms"))),
            };
            if !retry::allowed(method, &status) || !backoff.pause_until(deadline).await {
                return Err(status);
            }
            metrics::REPEATED.one_more([method.path.trim_start_matches("/verso.")]);
        }
    }

    /// Opens a streaming call. Dropping the answer ends the call.
    pub async fn open<C: Call>(&self, request: &C, caller: &Caller) -> Result<Answers<C::Response>, Status> {
        let items = self.open_raw(C::METHOD, request.encode_to_vec().into(), None, caller).await?;
        Ok(Answers { path: C::METHOD.path, items, item: PhantomData })
    }

    /// Opens a streaming call whose messages are already encoded. When it is asked again,
    /// `delivered` items of its answer have arrived before.
    pub async fn open_raw(
        &self,
        method: &'static Method,
        message: Bytes,
        delivered: Option<usize>,
        caller: &Caller,
    ) -> Result<Streaming<Bytes>, Status> {
        let (begun, (span, caller)) = (Instant::now(), asking(method, caller));
        let mut request = self.request(message, &caller);
        if let Some(delivered) = delivered {
            resume::insert(request.metadata_mut(), delivered);
        }
        let answer = self.stream(method.path, request).instrument(span.clone()).await;
        let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
        metrics::asked(method.path, code, begun.elapsed());
        trace::answered(&span, code);
        answer
    }

    /// Opens a service's event stream after `from`.
    pub async fn events(&self, source: &'static EventSource, from: Option<Position>) -> Result<Streaming<Bytes>, Status> {
        // Every package's `SubscribeRequest` has the position as its first field.
        let subscribe = verso_proto::presence::v1::SubscribeRequest { from };
        let mut request = Request::new(subscribe.encode_to_vec().into());
        self.sign(&mut request);
        self.stream(source.path, request).await
    }

    async fn unary(&self, path: &'static str, message: Bytes, caller: &Caller) -> Result<Bytes, Status> {
        let request = match self.carrier.call(&self.channel, path, self.request(message, caller)).await {
            Outcome::Answered(answer) => return answer,
            Outcome::NotCarried(request) => request,
        };
        let mut client = self.ready().await?;
        client.unary(request, PathAndQuery::from_static(path), BytesCodec).await.map(tonic::Response::into_inner)
    }

    async fn stream(&self, path: &'static str, request: Request<Bytes>) -> Result<Streaming<Bytes>, Status> {
        let mut client = self.ready().await?;
        client.server_streaming(request, PathAndQuery::from_static(path), BytesCodec).await.map(tonic::Response::into_inner)
    }

    async fn ready(&self) -> Result<tonic::client::Grpc<Channel>, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        Ok(client)
    }

    fn request(&self, message: Bytes, caller: &Caller) -> Request<Bytes> {
        let mut request = Request::new(message);
        trace::insert(request.metadata_mut(), caller.trace.unwrap_or_else(trace::current));
        if let Some(asking) = &caller.principal {
            asking.stamp(&mut request);
        }
        self.sign(&mut request);
        request
    }

    /// Says who calls, in which generation of the contract.
    fn sign(&self, request: &mut Request<Bytes>) {
        request.metadata_mut().insert(GENERATION_KEY, MetadataValue::from_static(GENERATION));
        if let Some(Badge { credential, audience, clock }) = &self.own {
            request.metadata_mut().insert_bin(CALLER_KEY, credential.token(audience, clock));
        }
    }
}

/// The answer of a streaming call.
#[derive(Debug)]
pub struct Answers<T> {
    path: &'static str,
    items: Streaming<Bytes>,
    item: PhantomData<fn() -> T>,
}

impl<T: Message + Default> Answers<T> {
    /// Returns the next item; none when the answer is complete. Nothing is lost when the wait for it is given up.
    pub async fn next(&mut self) -> Result<Option<T>, Status> {
        let Some(item) = self.items.message().await? else { return Ok(None) };
        // Not `internal`, which is also what a broken transport says.
        let undecodable = |error| Status::data_loss(format!("could not decode the answer of {}: {error}", self.path));
        T::decode(item).map(Some).map_err(undecodable)
    }
}

/// Begins the span of a call, and returns for whom the call is made below it.
fn asking(method: &'static Method, caller: &Caller) -> (Span, Caller) {
    let name = method.path.trim_start_matches('/');
    let span = debug_span!(
        "call",
        otel.name = name,
        otel.kind = "client",
        rpc.system = "grpc",
        rpc.service = method.service,
        rpc.method = name.rsplit('/').next(),
        rpc.grpc.status_code = Empty,
        otel.status_code = Empty
    );
    let trace = caller.trace.unwrap_or_else(trace::current);
    (span.clone(), Caller { principal: caller.principal.clone(), trace: Some(trace.enter(&span)) })
}

fn endpoint() -> Endpoint {
    Endpoint::from_static("http://verso.local")
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// What a call says whose answer nobody takes.
pub(crate) fn too_large() -> Status {
    Status::out_of_range(format!("the answer is larger than {MESSAGE_BYTES_MAX} bytes"))
}

/// Whether the status says that time ran out.
pub fn timed_out(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded && !crate::error::made_by_service(status)
}
