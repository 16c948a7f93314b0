//! Where a request comes from: local or remote, which address, which page.

use std::net::IpAddr;

use serde_json::json;
use verso_proto::edge::v1::ClientInfo;

use super::is_web_client;
use crate::{ErrorShape, Version};

/// What the HTTP upgrade says about its sender.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The other end of the TCP connection.
    pub peer: IpAddr,
    /// The `Host` header.
    pub host: Option<&'a str>,
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// Whether any of `Forwarded`, `X-Forwarded-*`, `X-Real-IP` or `Tailscale-*` is present.
    pub forwarded: bool,
    /// The `X-Forwarded-For` header.
    pub forwarded_for: Option<&'a str>,
    /// The `X-Real-IP` header.
    pub real_ip: Option<&'a str>,
    /// `gateway.allowRealIpFallback`: whether it counts where a trusted proxy forwards no address. Such a proxy may pass on what a client
    /// has sent.
    pub real_ip_counts: bool,
    /// `gateway.trustedProxies`: addresses or CIDR blocks.
    pub trusted_proxies: &'a [String],
    /// The configured bind host, when it is a name or an address.
    pub bind_host: Option<&'a str>,
    /// `gateway.controlUi.allowedOrigins`; `*` allows all.
    pub allowed_origins: &'a [String],
}

/// Whether the peer sits on this machine and nothing stands between. The `Host` header is a defence against DNS rebinding.
pub fn is_direct_local(facts: &RequestFacts<'_>) -> bool {
    facts.peer.to_canonical().is_loopback()
        && !facts.forwarded
        && facts.host.and_then(Authority::parse).is_some_and(|host| {
            host.is_loopback() || host.is_under("ts.net") || facts.bind_host.is_some_and(|bind| host.name.eq_ignore_ascii_case(bind))
        })
}

/// Whether the peer is a proxy whose word for its clients counts.
pub fn is_trusted_proxy(facts: &RequestFacts<'_>) -> bool {
    is_listed(facts.trusted_proxies, facts.peer)
}

/// Whether an address is in a list of addresses and CIDR blocks.
pub fn is_listed(blocks: &[String], address: IpAddr) -> bool {
    blocks.iter().any(|block| contains(block, address))
}

/// The address that limits and pairing requests name. Forwarding headers count only from a declared proxy.
pub fn client_address(facts: &RequestFacts<'_>) -> IpAddr {
    let trusted = |address: IpAddr| is_listed(facts.trusted_proxies, address);
    let peer = facts.peer.to_canonical();
    if !is_trusted_proxy(facts) {
        return peer;
    }
    let read = |text: &str| text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical());
    // The list grows to the right: the first entry from there that is not a proxy of ours is the last hop we cannot vouch for.
    let forwarded = facts.forwarded_for.into_iter().flat_map(|list| list.rsplit(',')).map_while(read).find(|address| !trusted(*address));
    let named = || facts.real_ip.filter(|_| facts.real_ip_counts).and_then(read);
    forwarded.or_else(named).unwrap_or(peer)
}

