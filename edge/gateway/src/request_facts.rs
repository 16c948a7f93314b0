//! What a request says of where it comes from.

use std::net::{IpAddr, SocketAddr};

use http::Request;
use http::header::{FORWARDED, HOST, HeaderMap, ORIGIN};
use verso_protocol::auth::{RequestFacts, client_address, is_direct_local};

use crate::gateway::Gateway;

/// Headers by which a proxy speaks for somebody else. Any of them makes a peer remote.
const FORWARDING: [&str; 7] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-real-ip",
    "tailscale-user-login",
];

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The other end of the TCP connection.
    pub(crate) peer_ip: IpAddr,
    /// The client: what a trusted proxy says, else the other end.
    pub(crate) client_ip: IpAddr,
    /// Came straight from this machine.
    pub(crate) local: bool,
    pub(crate) host: Option<String>,
    pub(crate) origin: Option<String>,
    forwarded: bool,
    forwarded_for: Option<String>,
    real_ip: Option<String>,
}

impl Facts {
    pub(crate) fn of<B>(gateway: &Gateway, request: &Request<B>, address: SocketAddr) -> Self {
        let headers = request.headers();
        let mut facts = Self {
            peer_ip: address.ip().to_canonical(),
            client_ip: address.ip().to_canonical(),
            local: false,
            host: text(headers, HOST.as_str()),
            origin: text(headers, ORIGIN.as_str()),
            forwarded: headers.contains_key(FORWARDED) || FORWARDING.iter().any(|name| headers.contains_key(*name)),
            forwarded_for: text(headers, "x-forwarded-for"),
            real_ip: text(headers, "x-real-ip"),
        };
        let rules = facts.rules(gateway);
        (facts.client_ip, facts.local) = (client_address(&rules), is_direct_local(&rules));
        facts
    }

    /// The same, as the protocol's rules read it.
    pub(crate) fn rules<'a>(&'a self, gateway: &'a Gateway) -> RequestFacts<'a> {
        RequestFacts {
            peer: self.peer_ip,
            host: self.host.as_deref(),
            origin: self.origin.as_deref(),
            forwarded: self.forwarded,
            forwarded_for: self.forwarded_for.as_deref(),
            real_ip: self.real_ip.as_deref(),
            trusted_proxies: &gateway.config.trusted_proxies,
            bind_host: gateway.config.custom_bind_host.as_deref(),
            allowed_origins: &gateway.config.control_ui.allowed_origins,
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
