//! Which addresses may be connected to on behalf of others: those of the public internet. Names are looked up here, and the connection goes to what was
//! looked at, not to what the name means a moment later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// The URL cannot be read.
    #[error("invalid URL")]
    Unreadable,
    /// It is neither HTTP nor HTTPS.
    #[error("Invalid URL protocol: {0}:. Only HTTP/HTTPS allowed.")]
    Scheme(String),
    /// It carries a name and password.
    #[error("a URL with credentials is not fetched")]
    Credentials,
    /// The name is one of this network.
    #[error("Blocked hostname: {0}")]
    Host(String),
    /// The address is one of this network.
    #[error("Blocked: private/internal IP address")]
    Address,
    /// The name means nothing.
    #[error("the host {0} was not found")]
    Unknown(String),
}

/// Ends of names that belong to this network.
const ENDINGS: [&str; 5] = [".localhost", ".local", ".internal", ".home.arpa", ".lan"];

/// Reads a URL and refuses those that cannot lead to the public internet. Addresses in any spelling are read by the URL's own rules.
pub fn check_url(text: &str) -> Result<Url, Blocked> {
    let url = Url::parse(text.trim()).map_err(|_| Blocked::Unreadable)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Blocked::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Blocked::Credentials);
    }
    let host = url.host_str().ok_or(Blocked::Unreadable)?;
    if let Some(address) = literal(host) {
        check_address(address)?;
        return Ok(url);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || !name.contains('.') || ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return Err(Blocked::Host(name));
    }
    Ok(url)
}

/// Refuses addresses of this host and of networks that are not the public internet.
pub fn check_address(address: IpAddr) -> Result<(), Blocked> {
    let internal = match address {
        IpAddr::V4(address) => internal_v4(address),
        IpAddr::V6(address) => internal_v6(address),
    };
    if internal { Err(Blocked::Address) } else { Ok(()) }
}

/// Looks a URL's host up. One address that is not public refuses all of them.
pub async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, Blocked> {
    let (host, port) = (url.host_str().ok_or(Blocked::Unreadable)?, url.port_or_known_default().ok_or(Blocked::Unreadable)?);
    if let Some(address) = literal(host) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((host.trim_end_matches('.'), port)).await.map_err(|_| Blocked::Unknown(host.to_owned()))?;
    let found: Vec<SocketAddr> = found.collect();
    for address in &found {
        check_address(address.ip())?;
    }
    if found.is_empty() { Err(Blocked::Unknown(host.to_owned())) } else { Ok(found) }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).trim_end_matches('.').parse().ok()
}

fn internal_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

fn internal_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // What carries an address of the older kind within is as good as that one, and nobody needs it: refused as a whole, but for mapped ones.
    if let Some(mapped) = address.to_ipv4_mapped() {
        return internal_v4(mapped);
    }
    let first = segments[0];
    let compatible = segments[..6].iter().all(|segment| *segment == 0);
    let translated = first == 0x64 && segments[1] == 0xff9b;
    let tunnelled = first == 0x2002 || (first == 0x2001 && segments[1] == 0);
    let documentation = first == 0x2001 && segments[1] == 0xdb8;
    // Only 2000::/3 is the public internet.
    compatible || translated || tunnelled || documentation || first & 0xe000 != 0x2000
}
