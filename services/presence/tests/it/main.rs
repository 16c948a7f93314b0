//! The presence service through its rpcs, over a pipe.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::peer::Caller;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::Json;
use verso_proto::presence::v1::presence_client::PresenceClient;
use verso_proto::presence::v1::{
    AnnounceRequest, Entry, Event, PresenceEvent, RestoreRequest, SubscribeRequest, SystemEventRequest, SystemPresenceRequest, event,
};

mod simulated;

const NOW_MS: i64 = 1_700_000_000_000;

/// One incarnation of the service.
struct Gateway {
    client: PresenceClient<Channel>,
    tasks: Tasks,
}

fn start(epoch: u64) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let context = Context { clock: Clock::fixed(NOW_MS), epoch, ..Context::for_test("presence", folder.path()) };
    let tasks = Tasks::new(CancellationToken::new());
    let channel = verso_kit::grpc::in_memory(verso_presence::routes(&context, &tasks).unwrap());
    assert!(!folder.path().join("presence").exists());
    Gateway { client: PresenceClient::new(channel), tasks }
}

impl Gateway {
    async fn announce(&mut self, conn: &str, reason: &str, broadcast: bool) -> (Vec<Entry>, u64) {
        let answer = self.client.announce(connection(conn, reason, broadcast)).await.unwrap().into_inner();
        (entries(answer.entries), answer.version)
    }

    async fn say(&mut self, text: &str) -> Result<(), tonic::Status> {
        let request = SystemEventRequest { text: Some(text.to_owned()), instance_id: Some("kit".to_owned()), ..Default::default() };
        self.client.system_event(request).await.map(|answer| assert!(answer.into_inner().ok))
    }

    async fn events(&mut self) -> tonic::Streaming<Event> {
        let mut events = self.client.subscribe(SubscribeRequest { from: None }).await.unwrap().into_inner();
        assert_eq!(events.next().await.unwrap().unwrap().event, None, "the greeting");
        events
    }
}

fn connection(conn: &str, reason: &str, broadcast: bool) -> AnnounceRequest {
    let entry = Entry { host: Some("desk".into()), mode: Some("ui".into()), reason: Some(reason.into()), ..Entry::default() };
    AnnounceRequest { conn_id: conn.to_owned(), entry: Some(entry), broadcast }
}

/// The list, which travels as the JSON that clients get.
fn entries(list: Option<Json>) -> Vec<Entry> {
    serde_json::from_str(&list.unwrap().text).unwrap()
}

async fn next(events: &mut tonic::Streaming<Event>) -> (Vec<Entry>, u64) {
    let event = events.next().await.unwrap().unwrap();
    let Some(event::Event::Presence(PresenceEvent { presence })) = event.event else { panic!("not a presence event") };
    let version = event.meta.unwrap().state_version.unwrap();
    assert_eq!(version.health, 0, "the edge knows that one");
    (entries(presence), version.presence)
}

#[tokio::test]
async fn the_gateway_lists_itself_as_of_now() {
    let mut gateway = start(1);
    let entries = entries(gateway.client.system_presence(SystemPresenceRequest {}).await.unwrap().into_inner().entries);
    let own = &entries[0];
    assert_eq!((entries.len(), own.ts_ms, own.mode.as_deref(), own.reason.as_deref()), (1, NOW_MS, Some("gateway"), Some("self")));
    let (host, ip) = (own.host.as_deref().unwrap(), own.ip.as_deref().unwrap());
    let version = own.version.as_deref().unwrap();
    assert_eq!(own.text.as_deref(), Some(format!("Gateway: {host} ({ip}) · app {version} · mode gateway · reason self").as_str()));
}

#[tokio::test]
async fn a_blank_system_event_is_refused_in_the_clients_words() {
    let mut gateway = start(1);
    let status = gateway.say("   ").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::InvalidArgument, "text required"));
}

