use std::pin::Pin;

use futures_util::Stream;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use verso_kit::CancellationToken;
use verso_kit::events::Hub;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::presence::v1::presence_server::{Presence, PresenceServer};
use verso_proto::presence::v1::{
    AdvertiseRequest, AdvertiseResponse, AnnounceRequest, AnnounceResponse, Event, PresenceEvent, RestoreRequest, RestoreResponse,
    SubscribeRequest, SystemEventRequest, SystemEventResponse, SystemPresenceRequest, SystemPresenceResponse,
};

use super::*;
use crate::config::Config;

type Reply<T> = Result<Response<T>, Status>;

/// More than a hub keeps.
const MANY: u64 = 20_000;

/// A presence service that only has events.
struct FakePresence(Hub<Event>);

fn absent<T>() -> Reply<T> {
    Err(Status::unimplemented("not in this fake"))
}

#[tonic::async_trait]
impl Presence for FakePresence {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Reply<Self::SubscribeStream> {
        Ok(Response::new(Box::pin(self.0.subscribe(request.into_inner().from))))
    }
    async fn system_presence(&self, _: Request<SystemPresenceRequest>) -> Reply<SystemPresenceResponse> {
        absent()
    }
    async fn system_event(&self, _: Request<SystemEventRequest>) -> Reply<SystemEventResponse> {
        absent()
    }
    async fn announce(&self, _: Request<AnnounceRequest>) -> Reply<AnnounceResponse> {
        absent()
    }
    async fn restore(&self, _: Request<RestoreRequest>) -> Reply<RestoreResponse> {
        absent()
    }
    async fn advertise(&self, _: Request<AdvertiseRequest>) -> Reply<AdvertiseResponse> {
        absent()
    }
}

#[tokio::test]
async fn an_edge_that_was_away_for_too_long_goes_on_with_what_is_still_kept() {
    let folder = tempfile::tempdir().unwrap();
    let context = Context::for_test("edge", folder.path());
    let tasks = Tasks::new(CancellationToken::new());
    let hub = Hub::start("one", &tasks);
    std::fs::create_dir_all(folder.path().join("run")).unwrap();
    let incoming = UnixListenerStream::new(UnixListener::bind(folder.path().join("run/presence.sock")).unwrap());
    let service = PresenceServer::new(FakePresence(hub.clone()));
    tasks.spawn("fake presence", async move {
        Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
    let config = Config::load(&context.config, &context.env).unwrap();
    let gateway = Arc::new(Gateway::new(context, config, tasks.clone()).unwrap());
    let source = EVENT_SOURCES.iter().find(|source| process_name(source.service) == roster::PRESENCE).unwrap();
    for _ in 0..MANY {
        hub.emit(PresenceEvent::default());
    }
    let here = || gateway.connections.position(source.service).unwrap();
    gateway.connections.begin_at(source.service, &Position { epoch: "one".to_owned(), seq: 1 });
    let followed = async {
        while here().seq < MANY {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = follow(&gateway, source) => unreachable!("it never ends"),
        reached = tokio::time::timeout(Duration::from_mins(1), followed) => reached.expect("the newest event"),
    }
    assert_eq!(here().epoch, "one");
}
