//! All live connections, and how events reach them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use verso_proto::edge::v1::{EventsResumed, EventsResync};
use verso_proto::methods::{Scope, ServiceEvent as _};
use verso_proto::wire::v1::Audience;
use verso_protocol::ErrorShape;
use verso_protocol::auth::SharedMethod;
use verso_protocol::close::Close;

use crate::event::Rendered;
use crate::journal::{Journal, Lost, Resume};
use crate::limits::Limits;
use crate::metrics::Limit;
use crate::outlet::{Outlet, Reception};

/// The live connections of one edge.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    live: RwLock<HashMap<String, Arc<Outlet>>>,
    /// Events that were given to connections since the start.
    delivered: AtomicU64,
    /// Held while an event is given out, so that all connections count in one order. Taken before `live`.
    journal: Mutex<Journal>,
}

impl Connections {
    /// Adds a connection after its handshake. With `resume`, what the client's earlier connection did not hear comes first.
    pub(crate) fn add(&self, outlet: Arc<Outlet>, resume: Option<&Resume>, limits: &Limits) {
        let mut journal = self.journal();
        if let Some(resume) = resume {
            match self.missed(&mut journal, &outlet, resume) {
                Ok(missed) => {
                    let replayed = i64::try_from(missed.len()).unwrap_or(i64::MAX);
                    tell(&outlet, EventsResumed { replayed, seq: i64::try_from(resume.seq).unwrap_or(i64::MAX) }, limits);
                    for event in &missed {
                        outlet.publish(event, limits);
                    }
                }
                Err(reason) => tell(&outlet, EventsResync { reason: reason.as_str().to_owned() }, limits),
            }
        }
        self.live.write().unwrap_or_else(PoisonError::into_inner).insert(outlet.conn_id.clone(), outlet);
    }

    /// Sends a connection again what the client's earlier connection did not hear, and returns how much that is.
    pub(crate) fn resume(&self, outlet: &Outlet, resume: &Resume, limits: &Limits) -> Result<usize, Lost> {
        let mut journal = self.journal();
        let missed = self.missed(&mut journal, outlet, resume)?;
        for event in &missed {
            outlet.publish(event, limits);
        }
        Ok(missed.len())
    }

    fn missed(&self, journal: &mut Journal, outlet: &Outlet, resume: &Resume) -> Result<Vec<Arc<Rendered>>, Lost> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        // A connection whose end nobody has noticed yet is still there.
        let half_open = live.values().find(|other| resume.means(other, outlet)).cloned();
        drop(live);
        journal.missed(outlet, half_open, resume)
    }

    /// Lets a connection follow a topic, under the name by which it calls the topic's session.
    pub(crate) fn follow(&self, outlet: &Outlet, topic: String, alias: &str) -> Result<(), ErrorShape> {
        // No event may come between what is counted and what it is counted by.
        let _journal = self.journal();
        let seq = outlet.seq();
        outlet.following().add(topic, alias.to_owned(), seq)
    }

    /// Lets a connection follow a topic no more.
    pub(crate) fn unfollow(&self, outlet: &Outlet, topic: &str) {
        let _journal = self.journal();
        let seq = outlet.seq();
        outlet.following().remove(topic, seq);
    }

    /// Returns a live connection.
    pub(crate) fn get(&self, conn_id: &str) -> Option<Arc<Outlet>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).get(conn_id).cloned()
    }

    pub(crate) fn remove(&self, conn_id: &str) {
        let mut journal = self.journal();
        let left = self.live.write().unwrap_or_else(PoisonError::into_inner).remove(conn_id);
        if let Some(outlet) = left {
            outlet.retire();
            journal.left(outlet);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.live.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Queues an event for everybody who may see it, in the order of the calls.
    pub(crate) fn publish(&self, event: Rendered, audience: Option<&Audience>, limits: &Limits) {
        if event.kind().scope == Scope::Unspecified {
            return;
        }
        let event = Arc::new(event);
        let mut journal = self.journal();
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(audience) = audience.filter(|audience| !audience.conn_ids.is_empty()) {
            for outlet in audience.conn_ids.iter().filter_map(|conn_id| live.get(conn_id)) {
                outlet.publish_targeted(&event, limits);
            }
            return;
        }
        let mut delivered = 0;
        for outlet in live.values() {
            match outlet.reception(&event) {
                Reception::Counted => outlet.publish(&event, limits),
                Reception::Copy => outlet.publish_targeted(&event, limits),
                Reception::Nothing => continue,
            }
            delivered += 1;
        }
        journal.add(event);
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

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Outlet>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Tells one connection something of the edge's own.
fn tell(outlet: &Outlet, event: impl Into<verso_proto::edge::v1::Event>, limits: &Limits) {
    if let Ok(Some((kind, payload))) = event.into().payload() {
        outlet.publish_targeted(&Rendered::new(kind, payload), limits);
    }
}
