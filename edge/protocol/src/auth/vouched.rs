//! Identities that somebody else vouches for: a declared proxy, or the tailnet.

use std::net::IpAddr;

use serde::Deserialize;

use super::{Refusal, RequestFacts, is_trusted_proxy};

/// `gateway.auth.trustedProxy`: whom to believe in the mode `trusted-proxy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustedProxyPolicy {
    /// The header in which the proxy names the person.
    pub user_header: String,
    /// Headers that the proxy always sends; without them a request did not come through it.
    pub required_headers: Vec<String>,
    /// Who may come in; everybody whom the proxy names when empty.
    pub allow_users: Vec<String>,
    /// Whether the proxy may be on this machine, where every program could pose as it. Default false.
    pub allow_loopback: bool,
}

/// Returns the person whom the proxy names; `header` reads a header of the request.
pub fn vouched_by_proxy<'h>(
    policy: Option<&TrustedProxyPolicy>,
    facts: &RequestFacts<'_>,
    header: impl Fn(&str) -> Option<&'h str>,
) -> Result<String, Refusal> {
    let policy = policy.filter(|policy| !policy.user_header.is_empty()).ok_or(Refusal::ProxyNotConfigured)?;
    if facts.trusted_proxies.is_empty() {
        return Err(Refusal::ProxyNotConfigured);
    }
    if !is_trusted_proxy(facts) {
        return Err(Refusal::ProxyUntrustedSource);
    }
    if facts.peer.to_canonical().is_loopback() && !policy.allow_loopback {
        return Err(Refusal::ProxyOnLoopback);
    }
    let filled = |name: &str| header(name).map(str::trim).filter(|value| !value.is_empty());
    if policy.required_headers.iter().any(|name| filled(name).is_none()) {
        return Err(Refusal::ProxyHeaderMissing);
    }
    let user = filled(&policy.user_header).ok_or(Refusal::ProxyUserMissing)?;
    let allowed = policy.allow_users.is_empty() || policy.allow_users.iter().any(|allowed| allowed == user);
    if allowed { Ok(user.to_owned()) } else { Err(Refusal::ProxyUserNotAllowed) }
}

/// What the tailnet's proxy says of a request; the tailnet itself has to confirm it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailnetClaim {
    /// Who sends.
    pub login: String,
    /// From which address of the tailnet.
    pub address: IpAddr,
}

/// Reads what the tailnet's proxy on this machine says of a request. It counts only when the tailnet confirms it.
pub fn claimed_by_tailnet<'h>(peer: IpAddr, header: impl Fn(&str) -> Option<&'h str>) -> Result<TailnetClaim, Refusal> {
    let filled = |name: &str| header(name).map(str::trim).filter(|value| !value.is_empty());
    let login = filled("tailscale-user-login").ok_or(Refusal::TailscaleUserMissing)?;
    let through_proxy = ["x-forwarded-proto", "x-forwarded-host"].iter().all(|name| filled(name).is_some());
    let address = filled("x-forwarded-for").and_then(|list| list.split(',').next()?.trim().parse::<IpAddr>().ok());
    match address {
        Some(address) if through_proxy && peer.to_canonical().is_loopback() => {
            Ok(TailnetClaim { login: login.to_owned(), address: address.to_canonical() })
        }
        _ => Err(Refusal::TailscaleProxyMissing),
    }
}

