//! Looks at what each process uses, and has the one replaced that uses more than it may. One at a time, by the usual ways.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::allowance::{Allowance, Allowances};
use crate::board::{Entry, State};
use crate::cgroups::Cgroups;
use crate::fleet::Fleet;
use crate::reload::Reloader;
use crate::service_name::ServiceName;
use crate::usage::Usage;

/// How long the edge may take to hear that somebody is short of something.
const NOTICE_DEADLINE: Duration = Duration::from_secs(2);

/// What it knows of the services.
#[derive(Debug)]
pub(crate) struct Warden {
    fleet: Fleet,
    reloader: Option<Arc<Reloader>>,
    groups: Option<Cgroups>,
    known: BTreeMap<ServiceName, Known>,
}

/// What is known of one service.
#[derive(Debug, Default)]
struct Known {
    /// The process that was held to its limits, to which, and whether it served: one that starts may still change its own.
    held: Option<(i64, Allowance, bool)>,
    /// Since when its process is above its soft limit.
    above: Option<(i64, Instant)>,
    recycled: Option<Instant>,
}

/// What is to be done about a process.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Nothing,
    Recycle(String),
    End(String),
}

impl Warden {
    pub(crate) fn new(fleet: Fleet, reloader: Option<Arc<Reloader>>, groups: Option<Cgroups>) -> Self {
        Self { fleet, reloader, groups, known: BTreeMap::new() }
    }

    /// Goes on until the shutdown.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut changes = self.fleet.shared.board.changes();
        let mut config = Arc::new(Value::Null);
        let mut allowances = Allowances::of(&config);
        let mut next = Instant::now();
        loop {
            if let Some(newest) = self.reloader.as_ref().map(|reloader| reloader.state().value)
                && !Arc::ptr_eq(&newest, &config)
            {
                config = newest;
                allowances = Allowances::of(&config);
                self.fleet.shared.paces.follow(&config);
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(next) => {
                    next = Instant::now() + allowances.sample;
                    self.hold(&allowances);
                    tokio::select! {
                        () = self.look(&allowances) => {}
                        () = shutdown.cancelled() => return,
                    }
                }
                // A process that has just started is held to its limits before it does much.
                Ok(()) = changes.changed() => self.hold(&allowances),
            }
        }
    }

    /// Holds every process to what it may use, as far as the kernel does that here.
    fn hold(&mut self, allowances: &Allowances) {
        for (name, entry) in self.fleet.shared.board.list() {
            let (Some(pid), allowed) = (entry.pid, allowances.get(name)) else { continue };
            let known = self.known.entry(name).or_default();
            let held = Some((pid, allowed, entry.state == State::Serving));
            if known.held == held {
                continue;
            }
            known.held = held;
            self.fleet.shared.board.note(name, |entry| entry.allowed = Some(allowed));
            if let Some(groups) = &self.groups
                && let Err(error) = groups.hold(name, &allowed).and_then(|()| groups.place(name, pid))
            {
                warn!(service = %name, error = &error as &dyn std::error::Error, "not held to its limits by a control group");
            }
            let by_nice = !self.groups.as_ref().is_some_and(|groups| groups.has("cpu"));
            if let Err(error) = kernel::hold(pid, &allowed, by_nice) {
                warn!(service = %name, error = &error as &dyn std::error::Error, "not held to its limits");
            }
        }
    }

    /// Looks at every process once.
    async fn look(&mut self, allowances: &Allowances) {
        let mut news = false;
        for (name, entry) in self.fleet.shared.board.list() {
            if self.groups.as_ref().is_some_and(|groups| groups.ran_out(name)) {
                error!(service = %name, "the kernel ended it for want of memory");
                self.fleet.shared.board.note(name, Entry::ran_out);
            }
            let usage = entry.pid.and_then(Usage::of);
            let allowed = allowances.get(name);
            let pressure = usage.map(|usage| usage.pressure(&allowed)).unwrap_or_default();
            if pressure != entry.pressure {
                news = true;
                if pressure.is_empty() {
                    info!(service = %name, "within its limits again");
                } else {
                    warn!(service = %name, pressure = pressure.join(" "), ?usage, "near or above its limits");
                }
            }
            self.fleet.shared.board.note(name, |entry| entry.pressure = pressure);
            let known = self.known.entry(name).or_default();
            match known.judge(&entry, usage, &allowed, allowances) {
                Verdict::Nothing => {}
                Verdict::End(why) => {
                    error!(service = %name, why, "killed");
                    self.count(name);
                    self.fleet.end(name, entry.epoch, why).await;
                }
                Verdict::Recycle(why) => {
                    warn!(service = %name, why, "replaced");
                    known.recycled = Some(Instant::now());
                    self.count(name);
                    if let Err(error) = self.fleet.recycle(name, entry.epoch, why).await {
                        warn!(service = %name, error = &error as &dyn std::error::Error, "not replaced");
                    }
                }
            }
        }
        // One that does not answer asks by itself sooner or later.
        if news && timeout(NOTICE_DEADLINE, self.fleet.notice()).await.is_err() {
            warn!("the edge does not hear who is short of something");
        }
    }

    fn count(&self, name: ServiceName) {
        self.fleet.shared.board.note(name, |entry| entry.recycled += 1);
    }
}

