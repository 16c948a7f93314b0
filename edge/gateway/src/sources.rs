//! One event stream from each service, reopened whenever it breaks.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};
use verso_kit::peer::Backoff;
use verso_proto::methods::{EVENT_SOURCES, Emitted, EventSource, Scope};
use verso_proto::wire::v1::{From as Position, StateVersion};

use crate::event::{About, Rendered};
use crate::gateway::Gateway;
use crate::local;
use crate::roster;
use crate::services::process_name;

/// Between two attempts to reopen a stream, at least.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);

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

async fn follow(gateway: &Arc<Gateway>, source: &'static EventSource) {
    let mut position: Option<Position> = None;
    let mut backoff = Backoff::default();
    loop {
        if let Err(status) = follow_once(gateway, source, &mut position, &mut backoff).await {
            debug!(service = process_name(source.service), error = &status as &dyn std::error::Error, "event stream broke");
        }
        tokio::time::sleep(REOPEN_PAUSE.max(backoff.next_pause())).await;
    }
}

/// Follows one stream until it ends.
async fn follow_once(
    gateway: &Arc<Gateway>,
    source: &'static EventSource,
    position: &mut Option<Position>,
    backoff: &mut Backoff,
) -> Result<(), tonic::Status> {
    let mut stream = gateway.services.of(source.service)?.events(source, position.clone()).await?;
    while let Some(item) = stream.message().await? {
        backoff.reset();
        match (source.read)(&item) {
            Ok(emitted) => take(gateway, source, position, emitted).await,
            Err(error) => {
                warn!(service = process_name(source.service), error = &error as &dyn std::error::Error, "dropped an unreadable event");
            }
        }
    }
    Ok(())
}

async fn take(gateway: &Arc<Gateway>, source: &'static EventSource, position: &mut Option<Position>, emitted: Emitted) {
    let Emitted { meta, event } = emitted;
    let Some((kind, payload)) = event else {
        // The greeting. An incarnation that this edge has not met knows nothing of its connections.
        let met = position.as_ref().is_some_and(|position| position.epoch == meta.epoch);
        *position = Some(Position { epoch: meta.epoch, seq: meta.seq });
        if !met {
            let process = process_name(source.service);
            roster::restore(gateway, process).await;
            gateway.health.request_refresh();
        }
        return;
    };
    *position = Some(Position { epoch: meta.epoch.clone(), seq: meta.seq });
    if kind.name == "heartbeat" {
        gateway.last_heartbeat.store(Arc::new(Some(payload.clone())));
    }
    if kind.scope == Scope::Unspecified {
        return local::follow::heard(gateway, kind, &payload).await;
    }
    let mut event = Rendered::new(kind, payload).droppable(meta.droppable).about(About::from(&meta));
    if let Some(version) = meta.state_version {
        gateway.saw_presence(version.presence);
        event = event.with_state_version(&StateVersion { presence: version.presence, health: gateway.state_version().health });
    }
    gateway.connections.publish(event, meta.audience.as_ref(), &gateway.limits);
}
