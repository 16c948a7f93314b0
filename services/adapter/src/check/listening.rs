//! Who listens where, as Linux tells it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Returns the addresses on which processes of a group listen for other machines; none when that cannot be told.
pub(super) fn beyond_this_machine(group: i32) -> Option<Vec<String>> {
    let sockets = sockets_of(group)?;
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let open = tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(listener);
    let open = open.filter(|(inode, ip, _)| sockets.contains(inode) && !ip.is_loopback());
    Some(open.map(|(_, ip, port)| format!("{ip} port {port}")).collect())
}

/// The numbers of the sockets that processes of a group hold.
fn sockets_of(group: i32) -> Option<BTreeSet<String>> {
    let mut sockets = BTreeSet::new();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let path = process.path();
        // `pid (name) state parent group …`; the name may hold anything but ends with the last bracket.
        let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
        let member = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(2)?.parse::<i32>().ok()) == Some(group);
        if !member {
            continue;
        }
        for descriptor in fs::read_dir(path.join("fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            sockets.extend(target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).map(str::to_owned));
        }
    }
    Some(sockets)
}

/// Reads a line of `/proc/net/tcp`: the socket's number, and where it listens.
fn listener(line: &str) -> Option<(String, IpAddr, u16)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
    let (address, port) = local.split_once(':')?;
    if *state != LISTEN {
        return None;
    }
    // Words of four bytes, each in the machine's order.
    let mut bytes = Vec::new();
    for at in (0..address.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).to_canonical(),
    };
    Some(((*inode).to_owned(), ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_listens_and_skips_what_does_not() {
        let listening = "   0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7182 1 0 100 0 0 10 0";
        assert_eq!(listener(listening), Some(("7182".to_owned(), "127.0.0.1".parse().unwrap(), 18_789)));
        let everywhere = listening.replace("0100007F", "00000000000000000000000000000000");
        assert!(listener(&everywhere).is_some_and(|(_, ip, _)| !ip.is_loopback()));
        assert_eq!(listener(&listening.replace(" 0A ", " 01 ")), None);
        assert_eq!(listener("  sl  local_address rem_address"), None);
    }
}
