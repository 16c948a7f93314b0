//! The channel service through its rpcs, over a pipe.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod messaging;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tonic::transport::Channel;
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::config::File;
use verso_kit::peer::Caller;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::channel::v1::channel_client::ChannelClient;
use verso_proto::channel::v1::{ChannelsStatusRequest, HealthSummaryRequest};

const NOW_MS: i64 = 1_700_000_000_000;

async fn start(state: &Path, config: Value) -> ChannelClient<Channel> {
    let config = Arc::new(File::from_value(config));
    let context = Context { clock: Clock::fixed(NOW_MS), config, ..Context::for_test("channel", state) };
    let routes = verso_channel::routes(&context, &Tasks::new(CancellationToken::new())).await.unwrap();
    ChannelClient::new(verso_kit::grpc::in_memory(routes))
}

async fn wire(client: &mut ChannelClient<Channel>, request: ChannelsStatusRequest) -> Value {
    serde_json::to_value(client.channels_status(request).await.unwrap().into_inner()).unwrap()
}

#[tokio::test]
async fn lists_nothing_without_channels() {
    let state = tempfile::tempdir().unwrap();
    let mut client = start(state.path(), json!({})).await;
    let expected = json!({
        "ts": NOW_MS, "channelOrder": [], "channelLabels": {}, "channelDetailLabels": {}, "channelSystemImages": {},
        "channelMeta": [], "channels": {}, "channelAccounts": {}, "channelDefaultAccountId": {}, "statusIssues": [],
    });
    assert_eq!(wire(&mut client, ChannelsStatusRequest::default()).await, expected);
    let health = client.health_summary(HealthSummaryRequest {}).await.unwrap().into_inner();
    assert_eq!(serde_json::to_value(health).unwrap(), json!({"channels": {}, "channelOrder": [], "channelLabels": {}}));
}

#[tokio::test]
async fn says_why_an_account_does_not_run() {
    let state = tempfile::tempdir().unwrap();
    let channels =
        json!({"discord": {}, "signal": {"name": "Den", "account": "+1555"}, "irc": {"enabled": false, "host": "h", "nick": "n"}});
    let mut client = start(state.path(), json!({"channels": channels})).await;
    let status = wire(&mut client, ChannelsStatusRequest { probe: Some(true), timeout_ms: Some(1_000), channel: None }).await;
    assert_eq!(status["channelOrder"], json!(["discord", "signal", "irc"]));
    assert_eq!(
        status["channelAccounts"],
        json!({
            "signal": [{
                "accountId": "default", "name": "Den", "enabled": true, "configured": true, "running": false,
                "lastError": "this channel is not available in this build yet",
            }],
            "discord": [{"accountId": "default", "enabled": true, "configured": false, "running": false}],
            "irc": [{"accountId": "default", "enabled": false, "configured": true, "running": false}],
        })
    );
    assert_eq!(status["channels"]["signal"], json!({"configured": true, "running": false}));
    assert_eq!(
        status["channelMeta"][0],
        json!({"id": "discord", "label": "Discord", "detailLabel": "Discord Bot", "systemImage": "bubble.left.and.bubble.right"})
    );
    assert_eq!(status["channelDefaultAccountId"]["irc"], json!("default"));
    let health = client.health_summary(HealthSummaryRequest {}).await.unwrap().into_inner();
    assert_eq!(serde_json::to_value(health).unwrap()["channelLabels"], json!({"discord": "Discord", "signal": "Signal", "irc": "IRC"}));
}

#[tokio::test]
async fn no_answer_shows_a_credential() {
    let state = tempfile::tempdir().unwrap();
    let mut client = start(state.path(), json!({"channels": {"slack": {"botToken": "xoxb-hidden", "appToken": "xapp-hidden"}}})).await;
    let answer = wire(&mut client, ChannelsStatusRequest::default()).await.to_string();
    assert!(!answer.contains("hidden"), "{answer}");
    let files = std::fs::read_dir(state.path().join("channel")).unwrap().map(|file| file.unwrap().path());
    for file in files.filter(|file| file.is_file()) {
        let bytes = std::fs::read(file).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("hidden"));
    }
}

#[tokio::test]
async fn a_filter_leaves_one_channel_and_refuses_unknown_ones() {
    let state = tempfile::tempdir().unwrap();
    let mut client = start(state.path(), json!({"channels": {"irc": {}, "signal": {"accounts": {"b": {}, "a": {}}}}})).await;
    let only = |channel: &str| ChannelsStatusRequest { channel: Some(channel.into()), ..ChannelsStatusRequest::default() };
    let status = wire(&mut client, only("signal")).await;
    assert_eq!((&status["channelOrder"], &status["channelDefaultAccountId"]), (&json!(["signal"]), &json!({"signal": "a"})));
    assert_eq!(wire(&mut client, only("discord")).await["channelOrder"], json!([]));
    let status = client.channels_status(only("carrier-pigeon")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::InvalidArgument, "invalid channels.status channel"));
}

#[tokio::test]
async fn serves_on_its_socket_until_the_shutdown() {
    let state = tempfile::tempdir().unwrap();
    let (context, shutdown) = (Context::for_test("channel", state.path()), CancellationToken::new());
    let peer = context.peer("channel");
    let calling = async {
        assert!(peer.call(HealthSummaryRequest {}, &Caller::default()).await.unwrap().channels.is_empty());
        shutdown.cancel();
    };
    let (served, ()) = tokio::join!(verso_channel::serve(context, shutdown.clone()), calling);
    served.unwrap();
}
