//! Failed authentication: addresses that keep guessing are locked out, this machine's own guesses are slowed down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::RateLimit;

/// Keys that are remembered; the one that was heard of longest ago gives way.
const KEYS_MAX: usize = 10_000;

/// The first delay of a failure on this machine; it doubles with each further one.
const LOCAL_DELAY: Duration = Duration::from_millis(250);

/// The longest delay.
const LOCAL_DELAY_MAX: Duration = Duration::from_secs(5);

/// Who is counted. A page in a browser on this machine is somebody else than the programs there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Guesser {
    address: IpAddr,
    origin: Option<String>,
}

impl Guesser {
    /// Somebody at an address; `origin` is the page that asks, if one does.
    pub(crate) fn new(address: IpAddr, origin: Option<&str>) -> Self {
        Self { address, origin: origin.filter(|_| address.is_loopback()).map(str::to_owned) }
    }

    fn is_program_here(&self) -> bool {
        self.address.is_loopback() && self.origin.is_none()
    }
}

/// The failures of everybody.
#[derive(Debug, Default)]
pub(crate) struct FailedAuth {
    records: Mutex<HashMap<Guesser, Record>>,
}

#[derive(Debug)]
struct Record {
    failures: u32,
    since: Instant,
    locked_until: Option<Instant>,
}

impl FailedAuth {
    /// Returns how long somebody is still locked out; none if he is not. Programs on this machine never are, unless the owner says so:
    /// it would lock out the owner.
    pub(crate) fn locked_for(&self, guesser: &Guesser) -> Option<Duration> {
        let now = Instant::now();
        let locked_until = self.records().get(guesser)?.locked_until?;
        locked_until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Counts a wrong credential before it is answered; the caller waits for the returned time first.
    pub(crate) fn failed(&self, guesser: &Guesser, limit: &RateLimit) -> Duration {
        let now = Instant::now();
        let mut records = self.records();
        let window = Duration::from_millis(limit.window_ms);
        if records.len() >= KEYS_MAX && !records.contains_key(guesser) {
            make_room(&mut records, window);
        }
        let record = records.entry(guesser.clone()).or_insert(Record { failures: 0, since: now, locked_until: None });
        if now.duration_since(record.since) > window {
            *record = Record { failures: 0, since: now, locked_until: None };
        }
        record.failures += 1;
        if guesser.is_program_here() && limit.exempt_loopback {
            return LOCAL_DELAY.saturating_mul(1 << (record.failures - 1).min(8)).min(LOCAL_DELAY_MAX);
        }
        if record.failures >= limit.max_attempts {
            record.locked_until = Some(now + Duration::from_millis(limit.lockout_ms));
        }
        Duration::ZERO
    }

    /// Forgets somebody's failures: he has proven himself. One who was locked out while his secret was being checked has not: of many
    /// attempts at once no more count than the limit allows. The error is how long he is locked out.
    pub(crate) fn succeeded(&self, guesser: &Guesser) -> Result<(), Duration> {
        if let Some(left) = self.locked_for(guesser) {
            return Err(left);
        }
        self.records().remove(guesser);
        Ok(())
    }

    fn records(&self) -> MutexGuard<'_, HashMap<Guesser, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(records: &mut HashMap<Guesser, Record>, window: Duration) {
    let now = Instant::now();
    records.retain(|_, record| now.duration_since(record.since) <= window || record.locked_until.is_some_and(|until| until > now));
    if records.len() >= KEYS_MAX {
        let oldest = records.iter().min_by_key(|(_, record)| record.since).map(|(guesser, _)| guesser.clone());
        oldest.and_then(|oldest| records.remove(&oldest));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LIMIT: RateLimit = RateLimit { max_attempts: 10, window_ms: 60_000, lockout_ms: 300_000, exempt_loopback: true };
    const LOCKOUT: Duration = Duration::from_mins(5);

    fn remote() -> Guesser {
        Guesser::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), Some("https://a.example"))
    }

    fn here(origin: Option<&str>) -> Guesser {
        Guesser::new(IpAddr::V4(Ipv4Addr::LOCALHOST), origin)
    }

    #[tokio::test(start_paused = true)]
    async fn locks_a_guessing_address_out_for_a_while() {
        let failed = FailedAuth::default();
        for _ in 0..LIMIT.max_attempts {
            assert_eq!(failed.locked_for(&remote()), None);
            failed.failed(&remote(), &LIMIT);
        }
        assert_eq!(failed.locked_for(&remote()), Some(LOCKOUT));
        tokio::time::advance(LOCKOUT).await;
        assert_eq!(failed.locked_for(&remote()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn sec_13_a_right_guess_among_many_at_once_comes_too_late() {
        let failed = FailedAuth::default();
        for _ in 0..LIMIT.max_attempts {
            assert_eq!(failed.locked_for(&remote()), None, "all of them passed the first check");
            failed.failed(&remote(), &LIMIT);
        }
        assert_eq!(failed.succeeded(&remote()), Err(LOCKOUT));
        let other = Guesser::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), None);
        failed.failed(&other, &LIMIT);
        assert_eq!(failed.succeeded(&other), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn forgets_old_failures() {
        let failed = FailedAuth::default();
        for _ in 1..LIMIT.max_attempts {
            failed.failed(&remote(), &LIMIT);
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        failed.failed(&remote(), &LIMIT);
        assert_eq!(failed.locked_for(&remote()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn slows_programs_here_down_but_never_locks_them_out() {
        let failed = FailedAuth::default();
        let delays: Vec<_> = (0..8).map(|_| failed.failed(&here(None), &LIMIT).as_millis()).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        for _ in 0..100 {
            failed.failed(&here(None), &LIMIT);
        }
        assert_eq!(failed.locked_for(&here(None)), None);
        let strict = RateLimit { exempt_loopback: false, ..LIMIT };
        assert_eq!(failed.failed(&here(None), &strict), Duration::ZERO);
        assert_eq!(failed.locked_for(&here(None)), Some(LOCKOUT), "unless the owner says so");
    }

    #[tokio::test(start_paused = true)]
    async fn sec_02_a_page_that_guesses_is_locked_out_and_the_owner_is_not() {
        let failed = FailedAuth::default();
        for _ in 0..LIMIT.max_attempts {
            failed.failed(&here(Some("http://localhost:3000")), &LIMIT);
        }
        assert!(failed.locked_for(&here(Some("http://localhost:3000"))).is_some());
        assert_eq!(failed.locked_for(&here(None)), None);
        assert_eq!(failed.locked_for(&here(Some("http://localhost:18789"))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn remembers_a_bounded_number_of_addresses() {
        let failed = FailedAuth::default();
        for number in 0..u32::try_from(KEYS_MAX + 50).unwrap() {
            failed.failed(&Guesser::new(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + number)), None), &LIMIT);
        }
        assert_eq!(failed.records().len(), KEYS_MAX);
    }
}
