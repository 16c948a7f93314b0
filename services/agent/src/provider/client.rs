//! The HTTP clients for model providers.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use rustls::crypto::CryptoProvider;
use tokio::sync::OnceCell;

use super::raw_stream::RawStream;
use super::reading::Parse;
use crate::error::Error;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Unused connections that are kept for one provider.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// The clients, each made when it is first needed: most hosts need one of them.
#[derive(Debug)]
pub(crate) struct Clients {
    plain: OnceCell<Client>,
    secure: OnceCell<Client>,
    /// How long a provider may be silent within its answer. None: for ever.
    idle_timeout: Option<Duration>,
    raw: Option<RawStream>,
}

impl Clients {
    /// Clients that wait so long within an answer; what they hear is also written to `raw`.
    pub(crate) fn new(idle_timeout: Option<Duration>, raw: Option<RawStream>) -> Self {
        Self { plain: OnceCell::new(), secure: OnceCell::new(), idle_timeout, raw }
    }

    /// Returns how long a provider may be silent within its answer. None: for ever.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// Returns where answers are also written.
    pub(crate) fn raw_stream(&self) -> Option<RawStream> {
        self.raw.clone()
    }

    /// Has what the parser reads written down, if that is asked for.
    pub(super) fn recorded(&self, url: &str, parser: Box<dyn Parse>) -> Box<dyn Parse> {
        match &self.raw {
            Some(raw) => raw.record(url, parser),
            None => parser,
        }
    }

    /// Returns the client for `http:` addresses. It needs no certificates, so that it also works where there are none.
    pub(crate) async fn plain(&self) -> Result<&Client, Error> {
        self.plain.get_or_try_init(|| async { without_roots().map_err(Error::HttpClient) }).await
    }

    /// Returns the client for `url`.
    pub(crate) async fn for_url(&self, url: &str) -> Result<&Client, Error> {
        if !url.starts_with("https:") {
            return self.plain().await;
        }
        let made = self.secure.get_or_try_init(|| async {
            // Reads some hundred certificates.
            tokio::task::spawn_blocking(|| builder().build()).await.map_err(|_| Error::Panicked)?.or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "no certificates found: https providers cannot be verified");
                without_roots().map_err(Error::HttpClient)
            })
        });
        made.await
    }
}

fn without_roots() -> reqwest::Result<Client> {
    builder().tls_certs_only([]).build()
}

fn builder() -> ClientBuilder {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which is just as well.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
    Client::builder()
        .user_agent(concat!("verso/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .tcp_nodelay(true)
        // A redirected request would hand the key to somebody else.
        .redirect(Policy::none())
}
