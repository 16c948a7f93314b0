//! Faults by a plan that a seed decides, for whole gateways under load.

use std::time::Duration;

use crate::gateway::SERVICES;

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT after that many milliseconds.
    Pause(u64),
    /// A graceful restart, as an operator asks for it.
    Restart,
    /// SIGKILL, and for that many milliseconds its socket has another name: nobody finds the next incarnation.
    Unreachable(u64),
    /// The agent service's disk is full for that many milliseconds.
    FullDisk(u64),
}

/// One fault of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// When, after the beginning.
    pub at: Duration,
    /// To which service.
    pub service: &'static str,
    /// What.
    pub fault: Fault,
}

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
            disk_kib: count("VERSO_CHAOS_DISK_KIB", 1 << 18),
            edges: count("VERSO_CHAOS_EDGES", 2),
            connects_per_second: count("VERSO_CHAOS_CONNECTS", 40),
        }
    }

    /// The faults, all of them decided by the seed.
    pub fn plan(&self) -> Vec<Planned> {
        let (mut random, mut plan, mut at) = (Random::new(self.seed), Vec::new(), self.every);
        while at < self.length {
            let service = SERVICES[random.below(SERVICES.len())];
            let fault = match random.below(8) {
                0 => Fault::Pause(50 + random.below(500) as u64),
                1 => Fault::Restart,
                2 => Fault::Unreachable(50 + random.below(300) as u64),
                3 => Fault::FullDisk(50 + random.below(1_000) as u64),
                _ => Fault::Kill,
            };
            plan.push(Planned { at, service, fault });
            at += self.every;
        }
        plan
    }
}

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.draw() % end.max(1) as u64).unwrap_or_default()
    }
}

/// The value below which `percent` of the values are; zero of none.
pub fn percentile(values: &[Duration], percent: usize) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_plan() {
        let scale = |seed| Scale { seed, length: Duration::from_mins(1), ..Scale::from_environment() };
        assert_eq!(scale(7).plan(), scale(7).plan());
        assert_ne!(scale(7).plan(), scale(8).plan());
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 95), Duration::from_millis(95));
        assert_eq!(percentile(&values[..1], 95), Duration::from_millis(1));
        assert_eq!(percentile(&[], 95), Duration::ZERO);
    }
}
