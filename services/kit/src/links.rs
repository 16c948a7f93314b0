//! Where the services are: on Unix sockets beside this one, or at TCP addresses, and then only over TLS that both sides prove themselves with.

mod identity;
mod incoming;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use identity::{Error as IdentityError, Identity, SERVICES, name_in_certificate};
pub use incoming::From;
pub(crate) use incoming::Incoming;

use crate::config::Env;
use crate::peer::Peer;

/// How an address over TCP is written.
const SCHEME: &str = "tcp://";

/// What is wrong with where the services are said to be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that is none.
    #[error("{0} is no address; one looks like tcp://host:port")]
    Address(String),
    /// A peer without a name, or with one that nobody has.
    #[error("{0} names no service; peers look like agent=tcp://host:port,node=tcp://host:port")]
    Peer(String),
    /// TCP without certificates.
    #[error("services speak TCP only with certificates: set VERSO_TLS_DIR (verso certificates makes them)")]
    Plain,
    /// The certificates cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Where this service listens besides its Unix socket, and where the others do.
#[derive(Debug, Clone, Default)]
pub struct Links {
    listen: Option<String>,
    peers: Arc<BTreeMap<String, String>>,
    identity: Option<Arc<Identity>>,
}

impl Links {
    /// Reads `VERSO_LISTEN`, `VERSO_PEERS` and `VERSO_TLS_DIR`. Without them everything is on Unix sockets.
    pub fn from_env(service: &str, env: &Env) -> Result<Self, Error> {
        let listen = env.get("VERSO_LISTEN").filter(|text| !text.is_empty()).map(address).transpose()?;
        let peers = env.get("VERSO_PEERS").unwrap_or_default();
        let peers = peers.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(peer).collect::<Result<BTreeMap<_, _>, _>>()?;
        if listen.is_none() && peers.is_empty() {
            return Ok(Self::default());
        }
        let folder = env.get("VERSO_TLS_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from).ok_or(Error::Plain)?;
        let identity = Identity::open(service, folder)?;
        Ok(Self { listen, peers: Arc::new(peers), identity: Some(Arc::new(identity)) })
    }

    /// Returns the service if it is at a TCP address.
    pub(crate) fn peer(&self, service: &str) -> Option<Peer> {
        let address = self.peers.get(service)?;
        Some(Peer::tls(address, service, Arc::clone(self.identity.as_ref()?)))
    }

    /// Where to listen, and as whom.
    pub(crate) fn listen(&self) -> Option<(&str, Arc<Identity>)> {
        Some((self.listen.as_deref()?, Arc::clone(self.identity.as_ref()?)))
    }
}

fn address(text: &str) -> Result<String, Error> {
    let wrong = || Error::Address(text.to_owned());
    let rest = text.trim().strip_prefix(SCHEME).ok_or_else(wrong)?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
    if host.is_empty() || port.parse::<u16>().is_err() { Err(wrong()) } else { Ok(rest.to_owned()) }
}

fn peer(entry: &str) -> Result<(String, String), Error> {
    let (name, at) = entry.split_once('=').ok_or_else(|| Error::Peer(entry.to_owned()))?;
    if !SERVICES.contains(&name.trim()) {
        return Err(Error::Peer(entry.to_owned()));
    }
    Ok((name.trim().to_owned(), address(at)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(pairs: &[(&str, &str)]) -> Result<Links, Error> {
        Links::from_env("agent", &Env::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn sec_71_tcp_without_certificates_is_refused() {
        assert!(links(&[]).is_ok_and(|links| links.listen().is_none()), "nothing listens on TCP by itself");
        for pairs in [[("VERSO_LISTEN", "tcp://127.0.0.1:1")], [("VERSO_PEERS", "node=tcp://127.0.0.1:1")]] {
            assert!(matches!(links(&pairs), Err(Error::Plain)), "{pairs:?}");
        }
        let missing = links(&[("VERSO_LISTEN", "tcp://127.0.0.1:1"), ("VERSO_TLS_DIR", "/nonexistent")]);
        assert!(matches!(missing, Err(Error::Identity(_))), "{missing:?}");
    }

    #[test]
    fn what_is_no_address_is_said() {
        for wrong in ["127.0.0.1:1", "tcp://", "tcp://host", "tcp://:1", "tcp://host:port", "http://host:1"] {
            assert!(matches!(links(&[("VERSO_LISTEN", wrong)]), Err(Error::Address(_))), "{wrong}");
        }
        for wrong in ["tcp://host:1", "nobody=tcp://host:1", "=tcp://host:1"] {
            assert!(matches!(links(&[("VERSO_PEERS", wrong)]), Err(Error::Peer(_))), "{wrong}");
        }
    }
}
