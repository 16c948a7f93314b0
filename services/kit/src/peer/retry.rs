//! When a call may be repeated, and after how long.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use verso_proto::methods::Method;

use crate::error::made_by_service;

/// The first pause, in milliseconds: a service is back within about ten.
const FIRST_MS: u64 = 5;

/// The longest pause, in milliseconds.
const LONGEST_MS: u64 = 200;

/// Pauses between attempts: doubling, with jitter.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Returns the next pause.
    pub fn next_pause(&mut self) -> Duration {
        let ceiling_ms = (FIRST_MS << self.attempts.min(16)).min(LONGEST_MS);
        self.attempts += 1;
        Duration::from_millis(rand::random_range(ceiling_ms / 2..=ceiling_ms))
    }

    /// Begins again with the shortest pause.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Pauses; false, at once, when the deadline would pass meanwhile.
    pub async fn pause_until(&mut self, deadline: Instant) -> bool {
        let pause = self.next_pause();
        if Instant::now() + pause >= deadline {
            return false;
        }
        sleep(pause).await;
        true
    }
}

/// Whether the connection broke, rather than the service having answered.
///
/// The statuses of a broken transport carry one of four codes; a service's own errors always carry their details as well.
pub fn broken_by_transport(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Unavailable | Code::Cancelled | Code::Internal) && !made_by_service(status)
}

pub(super) fn allowed(method: &Method, status: &Status) -> bool {
    method.retry.repeatable() && broken_by_transport(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let mut backoff = Backoff::default();
        for ceiling_ms in [5, 10, 20, 40, 80, 160, 200, 200] {
            let pause = backoff.next_pause();
            assert!(pause >= Duration::from_millis(ceiling_ms / 2) && pause <= Duration::from_millis(ceiling_ms), "{pause:?}");
        }
    }

    #[test]
    fn a_service_that_answered_is_not_a_broken_transport() {
        assert!(broken_by_transport(&Status::unknown("transport error")));
        assert!(!broken_by_transport(&Status::with_details(Code::Unavailable, "busy", vec![1].into())));
        assert!(!broken_by_transport(&Status::invalid_argument("no")));
    }
}
