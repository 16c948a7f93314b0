//! The wall clock, which tests can set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time in milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// Follows the operating system.
    pub fn system() -> Self {
        Self(None)
    }

    /// Stands at `now_ms` until it is advanced.
    pub fn fixed(now_ms: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(now_ms))))
    }

    /// Returns the time in milliseconds since 1970.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that asks the operating system")]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Some(fixed) => fixed.load(Ordering::Relaxed),
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        }
    }

    /// Returns the time as RFC 3339 writes it, in UTC.
    pub fn now_rfc3339(&self) -> String {
        jiff::Timestamp::from_millisecond(self.now_ms()).unwrap_or_default().to_string()
    }

    /// Moves a fixed clock, and all its clones, forward. The system's clock stays as it is.
    pub fn advance(&self, ms: i64) {
        if let Some(fixed) = &self.0 {
            fixed.fetch_add(ms, Ordering::Relaxed);
        }
    }
}
