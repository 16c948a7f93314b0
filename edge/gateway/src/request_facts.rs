//! What a request says of where it comes from.

use std::net::{IpAddr, SocketAddr};

use http::Request;
use http::header::{HOST, HeaderMap, ORIGIN};
use verso_protocol::auth::{
    Mode, Refusal, RequestFacts, TailnetClaim, claimed_by_tailnet, client_address, is_direct_local, is_trusted_proxy, vouched_by_proxy,
};

use crate::config::Config;
use crate::gateway::Gateway;

/// Headers by which a proxy speaks for somebody else. Any of them makes a peer remote …
const FORWARDING: [&str; 2] = ["forwarded", "x-real-ip"];

/// … and so does any whose name begins like this.
const FORWARDING_FAMILIES: [&str; 2] = ["x-forwarded-", "tailscale-"];

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
    /// The client speaks TLS, to us or to a proxy that we trust.
    pub(crate) secure: bool,
    pub(crate) origin: Option<String>,
    forwarded: bool,
    forwarded_for: Option<String>,
    real_ip: Option<String>,
    /// The person whom a proxy names, where the gateway asks for that.
    pub(crate) proxy_user: Option<Result<String, Refusal>>,
    /// What the tailnet's proxy says, where the gateway listens to it.
    pub(crate) tailnet: Option<Result<TailnetClaim, Refusal>>,
}

impl Facts {
    pub(crate) fn of<B>(gateway: &Gateway, request: &Request<B>, address: SocketAddr) -> Self {
        let headers = request.headers();
        let config = gateway.config();
        let mut facts = Self {
            peer_ip: address.ip().to_canonical(),
            client_ip: address.ip().to_canonical(),
            local: false,
            secure: config.tls.enabled,
            host: text(headers, HOST.as_str()),
            origin: text(headers, ORIGIN.as_str()),
            forwarded: headers.keys().any(|name| speaks_for_others(name.as_str())),
            forwarded_for: text(headers, "x-forwarded-for"),
            real_ip: text(headers, "x-real-ip"),
            proxy_user: None,
            tailnet: None,
        };
        let rules = facts.rules(&config);
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (client_ip, local) = (client_address(&rules), is_direct_local(&rules));
        let proxied = config.auth.mode() == Mode::TrustedProxy;
        let proxy_user = proxied.then(|| vouched_by_proxy(config.auth.trusted_proxy.as_ref(), &rules, header));
        let tailnet = (!local && config.allows_tailscale()).then(|| claimed_by_tailnet(rules.peer, header));
        let secure = is_trusted_proxy(&rules) && header("x-forwarded-proto") == Some("https");
        (facts.client_ip, facts.local, facts.proxy_user, facts.tailnet) = (client_ip, local, proxy_user, tailnet);
        facts.secure |= secure;
        facts
    }

    /// Where the client reaches the gateway: `http://…` without a path. None when it did not say.
    pub(crate) fn base(&self) -> Option<String> {
        let scheme = if self.secure { "https" } else { "http" };
        self.host.as_ref().map(|host| format!("{scheme}://{host}"))
    }

    /// Whether somebody speaks for others whom nobody has declared to.
    pub(crate) fn is_unattributed(&self, config: &Config) -> bool {
        self.forwarded && !is_trusted_proxy(&self.rules(config))
    }

    /// The same, as the protocol's rules read it.
    pub(crate) fn rules<'a>(&'a self, config: &'a Config) -> RequestFacts<'a> {
        RequestFacts {
            peer: self.peer_ip,
            host: self.host.as_deref(),
            origin: self.origin.as_deref(),
            forwarded: self.forwarded,
            forwarded_for: self.forwarded_for.as_deref(),
            real_ip: self.real_ip.as_deref(),
            real_ip_counts: config.allow_real_ip_fallback,
            trusted_proxies: &config.trusted_proxies,
            bind_host: config.custom_bind_host.as_deref(),
            allowed_origins: &config.control_ui.allowed_origins,
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn speaks_for_others(name: &str) -> bool {
    FORWARDING.contains(&name) || FORWARDING_FAMILIES.iter().any(|family| name.starts_with(family))
}
