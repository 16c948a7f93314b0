//! The rpc adapter.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Status};
use verso_kit::CancellationToken;
use verso_kit::error::status;
use verso_kit::events::Hub;
use verso_kit::grpc::{Reply, reply};
use verso_kit::peer::{MESSAGE_BYTES_MAX, Peer};
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::presence::v1::presence_server::{Presence, PresenceServer};
use verso_proto::presence::v1::{
    AdvertiseRequest, AdvertiseResponse, AnnounceRequest, AnnounceResponse, Entry, Event, RestoreRequest, RestoreResponse,
    SubscribeRequest, SystemEventRequest, SystemEventResponse, SystemPresenceRequest, SystemPresenceResponse,
};

use crate::board::Board;
use crate::error::Error;
use crate::mdns::Announcer;
use crate::roster::Roster;
use crate::{metrics, notice, own};

/// Past events that are kept, in bytes. Each is the whole list: whoever missed some knows as much after the newest one.
const PAST_BYTES_MAX: usize = 2 << 20;

/// Builds the service. Its background work belongs to `tasks`.
pub fn routes(context: &Context, tasks: &Tasks) -> Result<Routes, verso_kit::config::Error> {
    let own = own::entry();
    let announcer = Arc::new(Announcer::new(&context.config, &context.env, own.host.as_deref().unwrap_or_default())?);
    context.reload.on_change_of(&announcer, Announcer::take_over);
    let roster = Roster::new(context.clock.clone(), own, context.epoch);
    let board = Arc::new(Board::new(roster, Hub::start_with(&context.incarnation, PAST_BYTES_MAX, tasks)));
    metrics::start(Arc::downgrade(&board));
    let (telling, shutdown) = (Arc::clone(&board), tasks.shutdown().clone());
    tasks.spawn("presence broadcasts", async move { telling.run(&shutdown).await });
    let service = Service { board, announcer, agent: context.peer("agent"), shutdown: tasks.shutdown().clone() };
    Ok(Routes::new(PresenceServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX)))
}

#[derive(Debug)]
struct Service {
    board: Arc<Board>,
    announcer: Arc<Announcer>,
    agent: Peer,
    shutdown: CancellationToken,
}

#[tonic::async_trait]
impl Presence for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn system_presence(&self, _: Request<SystemPresenceRequest>) -> Reply<SystemPresenceResponse> {
        reply(SystemPresenceResponse { entries: Some(self.board.list()) })
    }

    async fn system_event(&self, request: Request<SystemEventRequest>) -> Reply<SystemEventResponse> {
        if let Some(news) = self.board.beacon(said(request.into_inner())).map_err(status)? {
            notice::pass_on(&self.agent, news).await;
        }
        reply(SystemEventResponse { ok: true })
    }

    async fn announce(&self, request: Request<AnnounceRequest>) -> Reply<AnnounceResponse> {
        let AnnounceRequest { conn_id, entry, broadcast } = request.into_inner();
        let entry = entry.ok_or(Error::EntryRequired).map_err(status)?;
        let (entries, version) = self.board.announce(conn_id, entry, broadcast).map_err(status)?;
        reply(AnnounceResponse { entries: Some(entries), version })
    }

    async fn restore(&self, request: Request<RestoreRequest>) -> Reply<RestoreResponse> {
        let RestoreRequest { connections, version } = request.into_inner();
        let connections = connections.into_iter().map(|held| (held.conn_id, held.entry.unwrap_or_default())).collect();
        let (entries, version) = self.board.restore(connections, version).map_err(status)?;
        reply(RestoreResponse { entries: Some(entries), version })
    }

    async fn advertise(&self, request: Request<AdvertiseRequest>) -> Reply<AdvertiseResponse> {
        reply(AdvertiseResponse { not_announced: self.announcer.announce(request.into_inner()) })
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Reply<Self::SubscribeStream> {
        let events = self.board.hub().subscribe(request.into_inner().from);
        reply(Box::pin(events.take_until(self.shutdown.clone().cancelled_owned())))
    }
}

fn said(request: SystemEventRequest) -> Entry {
    Entry {
        host: request.host,
        ip: request.ip,
        version: request.version,
        platform: request.platform,
        device_family: request.device_family,
        model_identifier: request.model_identifier,
        mode: request.mode,
        last_input_seconds: request.last_input_seconds,
        reason: request.reason,
        tags: request.tags,
        text: request.text,
        ts_ms: 0,
        device_id: request.device_id,
        roles: request.roles,
        scopes: request.scopes,
        instance_id: request.instance_id,
    }
}