impl Known {
    fn judge(&mut self, entry: &Entry, usage: Option<Usage>, allowed: &Allowance, allowances: &Allowances) -> Verdict {
        let Some(usage) = usage.filter(|_| entry.state == State::Serving) else {
            self.above = None;
            return Verdict::Nothing;
        };
        let words =
            |limit: &str, bytes: u64| format!("{} MiB are above its {limit} limit of {} MiB", usage.memory_bytes >> 20, bytes >> 20);
        if usage.memory_bytes > allowed.memory_hard_bytes {
            self.above = None;
            return Verdict::End(words("hard", allowed.memory_hard_bytes));
        }
        if usage.memory_bytes <= allowed.memory_soft_bytes {
            self.above = None;
            return Verdict::Nothing;
        }
        let now = Instant::now();
        let since = match self.above {
            Some((pid, since)) if pid == usage.pid => since,
            _ => now,
        };
        self.above = Some((usage.pid, since));
        let is_long = now.duration_since(since) >= allowances.soft_for;
        let may_again = self.recycled.is_none_or(|last| now.duration_since(last) >= allowances.recycle_every);
        if is_long && may_again { Verdict::Recycle(words("soft", allowed.memory_soft_bytes)) } else { Verdict::Nothing }
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;

    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setpriority_pgrp};

    use crate::allowance::Allowance;

    /// What every process can be held to without a control group: descriptors, and its share of a busy machine.
    ///
    /// Not the number of its tasks: the kernel would count all processes of the user. Not its memory: what it has reserved says
    /// nothing of what it uses, and every tool below it would be held to the same.
    pub(super) fn hold(pid: i64, allowed: &Allowance, by_nice: bool) -> io::Result<()> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let most = getrlimit(Resource::Nofile).maximum;
        let current = most.map_or(allowed.descriptors_max, |most| most.min(allowed.descriptors_max));
        prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(current), maximum: most })?;
        if by_nice && allowed.nice() > 0 {
            // The whole group: by itself a process is only its first thread.
            setpriority_pgrp(Some(pid), allowed.nice())?;
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::io;

    use crate::allowance::Allowance;

    /// Only Linux lets one process limit another.
    pub(super) fn hold(_: i64, _: &Allowance, _: bool) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allowances() -> Allowances {
        let node = json!({"memorySoftMib": 100, "memoryHardMib": 200});
        Allowances::of(&json!({"gateway": {"budgets": {"softForMs": 10_000, "recycleEveryMs": 60_000, "node": node}}}))
    }

    fn judge(known: &mut Known, pid: i64, mib: u64) -> Verdict {
        let (allowances, entry) = (allowances(), Entry { state: State::Serving, ..Entry::default() });
        let usage = Usage { pid, memory_bytes: mib << 20, ..Usage::default() };
        known.judge(&entry, Some(usage), &allowances.get(ServiceName::Node), &allowances)
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_stays_above_the_soft_limit_is_replaced_and_not_again_too_soon() {
        let mut known = Known::default();
        assert_eq!(judge(&mut known, 1, 101), Verdict::Nothing);
        pass(9).await;
        assert_eq!(judge(&mut known, 1, 99), Verdict::Nothing);
        pass(1).await;
        assert_eq!(judge(&mut known, 1, 101), Verdict::Nothing, "it was below it meanwhile");
        pass(10).await;
        let Verdict::Recycle(why) = judge(&mut known, 1, 120) else { panic!("it was above for long") };
        assert_eq!(why, "120 MiB are above its soft limit of 100 MiB");
        known.recycled = Some(Instant::now());
        assert_eq!(judge(&mut known, 2, 120), Verdict::Nothing);
        pass(20).await;
        assert_eq!(judge(&mut known, 2, 120), Verdict::Nothing, "another process helped nothing");
        pass(40).await;
        assert!(matches!(judge(&mut known, 2, 120), Verdict::Recycle(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_above_the_hard_limit_is_killed_at_once() {
        assert!(matches!(judge(&mut Known::default(), 1, 201), Verdict::End(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_serve_is_left_to_its_start() {
        let (mut known, allowances) = (Known::default(), allowances());
        let usage = Usage { memory_bytes: 500 << 20, ..Usage::default() };
        let entry = Entry::default();
        assert_eq!(known.judge(&entry, Some(usage), &allowances.get(ServiceName::Node), &allowances), Verdict::Nothing);
    }
}
