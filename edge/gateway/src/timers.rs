//! What happens by the clock: ticks and pings. It goes on whatever state the services are in.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval_at};
use verso_proto::edge::v1::Tick;

use crate::gateway::Gateway;

/// Starts the ticks and pings.
pub(crate) fn start(gateway: &Arc<Gateway>) {
    every(gateway, gateway.limits.tick, tick);
    every(gateway, gateway.limits.ping, |gateway| gateway.connections.ping(&gateway.limits));
}

/// Tells every client that the gateway is there. One that hears nothing for two periods takes it for dead.
pub(crate) fn tick(gateway: &Gateway) {
    gateway.emit(Tick { ts_ms: gateway.context.clock.now_ms() });
}

fn every(gateway: &Arc<Gateway>, period: std::time::Duration, act: fn(&Gateway)) {
    let gateway = Arc::clone(gateway);
    let shutdown = gateway.tasks.shutdown().clone();
    gateway.tasks.clone().spawn("timer", async move {
        let mut timer = interval_at(tokio::time::Instant::now() + period, period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = timer.tick() => act(&gateway),
                () = shutdown.cancelled() => return,
            }
        }
    });
}
