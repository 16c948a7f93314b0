//! Listeners as Linux shows them in `/proc`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::{fs, io};

use super::{Listener, Port};

/// The state of a listening socket in the kernel's tables.
const LISTEN: &str = "0A";

/// A longer command line is cut, in characters.
const COMMAND_LINE_CHARS_MAX: usize = 300;

pub(super) fn inspect(number: u16) -> io::Result<Port> {
    let mut sockets = table("/proc/net/tcp", number)?;
    // Absent on machines without IPv6.
    sockets.extend(table("/proc/net/tcp6", number).unwrap_or_default());
    let listeners = if sockets.is_empty() { Vec::new() } else { owners(&sockets)? };
    let mut addresses: Vec<SocketAddr> = sockets.into_values().collect();
    addresses.sort();
    Ok(Port { addresses, listeners })
}

/// Field 22 of the kernel's status line; the name before it may hold spaces, so count from its closing bracket.
pub(super) fn started(pid: i32) -> Option<u64> {
    status(pid)?.get(19)?.parse().ok()
}

fn parent(pid: i32) -> Option<i32> {
    status(pid)?.get(1)?.parse().ok()
}

fn status(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Reads one table of sockets: the listening ones on the port, by inode.
fn table(path: &str, number: u16) -> io::Result<HashMap<u64, SocketAddr>> {
    Ok(fs::read_to_string(path)?.lines().skip(1).filter_map(|line| row(line, number)).collect())
}

fn row(line: &str, number: u16) -> Option<(u64, SocketAddr)> {
    let mut fields = line.split_ascii_whitespace();
    let address = address(fields.nth(1)?)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    (state == LISTEN && address.port() == number).then_some((inode, address))
}

/// Parses `0100007F:4A39`: words of the address in the machine's byte order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let words: Vec<u32> =
        (0..host.len() / 8).map(|word| u32::from_str_radix(host.get(word * 8..word * 8 + 8)?, 16).ok()).collect::<Option<_>>()?;
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let host = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(host, u16::from_str_radix(port, 16).ok()?))
}

/// Finds the processes that hold the sockets. Those of other users cannot be looked into.
fn owners(sockets: &HashMap<u64, SocketAddr>) -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(address) = held(&entry.path(), sockets) {
            found.push(listener(pid, address));
        }
    }
    found.sort_by_key(|listener: &Listener| listener.pid);
    Ok(found)
}

fn held(process: &Path, sockets: &HashMap<u64, SocketAddr>) -> Option<SocketAddr> {
    fs::read_dir(process.join("fd")).ok()?.flatten().find_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        sockets.get(&inode).copied()
    })
}

fn listener(pid: i32, address: SocketAddr) -> Listener {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned();
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command_line: String =
        String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ").chars().take(COMMAND_LINE_CHARS_MAX).collect();
    Listener { pid, command, address: address.to_string(), command_line, parent: parent(pid), started: started(pid) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn reads_addresses_of_both_families() {
        assert_eq!(address("0100007F:4A39"), Some("127.0.0.1:19001".parse().unwrap()));
        assert_eq!(address("00000000000000000000000001000000:4A39"), Some("[::1]:19001".parse().unwrap()));
        assert_eq!(address("0100:4A39"), None);
    }

    #[test]
    fn finds_this_process_on_its_port() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = inspect(socket.local_addr().unwrap().port()).unwrap();
        assert_eq!(port.addresses, [socket.local_addr().unwrap()]);
        let own = rustix::process::getpid().as_raw_pid();
        let [listener] = &port.listeners[..] else { panic!("one listener: {port:?}") };
        assert_eq!(listener.pid, own);
        assert!(listener.is_alive());
        let stranger = Listener { started: Some(1), ..listener.clone() };
        assert!(!stranger.is_alive(), "a reused pid is another process");
    }
}
