//! One connection to a server: lines in and out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use irc_proto::Message;
use rustls_platform_verifier::{ConfigVerifierExt as _, Verifier};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_util::codec::{AnyDelimiterCodec, Framed};

use crate::adapter::Fault;

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest line from a server, in bytes: tags may have 8191, the rest 512.
const LINE_BYTES_MAX: usize = 8_191 + 512;

/// Either kind of stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to a server.
pub(super) struct Connection {
    framed: Framed<Box<dyn Stream>, AnyDelimiterCodec>,
}

/// How a connection is encrypted.
#[derive(Debug)]
pub(super) struct Tls {
    /// A file of certificates that are trusted besides the system's.
    pub(super) ca_file: Option<PathBuf>,
}

impl Tls {
    fn config(&self) -> Result<ClientConfig, String> {
        let Some(path) = &self.ca_file else { return ClientConfig::with_platform_verifier().map_err(|error| error.to_string()) };
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let trusted: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| named(&error))?.collect();
        let trusted = trusted.map_err(|error| named(&error))?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let verifier = Verifier::new_with_extra_roots(trusted, Arc::clone(&provider)).map_err(|error| named(&error))?;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| named(&error))?;
        Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
    }
}

impl Connection {
    pub(super) async fn open(host: &str, port: u16, tls: Option<&Tls>) -> Result<Self, Fault> {
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, Self::connect(host, port, tls)).await;
        let stream =
            opened.map_err(|_| Fault::Network(format!("{host}:{port} did not answer within {} s", CONNECT_TIMEOUT.as_secs())))??;
        let codec = AnyDelimiterCodec::new_with_max_length(b"\r\n".to_vec(), b"\r\n".to_vec(), LINE_BYTES_MAX);
        Ok(Self { framed: Framed::new(stream, codec) })
    }

    async fn connect(host: &str, port: u16, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Fault> {
        let failed = |error: std::io::Error| Fault::Network(format!("{host}:{port}: {error}"));
        let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
        let Some(tls) = tls else { return Ok(Box::new(stream)) };
        let unusable = |error: &dyn std::fmt::Display| Fault::Network(format!("{host}:{port}: {error}"));
        let name = ServerName::try_from(host.to_owned()).map_err(|error| unusable(&error))?;
        let config = tls.config().map_err(|error| unusable(&error))?;
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(failed)?))
    }

    /// Sends one line. What would be a second line is cut off.
    pub(super) async fn send(&mut self, line: &str) -> Result<(), Fault> {
        let line = line.split(['\r', '\n', '\0']).next().unwrap_or_default();
        self.framed.send(line).await.map_err(|error| Fault::Network(error.to_string()))
    }

    /// Returns the next message. Lines that are none are passed over.
    pub(super) async fn next(&mut self) -> Result<Message, Fault> {
        loop {
            let line = self.framed.next().await.ok_or_else(|| Fault::Network("the server closed the connection".to_owned()))?;
            let line = line.map_err(|error| Fault::Network(error.to_string()))?;
            let text = String::from_utf8_lossy(&line);
            if let Ok(message) = text.trim_end().parse::<Message>() {
                return Ok(message);
            }
        }
    }
}
