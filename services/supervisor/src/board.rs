//! How every service fares, for lists and for those who wait.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::allowance::Allowance;
use crate::service_name::ServiceName;

/// What a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    #[default]
    Starting,
    Serving,
    Stopping,
    Backoff,
    Failed,
    Stopped,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What is known of one service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    pub(crate) state: State,
    pub(crate) pid: Option<i64>,
    /// Starts since the supervisor started.
    pub(crate) starts: u64,
    pub(crate) epoch: u64,
    pub(crate) serving_since: Option<Instant>,
    pub(crate) last_exit: Option<String>,
    pub(crate) retry_at: Option<Instant>,
    /// Recent failures that count against the service's budget.
    pub(crate) failures: usize,
    /// The generation of the configuration that it works with; 0 when nobody counts.
    pub(crate) config_generation: u64,
    pub(crate) config_problem: Option<String>,
    /// What its processes may use; none until one was held to it.
    pub(crate) allowed: Option<Allowance>,
    /// Which of its limits it is near or above.
    pub(crate) pressure: Vec<&'static str>,
    /// How often its process was ended for what it used.
    pub(crate) recycled: u64,
    /// How long the newest health check of the present process took.
    pub(crate) latency: Option<Duration>,
    /// Failures that the budget still allows.
    pub(crate) failures_left: usize,
}

impl Entry {
    /// The kernel has ended its process for want of memory: which is all that it left to say why.
    pub(crate) fn ran_out(&mut self) {
        self.recycled += 1;
        if let Some(exit) = self.last_exit.as_mut().filter(|exit| *exit == "signal 9") {
            exit.push_str(" (the kernel ended it for want of memory)");
        }
    }
}

/// The entries of all services.
#[derive(Debug)]
pub(crate) struct Board(watch::Sender<BTreeMap<ServiceName, Entry>>);

impl Board {
    pub(crate) fn new(services: &[ServiceName]) -> Self {
        Self(watch::Sender::new(services.iter().map(|name| (*name, Entry::default())).collect()))
    }

    /// Changes an entry.
    pub(crate) fn update(&self, name: ServiceName, change: impl FnOnce(&mut Entry)) {
        self.0.send_modify(|entries| change(entries.entry(name).or_default()));
    }

    /// Changes what nobody waits for.
    pub(crate) fn note(&self, name: ServiceName, change: impl FnOnce(&mut Entry)) {
        self.0.send_if_modified(|entries| {
            change(entries.entry(name).or_default());
            false
        });
    }

    /// Hears of every change that somebody may wait for.
    pub(crate) fn changes(&self) -> watch::Receiver<BTreeMap<ServiceName, Entry>> {
        self.0.subscribe()
    }

    /// Returns one entry.
    pub(crate) fn get(&self, name: ServiceName) -> Option<Entry> {
        self.0.borrow().get(&name).cloned()
    }

    /// Returns all entries.
    pub(crate) fn list(&self) -> Vec<(ServiceName, Entry)> {
        self.0.borrow().iter().map(|(name, entry)| (*name, entry.clone())).collect()
    }

    /// Waits until all of these services are in the state.
    pub(crate) async fn reached(&self, names: &[ServiceName], state: State) {
        let mut entries = self.0.subscribe();
        let all =
            |entries: &BTreeMap<ServiceName, Entry>| names.iter().all(|name| entries.get(name).is_some_and(|entry| entry.state == state));
        // The sender is ours, so the wait cannot fail.
        drop(entries.wait_for(all).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_the_kernel_says_so_and_another_one_is_left_as_it_is() {
        let ended = |exit: &str| {
            let mut entry = Entry { last_exit: Some(exit.to_owned()), ..Entry::default() };
            entry.ran_out();
            entry.last_exit.unwrap_or_default()
        };
        assert_eq!(ended("signal 9"), "signal 9 (the kernel ended it for want of memory)");
        assert_eq!(ended("exit status 1"), "exit status 1");
    }
}
