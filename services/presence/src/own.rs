//! The gateway's own entry.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use verso_proto::presence::v1::Entry;

use crate::line;

/// An address that is nobody's, by RFC 5737. Asking for the way there sends nothing.
const SOMEWHERE_ELSE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// Describes the machine that the gateway runs on. `ts_ms` is left to whoever lists the entry.
pub(crate) fn entry() -> Entry {
    let system = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    let family = text(system.sysname());
    let mut entry = Entry {
        host: Some(text(system.nodename())),
        ip: Some(address().to_string()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        platform: Some(format!("{} {}", family.to_lowercase(), text(system.release()))),
        device_family: Some(if family == "Darwin" { "Mac".to_owned() } else { family }),
        model_identifier: Some(text(system.machine())),
        mode: Some("gateway".to_owned()),
        reason: Some("self".to_owned()),
        ..Entry::default()
    };
    entry.text = Some(line::write_own(&entry));
    entry
}

/// The address that others would see; loopback without a network.
fn address() -> IpAddr {
    let routed = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(SOMEWHERE_ELSE)?;
        socket.local_addr()
    });
    routed.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}
