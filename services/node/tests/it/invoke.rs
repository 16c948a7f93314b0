//! Commands to nodes and their answers.

use verso_proto::Json;
use verso_proto::node::v1::event::Event::NodeInvokeRequest;
use verso_proto::node::v1::{Invocation, InvokeRequest, InvokeResultRequest, NodeError, NodeEventRequest};

use super::*;

/// A node named `tv` on connection `c1`, and the events after it came.
async fn connected(client: &mut NodeClient<Channel>) -> Streaming<Event> {
    client.announce(announcement("c1", "tv", true)).await.unwrap();
    events(client).await
}

async fn invocation(events: &mut Streaming<Event>) -> Invocation {
    let (Some(audience), NodeInvokeRequest(invocation)) = next(events).await else { panic!("another event") };
    assert_eq!(audience.conn_ids, ["c1"], "the node's own connection");
    invocation
}

fn snap() -> InvokeRequest {
    InvokeRequest { node_id: "tv".into(), command: "camera.snap".into(), idempotency_key: "k1".into(), ..InvokeRequest::default() }
}

fn result(id: &str) -> InvokeResultRequest {
    InvokeResultRequest { id: id.into(), node_id: "tv".into(), ok: true, ..InvokeResultRequest::default() }
}

fn tv() -> Principal {
    Principal { device_id: Some("tv".into()), role: "node".into(), ..Principal::default() }
}

#[tokio::test]
async fn a_node_carries_out_a_command() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let mut events = connected(&mut client).await;
    let mut caller = client.clone();
    let answering = async {
        let asked = invocation(&mut events).await;
        assert_eq!((asked.node_id.as_str(), asked.command.as_str(), asked.idempotency_key.as_str()), ("tv", "camera.snap", "k1"));
        assert_eq!((asked.params_json.as_deref(), asked.timeout_ms), (Some(r#"{"wide":true}"#), 30_000));
        let payload_json = Some(Json { text: r#""{\"size\":3}""#.into() });
        let answer = client.invoke_result(by(&tv(), InvokeResultRequest { payload_json, ..result(&asked.id) })).await.unwrap();
        assert_eq!((answer.get_ref().ok, answer.get_ref().ignored), (true, None));
        let late = client.invoke_result(by(&tv(), result(&asked.id))).await.unwrap().into_inner();
        assert_eq!((late.ok, late.ignored), (true, Some(true)));
    };
    let request = InvokeRequest { params: Some(Json { text: r#"{"wide":true}"#.into() }), ..snap() };
    let (answer, ()) = tokio::join!(caller.invoke(request), answering);
    let answer = answer.unwrap().into_inner();
    assert_eq!((answer.ok, answer.node_id.as_str(), answer.command.as_str()), (true, "tv", "camera.snap"));
    assert_eq!((answer.payload.unwrap().text.as_str(), answer.payload_json.as_deref()), (r#"{"size":3}"#, Some(r#"{"size":3}"#)));
}

#[tokio::test]
async fn says_why_a_command_was_not_carried_out() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let status = client.invoke(snap()).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unavailable, "node not connected", Some(r#"{"code":"NOT_CONNECTED"}"#.into())));
    let mut events = connected(&mut client).await;
    let status = client.invoke(InvokeRequest { command: "made.up".into(), ..snap() }).await.unwrap_err();
    let details = r#"{"reason":"command not allowlisted","command":"made.up"}"#;
    assert_eq!(refusal(&status), (Code::InvalidArgument, "node command not allowed", Some(details.into())));
    let status = client.invoke(InvokeRequest { timeout_ms: Some(1), ..snap() }).await.unwrap_err();
    let details = r#"{"nodeError":{"code":"TIMEOUT","message":"node invoke timed out"}}"#;
    assert_eq!(refusal(&status), (Code::Unavailable, "node invoke timed out", Some(details.into())));
    invocation(&mut events).await;

    let mut caller = client.clone();
    let failing = async {
        let asked = invocation(&mut events).await;
        let error = Some(NodeError { code: Some("CAMERA_OFF".into()), message: Some("lens cap on".into()) });
        let failed = InvokeResultRequest { ok: false, error, ..result(&asked.id) };
        client.invoke_result(by(&tv(), failed)).await.unwrap();
    };
    let (answer, ()) = tokio::join!(caller.invoke(snap()), failing);
    let details = r#"{"nodeError":{"code":"CAMERA_OFF","message":"lens cap on"}}"#;
    assert_eq!(refusal(&answer.unwrap_err()), (Code::Unavailable, "lens cap on", Some(details.into())));
}

#[tokio::test]
async fn a_node_that_leaves_answers_nothing_any_more() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let mut events = connected(&mut client).await;
    let mut caller = client.clone();
    let leaving = async {
        invocation(&mut events).await;
        client.announce(announcement("c1", "tv", false)).await.unwrap();
    };
    let (answer, ()) = tokio::join!(caller.invoke(snap()), leaving);
    assert_eq!(refusal(&answer.unwrap_err()), (Code::Unavailable, "node disconnected (camera.snap)", None));
}

#[tokio::test]
async fn nobody_answers_in_a_nodes_name() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let mut events = connected(&mut client).await;
    let mut caller = client.clone();
    let radio = Principal { device_id: Some("radio".into()), ..tv() };
    let answering = async {
        let asked = invocation(&mut events).await;
        let status = client.invoke_result(by(&radio, result(&asked.id))).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::InvalidArgument, "nodeId mismatch", None));
        let own = InvokeResultRequest { node_id: "radio".into(), ..result(&asked.id) };
        assert_eq!(client.invoke_result(by(&radio, own)).await.unwrap().into_inner().ignored, Some(true), "not the node that was asked");
        client.invoke_result(by(&tv(), result(&asked.id))).await.unwrap();
    };
    let (answer, ()) = tokio::join!(caller.invoke(snap()), answering);
    assert!(answer.unwrap().into_inner().ok);
}

#[tokio::test]
async fn events_of_nodes_are_accepted() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let event = NodeEventRequest { event: "made.up".into(), ..NodeEventRequest::default() };
    assert!(client.node_event(by(&tv(), event)).await.unwrap().into_inner().ok);
}
