//! What the operating system and the runtime say of the process.

#[cfg(target_os = "linux")]
use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::whole;
use crate::clock::Clock;

crate::metrics! {
    /// Memory that is in use, in bytes.
    RESIDENT: Gauge = "process_resident_memory_bytes" [] as "openclaw.memory.rss_bytes" per process;
    /// Memory that is mapped, in bytes.
    MAPPED: Gauge = "process_virtual_memory_bytes" [] per process;
    /// Time that was spent on a processor.
    CPU: Counter = "process_cpu_seconds" [] per process;
    /// Open files and sockets.
    OPEN: Gauge = "process_open_fds" [] per process;
    /// How many of them there may be.
    OPEN_MAX: Gauge = "process_max_fds" [] per process;
    /// Threads.
    THREADS: Gauge = "process_threads" [] per process;
    /// When the process began, in seconds since 1970.
    BEGUN: Gauge = "process_start_time_seconds" [] per process;
    /// Threads of the runtime that run tasks.
    WORKERS: Gauge = "verso_runtime_workers" [] per process;
    /// Tasks that have not ended.
    TASKS: Gauge = "verso_runtime_tasks" [] per process;
    /// Tasks that wait for a worker, without those in the workers' own queues.
    WAITING: Gauge = "verso_runtime_queue_depth" [] per process;
    /// Time that the workers have spent on tasks.
    BUSY: Counter = "verso_runtime_busy_seconds" [] per process;
    /// Times that a worker had nothing to do.
    PARKED: Counter = "verso_runtime_parks" [] per process;
}

/// What `/proc` counts memory in, in bytes.
#[cfg(target_os = "linux")]
const PAGE_BYTES: f64 = 4_096.0;

/// Takes down that the process begins.
pub(crate) fn begin() {
    BEGUN.set([], whole(Clock::system().now_ms()) / 1_000.0);
}

/// Brings everything up to date.
pub(super) fn read() {
    #[cfg(target_os = "linux")]
    read_proc();
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    CPU.read([], whole(spent.tv_sec) + whole(spent.tv_nsec) / 1e9);
    if let Some(most) = getrlimit(Resource::Nofile).current {
        OPEN_MAX.set([], whole(most));
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let runtime = runtime.metrics();
    let workers = 0..runtime.num_workers();
    WORKERS.set([], whole(runtime.num_workers()));
    TASKS.set([], whole(runtime.num_alive_tasks()));
    WAITING.set([], whole(runtime.global_queue_depth()));
    BUSY.read([], workers.clone().map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64()).sum());
    PARKED.read([], workers.map(|worker| whole(runtime.worker_park_count(worker))).sum());
}

/// Returns how much memory another process uses, in bytes; none when it is gone.
#[cfg(target_os = "linux")]
pub fn resident(pid: i32) -> Option<f64> {
    memory(&pid.to_string()).map(|(_, resident)| resident)
}

/// This system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn resident(_: i32) -> Option<f64> {
    None
}

/// Returns what a process has mapped, and what it uses of that.
#[cfg(target_os = "linux")]
fn memory(process: &str) -> Option<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let mut pages = text.split(' ').map_while(|pages| pages.trim().parse().ok()).map(|pages: i64| whole(pages) * PAGE_BYTES);
    pages.next().zip(pages.next())
}

/// What cannot be read keeps its last value.
#[cfg(target_os = "linux")]
fn read_proc() {
    if let Some((mapped, resident)) = memory("self") {
        MAPPED.set([], mapped);
        RESIDENT.set([], resident);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is this folder.
        OPEN.set([], whole(entries.count().saturating_sub(1)));
    }
    if let Ok(entries) = fs::read_dir("/proc/self/task") {
        THREADS.set([], whole(entries.count()));
    }
}
