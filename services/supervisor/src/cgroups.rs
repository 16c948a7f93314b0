//! Control groups: how the kernel itself holds processes to their limits, where part of its tree is ours (`Delegate=yes`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::allowance::Allowance;
use crate::service_name::ServiceName;

/// What the groups below ours are to be held to.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// The time over which a share of the processor is measured, in microseconds: the kernel's own default.
const PERIOD_US: u64 = 100_000;

/// How long what was killed may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_millis(500);

/// The part of the tree that is ours: one group for the supervisor, and one a service.
#[derive(Debug)]
pub(crate) struct Cgroups {
    root: PathBuf,
    controllers: Vec<String>,
    /// Ends by the kernel for want of memory that were seen, a service.
    killed: Mutex<BTreeMap<ServiceName, u64>>,
}

impl Cgroups {
    /// Takes the group that this process was started in, if it was delegated: only then may we divide it.
    ///
    /// Before any process is started: one that stays behind in the group would keep it from being divided.
    pub(crate) fn delegated() -> Option<Self> {
        let Some(root) = own_group().filter(|root| is_delegated(root)) else {
            info!("no control group was given to us; limits are kept without it");
            return None;
        };
        match Self::divide(root, rustix::process::getpid().as_raw_pid().into()) {
            Ok(groups) => {
                info!(controllers = groups.controllers.join(" "), "services are held to their limits by control groups");
                Some(groups)
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the control group cannot be divided; limits are kept without it");
                None
            }
        }
    }

    /// A group with processes of its own cannot have divided ones below it, so the supervisor moves into one of those.
    fn divide(root: PathBuf, supervisor: i64) -> io::Result<Self> {
        let own = root.join("supervisor");
        fs::create_dir_all(&own)?;
        fs::write(own.join("cgroup.procs"), supervisor.to_string())?;
        let available = fs::read_to_string(root.join("cgroup.controllers"))?;
        let controllers: Vec<String> = available.split_whitespace().filter(|name| CONTROLLERS.contains(name)).map(str::to_owned).collect();
        let enable = controllers.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
        let groups = Self { root, controllers, killed: Mutex::default() };
        fs::write(groups.root.join("cgroup.subtree_control"), enable)?;
        for name in ServiceName::ALL {
            // What a supervisor before this one has seen is no news.
            groups.ran_out(name);
        }
        Ok(groups)
    }

    /// Gives the group back as it was: it can be taken again, and nothing of ours is left in it.
    fn give_back(&self) -> io::Result<()> {
        for name in ServiceName::ALL {
            empty(&self.folder(name))?;
        }
        let disable = self.controllers.iter().map(|name| format!("-{name}")).collect::<Vec<_>>().join(" ");
        fs::write(self.root.join("cgroup.subtree_control"), disable)?;
        fs::write(self.root.join("cgroup.procs"), rustix::process::getpid().as_raw_pid().to_string())?;
        fs::remove_dir(self.root.join("supervisor"))
    }

    /// Holds the group of a service to what it may use.
    pub(crate) fn hold(&self, name: ServiceName, allowed: &Allowance) -> io::Result<()> {
        let folder = self.folder(name);
        fs::create_dir_all(&folder)?;
        let quota = allowed.cpu_percent.map_or_else(|| "max".to_owned(), |percent| (percent * PERIOD_US / 100).max(1_000).to_string());
        let settings = [
            ("memory", "memory.max", allowed.memory_hard_bytes.to_string()),
            // Nothing of a service that lost a process goes on by itself.
            ("memory", "memory.oom.group", "1".to_owned()),
            ("cpu", "cpu.weight", allowed.cpu_weight.to_string()),
            ("cpu", "cpu.max", format!("{quota} {PERIOD_US}")),
            ("pids", "pids.max", allowed.tasks_max.to_string()),
        ];
        for (controller, file, value) in settings {
            if self.has(controller) {
                fs::write(folder.join(file), value)?;
            }
        }
        Ok(())
    }

