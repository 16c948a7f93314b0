//! Which addresses a gateway listens on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use crate::failure::Failure;

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bind {
    /// Programs on this machine.
    Loopback,
    /// Everybody who can reach this machine.
    Lan,
    /// Members of the tailnet.
    Tailnet,
    /// Programs on this machine; kept apart because configurations say so.
    Auto,
    /// Whoever can reach `gateway.customBindHost`.
    Custom,
}

/// Answers in every tailnet. Nothing is sent to it: only the route is asked for.
const TAILNET_RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::new(100, 100, 100, 100), 53);

impl Bind {
    /// Parses the mode's name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "loopback" => Some(Self::Loopback),
            "lan" => Some(Self::Lan),
            "tailnet" => Some(Self::Tailnet),
            "auto" => Some(Self::Auto),
            "custom" => Some(Self::Custom),
            _ => None,
        }
    }

    /// Returns the mode's name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Lan => "lan",
            Self::Tailnet => "tailnet",
            Self::Auto => "auto",
            Self::Custom => "custom",
        }
    }

    /// Whether only this machine can connect.
    pub(crate) fn is_local(self) -> bool {
        matches!(self, Self::Loopback | Self::Auto)
    }

    /// Returns the addresses to listen on. There is no falling back to a more open one.
    pub(crate) fn hosts(self, custom: Option<&str>) -> Result<Vec<IpAddr>, Failure> {
        match self {
            Self::Loopback | Self::Auto => Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            Self::Lan => Ok(vec![Ipv4Addr::UNSPECIFIED.into()]),
            Self::Tailnet => match tailnet_address() {
                Some(address) => Ok(vec![address.into()]),
                None => Err(Failure::new("gateway.bind is \"tailnet\", but this machine has no tailnet address (100.64.0.0/10).")),
            },
            Self::Custom => match custom.map(str::parse::<Ipv4Addr>) {
                Some(Ok(address)) => Ok(vec![address.into()]),
                _ => Err(Failure::new("gateway.bind is \"custom\": set gateway.customBindHost to an IPv4 address.")),
            },
        }
    }

    /// Returns the address at which a program on this machine finds the gateway.
    pub(crate) fn local_host(self, custom: Option<&str>) -> IpAddr {
        let hosts = if matches!(self, Self::Tailnet | Self::Custom) { self.hosts(custom).unwrap_or_default() } else { Vec::new() };
        hosts.into_iter().find(|host| !host.is_unspecified()).unwrap_or(Ipv4Addr::LOCALHOST.into())
    }
}

/// Asks which of our addresses would speak to the tailnet.
fn tailnet_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(TAILNET_RESOLVER).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if address.octets()[0] == 100 && address.octets()[1] & 0xC0 == 64 => Some(address),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_never_opens_more_than_was_asked() {
        assert!(Bind::Custom.hosts(None).is_err());
        assert!(Bind::Custom.hosts(Some("example")).is_err());
        assert_eq!(Bind::Custom.hosts(Some("192.0.2.7")).unwrap(), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_local_client_finds_every_gateway() {
        assert_eq!(Bind::Lan.local_host(None), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(Bind::Custom.local_host(Some("192.0.2.7")), "192.0.2.7".parse::<IpAddr>().unwrap());
        assert_eq!(Bind::Custom.local_host(Some("0.0.0.0")), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
}
