//! How often a `chat` delta is sent: at once, and then no more often than clients can paint.

use std::time::Duration;

use tokio::time::Instant;

/// The pause between two deltas.
const INTERVAL: Duration = Duration::from_millis(75);

/// Tells when the next delta may be sent.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    free_at: Option<Instant>,
}

/// What to do with something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Send,
    /// Not before then.
    HoldUntil(Instant),
}

impl Throttle {
    /// Asks whether something may be sent; if so, it counts as sent.
    pub(super) fn offer(&mut self, now: Instant) -> Verdict {
        match self.free_at {
            Some(free_at) if now < free_at => Verdict::HoldUntil(free_at),
            _ => {
                self.free_at = Some(now + INTERVAL);
                Verdict::Send
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_the_first_at_once_and_then_every_75_ms() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for (ms, verdict) in [
            (0, Verdict::Send),
            (1, Verdict::HoldUntil(at(75))),
            (74, Verdict::HoldUntil(at(75))),
            (75, Verdict::Send),
            (80, Verdict::HoldUntil(at(150))),
            (400, Verdict::Send),
            (474, Verdict::HoldUntil(at(475))),
        ] {
            assert_eq!(throttle.offer(at(ms)), verdict, "{ms} ms");
        }
    }
}
