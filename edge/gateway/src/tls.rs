//! TLS on the public port: the same protocols, on the same port, behind a certificate.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, version};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};
use verso_kit::files;

/// How long a peer may take for the handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The first byte of every TLS connection: a record of the handshake.
const HANDSHAKE_RECORD: u8 = 22;

/// What a peer that does not speak TLS is told.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 46\r\n\r\n\
                     This port speaks TLS: use https:// or wss://.\n";

/// `gateway.tls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsConfig {
    /// Whether the public port speaks TLS. Default false.
    pub enabled: bool,
    /// Whether a certificate is made when there is none. Default true.
    pub auto_generate: Option<bool>,
    /// The certificate chain. Default `<state>/gateway/tls/gateway-cert.pem`.
    pub cert_path: Option<PathBuf>,
    /// Its key. Default `<state>/gateway/tls/gateway-key.pem`.
    pub key_path: Option<PathBuf>,
    /// Authorities of client certificates; a client may do without one.
    pub ca_path: Option<PathBuf>,
}

/// Why the port cannot speak TLS.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("could not read {path}: {reason}")]
    Read { path: PathBuf, reason: String },
    #[error("{missing} does not exist, but {present} does: both or neither")]
    Half { missing: PathBuf, present: PathBuf },
    #[error("{0} does not exist, and gateway.tls.autoGenerate is off")]
    Missing(PathBuf),
    #[error("could not make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("could not store the certificate")]
    Store(#[source] io::Error),
    #[error("the certificate cannot be used")]
    Unusable(#[from] rustls::Error),
    #[error("the authorities cannot be used: {0}")]
    Authorities(String),
}

/// Turns TCP connections into TLS connections.
#[derive(Clone)]
pub(crate) struct Terminator {
    acceptor: TlsAcceptor,
    /// The SHA-256 of the port's certificate, in hexadecimal.
    pub(crate) fingerprint: String,
}

impl Terminator {
    /// Reads the certificate, or makes one; none when TLS is off.
    pub(crate) fn open(config: &TlsConfig, state_dir: &Path) -> io::Result<Option<Self>> {
        if !config.enabled {
            return Ok(None);
        }
        let terminator = Self::load(config, state_dir).map_err(io::Error::other)?;
        info!(fingerprint = terminator.fingerprint, "the public port speaks TLS");
        Ok(Some(terminator))
    }

    fn load(config: &TlsConfig, state_dir: &Path) -> Result<Self, Error> {
        let folder = state_dir.join("gateway/tls");
        let cert_path = config.cert_path.clone().unwrap_or_else(|| folder.join("gateway-cert.pem"));
        let key_path = config.key_path.clone().unwrap_or_else(|| folder.join("gateway-key.pem"));
        match (cert_path.exists(), key_path.exists()) {
            (true, true) => {}
            (false, false) if config.auto_generate.unwrap_or(true) => make(&cert_path, &key_path)?,
            (false, false) => return Err(Error::Missing(cert_path)),
            (true, false) => return Err(Error::Half { missing: key_path, present: cert_path }),
            (false, true) => return Err(Error::Half { missing: cert_path, present: key_path }),
        }
        let chain = certificates(&cert_path)?;
        let key = PrivateKeyDer::from_pem_file(&key_path).map_err(|error| unreadable(&key_path, &error))?;
        let own = chain.first().ok_or_else(|| unreadable(&cert_path, &"it holds no certificate"))?;
        let fingerprint = hex::encode(Sha256::digest(own));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&version::TLS13])?;
        let builder = match &config.ca_path {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
                builder.with_client_cert_verifier(verifier.build().map_err(|error| Error::Authorities(error.to_string()))?)
            }
        };
        let mut server = builder.with_single_cert(chain, key)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(server)), fingerprint })
    }

    /// Shakes hands; none when that came to nothing. A peer that speaks HTTP without TLS is told so.
    pub(crate) async fn accept(&self, mut stream: TcpStream) -> Option<Stream> {
        let shaking = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE_RECORD {
                stream.write_all(PLAIN.as_bytes()).await?;
                stream.shutdown().await?;
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.acceptor.accept(stream).await
        };
        match timeout(HANDSHAKE, shaking).await {
            Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => {
                debug!(error = &error as &dyn std::error::Error, "no TLS handshake");
                None
            }
            Err(_) => None,
        }
    }
}

impl std::fmt::Debug for Terminator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Terminator").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Makes a certificate for this machine. Whoever connects pins its fingerprint, so it is made once and kept.
fn make(cert_path: &Path, key_path: &Path) -> Result<(), Error> {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(Some(hostname).filter(|name| !name.is_empty() && name != "localhost"));
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "openclaw-gateway");
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    for (path, pem) in [(key_path, key.serialize_pem()), (cert_path, certificate.pem())] {
        if let Some(folder) = path.parent() {
            files::create_private_dir(folder).map_err(Error::Store)?;
        }
        files::write_atomic(path, pem.as_bytes(), 0o600).map_err(Error::Store)?;
    }
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?;
    read.collect::<Result<_, _>>().map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, reason: &impl std::fmt::Display) -> Error {
    Error::Read { path: path.to_owned(), reason: reason.to_string() }
}

/// A connection of the public port.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn on() -> TlsConfig {
        TlsConfig { enabled: true, ..TlsConfig::default() }
    }

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let first = Terminator::open(&on(), folder.path()).unwrap().unwrap().fingerprint;
        assert_eq!(Terminator::open(&on(), folder.path()).unwrap().unwrap().fingerprint, first);
        assert_eq!(first.len(), 64);
        for name in ["gateway-cert.pem", "gateway-key.pem"] {
            let mode = folder.path().join("gateway/tls").join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn half_a_certificate_and_none_where_none_may_be_made_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Terminator::open(&TlsConfig::default(), folder.path()).unwrap().is_none());
        let never = TlsConfig { auto_generate: Some(false), ..on() };
        assert!(Terminator::open(&never, folder.path()).unwrap_err().to_string().contains("autoGenerate is off"));
        Terminator::open(&on(), folder.path()).unwrap();
        std::fs::remove_file(folder.path().join("gateway/tls/gateway-key.pem")).unwrap();
        assert!(Terminator::open(&on(), folder.path()).unwrap_err().to_string().contains("both or neither"));
    }

    #[test]
    fn the_answer_to_plain_text_is_as_long_as_it_says() {
        let (head, body) = PLAIN.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
