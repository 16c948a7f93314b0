//! What the service counts: nodes, what they were asked, and what waits for somebody's decision.

use std::time::Duration;

use verso_kit::metrics::{self, whole};

use crate::error::Error;

verso_kit::metrics! {
    /// Nodes that are paired, or were in the past, by whether they are connected.
    NODES: Gauge = "verso_node_nodes" ["connected"];
    /// Devices that wait to be paired.
    PAIRINGS: Gauge = "verso_node_pairings_pending" [];
    /// Questions about programs that wait for an answer.
    APPROVALS: Gauge = "verso_node_approvals_pending" [];
    /// Commands that nodes have not answered.
    PENDING: Gauge = "verso_node_invokes_pending" [];
    /// Commands until their answer.
    INVOKES: Histogram(SECONDS) = "verso_node_invoke_duration_seconds" ["outcome"];
    /// Clients of this service's events.
    SUBSCRIBERS: Gauge = "verso_node_event_subscribers" [];
}

/// What waits and who is there.
#[derive(Debug, Default)]
pub(crate) struct Depths {
    pub(crate) connected: usize,
    pub(crate) known: usize,
    pub(crate) pairings: usize,
    pub(crate) approvals: usize,
    pub(crate) invokes: usize,
    pub(crate) subscribers: usize,
}

/// Makes what the service counts a part of what its process answers.
pub(crate) fn start(read: impl Fn() -> Option<Depths> + Send + Sync + 'static) {
    metrics::register(METRICS);
    metrics::reading("node", move || {
        let Some(depths) = read() else { return };
        NODES.set(["yes"], whole(depths.connected));
        NODES.set(["no"], whole(depths.known.saturating_sub(depths.connected)));
        PAIRINGS.set([], whole(depths.pairings));
        APPROVALS.set([], whole(depths.approvals));
        PENDING.set([], whole(depths.invokes));
        SUBSCRIBERS.set([], whole(depths.subscribers));
    });
}

/// Takes down a command.
pub(crate) fn invoked<T>(answer: &Result<T, Error>, elapsed: Duration) {
    let outcome = if answer.is_ok() { "answered" } else { "failed" };
    INVOKES.observe([outcome], elapsed.as_secs_f64());
}
