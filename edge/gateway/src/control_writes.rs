//! How often one client may change how the gateway runs.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use verso_protocol::{Code, ErrorShape};

/// How long a call is remembered.
const WINDOW: Duration = Duration::from_mins(1);

/// Clients and methods that are remembered; those that have been quiet for a window give way.
const KEYS_MAX: usize = 10_000;

/// The recent calls of every client.
#[derive(Debug, Default)]
pub(crate) struct ControlWrites {
    recent: Mutex<HashMap<(&'static str, String), VecDeque<Instant>>>,
}

impl ControlWrites {
    /// Counts a call, or says when the client may call again.
    pub(crate) fn admit(&self, method: &'static str, client: &str, count_max: usize) -> Result<(), ErrorShape> {
        let now = Instant::now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= KEYS_MAX {
            recent.retain(|_, calls| calls.back().is_some_and(|last| now.duration_since(*last) < WINDOW));
        }
        let calls = recent.entry((method, client.to_owned())).or_default();
        while calls.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
            calls.pop_front();
        }
        if calls.len() < count_max {
            calls.push_back(now);
            return Ok(());
        }
        let left = calls.front().map_or(WINDOW, |first| WINDOW.saturating_sub(now.duration_since(*first)));
        let retry_after_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        let message = format!("rate limit exceeded for {method}; retry after {}s", retry_after_ms.div_ceil(1_000));
        Err(ErrorShape::new(Code::Unavailable, message).retryable(Some(retry_after_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_client_has_so_many_calls_of_each_method_in_a_minute() {
        let writes = ControlWrites::default();
        for _ in 0..3 {
            writes.admit("update.run", "phone", 3).unwrap();
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        let error = writes.admit("update.run", "phone", 3).unwrap_err();
        assert_eq!(error.message, "rate limit exceeded for update.run; retry after 59s");
        assert_eq!((error.code, error.retryable, error.retry_after_ms), (Code::Unavailable, Some(true), Some(58_500)));
        writes.admit("config.patch", "phone", 3).unwrap();
        writes.admit("update.run", "tv", 3).unwrap();
        tokio::time::advance(Duration::from_millis(58_500)).await;
        writes.admit("update.run", "phone", 3).unwrap();
    }
}
