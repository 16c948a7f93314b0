//! All live connections, and how events reach them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use verso_proto::wire::v1::Audience;
use verso_protocol::auth::{SharedMethod, may_receive};
use verso_protocol::close::Close;

use crate::event::Rendered;
use crate::limits::Limits;
use crate::metrics::Limit;
use crate::outlet::Outlet;

/// The live connections of one edge.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    live: RwLock<HashMap<String, Arc<Outlet>>>,
    /// Events that were given to connections since the start.
    delivered: AtomicU64,
}

impl Connections {
    /// Adds a connection after its handshake.
    pub(crate) fn add(&self, outlet: Arc<Outlet>) {
        self.live.write().unwrap_or_else(PoisonError::into_inner).insert(outlet.conn_id.clone(), outlet);
    }

    pub(crate) fn remove(&self, conn_id: &str) {
        self.live.write().unwrap_or_else(PoisonError::into_inner).remove(conn_id);
    }

    pub(crate) fn count(&self) -> usize {
        self.live.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Queues an event for everybody who may see it, in the order of the calls.
    pub(crate) fn publish(&self, event: Rendered, audience: Option<&Audience>, limits: &Limits) {
        let event = Arc::new(event);
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(audience) = audience.filter(|audience| !audience.conn_ids.is_empty()) {
            for outlet in audience.conn_ids.iter().filter_map(|conn_id| live.get(conn_id)) {
                outlet.publish_targeted(&event, limits);
            }
            return;
        }
        let mut delivered = 0;
        for outlet in live.values() {
            if may_receive(outlet.peer, event.kind()) && event.exists_in(outlet.peer.version) {
                outlet.publish(&event, limits);
                delivered += 1;
            }
        }
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
    }

    /// Pings every connection and drops those that did not answer the last ping.
    pub(crate) fn ping(&self, limits: &Limits) {
        for outlet in self.all() {
            if !outlet.ping(limits) {
                limits.metrics.reached(Limit::Ping);
                outlet.close(Close::NORMAL);
            }
        }
    }

    /// Closes every connection.
    pub(crate) fn close_all(&self, close: &Close) {
        for outlet in self.all() {
            outlet.close(close.clone());
        }
    }

    /// Closes the connections of a device in a role.
    pub(crate) fn close_device(&self, device_id: &str, role: &str, close: &Close) {
        for outlet in self.all().into_iter().filter(|outlet| outlet.device_id.as_deref() == Some(device_id)) {
            if outlet.peer.role.as_str() == role {
                outlet.close(close.clone());
            }
        }
    }

    /// Closes the connections that were let in by one of these.
    pub(crate) fn close_admitted_by(&self, methods: &[SharedMethod], close: &Close) {
        for outlet in self.all().into_iter().filter(|outlet| methods.contains(&outlet.method)) {
            outlet.close(close.clone());
        }
    }

    /// The paired devices that are connected.
    pub(crate) fn device_ids(&self) -> HashSet<String> {
        self.all().into_iter().filter_map(|outlet| outlet.device_id.clone()).collect()
    }

    /// Events that were given to connections since the start.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    fn all(&self) -> Vec<Arc<Outlet>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
