//! What is behind an address that a caller names: fetched once, within limits, from the public internet only.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, Url};
use verso_kit::web::{Blocked, check_url, resolve};

/// How much of it is taken, from where, and how long that may take.
#[derive(Debug, Clone)]
pub struct MediaLimits {
    /// The largest body, in bytes.
    pub bytes_max: usize,
    /// Redirects that are followed.
    pub redirects_max: usize,
    /// How long all of it may take.
    pub timeout: Duration,
    /// Hosts, or `*.suffix` for hosts below a name; empty: any public one.
    pub hosts_allowed: Vec<String>,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The body.
    pub content: Bytes,
    /// As the server said, in lower case and without parameters other than it wrote.
    pub media_type: Option<String>,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The address, or one that it leads to, is none of the public internet.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// The host is not on the list.
    #[error("the host {0} is not on the list of allowed hosts")]
    NotListed(String),
    /// The server answers with something else.
    #[error("the server answers {0}")]
    Status(u16),
    /// It is larger than it may be.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// Redirects lead on and on.
    #[error("too many redirects")]
    TooManyRedirects,
    /// It takes too long.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The connection broke, or did not come about.
    #[error("the server cannot be reached")]
    Unreachable(#[source] reqwest::Error),
}

/// Fetches what is behind `url`. Every address on the way is looked at, and only what was looked at is connected to.
pub async fn fetch_media(url: &str, limits: &MediaLimits) -> Result<Media, MediaError> {
    let fetch = Fetch { limits, guarded: true };
    tokio::time::timeout(limits.timeout, fetch.follow(url)).await.unwrap_or(Err(MediaError::TimedOut(limits.timeout)))
}

/// One fetch.
pub(super) struct Fetch<'a> {
    pub(super) limits: &'a MediaLimits,
    /// Whether addresses are looked at; only tests reach this host.
    pub(super) guarded: bool,
}

impl Fetch<'_> {
    pub(super) async fn follow(&self, url: &str) -> Result<Media, MediaError> {
        let mut url = self.vetted(url)?;
        for _ in 0..=self.limits.redirects_max {
            let response = self.get(&url).await?;
            let Some(next) = redirect(&response, &url) else { return read(response, self.limits.bytes_max).await };
            // Looked at like the first one.
            url = self.vetted(next?.as_str())?;
        }
        Err(MediaError::TooManyRedirects)
    }

    fn vetted(&self, url: &str) -> Result<Url, MediaError> {
        let url = if self.guarded { check_url(url)? } else { Url::parse(url).map_err(|_| Blocked::Unreadable)? };
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        let listed = self.limits.hosts_allowed.is_empty() || self.limits.hosts_allowed.iter().any(|allowed| covers(allowed, &host));
        if listed { Ok(url) } else { Err(MediaError::NotListed(host)) }
    }

    /// Each request has a client of its own, which knows one host and the addresses that were looked at. It has no cookies and no
    /// credentials, so that none can follow a redirect.
    async fn get(&self, url: &Url) -> Result<Response, MediaError> {
        let mut builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).referer(false);
        builder = builder.user_agent(format!("Verso-Gateway/{}", env!("CARGO_PKG_VERSION")));
        if self.guarded {
            let addresses: Vec<SocketAddr> = resolve(url).await?;
            builder = builder.resolve_to_addrs(url.host_str().unwrap_or_default(), &addresses);
        }
        let client = builder.build().map_err(MediaError::Unreachable)?;
        client.get(url.clone()).send().await.map_err(|error| MediaError::Unreachable(error.without_url()))
    }
}

/// Whether an entry of the list covers a host: `example.com` itself, `*.example.com` what is below it.
fn covers(allowed: &str, host: &str) -> bool {
    let allowed = allowed.trim().to_ascii_lowercase();
    match allowed.strip_prefix("*.") {
        Some(suffix) => host.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => allowed == host,
    }
}

fn redirect(response: &Response, from: &Url) -> Option<Result<Url, MediaError>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let target = response.headers().get(LOCATION)?.to_str().ok()?;
    Some(from.join(target).map_err(|_| Blocked::Unreadable.into()))
}

async fn read(response: Response, bytes_max: usize) -> Result<Media, MediaError> {
    let status = response.status();
    // The body of an error is nobody's picture, and is not read.
    if !status.is_success() {
        return Err(MediaError::Status(status.as_u16()));
    }
    if response.content_length().is_some_and(|length| length > bytes_max as u64) {
        return Err(MediaError::TooLarge(bytes_max));
    }
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_ascii_lowercase);
    let mut body = response.bytes_stream();
    let mut content: Vec<u8> = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| MediaError::Unreachable(error.without_url()))?;
        if content.len() + piece.len() > bytes_max {
            return Err(MediaError::TooLarge(bytes_max));
        }
        content.extend_from_slice(&piece);
    }
    Ok(Media { content: content.into(), media_type })
}
