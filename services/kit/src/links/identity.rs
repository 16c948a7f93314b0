//! Who a service is to the others over TCP: a certificate of the house's own authority, looked at again for every connection.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use tracing::{info, warn};

/// Whom a certificate can name.
pub const SERVICES: [&str; 7] = ["supervisor", "edge", "presence", "node", "channel", "agent", "canvas"];

/// The authorities, the service's certificate with what is between, its key.
const FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// What is spoken inside.
const PROTOCOL: &[u8] = b"h2";

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that is missing, or is no certificate or key.
    #[error("could not read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What does not fit together.
    #[error("the certificate in {path} cannot be used: {reason}")]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Returns the name that a service's certificate carries.
pub fn name_in_certificate(service: &str) -> String {
    format!("{service}.verso.internal")
}

/// A service's certificate, key and authorities. Files that change are read again with the next connection; those that cannot be used
/// are not taken.
#[derive(Debug)]
pub struct Identity {
    service: String,
    folder: PathBuf,
    loaded: Mutex<Loaded>,
}

#[derive(Debug, Clone)]
struct Loaded {
    stamps: [Option<(SystemTime, u64)>; 3],
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Identity {
    /// Reads the files of `folder`.
    pub fn open(service: &str, folder: PathBuf) -> Result<Self, Error> {
        let loaded = Mutex::new(load(&folder)?);
        Ok(Self { service: service.to_owned(), folder, loaded })
    }

    /// What this service shows to those who connect, and asks of them.
    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.current().server
    }

    /// What it shows to those whom it connects to, and asks of them.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.current().client
    }

    fn current(&self) -> Loaded {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.folder);
        if stamps != loaded.stamps {
            match load(&self.folder) {
                Ok(fresh) => {
                    info!(service = self.service, "certificates are read again");
                    *loaded = fresh;
                }
                // Half-written files are complete with the next look.
                Err(error) => {
                    loaded.stamps = stamps;
                    warn!(error = &error as &dyn std::error::Error, "the new certificates cannot be used; the present ones stay");
                }
            }
        }
        loaded.clone()
    }
}

/// Returns the service that a certificate of ours names.
pub(super) fn named(certificate: &CertificateDer<'_>) -> Option<&'static str> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    SERVICES.into_iter().find(|service| {
        let name = ServerName::try_from(name_in_certificate(service));
        name.is_ok_and(|name| rustls::client::verify_server_name(&parsed, &name).is_ok())
    })
}

fn stamps(folder: &Path) -> [Option<(SystemTime, u64)>; 3] {
    FILES.map(|name| {
        let data = folder.join(name).metadata().ok()?;
        Some((data.modified().ok()?, data.len()))
    })
}

fn load(folder: &Path) -> Result<Loaded, Error> {
    // Taken first: what changes meanwhile is read again.
    let stamps = stamps(folder);
    let [authorities, chain, key] = FILES.map(|name| folder.join(name));
    let mut roots = RootCertStore::empty();
    for authority in certificates(&authorities)? {
        roots.add(authority).map_err(|error| unreadable(&authorities, &error))?;
    }
    let roots = Arc::new(roots);
    let chain = certificates(&chain)?;
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| unreadable(&key, &error))?;
    let unusable = |error: &dyn std::fmt::Display| Error::Unusable { path: folder.to_owned(), reason: error.to_string() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let asked = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&version::TLS13]);
    let server = server.map_err(|error| unusable(&error))?.with_client_cert_verifier(asked.map_err(|error| unusable(&error))?);
    let mut server = server.with_single_cert(chain.clone(), key.clone_key()).map_err(|error| unusable(&error))?;
    let asked = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]);
    let client = client.map_err(|error| unusable(&error))?.with_webpki_verifier(asked.map_err(|error| unusable(&error))?);
    let mut client = client.with_client_auth_cert(chain, key).map_err(|error| unusable(&error))?;
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A session that is taken up again would live on with an authority that is gone.
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    client.resumption = rustls::client::Resumption::disabled();
    Ok(Loaded { stamps, server: Arc::new(server), client: Arc::new(client) })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?;
    let all = read.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(path, &error))?;
    if all.is_empty() { Err(unreadable(path, &"it holds no certificate")) } else { Ok(all) }
}

fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Read { path: path.to_owned(), reason: reason.to_string() }
}
