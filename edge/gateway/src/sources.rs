//! One event stream from each service, reopened whenever it breaks.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;
use tracing::{debug, warn};
use verso_kit::peer::Backoff;
use verso_proto::methods::{EVENT_SOURCES, Emitted, EventSource, Scope};
use verso_proto::wire::v1::{From as Position, StateVersion};

use crate::event::{About, Rendered};
use crate::gateway::Gateway;
use crate::handover::Origin;
use crate::local;
use crate::roster;
use crate::services::process_name;

#[cfg(test)]
mod tests;

/// Between two attempts to reopen a stream, at least.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);

/// How long to wait for services that are away: their events are followed from where the previous edge was.
const FOLLOW_WAIT: Duration = Duration::from_secs(1);

/// No incarnation is called so: whoever asks for what comes after it gets all that is kept.
const MISSED: &str = "missed";

/// Follows the events of every service until the shutdown.
pub(crate) fn follow_all(gateway: &Arc<Gateway>) {
    for source in EVENT_SOURCES {
        let gateway = Arc::clone(gateway);
        let shutdown = gateway.tasks.shutdown().clone();
        gateway.tasks.clone().spawn("events", async move {
            tokio::select! {
                () = follow(&gateway, source) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}

/// Waits until every service that is up is followed: an edge that takes connections over must not miss what they have to hear.
pub(crate) async fn wait_until_followed(gateway: &Gateway) {
    let deadline = tokio::time::Instant::now() + FOLLOW_WAIT;
    while gateway.connections.expects_more() && tokio::time::Instant::now() < deadline {
        if EVENT_SOURCES.iter().all(|source| gateway.connections.position(source.service).is_some()) {
            return;
        }
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

async fn follow(gateway: &Arc<Gateway>, source: &'static EventSource) {
    let mut backoff = Backoff::default();
    let mut missed = false;
    loop {
        let mut position = gateway.connections.position(source.service);
        if let Some(position) = position.as_mut().filter(|_| missed) {
            MISSED.clone_into(&mut position.epoch);
        }
        missed = false;
        if let Err(status) = follow_once(gateway, source, position, &mut backoff).await {
            missed = status.code() == Code::DataLoss;
            let (service, error) = (process_name(source.service), &status as &dyn std::error::Error);
            if missed {
                warn!(service, error, "events were missed");
            } else {
                debug!(service, error, "event stream broke");
            }
        }
        tokio::time::sleep(REOPEN_PAUSE.max(backoff.next_pause())).await;
    }
}

/// Follows one stream from `position` until it ends.
async fn follow_once(
    gateway: &Arc<Gateway>,
    source: &'static EventSource,
    position: Option<Position>,
    backoff: &mut Backoff,
) -> Result<(), tonic::Status> {
    let mut stream = gateway.services.of(source.service)?.events(source, position).await?;
    while let Some(item) = stream.message().await? {
        backoff.reset();
        match (source.read)(&item) {
            Ok(emitted) => take(gateway, source, emitted).await,
            Err(error) => {
                warn!(service = process_name(source.service), error = &error as &dyn std::error::Error, "dropped an unreadable event");
            }
        }
    }
    Ok(())
}

async fn take(gateway: &Arc<Gateway>, source: &'static EventSource, emitted: Emitted) {
    let Emitted { meta, event } = emitted;
    let origin = Origin { service: source.service, position: Position { epoch: meta.epoch.clone(), seq: meta.seq } };
    let Some((kind, payload)) = event else {
        // The greeting. An incarnation that this edge has not met knows nothing of its connections.
        let met = gateway.connections.position(source.service).is_some_and(|position| position.epoch == origin.position.epoch);
        if gateway.connections.advance(&origin) && !met {
            roster::restore(gateway, process_name(source.service)).await;
            gateway.health.request_refresh();
        }
        return;
    };
    if kind.name == "heartbeat" {
        gateway.last_heartbeat.store(Arc::new(Some(payload.clone())));
    }
    if kind.scope == Scope::Unspecified {
        local::follow::heard(gateway, kind, &payload).await;
    }
    let mut event = Rendered::new(kind, &payload).droppable(meta.droppable).about(About::from(&meta));
    if let Some(version) = meta.state_version {
        gateway.saw_presence(version.presence);
        event = event.with_state_version(&StateVersion { presence: version.presence, health: gateway.state_version().health });
    }
    gateway.connections.publish_from(&origin, event, meta.audience.as_ref(), &gateway.limits);
}
