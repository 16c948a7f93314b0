//! `system.info` and `update.*`: the machine, and the gateway's own updates.

use std::path::Path;

use verso_proto::edge::v1::{
    SystemInfoRequest, SystemInfoResponse, UpdateRunRequest, UpdateSchedule, UpdateStatusRequest, UpdateStatusResponse,
};
use verso_protocol::{Code, ErrorShape};

use super::Local;
use crate::gateway::Gateway;

/// The only channel: what the owner installs.
const CHANNEL: &str = "stable";

pub(super) fn register(local: &mut Local) {
    local.on::<SystemInfoRequest, _, _>(|asking, _| async move {
        let gateway = asking.gateway;
        tokio::task::spawn_blocking(move || describe(&gateway)).await.map_err(|error| crate::error::fault(&error))
    });
    // Nothing here looks for newer versions, so none is known.
    local.on::<UpdateStatusRequest, _, _>(|_, _| async move {
        Ok(UpdateStatusResponse {
            sentinel: None,
            update_available: None,
            effective_channel: CHANNEL.to_owned(),
            schedule: Some(UpdateSchedule { channel: CHANNEL.to_owned(), auto_enabled: false }),
        })
    });
    local.on::<UpdateRunRequest, _, _>(|_, _| async move {
        let message = "this gateway does not update itself: install a newer verso, then restart the gateway";
        Err(ErrorShape::new(Code::Unavailable, message).with_details(&serde_json::json!({"reason": "no-updater"})))
    });
}

fn describe(gateway: &Gateway) -> SystemInfoResponse {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().into_owned();
    let memory = Memory::read();
    let disk = rustix::fs::statvfs(&gateway.context.state_dir).ok();
    let bytes = |blocks: u64, size: u64| i64::try_from(blocks.saturating_mul(size)).unwrap_or(i64::MAX);
    SystemInfoResponse {
        machine_name: name.clone(),
        hostname: name,
        platform: if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS }.to_owned(),
        release: uname.release().to_string_lossy().into_owned(),
        arch: architecture().to_owned(),
        os_label: os_label().unwrap_or_else(|| uname.sysname().to_string_lossy().into_owned()),
        port: gateway.config().port.map(i64::from),
        node_version: format!("verso {}", crate::VERSION),
        pid: i64::from(rustix::process::getpid().as_raw_pid()),
        uptime_ms: gateway.uptime_ms(),
        cpu_count: std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(1)),
        cpu_model: field("/proc/cpuinfo", "model name"),
        load_average: memory.load_average,
        memory_total_bytes: memory.total_bytes,
        memory_free_bytes: memory.free_bytes,
        disk_total_bytes: disk.as_ref().map(|disk| bytes(disk.f_blocks, disk.f_frsize)),
        disk_available_bytes: disk.as_ref().map(|disk| bytes(disk.f_bavail, disk.f_frsize)),
        disk_path: disk.map(|_| gateway.context.state_dir.display().to_string()),
    }
}

#[derive(Debug, Default)]
struct Memory {
    total_bytes: i64,
    free_bytes: i64,
    load_average: Vec<f64>,
}

impl Memory {
    /// Reads what the system tells under `/proc`; elsewhere it stays zero.
    fn read() -> Self {
        let kib = |name| {
            let text = field("/proc/meminfo", name)?;
            text.split_whitespace().next()?.parse::<i64>().ok()
        };
        let bytes = |name| kib(name).unwrap_or(0).saturating_mul(1024);
        let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load_average = loads.split_whitespace().take(3).filter_map(|load| load.parse().ok()).collect();
        Self { total_bytes: bytes("MemTotal"), free_bytes: bytes("MemAvailable"), load_average }
    }
}

/// The value of the first line `name: value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(path)).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.map(|value| value.trim().to_owned())
}

fn os_label() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// The processor, in the spelling that clients know.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}
