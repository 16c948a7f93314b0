//! Wake words and talk mode.

use verso_proto::node::v1::event::Event::{TalkMode, VoicewakeChanged};
use verso_proto::node::v1::{TalkModeRequest, VoiceWakeGetRequest, VoiceWakeSetRequest};

use super::*;

#[tokio::test]
async fn wake_words_are_tidied_told_and_kept_over_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let (mut first, _) = start(state.path(), 1).await;
    let usual = first.voice_wake_get(VoiceWakeGetRequest {}).await.unwrap().into_inner().triggers;
    assert_eq!(usual, ["openclaw", "claude", "computer"]);
    let mut events = events(&mut first).await;
    let triggers = vec!["  den ".to_owned(), " ".to_owned(), "x".repeat(70)];
    let set = first.voice_wake_set(VoiceWakeSetRequest { triggers }).await.unwrap().into_inner().triggers;
    assert_eq!(set, ["den".to_owned(), "x".repeat(64)]);
    let (audience, VoicewakeChanged(told)) = next(&mut events).await else { panic!("another event") };
    assert_eq!((audience, told.triggers), (None, set.clone()));

    let (mut second, _) = start(state.path(), 2).await;
    assert_eq!(second.voice_wake_get(VoiceWakeGetRequest {}).await.unwrap().into_inner().triggers, set);
    let set = second.voice_wake_set(VoiceWakeSetRequest { triggers: Vec::new() }).await.unwrap().into_inner().triggers;
    assert_eq!(set, usual);
}

#[tokio::test]
async fn a_new_node_is_told_the_wake_words() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let mut events = events(&mut client).await;
    client.announce(announcement("c1", "tv", true)).await.unwrap();
    let (audience, VoicewakeChanged(_)) = next(&mut events).await else { panic!("another event") };
    assert_eq!(audience.unwrap().conn_ids, ["c1"], "nobody else");
}

#[tokio::test]
async fn talk_mode_is_told_to_everybody_and_needs_a_phone_to_listen_for_a_page() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let mut events = events(&mut client).await;
    let request = TalkModeRequest { enabled: true, phase: Some("listening".into()) };
    let mode = client.set_talk_mode(request.clone()).await.unwrap().into_inner();
    assert_eq!((mode.enabled, mode.phase.as_deref(), mode.ts_ms), (true, Some("listening"), NOW_MS));
    let (None, TalkMode(told)) = next(&mut events).await else { panic!("another event") };
    assert_eq!(told, mode);

    let page = Principal { client_mode: "webchat".into(), ..Principal::default() };
    let status = client.set_talk_mode(by(&page, request.clone())).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unavailable, "talk disabled: no connected iOS/Android nodes", None));
    let mut phone = announcement("c1", "phone", true);
    phone.node.as_mut().unwrap().platform = Some("iOS 19".into());
    client.announce(phone).await.unwrap();
    client.set_talk_mode(by(&page, request)).await.unwrap();
}
