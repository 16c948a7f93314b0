//! Who may look at the canvas.

use std::net::IpAddr;

use http::{HeaderMap, header};
use serde::Deserialize;

/// Marks of a request that somebody passed on: then the peer's address says nothing about who asks.
const PASSED_ON: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Who needs no proof.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    /// This machine.
    #[default]
    Local,
    /// Everybody who reaches the port.
    None,
}

/// Why somebody may not look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Asks from elsewhere.
    Remote,
    /// Asks from here for a name that is not this machine's: another site's page may have made the browser do so.
    ForeignHost,
}

impl Access {
    /// Says whether a request that came from `peer` may be answered.
    pub(crate) fn check(self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Denied> {
        if self == Self::None {
            return Ok(());
        }
        if !peer.to_canonical().is_loopback() || PASSED_ON.iter().any(|name| headers.contains_key(*name)) {
            return Err(Denied::Remote);
        }
        // A browser always says which host it means.
        let Some(host) = headers.get(header::HOST) else { return Ok(()) };
        if host.to_str().is_ok_and(is_this_machine) { Ok(()) } else { Err(Denied::ForeignHost) }
    }
}

fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer, its headers, and what it is told.
    type Case = (&'static str, &'static [(&'static str, &'static str)], Result<(), Denied>);

    fn check(access: Access, peer: &str, headers: &[(&'static str, &'static str)]) -> Result<(), Denied> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        access.check(peer.parse().unwrap(), &headers)
    }

    #[test]
    fn a_request_from_elsewhere_is_refused() {
        let table: [Case; 12] = [
            ("127.0.0.1", &[], Ok(())),
            ("127.0.0.1", &[("host", "localhost:18793")], Ok(())),
            ("127.0.0.1", &[("host", "127.0.0.1")], Ok(())),
            ("::1", &[("host", "[::1]:18793")], Ok(())),
            ("::ffff:127.0.0.1", &[("host", "LocalHost")], Ok(())),
            ("198.51.100.7", &[("host", "localhost")], Err(Denied::Remote)),
            ("2001:db8::1", &[], Err(Denied::Remote)),
            ("127.0.0.1", &[("x-forwarded-for", "127.0.0.1")], Err(Denied::Remote)),
            ("127.0.0.1", &[("forwarded", "for=127.0.0.1")], Err(Denied::Remote)),
            ("127.0.0.1", &[("host", "evil.example:18793")], Err(Denied::ForeignHost)),
            ("127.0.0.1", &[("host", "localhost.evil.example")], Err(Denied::ForeignHost)),
            ("127.0.0.1", &[("host", "198.51.100.7")], Err(Denied::ForeignHost)),
        ];
        for (peer, headers, expected) in table {
            assert_eq!(check(Access::Local, peer, headers), expected, "{peer} {headers:?}");
            assert_eq!(check(Access::None, peer, headers), Ok(()));
        }
    }
}
