//! The node service through its rpcs, over a pipe.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod approvals;
mod invoke;
mod links;
mod pairing;
mod voice;

use std::path::Path;

use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt as _;
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::peer::Caller;
use verso_kit::principal::Vouched;
use verso_kit::service::Context;
use verso_proto::node::v1::node_client::NodeClient;
use verso_proto::node::v1::{AnnounceRequest, DescribeRequest, Event, ListRequest, NodeInfo, Permissions, SubscribeRequest, event};
use verso_proto::wire::v1::{Audience, Principal};

const NOW_MS: i64 = 1_700_000_000_000;

async fn start(state: &Path, epoch: u64) -> (NodeClient<Channel>, CancellationToken) {
    let context = Context { clock: Clock::fixed(NOW_MS), epoch, ..Context::for_test("node", state) };
    let shutdown = CancellationToken::new();
    let routes = verso_node::routes(&context, &shutdown).await.unwrap();
    (NodeClient::new(verso_kit::grpc::in_memory(routes)), shutdown)
}

/// The same for the service's other clients.
async fn start_channel(state: &Path, epoch: u64) -> (NodeClient<Channel>, Channel) {
    let context = Context { clock: Clock::fixed(NOW_MS), epoch, ..Context::for_test("node", state) };
    let routes = verso_node::routes(&context, &CancellationToken::new()).await.unwrap();
    let channel = verso_kit::grpc::in_memory(routes);
    (NodeClient::new(channel.clone()), channel)
}

/// Follows the events, past the greeting.
async fn events(client: &mut NodeClient<Channel>) -> Streaming<Event> {
    let mut events = client.subscribe(SubscribeRequest { from: None }).await.unwrap().into_inner();
    assert!(events.next().await.unwrap().unwrap().event.is_none(), "the greeting");
    events
}

/// Waits for the next event.
async fn next(events: &mut Streaming<Event>) -> (Option<Audience>, event::Event) {
    let event = events.next().await.unwrap().unwrap();
    (event.meta.unwrap().audience, event.event.unwrap())
}

/// A call on behalf of somebody.
fn by<T>(principal: &Principal, message: T) -> Request<T> {
    let mut request = Request::new(message);
    Vouched::new(principal.clone(), None).stamp(&mut request);
    request
}

/// What the error says, and its details.
fn refusal(status: &Status) -> (Code, &str, Option<String>) {
    let details = status.get_error_details();
    let info = details.error_info().map(|info| info.metadata.clone());
    (status.code(), status.message(), info.and_then(|mut metadata| metadata.remove("details")))
}

fn announcement(conn: &str, id: &str, connected: bool) -> AnnounceRequest {
    let permissions = Some(Permissions { values: [("camera".to_owned(), true)].into() });
    let node = NodeInfo {
        node_id: id.into(),
        display_name: Some("Den".into()),
        platform: Some("macos".into()),
        commands: vec!["camera.snap".into()],
        permissions,
        paired: true,
        connected,
        ..NodeInfo::default()
    };
    AnnounceRequest { conn_id: conn.into(), node: Some(node) }
}

#[tokio::test]
async fn an_empty_list_has_the_time() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let list = client.list(ListRequest {}).await.unwrap().into_inner();
    assert_eq!((list.ts_ms, list.nodes.len()), (NOW_MS, 0));
}

#[tokio::test]
async fn rejects_unknown_node() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let status = client.describe(DescribeRequest { node_id: "nobody".into() }).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::InvalidArgument, "unknown nodeId"));
    let status = client.announce(AnnounceRequest { conn_id: "c1".into(), node: None }).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn keeps_paired_nodes_over_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let (mut first, _) = start(state.path(), 1).await;
    first.announce(announcement("c1", "tv", true)).await.unwrap();
    drop(first);

    let (mut second, _) = start(state.path(), 2).await;
    let node = second.describe(DescribeRequest { node_id: "tv".into() }).await.unwrap().into_inner();
    assert_eq!((node.paired, node.connected, node.connected_at_ms), (true, false, None));
    assert_eq!((node.display_name.as_deref(), node.permissions.unwrap().values["camera"]), (Some("Den"), true));
    second.announce(announcement("c1", "tv", true)).await.unwrap();
    let nodes = second.list(ListRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!((nodes.len(), nodes[0].connected), (1, true), "the edge has announced it again");
}

#[tokio::test]
async fn a_replaced_incarnation_stops() {
    let state = tempfile::tempdir().unwrap();
    let (mut old, shutdown) = start(state.path(), 1).await;
    let (_new, _) = start(state.path(), 2).await;
    let mut events = old.subscribe(SubscribeRequest { from: None }).await.unwrap().into_inner();
    assert!(events.next().await.unwrap().unwrap().event.is_none(), "the greeting");
    let status = old.announce(announcement("c1", "tv", true)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    shutdown.cancelled().await;
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn serves_on_its_socket_until_the_shutdown() {
    let state = tempfile::tempdir().unwrap();
    let (context, shutdown) = (Context::for_test("node", state.path()), CancellationToken::new());
    let peer = context.peer("node");
    let calling = async {
        assert!(peer.call(ListRequest {}, &Caller::default()).await.unwrap().nodes.is_empty());
        shutdown.cancel();
    };
    let (served, ()) = tokio::join!(verso_node::serve(context, shutdown.clone()), calling);
    served.unwrap();
}
