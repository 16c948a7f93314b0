//! How much memory a process has.

use std::fs;

/// Returns a process's proportional share in bytes: pages that several processes have are divided among them. Not every system says.
pub(crate) fn share_bytes(pid: i64) -> Option<i64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kibibytes: i64 = text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_there_has_memory() {
        assert!(share_bytes(i64::from(std::process::id())).is_none_or(|bytes| bytes > 100_000));
        assert_eq!(share_bytes(-1), None);
    }
}
