//! Background work whose panic ends the service instead of half of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// Starts tasks and waits for them. Clones share the tasks.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failed: Arc<AtomicBool>,
}

impl Tasks {
    /// Makes a group of tasks that ends with `shutdown`.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), shutdown, failed: Arc::new(AtomicBool::new(false)) }
    }

    /// Starts a task. When it panics, the panic is logged and `shutdown` is triggered.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that starts tasks")]
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&self, name: &'static str, work: F) {
        let (shutdown, failed) = (self.shutdown.clone(), Arc::clone(&self.failed));
        tokio::spawn(self.tracker.track_future(async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                error!(task = name, error = words.unwrap_or("panic"), "task panicked; the service stops");
                failed.store(true, Ordering::Relaxed);
                shutdown.cancel();
            }
        }));
    }

    /// Returns the token that ends the group.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Whether a task has panicked.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until every task has ended. The caller triggers the shutdown.
    pub async fn join(self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_triggers_the_shutdown() {
        let shutdown = CancellationToken::new();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn("broken", async { panic!("on purpose") });
        shutdown.cancelled().await;
        assert!(tasks.failed());
        tasks.join().await;
    }
}
