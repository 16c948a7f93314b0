//! What the operating system knows of a process and its descendants.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to a process that the test has started, directly or not.
pub fn signal(pid: i64, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    // It may have ended by itself.
    let _gone = kill_process(pid, signal);
}

/// Whether the process is there and not a zombie.
pub fn is_alive(pid: i64) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z")
}

/// The process and all its descendants.
pub fn tree(root: i64) -> Vec<i64> {
    let parents: Vec<(i64, i64)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?[1].parse().ok()?)))
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while next < tree.len() {
        let parent_of_these = tree[next];
        tree.extend(parents.iter().filter(|(_, parent)| *parent == parent_of_these).map(|(pid, _)| *pid));
        next += 1;
    }
    tree
}

/// The TCP ports of IPv4 and IPv6 that the process listens on.
pub fn listening_ports(pid: i64) -> Vec<u16> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let sockets: Vec<String> = links.filter_map(|entry| fs::read_link(entry.path()).ok()?.to_str().map(str::to_owned)).collect();
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for fields in text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            // The fourth field is the state: 0A is listening.
            let (Some(&address), Some(&"0A"), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else { continue };
            if sockets.contains(&format!("socket:[{inode}]")) {
                ports.extend(address.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok()));
            }
        }
    }
    ports
}

/// Proportional set size in KiB: what the process costs when shared pages are split among their users.
pub fn pss_kib(pid: i64) -> u64 {
    rollup(pid, "Pss:")
}

/// Resident set size in KiB.
pub fn rss_kib(pid: i64) -> u64 {
    rollup(pid, "Rss:")
}

/// The command line, words separated by spaces.
pub fn command_line(pid: i64) -> String {
    fs::read(format!("/proc/{pid}/cmdline")).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ")).unwrap_or_default()
}

/// The processor time used so far, in user and kernel mode.
pub fn cpu_time(pid: i64) -> Duration {
    // A tick is 10 ms on every Linux that this runs on.
    const TICK_MS: u64 = 10;
    let ticks = stat(pid).map_or(0, |fields| fields[11].parse::<u64>().unwrap_or(0) + fields[12].parse::<u64>().unwrap_or(0));
    Duration::from_millis(ticks * TICK_MS)
}

fn rollup(pid: i64, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The numbers of the sockets that a process holds.
pub fn sockets(pid: i64) -> Vec<String> {
    let links =
        fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

/// The fields of `/proc/<pid>/stat` from the state on.
fn stat(pid: i64) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}