/// Whether `block`, an address or a CIDR block, contains `address`.
fn contains(block: &str, address: IpAddr) -> bool {
    let (base, bits) = block.trim().split_once('/').map_or((block.trim(), None), |(base, bits)| (base, Some(bits)));
    let Ok(base) = base.parse::<IpAddr>() else { return false };
    let (base, address) = (base.to_canonical(), address.to_canonical());
    let (base, address, width) = match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => (u128::from(base.to_bits()), u128::from(address.to_bits()), 32),
        (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    match bits.map_or(Ok(width), str::parse::<u32>) {
        Ok(0) => true,
        Ok(bits) if bits <= width => base >> (width - bits) == address >> (width - bits),
        _ => false,
    }
}

/// Refuses pages of other sites. Every upgrade that carries `Origin` is checked; a web client of protocol 4 must carry one.
pub fn check_origin(facts: &RequestFacts<'_>, client: &ClientInfo, version: Version) -> Result<(), ErrorShape> {
    let Some(origin) = facts.origin else {
        // Scripts that borrow the UI's name exist on 3; a browser cannot leave the header out.
        return if version >= Version::V4 && is_web_client(client) { Err(foreign("origin missing or invalid")) } else { Ok(()) };
    };
    if facts.allowed_origins.iter().any(|allowed| allowed == "*" || allowed.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return Ok(());
    }
    let Some((page, port)) = parse_origin(origin) else { return Err(foreign("origin missing or invalid")) };
    let Some(host) = facts.host.and_then(Authority::parse) else { return Err(foreign("origin not allowed")) };
    let same_port = page.port.unwrap_or(port) == host.port.unwrap_or(port);
    let same_site = page.name == host.name && page.is_private();
    // `localhost` and `127.0.0.1` are two names of one place.
    let same_machine = page.is_loopback() && host.is_loopback() && is_direct_local(facts);
    if same_port && (same_site || same_machine) { Ok(()) } else { Err(foreign("origin not allowed")) }
}

fn foreign(reason: &str) -> ErrorShape {
    ErrorShape::invalid("origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)")
        .with_details(&json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": reason}))
}

/// The host of a web origin, and the port that its scheme implies.
fn parse_origin(origin: &str) -> Option<(Authority, u16)> {
    let (scheme, rest) = origin.split_once("://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((Authority::parse(rest)?, port))
}

/// A host and a port, as in `Host` and in origins.
#[derive(Debug)]
struct Authority {
    /// In lower case, without brackets.
    name: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let (name, port) = if let Some(bracketed) = text.strip_prefix('[') {
            let (name, rest) = bracketed.split_once(']')?;
            name.parse::<std::net::Ipv6Addr>().ok()?;
            (name, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        } else {
            text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)))
        };
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | ':');
        if name.is_empty() || !name.chars().all(plain) {
            return None;
        }
        let port = port.map(str::parse).transpose().ok()?;
        Some(Self { name: name.to_ascii_lowercase(), port })
    }

    fn address(&self) -> Option<IpAddr> {
        self.name.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    }

    fn is_loopback(&self) -> bool {
        self.name == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Whether the name is one below `domain`.
    fn is_under(&self, domain: &str) -> bool {
        self.name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }

    /// A name or address that the public cannot point elsewhere.
    fn is_private(&self) -> bool {
        self.is_loopback() || self.is_under("local") || self.is_under("ts.net") || self.address().is_some_and(is_private)
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        // 100.64/10 is what tailnets and carriers hand out.
        IpAddr::V4(address) => address.is_private() || address.is_link_local() || contains("100.64.0.0/10", IpAddr::V4(address)),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(peer: &str, host: &'a str) -> RequestFacts<'a> {
        RequestFacts {
            peer: peer.parse().unwrap(),
            host: Some(host),
            origin: None,
            forwarded: false,
            forwarded_for: None,
            real_ip: None,
            real_ip_counts: false,
            trusted_proxies: &[],
            bind_host: None,
            allowed_origins: &[],
        }
    }

    fn ui(mode: &str) -> ClientInfo {
        ClientInfo { id: "test".into(), mode: mode.into(), ..ClientInfo::default() }
    }

    #[test]
    fn local_is_a_loopback_peer_that_asks_for_a_local_host() {
        let table = [
            ("127.0.0.1", "localhost", true),
            ("127.0.0.1", "LOCALHOST:18789", true),
            ("127.8.0.9", "127.0.0.1:1", true),
            ("::1", "[::1]:18789", true),
            ("::ffff:127.0.0.1", "localhost", true),
            ("127.0.0.1", "box.tail1.ts.net", true),
            ("127.0.0.1", "evil.example", false),
            ("127.0.0.1", "localhost.evil.example", false),
            ("127.0.0.1", "ts.net.evil.example", false),
            ("127.0.0.1", "", false),
            ("192.0.2.7", "localhost", false),
        ];
        for (peer, host, expected) in table {
            assert_eq!(is_direct_local(&facts(peer, host)), expected, "{peer} {host}");
        }
        assert!(is_direct_local(&RequestFacts { bind_host: Some("gate.internal"), ..facts("127.0.0.1", "gate.internal:1") }));
        assert!(!is_direct_local(&RequestFacts { host: None, ..facts("127.0.0.1", "x") }));
    }

    #[test]
    fn sec_06_a_forwarded_request_is_remote_and_its_headers_count_only_from_a_declared_proxy() {
        let forged = RequestFacts { forwarded: true, forwarded_for: Some("127.0.0.1"), ..facts("127.0.0.1", "localhost") };
        assert!(!is_direct_local(&forged));
        let proxies = ["10.1.0.0/16".to_owned(), "127.0.0.1".to_owned()];
        let table = [
            ("203.0.113.5", Some("192.0.2.1"), None, "203.0.113.5"),
            ("127.0.0.1", Some("192.0.2.1"), None, "192.0.2.1"),
            ("127.0.0.1", Some("192.0.2.9, 192.0.2.1, 10.1.2.3"), None, "192.0.2.1"),
            ("10.1.9.9", None, Some("192.0.2.2"), "192.0.2.2"),
            ("10.1.9.9", Some("nonsense"), None, "10.1.9.9"),
            ("10.2.0.1", Some("192.0.2.1"), None, "10.2.0.1"),
            ("::ffff:10.1.0.1", Some("::ffff:192.0.2.1"), None, "192.0.2.1"),
        ];
        for (peer, forwarded_for, real_ip, expected) in table {
            // One row is about `X-Real-IP`, which counts only where the configuration says so.
            let facts = RequestFacts { forwarded_for, real_ip, real_ip_counts: true, trusted_proxies: &proxies, ..facts(peer, "x") };
            assert_eq!(client_address(&facts).to_string(), expected, "{peer} {forwarded_for:?}");
        }
    }

    #[test]
    fn sec_06_the_real_address_of_a_proxy_that_forwards_none_counts_only_when_that_is_wanted() {
        let proxies = ["10.1.0.0/16".to_owned()];
        let table = [
            ("10.1.9.9", None, true, "192.0.2.2"),
            ("10.1.9.9", None, false, "10.1.9.9"),
            ("10.1.9.9", Some("192.0.2.1"), false, "192.0.2.1"),
            ("10.1.9.9", Some("192.0.2.1"), true, "192.0.2.1"),
            ("203.0.113.5", None, true, "203.0.113.5"),
        ];
        for (peer, forwarded_for, real_ip_counts, expected) in table {
            let facts =
                RequestFacts { forwarded_for, real_ip: Some("192.0.2.2"), real_ip_counts, trusted_proxies: &proxies, ..facts(peer, "x") };
            assert_eq!(client_address(&facts).to_string(), expected, "{peer} {forwarded_for:?} {real_ip_counts}");
        }
    }

    #[test]
    fn blocks_of_addresses_are_matched_by_their_bits() {
        for (block, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "10.0.0.1", false),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("nonsense", "10.0.0.0", false),
        ] {
            assert_eq!(contains(block, address.parse().unwrap()), expected, "{block} {address}");
        }
    }

    fn origin_allowed(facts: &RequestFacts<'_>, origin: &str) -> bool {
        check_origin(&RequestFacts { origin: Some(origin), ..*facts }, &ui("cli"), Version::V3).is_ok()
    }

    #[test]
    fn sec_02_pages_of_other_sites_are_refused() {
        let local = facts("127.0.0.1", "127.0.0.1:18789");
        for (origin, expected) in [
            ("http://127.0.0.1:18789", true),
            ("http://localhost:18789", true),
            ("http://[::1]:18789", true),
            ("http://127.0.0.1:9999", false),
            ("http://localhost", false),
            ("https://evil.example", false),
            ("http://127.0.0.1.evil.example:18789", false),
            ("http://localhost.evil.example:18789", false),
            ("http://user@127.0.0.1:18789", false),
            ("http://127.0.0.1:18789/path", false),
            ("ftp://127.0.0.1:18789", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origin_allowed(&local, origin), expected, "{origin}");
        }
        let forwarded = RequestFacts { forwarded: true, ..local };
        assert!(!origin_allowed(&forwarded, "http://localhost:18789"));
    }

    #[test]
    fn a_page_of_the_gateway_itself_is_allowed_where_the_name_is_private() {
        for (host, origin, expected) in [
            ("192.168.1.5:18789", "http://192.168.1.5:18789", true),
            ("gate.local", "https://gate.local", true),
            ("gate.local", "http://gate.local:80", true),
            ("gate.local", "http://gate.local:8080", false),
            ("box.tail1.ts.net", "https://box.tail1.ts.net", true),
            ("100.100.1.1:1", "http://100.100.1.1:1", true),
            ("gate.example", "https://gate.example", false),
            ("192.0.2.5", "http://192.0.2.5", false),
        ] {
            assert_eq!(origin_allowed(&facts("192.168.1.9", host), origin), expected, "{host} {origin}");
        }
    }

    #[test]
    fn the_owner_can_allow_origins() {
        let (named, any) = (["https://gate.example/".to_owned()], ["*".to_owned()]);
        let remote = facts("203.0.113.5", "gate.example");
        assert!(origin_allowed(&RequestFacts { allowed_origins: &named, ..remote }, "https://gate.example"));
        assert!(!origin_allowed(&RequestFacts { allowed_origins: &named, ..remote }, "https://gate.example.evil"));
        assert!(origin_allowed(&RequestFacts { allowed_origins: &any, ..remote }, "https://other.example"));
    }

    #[test]
    fn web_clients_of_protocol_4_must_name_their_page() {
        let local = facts("127.0.0.1", "localhost");
        assert!(check_origin(&local, &ui("webchat"), Version::V3).is_ok());
        assert!(check_origin(&local, &ui("cli"), Version::V4).is_ok());
        let error = check_origin(&local, &ui("webchat"), Version::V4).unwrap_err();
        assert_eq!(error.detail("reason").as_deref(), Some("origin missing or invalid"));
        assert_eq!(error.detail("code").as_deref(), Some("CONTROL_UI_ORIGIN_NOT_ALLOWED"));
    }
}
