//! Faults for whole gateways, by a plan that a seed decides: what a test has seen can be seen again.

use std::time::Duration;

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
pub struct Planned<'a> {
    /// When, after the beginning.
    pub at: Duration,
    /// To which service.
    pub service: &'a str,
    /// What.
    pub fault: Fault,
}

/// Plans a fault of one of the services every now and then, all of it decided by the seed. Half of them are kills.
pub fn plan<'a>(seed: u64, length: Duration, every: Duration, services: &[&'a str]) -> Vec<Planned<'a>> {
    let (mut random, mut plan, mut at) = (Random::new(seed), Vec::new(), every);
    while at < length {
        let service = services[random.below(services.len())];
        let fault = match random.below(8) {
            0 => Fault::Pause(50 + random.below(500) as u64),
            1 => Fault::Restart,
            2 => Fault::Unreachable(50 + random.below(300) as u64),
            3 => Fault::FullDisk(50 + random.below(1_000) as u64),
            _ => Fault::Kill,
        };
        plan.push(Planned { at, service, fault });
        // Time goes on, however little is asked for.
        at += every.max(Duration::from_millis(1));
    }
    plan
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
        let of = |seed| plan(seed, Duration::from_mins(1), Duration::from_secs(1), &["agent", "node"]);
        assert_eq!((of(7), of(7).len()), (of(7), 59));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn a_plan_without_a_pause_ends() {
        assert_eq!(plan(1, Duration::from_millis(5), Duration::ZERO, &["agent"]).len(), 5);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 95), Duration::from_millis(95));
        assert_eq!(percentile(&values[..1], 95), Duration::from_millis(1));
        assert_eq!(percentile(&[], 95), Duration::ZERO);
    }
}
