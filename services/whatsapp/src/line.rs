//! The way to the network: its socket, and the files that lie beside it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex as Turn;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use verso_kit::clock::Clock;
use verso_kit::tasks::Tasks;
use whatsapp_rust::anyhow::{Error, anyhow};
use whatsapp_rust::async_channel::{Receiver, Sender, bounded};
use whatsapp_rust::async_trait;
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::transport::{DisconnectReason, Transport, TransportEvent, TransportFactory};
use whatsapp_rust::wacore::net::{WHATSAPP_WEB_ORIGIN, WHATSAPP_WEB_WS_URL};

/// Frames that may wait to be read.
const FRAMES_MAX: usize = 64;

/// The largest frame, in bytes: the protocol's own prefix cannot say more than 16 MiB.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// Where the network says which clients it takes; the library asks there before it connects.
const VERSION_PAGE: &str = "/sw.js";

/// The largest file that is fetched, in bytes: 100 MB, and what encryption adds.
const FILE_BYTES_MAX: usize = 101 << 20;

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A handshake sends so many frames; a connection that ends before that was refused.
const HANDSHAKE_FRAMES: u32 = 2;

/// What is known of the connection.
#[derive(Debug)]
pub(crate) struct Line {
    url: Option<String>,
    clock: Clock,
    tasks: Tasks,
    heard_at_ms: AtomicI64,
    trouble: Mutex<Option<String>>,
    /// Whether the library makes a lost connection again by itself.
    again: OnceLock<Arc<AtomicBool>>,
}

impl Line {
    pub(crate) fn new(url: Option<String>, clock: Clock, tasks: Tasks) -> Self {
        Self { url, clock, tasks, heard_at_ms: AtomicI64::new(0), trouble: Mutex::default(), again: OnceLock::new() }
    }

    /// Whether the network is reached another way than usual: then nothing but that is asked.
    pub(crate) fn is_own(&self) -> bool {
        self.url.is_some()
    }

    /// Returns when the network was last heard.
    pub(crate) fn heard_at_ms(&self) -> i64 {
        self.heard_at_ms.load(Ordering::Relaxed)
    }

    /// Has `again` say whether the library may connect by itself: when and how that is done, is ours to say.
    pub(crate) fn govern(&self, again: Arc<AtomicBool>) {
        // There is one client to a line.
        drop(self.again.set(again));
    }

    /// Lets the library connect, or not.
    pub(crate) fn allow(&self, again: bool) {
        if let Some(allowed) = self.again.get() {
            allowed.store(again, Ordering::Relaxed);
        }
    }

    /// Returns why the last attempt to connect failed, once.
    pub(crate) fn take_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&self, trouble: String) {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(trouble);
        self.allow(false);
    }

    fn heard(&self) {
        self.heard_at_ms.store(self.clock.now_ms(), Ordering::Relaxed);
    }

    async fn dial(self: &Arc<Self>) -> Result<Socket, Error> {
        let mut request = self.url.as_deref().unwrap_or(WHATSAPP_WEB_WS_URL).into_client_request()?;
        request.headers_mut().insert("origin", HeaderValue::from_static(WHATSAPP_WEB_ORIGIN));
        let limits = WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
        let dialling = connect_async_with_config(request, Some(limits), true);
        let (socket, _) = tokio::time::timeout(CONNECT_TIMEOUT, dialling).await.map_err(|_| anyhow!("it did not answer in time"))??;
        Ok(socket)
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Connects to the network.
#[derive(Debug)]
pub(crate) struct Dialler(pub(crate) Arc<Line>);

#[async_trait]
impl TransportFactory for Dialler {
    async fn create_transport(&self) -> Result<(Arc<dyn Transport>, Receiver<TransportEvent>), Error> {
        let socket = match self.0.dial().await {
            Ok(socket) => socket,
            Err(error) => {
                self.0.failed(error.to_string());
                return Err(error);
            }
        };
        let (sink, stream) = socket.split();
        let (events, received) = bounded(FRAMES_MAX);
        // There is room for the first one.
        drop(events.try_send(TransportEvent::Connected));
        let line = Arc::clone(&self.0);
        self.0.tasks.spawn("socket", async move { read(stream, &line, events).await });
        let wire = Wire { sink: Turn::new(Some(sink)), line: Arc::clone(&self.0), sent: AtomicU32::new(0) };
        Ok((Arc::new(wire), received))
    }
}

/// Passes on what the socket says, until it ends or nobody listens.
async fn read(mut stream: SplitStream<Socket>, line: &Line, events: Sender<TransportEvent>) {
    let reason = loop {
        let next = tokio::select! {
            next = stream.next() => next,
            () = events.closed() => return,
            () = line.tasks.shutdown().cancelled() => return,
        };
        match next {
            Some(Ok(Message::Binary(frame))) => {
                line.heard();
                if events.send(TransportEvent::DataReceived(frame)).await.is_err() {
                    return;
                }
            }
            Some(Ok(Message::Close(said))) => {
                break DisconnectReason::ServerClose {
                    code: said.as_ref().map(|said| said.code.into()),
                    reason: said.map(|said| said.reason.to_string()).unwrap_or_default(),
                };
            }
            Some(Ok(_)) => line.heard(),
            Some(Err(error)) => break DisconnectReason::ReadError(error.to_string()),
            None => break DisconnectReason::StreamEnded,
        }
    };
    // Who does not listen any more need not hear it.
    drop(events.send(TransportEvent::Disconnected(reason)).await);
}

/// One connection.
struct Wire {
    sink: Turn<Option<SplitSink<Socket, Message>>>,
    line: Arc<Line>,
    sent: AtomicU32,
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, data: Bytes) -> Result<(), Error> {
        let mut sink = self.sink.lock().await;
        let sink = sink.as_mut().ok_or_else(|| anyhow!("the connection is closed"))?;
        sink.send(Message::Binary(data)).await?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn disconnect(&self) {
        if self.sent.load(Ordering::Relaxed) < HANDSHAKE_FRAMES {
            self.line.failed("the server could not show that it is WhatsApp's".to_owned());
        }
        if let Some(mut sink) = self.sink.lock().await.take() {
            // It may have ended already.
            drop(sink.close().await);
        }
    }
}

/// Asks for files.
#[derive(Debug)]
pub(crate) struct Files {
    client: reqwest::Client,
    line: Arc<Line>,
}

impl Files {
    pub(crate) fn new(line: Arc<Line>) -> Result<Self, Error> {
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build()?;
        Ok(Self { client, line })
    }

    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let HttpRequest { url, method, headers, body } = request;
        let mut asking = self.client.request(method.parse()?, url);
        for (name, value) in headers {
            asking = asking.header(name, value);
        }
        if let Some(body) = body {
            asking = asking.body(body);
        }
        let response = asking.send().await.map_err(reqwest::Error::without_url)?;
        let status_code = response.status().as_u16();
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(reqwest::Error::without_url)?;
            if body.len() + chunk.len() > FILE_BYTES_MAX {
                return Err(anyhow!("the answer is larger than {FILE_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status_code, body })
    }
}

#[async_trait]
impl HttpClient for Files {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let connecting = request.url.ends_with(VERSION_PAGE);
        let answer = self.ask(request).await;
        match &answer {
            Err(error) if connecting => self.line.failed(format!("it does not say which clients it takes: {error}")),
            Ok(HttpResponse { status_code, .. }) if connecting && *status_code != 200 => {
                self.line.failed(format!("it does not say which clients it takes: status {status_code}"));
            }
            _ => {}
        }
        answer
    }
}
