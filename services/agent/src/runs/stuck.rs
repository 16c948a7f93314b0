//! Runs that have not moved for long: counted, logged and traced, so that somebody looks. What ends them is their time-out.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;

use super::{Runs, spans};
use crate::metrics;

/// How long a run may be silent before it is called stuck, unless configured, in milliseconds.
const STUCK_MS: u64 = 120_000;

/// The least that can be configured, in milliseconds.
const STUCK_MS_MIN: u64 = 1_000;

/// Between two looks, at most.
const LOOK: Duration = Duration::from_secs(30);

/// What `diagnostics` says of runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Section {
    stuck_session_warn_ms: Option<u64>,
}

impl Runs {
    /// Looks from time to time for runs that do not move.
    pub(crate) fn watch_over(&self, section: &Section) {
        let limit = Duration::from_millis(section.stuck_session_warn_ms.unwrap_or(STUCK_MS).max(STUCK_MS_MIN));
        let (runs, shutdown) = (self.clone(), self.tasks.shutdown().clone());
        self.tasks.spawn("watch over runs", async move {
            while shutdown.run_until_cancelled(sleep(limit.min(LOOK))).await.is_some() {
                runs.report_stuck(limit);
            }
        });
    }

    fn report_stuck(&self, limit: Duration) {
        let active: Vec<_> = self.active().values().map(Arc::clone).collect();
        for run in active {
            let silence = run.started_at_ms.get().and_then(|_| run.emitter.silence());
            let Some(silence) = silence.filter(|silence| *silence >= limit) else { continue };
            let (waiting, tool) = (self.waiting_in(&run.key).len(), run.emitter.activity());
            let reason = if tool.is_some() { "tool_call" } else { "model_call" };
            metrics::run_stuck(reason, silence);
            spans::stuck(reason, silence, waiting);
            tracing::warn!(run = run.id, silent_seconds = silence.as_secs(), waiting, reason, "a run does not move");
        }
    }
}
