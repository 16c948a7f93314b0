//! Calls between two sides of real connections.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Code, Request, Status, Streaming, async_trait};
use verso_proto::presence::v1::presence_server::{Presence, PresenceServer};
use verso_proto::presence::v1::{
    AdvertiseRequest, AdvertiseResponse, AnnounceRequest, AnnounceResponse, Event, RestoreRequest, RestoreResponse, SubscribeRequest,
    SystemEventRequest, SystemEventResponse, SystemPresenceRequest, SystemPresenceResponse,
};
use verso_proto::wire::v1::carrier_server::{Carrier, CarrierServer};
use verso_proto::wire::v1::{CarryRequest, CarryResponse, carry_request, carry_response};

use super::{CALLS_MAX, MESSAGE_BYTES_MAX};
use crate::error::made_by_service;
use crate::grpc::{Reply, reply, serve, serve_over};
use crate::peer::{Caller, Peer};
use crate::service::Context;

/// What is asked for, as the port of an [`AdvertiseRequest`].
const ECHO: i32 = 0;
const WAIT: i32 = 1;
const REFUSE: i32 = 2;
const REPEAT: i32 = 3;

/// How often [`REPEAT`] says what it was told: enough for an answer in several parts.
const TIMES: usize = 100_000;

/// Answers with what it was told, after what it was told to do.
#[derive(Debug, Clone, Default)]
struct Echo {
    began: Arc<Notify>,
    may_answer: Arc<Notify>,
    gave_up: Arc<Notify>,
}

/// Tells when a call is dropped before its answer.
struct Dropped(Option<Arc<Notify>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(notify) = &self.0 {
            notify.notify_one();
        }
    }
}

#[async_trait]
impl Presence for Echo {
    type SubscribeStream = tokio_stream::Empty<Result<Event, Status>>;

    async fn advertise(&self, request: Request<AdvertiseRequest>) -> Reply<AdvertiseResponse> {
        let AdvertiseRequest { port, tls_sha256, .. } = request.into_inner();
        match port {
            WAIT => {
                let mut dropped = Dropped(Some(Arc::clone(&self.gave_up)));
                self.began.notify_one();
                self.may_answer.notified().await;
                dropped.0 = None;
            }
            REFUSE => return Err(Status::with_details(Code::FailedPrecondition, "not today", vec![1, 2, 3].into())),
            REPEAT => return reply(AdvertiseResponse { not_announced: tls_sha256.map(|words| words.repeat(TIMES)) }),
            _ => {}
        }
        reply(AdvertiseResponse { not_announced: tls_sha256 })
    }

    /// The one that is never repeated. Panics if it is to.
    async fn system_event(&self, request: Request<SystemEventRequest>) -> Reply<SystemEventResponse> {
        assert!(request.get_ref().text.is_none(), "on purpose");
        self.began.notify_one();
        std::future::pending().await
    }

    async fn announce(&self, _: Request<AnnounceRequest>) -> Reply<AnnounceResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn system_presence(&self, _: Request<SystemPresenceRequest>) -> Reply<SystemPresenceResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn restore(&self, _: Request<RestoreRequest>) -> Reply<RestoreResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn subscribe(&self, _: Request<SubscribeRequest>) -> Reply<Self::SubscribeStream> {
        reply(tokio_stream::empty())
    }
}

