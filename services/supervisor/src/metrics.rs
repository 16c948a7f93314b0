//! What the supervisor counts: how each process fares.

use std::sync::Weak;

use tokio::time::Instant;
use verso_kit::metrics::{self, whole};

use crate::board::State;
use crate::keeper::Shared;

/// Every state, so that a process is in exactly one.
const STATES: [State; 6] = [State::Starting, State::Serving, State::Stopping, State::Backoff, State::Failed, State::Stopped];

verso_kit::metrics! {
    /// Times that a service was started again.
    RESTARTS: Counter = "verso_service_restarts" ["service"] as "verso.service.restarts";
    /// Starts that a service has left before it is only retried slowly.
    BUDGET: Gauge = "verso_service_budget_left" ["service"];
    /// 1 for the state that a service is in.
    STATE: Gauge = "verso_service_state" ["service", "state"];
    /// The number of a service's incarnation.
    EPOCH: Gauge = "verso_service_epoch" ["service"];
    /// How long a service has been serving.
    UPTIME: Gauge = "verso_service_uptime_seconds" ["service"];
    /// How long until a service is started again.
    RETRY: Gauge = "verso_service_retry_in_seconds" ["service"];
    /// The generation of the configuration that a service works with.
    GENERATION: Gauge = "verso_service_config_generation" ["service"] as "verso.config.revision";
    /// 1 when a service does not work with the newest configuration.
    REFUSED: Gauge = "verso_service_config_refused" ["service"];
}

/// Makes what the supervisor counts a part of what its process answers.
pub(crate) fn start(shared: Weak<Shared>) {
    metrics::register(METRICS);
    metrics::reading("services", move || {
        let Some(shared) = shared.upgrade() else { return };
        for (name, entry) in shared.board.list() {
            let service = name.as_str();
            RESTARTS.read([service], whole(entry.starts.saturating_sub(1)));
            // A service that has stayed up begins with a whole budget.
            let healthy = entry.serving_since.is_some_and(|since| since.elapsed() >= shared.limits.healthy_after);
            let failures = if healthy { 0 } else { entry.failures };
            BUDGET.set([service], whole(shared.paces.get(name).failures_max.saturating_sub(failures)));
            EPOCH.set([service], whole(entry.epoch));
            UPTIME.set([service], entry.serving_since.map_or(0.0, |since| since.elapsed().as_secs_f64()));
            let retry_in = entry.retry_at.map_or(0.0, |at| at.saturating_duration_since(Instant::now()).as_secs_f64());
            RETRY.set([service], retry_in);
            GENERATION.set([service], whole(entry.config_generation));
            REFUSED.set([service], if entry.config_problem.is_some() { 1.0 } else { 0.0 });
            for state in STATES {
                STATE.set([service, state.as_str()], if entry.state == state { 1.0 } else { 0.0 });
            }
        }
    });
}
