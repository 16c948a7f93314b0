//! What a process uses, as the kernel counts it.

use std::fs;
use std::path::Path;

use crate::allowance::Allowance;

/// Below this share of a limit nobody is told, in percent.
const NEAR_PERCENT: u64 = 90;

/// Processes below one that are looked at; more are counted as so many.
const DESCENDANTS_MAX: usize = 1_024;

/// A tick of the kernel's clock for processes is 10 ms on every Linux that this runs on.
const TICK_MS: u64 = 10;

/// What one process used when it was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) pid: i64,
    /// What ending it would give back: its own pages, in memory or swapped out.
    pub(crate) memory_bytes: u64,
    /// Shared pages included.
    pub(crate) resident_bytes: u64,
    pub(crate) cpu_ms: u64,
    pub(crate) descriptors: u64,
    /// Threads, its own and those of what it has started.
    pub(crate) tasks: u64,
}

impl Usage {
    /// Looks at a process; none where it has ended, or the system tells nothing.
    pub(crate) fn of(pid: i64) -> Option<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let bytes = |name| number(&status, name).map_or(0, |kib| kib * 1_024);
        Some(Self {
            pid,
            memory_bytes: bytes("RssAnon:") + bytes("VmSwap:"),
            resident_bytes: bytes("VmRSS:"),
            cpu_ms: cpu_ms(&folder).unwrap_or(0),
            descriptors: descriptors(&folder),
            tasks: tasks(pid, number(&status, "Threads:").unwrap_or(1)),
        })
    }

    /// Names the limits that are reached or nearly so.
    pub(crate) fn pressure(&self, allowed: &Allowance) -> Vec<&'static str> {
        let near = |used: u64, most: u64| used.saturating_mul(100) >= most.saturating_mul(NEAR_PERCENT);
        let limits = [
            ("memory", self.memory_bytes > allowed.memory_soft_bytes),
            ("descriptors", near(self.descriptors, allowed.descriptors_max)),
            ("processes", near(self.tasks, allowed.tasks_max)),
        ];
        limits.into_iter().filter(|(_, reached)| *reached).map(|(name, _)| name).collect()
    }
}

fn number(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn cpu_ms(folder: &Path) -> Option<u64> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The name of the program is in parentheses, and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) * TICK_MS)
}

/// Newer kernels say the number as the size of the folder.
fn descriptors(folder: &Path) -> u64 {
    let folder = folder.join("fd");
    match fs::metadata(&folder).map_or(0, |folder| folder.len()) {
        0 => fs::read_dir(&folder).map_or(0, |entries| entries.count() as u64),
        count => count,
    }
}

/// The threads of a process, and of those below it.
fn tasks(pid: i64, threads: u64) -> u64 {
    let (mut below, mut next) = (children(pid), 0);
    while next < below.len() && below.len() < DESCENDANTS_MAX {
        let more = children(below[next]);
        below.extend(more);
        next += 1;
    }
    threads + below.iter().map(|pid| threads_of(*pid)).sum::<u64>()
}

fn children(pid: i64) -> Vec<i64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

fn threads_of(pid: i64) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(|status| number(&status, "Threads:")).unwrap_or(1)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::allowance::Allowances;
    use crate::service_name::ServiceName;

    #[test]
    fn a_process_is_seen_as_the_kernel_counts_it() {
        let own = i64::from(rustix::process::getpid().as_raw_pid());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let usage = Usage::of(own).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(usage.memory_bytes > 0 && usage.resident_bytes > usage.memory_bytes && usage.descriptors > 2, "{usage:?}");
        assert!(usage.tasks >= 2, "what it has started counts: {usage:?}");
        assert_eq!(Usage::of(i64::from(i32::MAX)), None);
    }

    #[test]
    fn what_is_reached_or_nearly_so_is_named() {
        let allowed = Allowances::of(&json!({})).get(ServiceName::Presence);
        let usage = Usage { memory_bytes: allowed.memory_soft_bytes, descriptors: 100, tasks: 8, ..Usage::default() };
        assert!(usage.pressure(&allowed).is_empty());
        let usage = Usage { memory_bytes: allowed.memory_soft_bytes + 1, descriptors: allowed.descriptors_max * 9 / 10 + 1, ..usage };
        assert_eq!(usage.pressure(&allowed), ["memory", "descriptors"]);
    }
}