fn routes(echo: &Echo) -> Routes {
    // As the processes of the gateway do: their messages may be large.
    Routes::new(PresenceServer::new(echo.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
}

/// A socket in the folder, and who calls there.
fn socket(folder: &Path) -> (UnixListenerStream, Peer) {
    let path = folder.join("echo.sock");
    (UnixListenerStream::new(UnixListener::bind(&path).unwrap()), Peer::unix(path))
}

#[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
fn served(folder: &Path, echo: &Echo) -> Peer {
    let (incoming, peer) = socket(folder);
    tokio::spawn(serve_over(incoming, routes(echo)));
    peer
}

async fn ask(peer: &Peer, port: i32, words: &str) -> Result<String, Status> {
    let request = AdvertiseRequest { port, tls_sha256: Some(words.to_owned()), ..AdvertiseRequest::default() };
    Ok(peer.call(request, &Caller::default()).await?.not_announced.unwrap_or_default())
}

/// Whether there is a stream that calls go over.
fn open(peer: &Peer) -> bool {
    peer.carrier.state().line.as_ref().is_some_and(|line| line.is_open())
}

#[tokio::test]
async fn every_call_gets_its_own_answer() {
    let (folder, echo) = (TempDir::new().unwrap(), Echo::default());
    let peer = served(folder.path(), &echo);
    let answers = join_all((0..500).map(|number| {
        let peer = &peer;
        async move {
            let words = number.to_string();
            // Some of them are larger than what is carried, and some of the answers come in parts.
            let (port, words, wanted) = match number % 50 {
                0 => (ECHO, words.repeat(70_000), words.repeat(70_000)),
                1 => (REPEAT, words.clone(), words.repeat(TIMES)),
                _ => (ECHO, words.clone(), words),
            };
            (ask(peer, port, &words).await.unwrap() == wanted).then_some(())
        }
    }));
    assert!(answers.await.iter().all(Option::is_some));
    assert!(open(&peer));
    assert_eq!(peer.carrier.state().line.as_ref().unwrap().places.available_permits(), CALLS_MAX, "every place is free again");
}

#[tokio::test]
async fn what_a_service_says_of_a_failure_arrives() {
    let (folder, echo) = (TempDir::new().unwrap(), Echo::default());
    let peer = served(folder.path(), &echo);
    let status = ask(&peer, REFUSE, "").await.unwrap_err();
    assert_eq!((status.code(), status.message(), status.details()), (Code::FailedPrecondition, "not today", [1, 2, 3].as_slice()));
    let status = peer.call(SystemPresenceRequest {}, &Caller::default()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "not here"));
    assert!(open(&peer), "one rpc is missing, not the stream of calls");
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_in_the_service() {
    let (folder, echo) = (TempDir::new().unwrap(), Echo::default());
    let peer = served(folder.path(), &echo);
    {
        let asking = ask(&peer, WAIT, "");
        tokio::select! {
            _ = asking => panic!("nobody let it answer"),
            () = echo.began.notified() => {}
        }
    }
    echo.gave_up.notified().await;
    assert_eq!(ask(&peer, ECHO, "still here").await.unwrap(), "still here");
}

#[tokio::test]
async fn a_call_that_panics_takes_no_other_with_it() {
    let (folder, echo) = (TempDir::new().unwrap(), Echo::default());
    let peer = served(folder.path(), &echo);
    let waiting = ask(&peer, WAIT, "patient");
    let panicking = async {
        echo.began.notified().await;
        let request = SystemEventRequest { text: Some("panic".to_owned()), ..SystemEventRequest::default() };
        let status = peer.call(request, &Caller::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(!made_by_service(&status), "nobody knows how far it came");
        echo.may_answer.notify_one();
    };
    let (answer, ()) = tokio::join!(waiting, panicking);
    assert_eq!(answer.unwrap(), "patient");
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
async fn a_service_without_streams_of_calls_is_called_as_ever() {
    let (folder, echo) = (TempDir::new().unwrap(), Echo::default());
    let (incoming, peer) = socket(folder.path());
    tokio::spawn(Server::builder().add_routes(routes(&echo)).serve_with_incoming(incoming));
    for _ in 0..3 {
        assert_eq!(ask(&peer, ECHO, "plain").await.unwrap(), "plain");
    }
    assert!(!open(&peer) && peer.carrier.state().unknown_until.is_some());
}

/// Answers every call with parts that have no end, until it is given up.
#[derive(Debug, Clone, Default)]
struct Flood {
    gave_up: Arc<Notify>,
}

#[async_trait]
impl Carrier for Flood {
    type CarryStream = BoxStream<'static, Result<CarryResponse, Status>>;

    async fn carry(&self, request: Request<Streaming<CarryRequest>>) -> Reply<Self::CarryStream> {
        let (gave_up, flood) = (Arc::clone(&self.gave_up), Bytes::from(vec![0; 1 << 20]));
        let requests = request.into_inner().map_ok(move |request| {
            let called = matches!(request.what, Some(carry_request::What::Call(_)));
            if !called {
                gave_up.notify_one();
            }
            called.then_some(request.id)
        });
        let parts = move |id| CarryResponse { id, what: Some(carry_response::What::Part(flood.clone())) };
        let answers = stream::unfold((requests, None, parts), async |(mut requests, mut id, parts)| {
            // Between two parts it looks for what it is told.
            match id {
                None => id = requests.try_next().await.ok()?.flatten(),
                Some(_) => {
                    if let Some(told) = requests.next().now_or_never() {
                        id = told?.ok()?;
                    }
                }
            }
            Some((Ok(id.map_or_else(CarryResponse::default, &parts)), (requests, id, parts)))
        });
        reply(answers.boxed())
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
async fn sec_76_an_answer_without_end_is_refused_and_given_up() {
    let (folder, flood) = (TempDir::new().unwrap(), Flood::default());
    let (incoming, peer) = socket(folder.path());
    tokio::spawn(Server::builder().add_service(CarrierServer::new(flood.clone())).serve_with_incoming(incoming));
    let status = ask(&peer, ECHO, "").await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    flood.gave_up.notified().await;
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
async fn a_service_that_stops_answers_what_it_was_asked() {
    let (folder, echo) = (TempDir::new().unwrap(), Echo::default());
    let context = Context::for_test("presence", folder.path());
    let listener = context.sockets.control().unwrap();
    let context = Context { sockets: context.sockets.with_control(listener), ..context };
    let (peer, stop) = (Peer::unix(folder.path().join("run/presence.sock")), CancellationToken::new());
    let serving = tokio::spawn({
        let (routes, stop) = (routes(&echo), stop.clone());
        async move { serve(&context, routes, stop).await }
    });
    let waiting = ask(&peer, WAIT, "patient");
    let stopping = async {
        echo.began.notified().await;
        stop.cancel();
        // The caller is told before the answer comes.
        while open(&peer) {
            tokio::task::yield_now().await;
        }
        echo.may_answer.notify_one();
    };
    let (answer, ()) = tokio::join!(waiting, stopping);
    assert_eq!(answer.unwrap(), "patient");
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_that_are_under_way_when_the_connection_breaks_say_so() {
    let (folder, echo) = (TempDir::new().unwrap(), Echo::default());
    let path = folder.path().join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let peer = Peer::unix(path);
    let runtime = std::thread::spawn({
        let (echo, listener) = (echo.clone(), listener.into_std().unwrap());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = UnixListenerStream::new(UnixListener::from_std(listener).unwrap());
                tokio::select! {
                    served = serve_over(incoming, routes(&echo)) => served.unwrap(),
                    // Everything of it goes at once.
                    () = echo.began.notified() => {}
                }
            });
        }
    });
    let status = peer.call(SystemEventRequest::default(), &Caller::default()).await.unwrap_err();
    assert!(crate::peer::broken_by_transport(&status), "{status:?}");
    runtime.join().unwrap();
}
