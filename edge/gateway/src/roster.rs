//! What this edge has told the presence and node services, to be told again when they have restarted, or have not heard it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tonic::Status;
use tracing::{debug, warn};
use verso_kit::error::made_by_service;
use verso_kit::peer::Backoff;
use verso_proto::canvas::v1::StatusRequest as CanvasStatus;
use verso_proto::node::v1::AnnounceRequest as NodeAnnounce;
use verso_proto::presence::v1::AnnounceRequest as PresenceAnnounce;
use verso_proto::presence::v1::{AdvertiseRequest, RestoreRequest};

use crate::gateway::Gateway;

/// Farewells that a service may still have to hear. Of more, the oldest are forgotten: commands to such a node fail when they are tried.
const FAREWELLS_MAX: usize = 1_024;

/// The announcements of every live connection, by connection, and what services have not heard of them.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    live: Mutex<HashMap<String, Announced>>,
    /// The services that have something to be told anew, with the nodes that went meanwhile, by the name of the process.
    unheard: Mutex<BTreeMap<&'static str, VecDeque<NodeAnnounce>>>,
    missed: Notify,
}

/// The services that are told of connections.
pub(crate) const PRESENCE: &str = "presence";
pub(crate) const NODE: &str = "node";

/// What was announced for one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Announced {
    pub(crate) presence: Option<Box<PresenceAnnounce>>,
    pub(crate) node: Option<Box<NodeAnnounce>>,
}

/// What the presence service is told when the connection is gone.
pub(crate) fn presence_farewell(mut presence: PresenceAnnounce, now_ms: i64) -> PresenceAnnounce {
    if let Some(entry) = &mut presence.entry {
        entry.reason = Some("disconnect".to_owned());
        entry.ts_ms = now_ms;
    }
    PresenceAnnounce { broadcast: true, ..presence }
}

/// What the node service is told when the connection is gone.
pub(crate) fn node_farewell(mut node: NodeAnnounce) -> NodeAnnounce {
    if let Some(info) = &mut node.node {
        info.connected = false;
    }
    node
}

impl Roster {
    pub(crate) fn add(&self, conn_id: &str, announced: Announced) {
        self.live().insert(conn_id.to_owned(), announced);
    }

    pub(crate) fn remove(&self, conn_id: &str) -> Option<Announced> {
        self.live().remove(conn_id)
    }

    /// What was announced of the node at the other end; none when it is no node.
    pub(crate) fn node(&self, conn_id: &str) -> Option<NodeAnnounce> {
        self.live().get(conn_id)?.node.as_deref().cloned()
    }

    /// Notes that a service did not hear of a connection in time; `gone` is a node that went.
    pub(crate) fn missed_by(&self, process: &'static str, gone: Option<NodeAnnounce>) {
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = unheard.entry(process).or_default();
        missed.extend(gone);
        if missed.len() > FAREWELLS_MAX {
            missed.pop_front();
        }
        self.missed.notify_one();
    }

    /// Takes a service that has not heard everything, and the nodes that went.
    fn take_unheard(&self) -> Option<(&'static str, VecDeque<NodeAnnounce>)> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    fn holds(&self, conn_id: &str) -> bool {
        self.live().contains_key(conn_id)
    }

    fn presence(&self) -> Vec<PresenceAnnounce> {
        self.live().values().filter_map(|announced| announced.presence.as_deref().cloned()).collect()
    }

    fn nodes(&self) -> Vec<NodeAnnounce> {
        self.live().values().filter_map(|announced| announced.node.as_deref().cloned()).collect()
    }

    fn live(&self) -> MutexGuard<'_, HashMap<String, Announced>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a new incarnation of a service what the last one knew of this edge. What it does not hear, it hears later.
pub(crate) async fn restore(gateway: &Arc<Gateway>, process: &str) {
    let Some(process) = [PRESENCE, NODE].into_iter().find(|known| *known == process) else { return };
    if let Err(status) = tell(gateway, process).await {
        warn!(service = process, error = &status as &dyn std::error::Error, "could not restore the service's view of this edge");
        gateway.roster.missed_by(process, None);
    }
}

/// Tells services what they did not hear in time, until the shutdown.
pub(crate) fn keep_told(gateway: &Arc<Gateway>) {
    let (telling, shutdown) = (Arc::clone(gateway), gateway.tasks.shutdown().clone());
    gateway.tasks.spawn("catching up", async move {
        shutdown.run_until_cancelled(catch_up(&telling)).await;
    });
}

/// A service that was stopped for a while, or out of reach, goes on as if nothing had been: nothing else tells it. Never returns.
async fn catch_up(gateway: &Arc<Gateway>) {
    loop {
        gateway.roster.missed.notified().await;
        let mut backoff = Backoff::default();
        while let Some((process, mut gone)) = gateway.roster.take_unheard() {
            tokio::time::sleep(backoff.next_pause()).await;
            while let Some(node) = gone.pop_front() {
                if let Err(status) = gateway.services.call(node.clone()).await
                    && !made_by_service(&status)
                {
                    std::iter::once(node).chain(gone.drain(..)).for_each(|node| gateway.roster.missed_by(process, Some(node)));
                }
            }
            match tell(gateway, process).await {
                Ok(()) => backoff.reset(),
                Err(status) if made_by_service(&status) => {
                    warn!(service = process, error = &status as &dyn std::error::Error, "the service does not take this edge's view");
                }
                Err(_) => gateway.roster.missed_by(process, None),
            }
        }
    }
}

/// Tells a service of all that this edge holds.
async fn tell(gateway: &Arc<Gateway>, process: &str) -> Result<(), Status> {
    if process == PRESENCE { restore_presence(gateway).await } else { restore_nodes(gateway).await }
}

async fn restore_presence(gateway: &Arc<Gateway>) -> Result<(), Status> {
    let version = gateway.state_version().presence;
    let connections = gateway.roster.presence();
    let restored = gateway.services.call(RestoreRequest { connections: connections.clone(), version }).await?;
    gateway.saw_presence_list(restored.version, restored.entries);
    // Those that went meanwhile may have taken their leave before they were told of.
    for presence in connections.into_iter().filter(|presence| !gateway.roster.holds(&presence.conn_id)) {
        gateway.services.call(presence_farewell(presence, gateway.context.clock.now_ms())).await?;
        gateway.presence_list.void();
    }
    let (told, shutdown) = (Arc::clone(gateway), gateway.tasks.shutdown().clone());
    gateway.tasks.spawn("advertise", async move {
        shutdown.run_until_cancelled(advertise(&told)).await;
    });
    Ok(())
}

/// Has the gateway announced on the local network, if the configuration wants that. Nothing depends on it.
async fn advertise(gateway: &Gateway) {
    let Some(what) = gateway.reachable.get().cloned() else { return };
    let canvas_port = gateway.services.call(CanvasStatus {}).await.ok().filter(|status| status.enabled).and_then(|status| status.port);
    match gateway.services.call(AdvertiseRequest { canvas_port, ..what }).await {
        Ok(answer) => debug!(not_announced = answer.not_announced, "told what can be found on the local network"),
        Err(status) => debug!(error = &status as &dyn std::error::Error, "could not tell what can be found on the local network"),
    }
}

async fn restore_nodes(gateway: &Gateway) -> Result<(), Status> {
    for node in gateway.roster.nodes() {
        gateway.services.call(node.clone()).await?;
        if !gateway.roster.holds(&node.conn_id) {
            gateway.services.call(node_farewell(node)).await?;
        }
    }
    Ok(())
}
