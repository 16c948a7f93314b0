//! How long and how hard whole gateways are tried.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use verso_chaos::Planned;

use crate::gateway::SERVICES;

/// How long, how many, how often. Each is set by a variable, so that a test is short by itself and long on demand.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// `VERSO_CHAOS_SEED`: decides everything that is random.
    pub seed: u64,
    /// `VERSO_CHAOS_SECONDS`
    pub length: Duration,
    /// `VERSO_CHAOS_CLIENTS`
    pub clients: usize,
    /// `VERSO_CHAOS_RUNS`: conversations that have a run all the time.
    pub runs: usize,
    /// `VERSO_CHAOS_EVERY_MS`: between two faults.
    pub every: Duration,
    /// `VERSO_CHAOS_TOKENS`: pieces of an answer.
    pub tokens: usize,
    /// `VERSO_CHAOS_GAP_MS`: between two pieces.
    pub gap_ms: u64,
    /// `VERSO_CHAOS_DISK_KIB`: room for the agent service, which is full now and then; only root can give it.
    pub disk_kib: usize,
    /// `VERSO_CHAOS_EDGES`: how often the edge is replaced.
    pub edges: usize,
    /// `VERSO_CHAOS_CONNECTS`: new connections in a second.
    pub connects_per_second: usize,
}

impl Scale {
    /// Reads the variables; what is not set is short.
    pub fn from_environment() -> Self {
        let number = |name: &str, default: u64| {
            #[allow(clippy::disallowed_methods, reason = "how long a test is, is asked of the environment")]
            std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
        };
        let count = |name, default| usize::try_from(number(name, default)).unwrap_or(usize::MAX);
        let now = verso_kit::clock::Clock::system().now_ms();
        Self {
            seed: number("VERSO_CHAOS_SEED", u64::try_from(now).unwrap_or_default()),
            length: Duration::from_secs(number("VERSO_CHAOS_SECONDS", 5)),
            clients: count("VERSO_CHAOS_CLIENTS", 8),
            runs: count("VERSO_CHAOS_RUNS", 3),
            every: Duration::from_millis(number("VERSO_CHAOS_EVERY_MS", 1_000)),
            tokens: count("VERSO_CHAOS_TOKENS", 8),
            gap_ms: number("VERSO_CHAOS_GAP_MS", 20),
            disk_kib: count("VERSO_CHAOS_DISK_KIB", 1 << 18),
            edges: count("VERSO_CHAOS_EDGES", 2),
            connects_per_second: count("VERSO_CHAOS_CONNECTS", 40),
        }
    }

    /// The faults, all of them decided by the seed.
    pub fn plan(&self) -> Vec<Planned<'static>> {
        verso_chaos::plan(self.seed, self.length, self.every, &SERVICES)
    }
}

/// Copies what a gateway has written to where `VERSO_CHAOS_KEEP` says: whoever looks for the cause of a failure needs it.
pub fn keep(state_dir: &Path) {
    #[allow(clippy::disallowed_methods, reason = "where to keep it is asked of the environment")]
    let Some(kept) = std::env::var_os("VERSO_CHAOS_KEEP").map(PathBuf::from) else { return };
    copy(state_dir, &kept).expect("a copy of the state");
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
