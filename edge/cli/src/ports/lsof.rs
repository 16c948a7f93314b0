//! Listeners as `lsof` shows them, where there is no `/proc`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::{fs, io};

use super::{Listener, Port};

const PLACES: [&str; 3] = ["/usr/sbin/lsof", "/usr/bin/lsof", "lsof"];

pub(super) fn inspect(number: u16) -> io::Result<Port> {
    let program = PLACES.iter().find(|place| fs::exists(place).unwrap_or(false)).unwrap_or(&"lsof");
    let output = Command::new(program).args(["-nP", &format!("-iTCP:{number}"), "-sTCP:LISTEN", "-FpRcn"]).output()?;
    let mut port = Port::default();
    let (mut pid, mut parent, mut command) = (0, None, String::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((kind, value)) = line.split_at_checked(1) else { continue };
        match kind {
            "p" => (pid, parent) = (value.parse().unwrap_or(0), None),
            "R" => parent = value.parse().ok(),
            "c" => value.clone_into(&mut command),
            "n" => {
                port.addresses.push(value.parse().unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), number)));
                let known = port.listeners.iter().any(|listener| listener.pid == pid);
                if pid > 1 && !known {
                    port.listeners.push(Listener {
                        pid,
                        command: command.clone(),
                        address: value.to_owned(),
                        command_line: command.clone(),
                        parent,
                        started: started(pid),
                    });
                }
            }
            _ => {}
        }
    }
    Ok(port)
}

/// A number made of the start time that `ps` prints.
pub(super) fn started(pid: i32) -> Option<u64> {
    let output = Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let digits: String = output.stdout.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    digits.parse().ok()
}
