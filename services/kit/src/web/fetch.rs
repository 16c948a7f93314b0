//! Fetching one file that somebody names: from addresses that were looked at, within limits, without any credential.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, Url};

use super::guard::{Blocked, check_url, resolve};

/// Redirects that are followed; each is looked at like the first address.
const REDIRECTS_MAX: usize = 3;

/// How much of a refusal's words is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 1_024;

/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Fetches files.
#[derive(Debug, Clone, Default)]
pub struct Fetcher {
    /// Hosts, each `name` or `name:port`, that may be fetched from although they are not on the public internet: the operator names them.
    pub hosts_allowed: Vec<String>,
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// What its server says it is.
    pub mime_type: Option<String>,
    /// What its server, or else its address, calls it.
    pub file_name: Option<String>,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum NotFetched {
    /// The address is not one to connect to.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// The server says no.
    #[error("the server answers {status}: {words}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of what it says.
        words: String,
    },
    /// The file is larger than it may be.
    #[error("larger than {bytes_max} bytes")]
    TooLarge {
        /// What it may be.
        bytes_max: usize,
    },
    /// One redirect leads to another for too long.
    #[error("more than {REDIRECTS_MAX} redirects")]
    Redirects,
    /// The server does not answer, or breaks off.
    #[error("{0}")]
    Transport(String),
}

impl Fetcher {
    /// Fetches a file of at most `bytes_max` bytes.
    pub async fn get(&self, address: &str, bytes_max: usize) -> Result<Fetched, NotFetched> {
        let fetched = tokio::time::timeout(TIMEOUT, self.follow(address, bytes_max)).await;
        fetched.unwrap_or_else(|_| Err(NotFetched::Transport(format!("no answer within {} s", TIMEOUT.as_secs()))))
    }

    async fn follow(&self, address: &str, bytes_max: usize) -> Result<Fetched, NotFetched> {
        let mut url = self.vetted(address)?;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.ask(&url).await?;
            let Some(next) = redirect(&response) else { return take(response, &url, bytes_max).await };
            let next = url.join(&next).map_err(|_| Blocked::Unreadable)?;
            url = self.vetted(next.as_str())?;
        }
        Err(NotFetched::Redirects)
    }

    fn vetted(&self, address: &str) -> Result<Url, Blocked> {
        let url = Url::parse(address.trim()).map_err(|_| Blocked::Unreadable)?;
        if self.is_allowed(&url) { Ok(url) } else { check_url(address) }
    }

    /// Compares whole names and ports: a name that merely begins like an allowed one is not allowed.
    fn is_allowed(&self, url: &Url) -> bool {
        let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        let Some(host) = url.host_str().filter(|_| plain) else { return false };
        let with_port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
        self.hosts_allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(host) || Some(allowed.to_ascii_lowercase()) == with_port)
    }

    /// Each request has a client of its own, which knows one host and the addresses that were looked at.
    async fn ask(&self, url: &Url) -> Result<Response, NotFetched> {
        let mut builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).referer(false);
        builder = builder.user_agent(concat!("Verso-Gateway/", env!("CARGO_PKG_VERSION")));
        if !self.is_allowed(url) {
            let addresses: Vec<SocketAddr> = resolve(url).await?;
            builder = builder.resolve_to_addrs(url.host_str().unwrap_or_default(), &addresses);
        }
        let client = builder.build().map_err(transport)?;
        client.get(url.clone()).send().await.map_err(transport)
    }
}

fn redirect(response: &Response) -> Option<String> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    redirects.then(|| response.headers().get(LOCATION)?.to_str().ok().map(str::to_owned)).flatten()
}

async fn take(response: Response, url: &Url, bytes_max: usize) -> Result<Fetched, NotFetched> {
    let status = response.status();
    if !status.is_success() {
        let words = read(response, REFUSAL_BYTES_MAX).await.unwrap_or_else(|(begun, _)| begun);
        let words = String::from_utf8_lossy(&words).chars().filter(|letter| !letter.is_control()).collect();
        return Err(NotFetched::Refused { status: status.as_u16(), words });
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mime_type = header(CONTENT_TYPE).map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let named =
        header(CONTENT_DISPOSITION).and_then(|words| Some(words.split_once("filename=")?.1.trim_matches(['"', ' ', ';']).to_owned()));
    let file_name = named.or_else(|| url.path_segments()?.next_back().map(str::to_owned)).filter(|name| !name.is_empty());
    // What the server says is looked at before anything is read.
    if response.content_length().is_some_and(|length| usize::try_from(length).map_or(true, |length| length > bytes_max)) {
        return Err(NotFetched::TooLarge { bytes_max });
    }
    match read(response, bytes_max).await {
        Ok(bytes) => Ok(Fetched { bytes, mime_type, file_name }),
        Err((_, Some(error))) => Err(transport(error)),
        Err((_, None)) => Err(NotFetched::TooLarge { bytes_max }),
    }
}

/// Reads a body of at most `bytes_max` bytes; else returns what was read until then, and why it ended.
async fn read(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, (Vec<u8>, Option<reqwest::Error>)> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > bytes_max => {
                bytes.extend_from_slice(chunk.get(..bytes_max - bytes.len()).unwrap_or_default());
                return Err((bytes, None));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err((bytes, Some(error))),
        }
    }
}

fn transport(error: reqwest::Error) -> NotFetched {
    NotFetched::Transport(error.without_url().to_string())
}
