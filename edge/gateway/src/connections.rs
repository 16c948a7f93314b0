//! All live connections, and how events reach them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tracing::trace;
use verso_kit::telemetry::FRAMES;
use verso_proto::edge::v1::{EventsResumed, EventsResync};
use verso_proto::methods::{EventKind, Scope, ServiceEvent as _};
use verso_proto::wire::v1::{Audience, From as Position};
use verso_protocol::ErrorShape;
use verso_protocol::auth::SharedMethod;
use verso_protocol::close::Close;

use crate::event::Rendered;
use crate::handover::{Backlog, Origin};
use crate::journal::{Journal, Lost, Resume};
use crate::limits::Limits;
use crate::metrics::{self, Limit};
use crate::outlet::{Outlet, Reception};

/// The live connections of one edge.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    live: RwLock<HashMap<String, Arc<Outlet>>>,
    /// Events that were given to connections since the start.
    delivered: AtomicU64,
    /// Held while an event is given out, so that all connections count in one order. Taken before `live`.
    given: Mutex<Given>,
}

/// What was given out.
#[derive(Debug, Default)]
struct Given {
    journal: Journal,
    backlog: Backlog,
}

impl Connections {
    /// Adds a connection after its handshake. With `resume`, what the client's earlier connection did not hear comes first.
    pub(crate) fn add(&self, outlet: Arc<Outlet>, resume: Option<&Resume>, limits: &Limits) {
        let mut given = self.given();
        if let Some(resume) = resume {
            match self.missed(&mut given.journal, &outlet, resume) {
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
        let mut given = self.given();
        let missed = self.missed(&mut given.journal, outlet, resume)?;
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
        let _given = self.given();
        let seq = outlet.seq();
        outlet.following().add(topic, alias.to_owned(), seq)
    }

    /// Lets a connection follow a topic no more.
    pub(crate) fn unfollow(&self, outlet: &Outlet, topic: &str) {
        let _given = self.given();
        let seq = outlet.seq();
        outlet.following().remove(topic, seq);
    }

    /// Returns a live connection.
    pub(crate) fn get(&self, conn_id: &str) -> Option<Arc<Outlet>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).get(conn_id).cloned()
    }

    pub(crate) fn remove(&self, conn_id: &str) {
        let mut given = self.given();
        let left = self.live.write().unwrap_or_else(PoisonError::into_inner).remove(conn_id);
        if let Some(outlet) = left {
            outlet.retire();
            given.journal.left(outlet);
        }
    }

    /// Takes a connection out that goes on elsewhere.
    pub(crate) fn let_go(&self, conn_id: &str) {
        let _given = self.given();
        self.live.write().unwrap_or_else(PoisonError::into_inner).remove(conn_id);
    }

    pub(crate) fn count(&self) -> usize {
        self.live.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Queues an event of a service for everybody who may see it, in the order of the calls.
    pub(crate) fn publish_from(&self, origin: &Origin, event: Rendered, audience: Option<&Audience>, limits: &Limits) {
        let mut given = self.given();
        if given.backlog.advance(origin) {
            self.give_out(&mut given, (Some(origin), audience), Arc::new(event), limits);
        }
    }

    /// Queues an event of the edge's own.
    pub(crate) fn publish(&self, event: Rendered, limits: &Limits) {
        self.give_out(&mut self.given(), (None, None), Arc::new(event), limits);
    }

    fn give_out(&self, given: &mut Given, (origin, audience): (Option<&Origin>, Option<&Audience>), event: Arc<Rendered>, limits: &Limits) {
        given.backlog.add(origin, &event, audience);
        if event.kind().scope == Scope::Unspecified {
            return;
        }
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(audience) = audience.filter(|audience| !audience.conn_ids.is_empty()) {
            for outlet in audience.conn_ids.iter().filter_map(|conn_id| live.get(conn_id)) {
                outlet.publish_targeted(&event, limits);
            }
            return;
        }
        trace!(target: FRAMES, event = event.kind().name, "event");
        let delivered = live.values().filter(|outlet| receive(outlet, &event, limits)).count();
        given.journal.add(event);
        self.delivered.fetch_add(delivered as u64, Ordering::Relaxed);
    }

    /// Gives out no more events of services, and says how far it got with each.
    pub(crate) fn freeze(&self) -> BTreeMap<&'static str, Position> {
        self.given().backlog.freeze()
    }

