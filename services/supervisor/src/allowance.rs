//! What each process may use: the section `gateway.budgets`, and what holds where it says nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tracing::warn;
use verso_kit::config::File;

use crate::service_name::ServiceName;

/// What one process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Above this for some time it is replaced, in bytes.
    pub(crate) memory_soft_bytes: u64,
    /// Above this it is killed, in bytes.
    pub(crate) memory_hard_bytes: u64,
    /// Open files and sockets.
    pub(crate) descriptors_max: u64,
    /// Threads, its own and those of what it has started.
    pub(crate) tasks_max: u64,
    /// Its share of a busy machine; 100 is usual.
    pub(crate) cpu_weight: u64,
    /// The most that it gets, in hundredths of one core; none: all there is.
    pub(crate) cpu_percent: Option<u64>,
}

/// What all of them may use, and how they are held to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowances {
    /// Between two looks at what each uses.
    pub(crate) sample: Duration,
    /// How long one may stay above its soft limit.
    pub(crate) soft_for: Duration,
    /// Between two replacements of one service, at least.
    pub(crate) recycle_every: Duration,
    services: BTreeMap<ServiceName, Allowance>,
}

/// A look costs three reads a process, so it can be often; memory that runs away faster is what the hard limit of the kernel is for.
const SAMPLE_MS: u64 = 2_000;
/// Longer than one large turn or picture is in memory.
const SOFT_FOR_MS: u64 = 30_000;
/// What is above its limit again right after its start is not mended by another one.
const RECYCLE_EVERY_MS: u64 = 600_000;
/// More than the usual share of a machine is for nobody; less is for those who run what others have written.
const CPU_WEIGHT: u64 = 100;

/// The defaults of each: memory soft and hard in MiB, descriptors, tasks, weight. Idle ones use a hundredth of it.
const fn usual(name: ServiceName) -> (u64, u64, u64, u64, u64) {
    match name {
        // Twenty thousand connections and their buffers.
        ServiceName::Edge => (1_536, 3_072, 65_536, 1_024, CPU_WEIGHT),
        // Transcripts in use, the index of the memory, pictures; tools run below it.
        ServiceName::Agent => (1_024, 2_048, 16_384, 8_192, CPU_WEIGHT / 2),
        ServiceName::Channel => (768, 1_536, 16_384, 4_096, CPU_WEIGHT),
        ServiceName::Node | ServiceName::Canvas => (384, 768, 4_096, 1_024, CPU_WEIGHT),
        ServiceName::Presence => (128, 256, 1_024, 1_024, CPU_WEIGHT),
    }
}

/// `gateway.budgets`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Section {
    /// Between two looks, in milliseconds. Default 2,000.
    sample_ms: Option<u64>,
    /// How long one may stay above its soft limit, in milliseconds. Default 30,000.
    soft_for_ms: Option<u64>,
    /// Between two replacements of one service, in milliseconds. Default 600,000.
    recycle_every_ms: Option<u64>,
    #[serde(flatten)]
    services: BTreeMap<String, OfService>,
}

/// `gateway.budgets.<service>`
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OfService {
    /// MiB.
    memory_soft_mib: Option<u64>,
    /// MiB.
    memory_hard_mib: Option<u64>,
    descriptors: Option<u64>,
    processes: Option<u64>,
    /// 1 to 10,000. Default 100; the agent's is 50.
    cpu_weight: Option<u64>,
    /// Of one core.
    cpu_percent: Option<u64>,
}

impl Allowances {
    /// Reads the section; one that cannot be read leaves what is usual.
    pub(crate) fn of(config: &Value) -> Self {
        let section: Section = File::from_value(config.clone()).section("gateway.budgets").unwrap_or_else(|error| {
            warn!(error = &error as &dyn std::error::Error, "gateway.budgets cannot be read; the usual limits hold");
            Section::default()
        });
        let ms = |value: Option<u64>, usual| Duration::from_millis(value.unwrap_or(usual));
        let services = ServiceName::ALL.into_iter().map(|name| {
            let own = section.services.get(name.as_str()).copied().unwrap_or_default();
            (name, Allowance::of(name, own))
        });
        Self {
            sample: ms(section.sample_ms, SAMPLE_MS).max(Duration::from_millis(10)),
            soft_for: ms(section.soft_for_ms, SOFT_FOR_MS),
            recycle_every: ms(section.recycle_every_ms, RECYCLE_EVERY_MS),
            services: services.collect(),
        }
    }

    /// What the processes of one service may use.
    pub(crate) fn get(&self, name: ServiceName) -> Allowance {
        self.services.get(&name).copied().unwrap_or_else(|| Allowance::of(name, OfService::default()))
    }
}

impl Allowance {
    fn of(name: ServiceName, own: OfService) -> Self {
        let (soft_mib, hard_mib, descriptors, tasks, weight) = usual(name);
        let bytes = |mib: u64| mib.saturating_mul(1 << 20);
        let soft = bytes(own.memory_soft_mib.unwrap_or(soft_mib));
        // One who only raises the soft limit, or only lowers the hard one, means the pair.
        let hard = own.memory_hard_mib.map_or_else(|| bytes(hard_mib).max(soft.saturating_mul(2)), bytes);
        Self {
            memory_soft_bytes: soft.min(hard),
            memory_hard_bytes: hard,
            descriptors_max: own.descriptors.unwrap_or(descriptors),
            tasks_max: own.processes.unwrap_or(tasks),
            cpu_weight: own.cpu_weight.unwrap_or(weight).clamp(1, 10_000),
            cpu_percent: own.cpu_percent,
        }
    }

    /// The weight as a nice value, where nothing better is at hand: each step is a quarter of the share. Nobody is raised above others,
    /// which only root may do.
    pub(crate) fn nice(&self) -> i32 {
        let (mut nice, mut share) = (0, CPU_WEIGHT * 1_000);
        while nice < 19 && share * 4 / 5 >= self.cpu_weight * 1_000 {
            (nice, share) = (nice + 1, share * 4 / 5);
        }
        nice
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_is_usual_and_the_pair_of_memory_limits_stays_a_pair() {
        let usual = Allowances::of(&json!({}));
        assert_eq!((usual.sample, usual.soft_for), (Duration::from_secs(2), Duration::from_secs(30)));
        assert_eq!(usual.get(ServiceName::Agent).memory_soft_bytes, 1_024 << 20);
        let budgets = json!({"softForMs": 5, "agent": {"memorySoftMib": 4_096, "descriptors": 100}, "node": {"memoryHardMib": 64}});
        let set = Allowances::of(&json!({"gateway": {"budgets": budgets}}));
        let (agent, node) = (set.get(ServiceName::Agent), set.get(ServiceName::Node));
        assert_eq!((agent.memory_soft_bytes, agent.memory_hard_bytes, agent.descriptors_max), (4_096 << 20, 8_192 << 20, 100));
        assert_eq!((node.memory_soft_bytes, node.memory_hard_bytes), (64 << 20, 64 << 20));
        assert_eq!(set.get(ServiceName::Edge), usual.get(ServiceName::Edge));
    }

    #[test]
    fn a_section_that_is_none_leaves_what_is_usual() {
        assert_eq!(Allowances::of(&json!({"gateway": {"budgets": 7}})), Allowances::of(&json!({})));
    }

    #[test]
    fn a_smaller_share_is_a_higher_nice_value_and_never_a_negative_one() {
        let nice = |cpu_weight| Allowance { cpu_weight, ..Allowances::of(&json!({})).get(ServiceName::Node) }.nice();
        assert_eq!((nice(10_000), nice(100), nice(50), nice(1)), (0, 0, 3, 19));
    }
}