/// Compares what the proxy said with what the tailnet knows of the address.
pub fn confirm_tailnet(claim: &TailnetClaim, whois: Option<&str>) -> Result<String, Refusal> {
    let known = whois.ok_or(Refusal::TailscaleWhoisFailed)?;
    if known.trim().eq_ignore_ascii_case(&claim.login) { Ok(claim.login.clone()) } else { Err(Refusal::TailscaleUserMismatch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied<'a>(peer: &str, trusted_proxies: &'a [String]) -> RequestFacts<'a> {
        RequestFacts {
            peer: peer.parse().unwrap(),
            host: Some("gate.example"),
            origin: None,
            forwarded: true,
            forwarded_for: None,
            real_ip: None,
            real_ip_counts: false,
            trusted_proxies,
            bind_host: None,
            allowed_origins: &[],
        }
    }

    fn policy() -> TrustedProxyPolicy {
        TrustedProxyPolicy {
            user_header: "X-User".into(),
            required_headers: vec!["x-proxy".into()],
            allow_users: vec!["ada@example.test".into()],
            allow_loopback: false,
        }
    }

    fn headers<'h>(user: &'h str, proxy: &'h str) -> impl Fn(&str) -> Option<&'h str> {
        move |name| match name.to_ascii_lowercase().as_str() {
            "x-user" => Some(user),
            "x-proxy" => Some(proxy),
            _ => None,
        }
    }

    #[test]
    fn sec_06_only_a_declared_proxy_names_people() {
        let proxies = ["10.1.0.0/16".to_owned(), "127.0.0.1".to_owned()];
        let table = [
            ("10.1.0.9", "ada@example.test", "1", Ok("ada@example.test".to_owned())),
            ("10.1.0.9", " ada@example.test ", "1", Ok("ada@example.test".to_owned())),
            ("10.2.0.9", "ada@example.test", "1", Err(Refusal::ProxyUntrustedSource)),
            ("127.0.0.1", "ada@example.test", "1", Err(Refusal::ProxyOnLoopback)),
            ("10.1.0.9", "ada@example.test", "", Err(Refusal::ProxyHeaderMissing)),
            ("10.1.0.9", " ", "1", Err(Refusal::ProxyUserMissing)),
            ("10.1.0.9", "ADA@example.test", "1", Err(Refusal::ProxyUserNotAllowed)),
            ("10.1.0.9", "eve@example.test", "1", Err(Refusal::ProxyUserNotAllowed)),
        ];
        for (peer, user, proxy, expected) in table {
            assert_eq!(vouched_by_proxy(Some(&policy()), &proxied(peer, &proxies), headers(user, proxy)), expected, "{peer} {user}");
        }
        let open = TrustedProxyPolicy { allow_users: Vec::new(), allow_loopback: true, ..policy() };
        assert_eq!(vouched_by_proxy(Some(&open), &proxied("127.0.0.1", &proxies), headers("eve", "1")), Ok("eve".to_owned()));
    }

    #[test]
    fn a_proxy_that_was_not_described_names_nobody() {
        let proxies = ["10.1.0.9".to_owned()];
        let nameless = TrustedProxyPolicy::default();
        let refused = Err(Refusal::ProxyNotConfigured);
        assert_eq!(vouched_by_proxy(None, &proxied("10.1.0.9", &proxies), headers("a", "1")), refused);
        assert_eq!(vouched_by_proxy(Some(&nameless), &proxied("10.1.0.9", &proxies), headers("a", "1")), refused);
        assert_eq!(vouched_by_proxy(Some(&policy()), &proxied("10.1.0.9", &[]), headers("a", "1")), refused);
    }

    #[test]
    fn the_tailnet_has_to_confirm_what_its_proxy_says() {
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        let all = |name: &str| match name {
            "tailscale-user-login" => Some("ada@example.test"),
            "x-forwarded-for" => Some("100.64.0.7"),
            "x-forwarded-proto" => Some("https"),
            "x-forwarded-host" => Some("box.tail1.ts.net"),
            _ => None,
        };
        let claim = claimed_by_tailnet(local, all).unwrap();
        assert_eq!(confirm_tailnet(&claim, Some("Ada@example.test")), Ok("ada@example.test".to_owned()));
        assert_eq!(confirm_tailnet(&claim, Some("eve@example.test")), Err(Refusal::TailscaleUserMismatch));
        assert_eq!(confirm_tailnet(&claim, None), Err(Refusal::TailscaleWhoisFailed));
        for missing in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
            let some = |name: &str| if name == missing { None } else { all(name) };
            assert_eq!(claimed_by_tailnet(local, some), Err(Refusal::TailscaleProxyMissing), "{missing}");
        }
        assert_eq!(claimed_by_tailnet("192.0.2.1".parse().unwrap(), all), Err(Refusal::TailscaleProxyMissing));
        assert_eq!(claimed_by_tailnet(local, |_| None), Err(Refusal::TailscaleUserMissing));
    }
}
