//! How long to wait before the next attempt.

use std::time::Duration;

use rand::RngExt as _;

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first attempt after a connection, in milliseconds.
    pub first_ms: u64,
    /// Each further wait is twice the one before, up to this, in milliseconds.
    pub longest_ms: u64,
}

impl Default for Backoff {
    /// A second, doubling to half a minute, as the other clients of this protocol do.
    fn default() -> Self {
        Self { first_ms: 1_000, longest_ms: 30_000 }
    }
}

/// Counts attempts.
#[derive(Debug)]
pub(crate) struct Waits {
    backoff: Backoff,
    next_ms: u64,
}

impl Waits {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, next_ms: backoff.first_ms }
    }

    /// The gateway is there: the next wait is a first one.
    pub(crate) fn reset(&mut self) {
        self.next_ms = self.backoff.first_ms;
    }

    /// Draws the next wait: between half and the whole of its length, so that a gateway's clients do not return all at once.
    pub(crate) fn draw(&mut self) -> Duration {
        let whole = self.next_ms.min(self.backoff.longest_ms).max(1);
        self.next_ms = whole.saturating_mul(2).min(self.backoff.longest_ms);
        Duration::from_millis(rand::rng().random_range(whole.div_ceil(2)..=whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_limit_and_begin_again() {
        let mut waits = Waits::new(Backoff { first_ms: 100, longest_ms: 350 });
        for longest in [100, 200, 350, 350] {
            let drawn = waits.draw();
            assert!(drawn <= Duration::from_millis(longest) && drawn >= Duration::from_millis(longest / 2), "{drawn:?} of {longest}");
        }
        waits.reset();
        assert!(waits.draw() <= Duration::from_millis(100));
    }
}