    /// Puts a process of the service, and whatever it will start, into the service's group.
    pub(crate) fn place(&self, name: ServiceName, pid: i64) -> io::Result<()> {
        fs::write(self.folder(name).join("cgroup.procs"), pid.to_string())
    }

    /// Whether the kernel divides this kind of thing here.
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// Whether the kernel has ended processes of the service for want of memory since this was last asked.
    pub(crate) fn ran_out(&self, name: ServiceName) -> bool {
        let events = fs::read_to_string(self.folder(name).join("memory.events")).unwrap_or_default();
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0);
        let mut killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner);
        killed.insert(name, count).unwrap_or(0) < count
    }

    fn folder(&self, name: ServiceName) -> PathBuf {
        self.root.join(name.as_str())
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            warn!(error = &error as &dyn std::error::Error, "the control group is left divided");
        }
    }
}

/// Removes the group of a service that has stopped, with what had left the service's process group and thereby outlived it.
fn empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {}
        _ => return Ok(()),
    }
    // Kernels before 5.14 cannot; then what manages the tree has to.
    drop(fs::write(folder.join("cgroup.kill"), "1"));
    let (events, until) = (File::open(folder.join("cgroup.events"))?, Instant::now() + KILLED_WITHIN);
    let mut text = [0; 64];
    // Whoever has read it is woken when it changes.
    while events.read_at(&mut text, 0)? > 0 && String::from_utf8_lossy(&text).contains("populated 1") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    fs::remove_dir(folder)
}

/// The group of this process in the one tree of version 2.
fn own_group() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let point = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split_whitespace().nth(4))?
    })?;
    Some(Path::new(point).join(own.trim_start_matches('/')))
}

/// What manages the tree marks what it gives away; the root of a container's own tree is given to whoever is in it.
fn is_delegated(group: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(group, *name, &mut value).is_ok_and(|length| value[..length].starts_with(b"1"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::allowance::Allowances;

    /// A folder that looks like a group; the kernel makes the files of those below it by itself.
    fn groups(controllers: &str) -> (tempfile::TempDir, Cgroups) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.controllers"), controllers).unwrap();
        let groups = Cgroups::divide(folder.path().to_owned(), 7).unwrap();
        (folder, groups)
    }

    #[test]
    fn the_supervisor_moves_aside_and_each_service_is_held_to_its_own() {
        let (folder, groups) = groups("cpuset cpu io memory pids\n");
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!(read("supervisor/cgroup.procs"), "7");
        assert_eq!(read("cgroup.subtree_control"), "+cpu +memory +pids");
        let budgets = json!({"gateway": {"budgets": {"agent": {"memoryHardMib": 64, "cpuPercent": 150, "processes": 9}}}});
        groups.hold(ServiceName::Agent, &Allowances::of(&budgets).get(ServiceName::Agent)).unwrap();
        groups.place(ServiceName::Agent, 8).unwrap();
        assert_eq!((read("agent/memory.max"), read("agent/cpu.max")), ("67108864".to_owned(), "150000 100000".to_owned()));
        assert_eq!((read("agent/cpu.weight"), read("agent/pids.max")), ("50".to_owned(), "9".to_owned()));
        assert_eq!(read("agent/cgroup.procs"), "8");
    }

    #[test]
    fn what_the_kernel_does_not_divide_here_is_left_alone() {
        let (folder, groups) = groups("pids\n");
        groups.hold(ServiceName::Node, &Allowances::of(&json!({})).get(ServiceName::Node)).unwrap();
        assert!(!folder.path().join("node/memory.max").exists() && folder.path().join("node/pids.max").exists());
    }

    #[test]
    fn an_end_for_want_of_memory_is_told_once() {
        let (folder, groups) = groups("memory\n");
        fs::create_dir(folder.path().join("node")).unwrap();
        assert!(!groups.ran_out(ServiceName::Node));
        fs::write(folder.path().join("node/memory.events"), "low 0\noom 1\noom_kill 1\noom_group_kill 1\n").unwrap();
        assert!(groups.ran_out(ServiceName::Node) && !groups.ran_out(ServiceName::Node));
    }
}
