//! Connections of other services: on the Unix socket from processes of the same user, over TCP from whoever shows a certificate of ours.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::UCred;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::identity::{Identity, named};

/// Handshakes that may be under way; others wait in the socket.
const HANDSHAKES_MAX: usize = 64;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Accepts connections and drops those of strangers.
#[derive(Debug)]
pub(crate) struct Incoming {
    unix: UnixListener,
    user: u32,
    tcp: Option<Tcp>,
}

#[derive(Debug)]
struct Tcp {
    listener: TcpListener,
    identity: Arc<Identity>,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<Link>>>,
}

impl Incoming {
    pub(crate) fn adopt(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { unix: UnixListener::from_std(listener)?, user: rustix::process::geteuid().as_raw(), tcp: None })
    }

    /// Listens at a TCP address as well.
    pub(crate) async fn and_at(mut self, address: &str, identity: Arc<Identity>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        self.tcp = Some(Tcp { listener, identity, handshakes: FuturesUnordered::new() });
        Ok(self)
    }

    fn admits(&self, stream: &UnixStream) -> bool {
        match stream.peer_cred() {
            // Root may look into everything anyway.
            Ok(peer) => peer.uid() == self.user || peer.uid() == 0,
            Err(_) => false,
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Link>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.unix.poll_accept(context) {
                Poll::Pending => break,
                Poll::Ready(Ok((stream, _))) if self.admits(&stream) => return Poll::Ready(Some(Ok(Link::Unix(stream)))),
                Poll::Ready(Ok(_)) => warn!("refused a connection of another user"),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
        match &mut self.tcp {
            Some(tcp) => tcp.poll_next(context),
            None => Poll::Pending,
        }
    }
}

impl Tcp {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Link>>> {
        loop {
            while self.handshakes.len() < HANDSHAKES_MAX {
                match self.listener.poll_accept(context) {
                    Poll::Pending => break,
                    Poll::Ready(Ok((stream, _))) => self.handshakes.push(Box::pin(shake(stream, Arc::clone(&self.identity)))),
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                }
            }
            match self.handshakes.poll_next_unpin(context) {
                Poll::Ready(Some(Some(link))) => return Poll::Ready(Some(Ok(link))),
                // Whoever failed has left room for another.
                Poll::Ready(Some(None)) => {}
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Finds out who has connected; none for whoever is none of us.
async fn shake(stream: TcpStream, identity: Arc<Identity>) -> Option<Link> {
    let address = stream.peer_addr().ok()?;
    stream.set_nodelay(true).ok()?;
    let stream = match timeout(HANDSHAKE, TlsAcceptor::from(identity.server()).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(%address, error = &error as &dyn std::error::Error, "refused a connection without a certificate of ours");
            return None;
        }
        Err(_) => return None,
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first)?;
    let Some(peer) = named(certificate) else {
        warn!(%address, "refused a certificate that names no service");
        return None;
    };
    Some(Link::Tls(Box::new(stream), peer))
}

/// A connection of another service.
#[derive(Debug)]
pub(crate) enum Link {
    Unix(UnixStream),
    /// With the service that the certificate names.
    Tls(Box<TlsStream<TcpStream>>, &'static str),
}

/// Who a connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct From {
    /// The service that the certificate names; none on the Unix socket.
    pub service: Option<&'static str>,
    /// What the operating system says of the process on the other end of the Unix socket; none over TCP.
    pub process: Option<UCred>,
}

impl Connected for Link {
    type ConnectInfo = From;

    fn connect_info(&self) -> From {
        match self {
            Self::Unix(stream) => From { service: None, process: stream.peer_cred().ok() },
            Self::Tls(_, service) => From { service: Some(service), process: None },
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream, _) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream, _) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
