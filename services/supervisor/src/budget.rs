//! How long to wait before a service that ended is started again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;
use crate::pace::Pace;

/// The recent failures of one service.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    failures: VecDeque<Instant>,
    // Stays until the service has been healthy again: slow retries must not earn quick ones.
    spent: bool,
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start again after this pause.
    Retry(Duration),
    /// The budget is used up: start again after this long pause.
    Spent(Duration),
}

impl Budget {
    /// Notes a failure of a process that had served for `served`.
    pub(crate) fn failed(&mut self, served: Duration, limits: &Limits, pace: &Pace) -> Verdict {
        let now = Instant::now();
        if served >= limits.healthy_after {
            self.forget();
        }
        if self.spent {
            return Verdict::Spent(limits.failed_retry);
        }
        while self.failures.front().is_some_and(|at| now.duration_since(*at) > pace.window) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        if self.failures.len() >= pace.failures_max {
            self.spent = true;
            return Verdict::Spent(limits.failed_retry);
        }
        Verdict::Retry(pause(self.failures.len(), pace))
    }

    /// Counts the failures that are not forgotten.
    pub(crate) fn failures(&self) -> usize {
        self.failures.len()
    }

    /// How many failures from now on it allows before it is used up.
    pub(crate) fn left(&self, pace: &Pace) -> usize {
        let now = Instant::now();
        let recent = self.failures.iter().filter(|at| now.duration_since(**at) <= pace.window).count();
        if self.spent { 0 } else { pace.failures_max.saturating_sub(recent) }
    }

    /// Forgets the failures: an operator asked for a start.
    pub(crate) fn forget(&mut self) {
        self.failures.clear();
        self.spent = false;
    }
}

/// Nothing after the first failure, then doubling; the upper half is random, so that services that fell together do not rise
/// together.
fn pause(failures: usize, pace: &Pace) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else { return Duration::ZERO };
    let doublings = u32::try_from(doublings).unwrap_or(u32::MAX).min(16);
    let full = pace.first.saturating_mul(1 << doublings).min(pace.max);
    full.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_millis(1);

    fn limits() -> (Limits, Pace) {
        let limits = Limits { budget_failures: 4, ..Limits::default() };
        let pace = Pace::usual(&limits);
        (limits, pace)
    }

    #[tokio::test(start_paused = true)]
    async fn restarts_at_once_and_then_backs_off() {
        let (mut budget, (limits, pace)) = (Budget::default(), limits());
        assert_eq!(budget.failed(BRIEF, &limits, &pace), Verdict::Retry(Duration::ZERO));
        let Verdict::Retry(second) = budget.failed(BRIEF, &limits, &pace) else { panic!("budget left") };
        let Verdict::Retry(third) = budget.failed(BRIEF, &limits, &pace) else { panic!("budget left") };
        assert!((50..=100).contains(&second.as_millis()), "{second:?}");
        assert!((100..=200).contains(&third.as_millis()), "{third:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn spends_the_budget_and_stays_slow_while_failing() {
        let (mut budget, (limits, pace)) = (Budget::default(), limits());
        for _ in 0..3 {
            assert!(matches!(budget.failed(BRIEF, &limits, &pace), Verdict::Retry(_)));
        }
        for _ in 0..20 {
            assert_eq!(budget.failed(BRIEF, &limits, &pace), Verdict::Spent(limits.failed_retry));
            tokio::time::advance(limits.failed_retry).await;
        }
        assert!(budget.failures.len() <= pace.failures_max);
    }

    #[tokio::test(start_paused = true)]
    async fn forgets_failures_of_a_service_that_stayed_up() {
        let (mut budget, (limits, pace)) = (Budget::default(), limits());
        for _ in 0..6 {
            budget.failed(BRIEF, &limits, &pace);
        }
        assert_eq!(budget.failed(limits.healthy_after, &limits, &pace), Verdict::Retry(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn forgets_failures_that_left_the_window() {
        let (mut budget, (limits, pace)) = (Budget::default(), limits());
        for _ in 0..3 {
            budget.failed(BRIEF, &limits, &pace);
        }
        tokio::time::advance(pace.window + BRIEF).await;
        assert_eq!(budget.failed(BRIEF, &limits, &pace), Verdict::Retry(Duration::ZERO));
    }

    #[test]
    fn never_waits_longer_than_the_limit() {
        let pace = Pace::usual(&Limits::default());
        assert!(super::pause(1_000, &pace) <= pace.max);
    }
}
