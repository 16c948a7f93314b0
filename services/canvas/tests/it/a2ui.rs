//! Interfaces over the rpcs.

use serde_json::json;
use tonic::Code;
use verso_proto::Json;
use verso_proto::canvas::v1::{A2uiPushJsonlRequest, A2uiPushRequest, A2uiResetRequest, A2uiSurfacesRequest};

use crate::fixture::{Host, host};

const SESSION: &str = "agent:main:main";
const BEGIN: &str = r#"{"beginRendering":{"surfaceId":"main","root":"t"}}"#;
const UPDATE: &str =
    r#"{"surfaceUpdate":{"surfaceId":"main","components":[{"id":"t","component":{"Text":{"text":{"literalString":"Hi"}}}}]}}"#;

fn jsonl(text: &str) -> A2uiPushJsonlRequest {
    A2uiPushJsonlRequest { session_key: Some(SESSION.to_owned()), jsonl: text.to_owned() }
}

async fn surfaces(host: &mut Host, session: &str) -> Vec<String> {
    let request = A2uiSurfacesRequest { session_key: Some(session.to_owned()) };
    host.client.a2ui_surfaces(request).await.unwrap().into_inner().surfaces
}

#[tokio::test]
async fn surfaces_are_kept_for_each_session_and_over_a_restart() {
    let mut host = host(json!({}), &[]).await;
    let pushed = host.client.a2ui_push_jsonl(jsonl(&format!("{UPDATE}\n\n{BEGIN}\n"))).await.unwrap().into_inner();
    assert_eq!((pushed.ok, pushed.surfaces.as_slice(), pushed.session_key.as_str()), (true, &["main".to_owned()][..], SESSION));
    let messages = vec![Json { text: BEGIN.replace("main", "other") }];
    host.client.a2ui_push(A2uiPushRequest { session_key: Some("agent:main:b".to_owned()), messages }).await.unwrap();
    let mut host = host.again().await;
    assert_eq!(surfaces(&mut host, SESSION).await, ["main"]);
    assert_eq!(surfaces(&mut host, "agent:main:b").await, ["other"]);
    host.client.a2ui_reset(A2uiResetRequest { session_key: Some(SESSION.to_owned()) }).await.unwrap();
    let mut host = host.again().await;
    assert!(surfaces(&mut host, SESSION).await.is_empty());
}

#[tokio::test]
async fn a_wrong_line_is_named_and_nothing_of_its_push_is_applied() {
    let mut host = host(json!({}), &[]).await;
    let refused =
        host.client.a2ui_push_jsonl(jsonl(&format!("{UPDATE}\n{{\"surfaceUpdate\":{{\"surfaceId\":\"x\"}}}}"))).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "line 2: surfaceUpdate.components is missing"));
    assert!(surfaces(&mut host, SESSION).await.is_empty());
}

#[tokio::test]
async fn with_the_check_off_wrong_messages_are_warned_of() {
    let mut host = host(json!({"validateA2ui": false}), &[]).await;
    let odd = UPDATE.replace("\"Hi\"", "\"Hi\",\"extra\":1");
    let pushed = host.client.a2ui_push_jsonl(jsonl(&format!("{odd}\nnonsense\n{BEGIN}"))).await.unwrap().into_inner();
    assert_eq!((pushed.surfaces.len(), pushed.warnings.len()), (1, 2), "{:?}", pushed.warnings);
    assert_eq!(surfaces(&mut host.again().await, SESSION).await, ["main"]);
}

#[tokio::test]
async fn a_canvas_that_is_off_shows_nothing() {
    let mut host = host(json!({"enabled": false}), &[]).await;
    let refused = host.client.a2ui_push_jsonl(jsonl(BEGIN)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}