    /// Wakes every connection's task.
    pub(crate) fn nudge(&self) {
        for outlet in self.all() {
            outlet.nudge();
        }
    }

    /// How many connections are still to move to the next edge.
    pub(crate) fn left_to_move(&self) -> usize {
        self.all().iter().filter(|outlet| outlet.is_to_move()).count()
    }

    /// Keeps events for connections that another edge is about to hand over.
    pub(crate) fn expect_more(&self) {
        self.given().backlog.keep();
    }

    /// Whether another edge is about to hand connections over.
    pub(crate) fn expects_more(&self) -> bool {
        self.given().backlog.is_keeping()
    }

    /// Keeps no events any more.
    pub(crate) fn expect_no_more(&self) {
        self.given().backlog.forget();
    }

    /// Whether everything is there that a connection has to hear that another edge hands over.
    pub(crate) fn can_adopt(&self) -> bool {
        self.given().backlog.is_whole()
    }

    /// How far a service's events have got.
    pub(crate) fn position(&self, service: &str) -> Option<Position> {
        self.given().backlog.position(service)
    }

    /// Notes how far a service's events have got without one; false when they are not followed any more.
    pub(crate) fn advance(&self, origin: &Origin) -> bool {
        self.given().backlog.advance(origin)
    }

    /// Follows a service's events from there, unless it is followed already.
    pub(crate) fn begin_at(&self, service: &'static str, position: &Position) {
        self.given().backlog.begin_at(service, position);
    }

    /// Whether events were given out here up to those positions.
    pub(crate) fn has_reached(&self, positions: &BTreeMap<&'static str, Position>) -> bool {
        let given = self.given();
        positions.iter().all(|(service, wanted)| {
            given.backlog.position(service).is_some_and(|here| here.epoch == wanted.epoch && here.seq >= wanted.seq)
        })
    }

    /// Adds a connection that another edge has served up to those positions.
    pub(crate) fn adopt(&self, outlet: Arc<Outlet>, positions: &BTreeMap<&'static str, Position>, limits: &Limits) {
        let given = self.given();
        for kept in given.backlog.after(positions) {
            match kept.audience.as_ref().filter(|audience| !audience.conn_ids.is_empty()) {
                Some(audience) if audience.conn_ids.contains(&outlet.conn_id) => outlet.publish_targeted(&kept.event, limits),
                Some(_) => {}
                None => drop(receive(&outlet, &kept.event, limits)),
            }
        }
        // What it heard before is not in this journal.
        let seq = outlet.seq();
        outlet.following().counts_from(seq);
        self.live.write().unwrap_or_else(PoisonError::into_inner).insert(outlet.conn_id.clone(), outlet);
    }

    /// What services have told the edge alone after those positions.
    pub(crate) fn unheard(&self, positions: &BTreeMap<&'static str, Position>) -> Vec<(&'static EventKind, String)> {
        let given = self.given();
        let kept = given.backlog.after(positions).filter(|kept| kept.event.kind().scope == Scope::Unspecified);
        kept.map(|kept| (kept.event.kind(), kept.event.payload().to_owned())).collect()
    }

    /// Pings every connection and drops those that did not answer the last ping.
    pub(crate) fn ping(&self, limits: &Limits) {
        for outlet in self.all() {
            if !outlet.ping(limits) {
                metrics::reached(Limit::Ping);
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

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Outlet>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Queues an event for a connection if it is for it.
fn receive(outlet: &Outlet, event: &Rendered, limits: &Limits) -> bool {
    match outlet.reception(event) {
        Reception::Counted => outlet.publish(event, limits),
        Reception::Copy => outlet.publish_targeted(event, limits),
        Reception::Nothing => return false,
    }
    true
}

/// Tells one connection something of the edge's own.
fn tell(outlet: &Outlet, event: impl Into<verso_proto::edge::v1::Event>, limits: &Limits) {
    if let Ok(Some((kind, payload))) = event.into().payload() {
        outlet.publish_targeted(&Rendered::new(kind, &payload), limits);
    }
}
