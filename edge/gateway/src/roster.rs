//! What this edge has told the presence and node services, to be told again when they have restarted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{debug, warn};
use verso_proto::canvas::v1::StatusRequest as CanvasStatus;
use verso_proto::node::v1::AnnounceRequest as NodeAnnounce;
use verso_proto::presence::v1::AnnounceRequest as PresenceAnnounce;
use verso_proto::presence::v1::{AdvertiseRequest, RestoreRequest};

use crate::gateway::Gateway;

/// The announcements of every live connection, by connection.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    live: Mutex<HashMap<String, Announced>>,
}

/// What was announced for one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Announced {
    pub(crate) presence: Option<Box<PresenceAnnounce>>,
    pub(crate) node: Option<Box<NodeAnnounce>>,
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

/// Tells a new incarnation of a service what the last one knew of this edge.
pub(crate) async fn restore(gateway: &Arc<Gateway>, process: &str) {
    let told = match process {
        "presence" => restore_presence(gateway).await,
        "node" => restore_nodes(gateway).await,
        _ => Ok(()),
    };
    if let Err(status) = told {
        warn!(service = process, error = &status as &dyn std::error::Error, "could not restore the service's view of this edge");
    }
}

async fn restore_presence(gateway: &Arc<Gateway>) -> Result<(), tonic::Status> {
    let version = gateway.state_version().presence;
    let restored = gateway.services.call(RestoreRequest { connections: gateway.roster.presence(), version }).await?;
    gateway.saw_presence_list(restored.version, restored.entries);
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

async fn restore_nodes(gateway: &Gateway) -> Result<(), tonic::Status> {
    for node in gateway.roster.nodes() {
        gateway.services.call(node).await?;
    }
    Ok(())
}
