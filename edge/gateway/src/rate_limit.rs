//! Failed authentication: addresses that keep guessing are locked out, this machine's own guesses are slowed down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures after which an address is locked out.
const FAILURES_MAX: u32 = 10;

/// How long failures are remembered.
const WINDOW: Duration = Duration::from_mins(1);

/// How long an address is locked out.
const LOCKOUT: Duration = Duration::from_mins(5);

/// Addresses that are remembered; the one that was heard of longest ago gives way.
const ADDRESSES_MAX: usize = 10_000;

/// The first delay of a failure on loopback; it doubles with each further one.
const LOOPBACK_DELAY: Duration = Duration::from_millis(250);

/// The longest delay.
const LOOPBACK_DELAY_MAX: Duration = Duration::from_secs(5);

/// The failures of every address.
#[derive(Debug, Default)]
pub(crate) struct FailedAuth {
    records: Mutex<HashMap<IpAddr, Record>>,
}

#[derive(Debug)]
struct Record {
    failures: u32,
    since: Instant,
    locked_until: Option<Instant>,
}

impl FailedAuth {
    /// Returns how long the address is still locked out; none if it is not. Loopback never is: it would lock out the owner.
    pub(crate) fn locked_for(&self, address: IpAddr) -> Option<Duration> {
        let now = Instant::now();
        let locked_until = self.records().get(&address)?.locked_until?;
        locked_until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Counts a wrong credential before it is answered; the caller waits for the returned time first.
    pub(crate) fn failed(&self, address: IpAddr) -> Duration {
        let now = Instant::now();
        let mut records = self.records();
        if records.len() >= ADDRESSES_MAX && !records.contains_key(&address) {
            make_room(&mut records);
        }
        let record = records.entry(address).or_insert(Record { failures: 0, since: now, locked_until: None });
        if now.duration_since(record.since) > WINDOW {
            *record = Record { failures: 0, since: now, locked_until: None };
        }
        record.failures += 1;
        if address.is_loopback() {
            return LOOPBACK_DELAY.saturating_mul(1 << (record.failures - 1).min(8)).min(LOOPBACK_DELAY_MAX);
        }
        if record.failures >= FAILURES_MAX {
            record.locked_until = Some(now + LOCKOUT);
        }
        Duration::ZERO
    }

    /// Forgets an address's failures: it has proven itself.
    pub(crate) fn succeeded(&self, address: IpAddr) {
        self.records().remove(&address);
    }

    fn records(&self) -> MutexGuard<'_, HashMap<IpAddr, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(records: &mut HashMap<IpAddr, Record>) {
    let now = Instant::now();
    records.retain(|_, record| now.duration_since(record.since) <= WINDOW || record.locked_until.is_some_and(|until| until > now));
    if records.len() >= ADDRESSES_MAX {
        let oldest = records.iter().min_by_key(|(_, record)| record.since).map(|(address, _)| *address);
        oldest.and_then(|oldest| records.remove(&oldest));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

    #[tokio::test(start_paused = true)]
    async fn locks_a_guessing_address_out_for_a_while() {
        let failed = FailedAuth::default();
        for _ in 0..FAILURES_MAX {
            assert_eq!(failed.locked_for(REMOTE), None);
            failed.failed(REMOTE);
        }
        assert_eq!(failed.locked_for(REMOTE), Some(LOCKOUT));
        tokio::time::advance(LOCKOUT).await;
        assert_eq!(failed.locked_for(REMOTE), None);
    }

    #[tokio::test(start_paused = true)]
    async fn forgets_old_failures() {
        let failed = FailedAuth::default();
        for _ in 1..FAILURES_MAX {
            failed.failed(REMOTE);
        }
        tokio::time::advance(WINDOW + Duration::from_secs(1)).await;
        failed.failed(REMOTE);
        assert_eq!(failed.locked_for(REMOTE), None);
    }

    #[tokio::test(start_paused = true)]
    async fn slows_loopback_down_but_never_locks_it_out() {
        let failed = FailedAuth::default();
        let delays: Vec<_> = (0..8).map(|_| failed.failed(IpAddr::V4(Ipv4Addr::LOCALHOST)).as_millis()).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        for _ in 0..100 {
            failed.failed(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        assert_eq!(failed.locked_for(IpAddr::V4(Ipv4Addr::LOCALHOST)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn remembers_a_bounded_number_of_addresses() {
        let failed = FailedAuth::default();
        for number in 0..u32::try_from(ADDRESSES_MAX + 50).unwrap() {
            failed.failed(IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + number)));
        }
        assert_eq!(failed.records().len(), ADDRESSES_MAX);
    }
}