#[tokio::test]
async fn an_announcement_answers_with_the_newcomer_in_it() {
    let mut gateway = start(1);
    let (_, before) = gateway.announce("c1", "connect", false).await;
    let (entries, version) = gateway.announce("c2", "connect", false).await;
    assert_eq!((entries.len(), version), (3, before + 1));
    let (_, again) = gateway.announce("c2", "connect", false).await;
    assert_eq!(again, version, "announcing_twice_changes_nothing");
    let status = gateway.client.announce(AnnounceRequest { conn_id: "c3".into(), entry: None, broadcast: true }).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn only_a_broadcast_announcement_is_told() {
    let mut gateway = start(1);
    let mut events = gateway.events().await;
    gateway.announce("c1", "connect", false).await;
    let (entries, version) = gateway.announce("c1", "disconnect", true).await;
    assert!(entries.is_empty(), "there is nobody to greet");
    let (presence, told) = next(&mut events).await;
    assert_eq!((presence.len(), presence[1].reason.as_deref(), told), (2, Some("disconnect"), version));
    let silence = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test(start_paused = true)]
async fn tells_a_thousand_disconnects_in_few_events() {
    let mut gateway = start(1);
    let mut events = gateway.events().await;
    let mut last = 0;
    for number in 0..1_000 {
        last = gateway.announce(&format!("c{number}"), "disconnect", true).await.1;
    }
    let (mut told, mut count) = (0, 0);
    while told < last {
        let (presence, version) = next(&mut events).await;
        assert!(version > told && presence.len() <= 200);
        (told, count) = (version, count + 1);
    }
    assert!(count <= 5, "{count} events");
}

#[tokio::test]
async fn tells_every_system_event_once_in_order() {
    let mut gateway = start(1);
    let mut events = gateway.events().await;
    for number in 0..50 {
        gateway.say(&format!("note {number}")).await.unwrap();
    }
    let mut versions = Vec::new();
    for number in 0..50 {
        let (presence, version) = next(&mut events).await;
        assert_eq!(presence[1].text, Some(format!("note {number}")));
        versions.push(version);
    }
    assert!(versions.is_sorted_by(|one, two| one < two), "{versions:?}");
}

#[tokio::test(start_paused = true)]
async fn rebuilds_from_the_edges_after_a_restart() {
    let mut first = start(1);
    first.announce("c1", "connect", false).await;
    let (_, shown) = first.announce("c2", "connect", false).await;
    first.tasks.shutdown().cancel();
    first.tasks.join().await;

    let mut second = start(2);
    let mut events = second.events().await;
    let held = vec![connection("c1", "connect", false), connection("c2", "connect", false)];
    let restored = second.client.restore(RestoreRequest { connections: held, version: shown + 5_000_000 }).await.unwrap().into_inner();
    assert_eq!((entries(restored.entries).len(), restored.version), (3, shown + 5_000_001));
    assert_eq!(next(&mut events).await.1, restored.version, "clients learn of it too");
    second.say("hello").await.unwrap();
    assert_eq!(next(&mut events).await.1, restored.version + 1);
}

#[tokio::test]
async fn takes_ten_thousand_connections_at_once() {
    let mut gateway = start(1);
    let held = (0..10_000).map(|number| connection(&format!("connection-{number}"), "connect", false)).collect();
    let restored = gateway.client.restore(RestoreRequest { connections: held, version: 0 }).await.unwrap().into_inner();
    assert_eq!(entries(restored.entries).len(), 200);
}

#[tokio::test]
async fn event_streams_end_with_the_service() {
    let mut gateway = start(1);
    let mut events = gateway.events().await;
    gateway.tasks.shutdown().cancel();
    assert!(events.next().await.is_none());
    gateway.tasks.join().await;
}

#[tokio::test]
async fn serves_on_its_socket_until_the_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let (context, shutdown) = (Context::for_test("presence", folder.path()), CancellationToken::new());
    let peer = context.peer("presence");
    let calling = async {
        let answer = peer.call(SystemPresenceRequest {}, &Caller::default()).await.unwrap();
        assert_eq!(entries(answer.entries).len(), 1);
        shutdown.cancel();
    };
    let (served, ()) = tokio::join!(verso_presence::serve(context, shutdown.clone()), calling);
    served.unwrap();
}
