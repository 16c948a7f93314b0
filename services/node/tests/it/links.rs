//! What nodes tell, and who is told of it.

use verso_proto::Json;
use verso_proto::node::v1::event::Event::{ExecApprovalRequested, ExecApprovalResolved};
use verso_proto::node::v1::links_client::LinksClient;
use verso_proto::node::v1::{
    BrowserRequestRequest, ExecApprovalResolveRequest, NodeEventRequest, NodeEventResponse, PluginToolsUpdateRequest, SkillsUpdateRequest,
};

use super::*;

fn tv() -> Principal {
    Principal { device_id: Some("tv".into()), role: "node".into(), ..Principal::default() }
}

fn json(text: &str) -> Json {
    Json { text: text.to_owned() }
}

async fn tell(client: &mut NodeClient<Channel>, event: &str, payload: &str) -> NodeEventResponse {
    let event = NodeEventRequest { event: event.to_owned(), payload: Some(json(payload)), payload_json: None };
    client.node_event(by(&tv(), event)).await.unwrap().into_inner()
}

#[tokio::test]
async fn what_a_node_tells_is_shown_beside_it() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, channel) = start_channel(state.path(), 1).await;
    let mut links = LinksClient::new(channel);
    client.announce(announcement("c1", "tv", true)).await.unwrap();
    let load = r#"{"cpuCount":4,"memoryTotalBytes":8,"memoryFreeBytes":2}"#;
    assert_eq!(tell(&mut client, "node.host.stats", load).await.handled, Some(true));
    assert_eq!(tell(&mut client, "node.host.stats", r#"{"cpuCount":"many"}"#).await.handled, Some(false));
    assert_eq!(tell(&mut client, "node.presence.alive", r#"{"trigger":"silent_push"}"#).await.handled, Some(true));
    let tools = vec![json(r#"{"name":"lamp"}"#), json(r#"{"nameless":1}"#)];
    let taken = links.plugin_tools_update(by(&tv(), PluginToolsUpdateRequest { tools })).await.unwrap().into_inner();
    assert_eq!((taken.node_id.as_str(), taken.tools.len()), ("tv", 1));
    let skills = vec![json(r#"{"name":"b"}"#), json(r#"{"name":"a"}"#), json("5")];
    let taken = links.skills_update(by(&tv(), SkillsUpdateRequest { skills })).await.unwrap().into_inner();
    assert_eq!(taken.skills, ["a", "b"]);

    let node = client.describe(DescribeRequest { node_id: "tv".into() }).await.unwrap().into_inner();
    assert_eq!(node.host_stats.unwrap().text, load);
    assert_eq!(node.node_plugin_tools.unwrap().text, r#"[{"name":"lamp"}]"#);
    assert_eq!(
        (node.last_seen_reason.as_deref(), node.last_seen_at_ms, node.approved_at_ms),
        (Some("silent_push"), Some(NOW_MS), Some(NOW_MS))
    );
    assert_eq!((node.approval_state.as_deref(), node.session_host), (Some("approved"), Some(false)));
}

#[tokio::test]
async fn a_node_asks_people_and_hears_of_their_decision_over_its_newest_connection() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start_channel(state.path(), 1).await;
    client.announce(announcement("c1", "tv", true)).await.unwrap();
    let mut events = events(&mut client).await;
    let answer = tell(&mut client, "exec.approval.request", r#"{"command":"ls -l","cwd":"/srv","resolvedPath":"/bin/ls"}"#).await;
    let id = answer.reason.unwrap();
    let (None, ExecApprovalRequested(asked)) = next(&mut events).await else { panic!("another event") };
    assert_eq!((asked.id.as_str(), asked.request.unwrap().node_id.as_deref()), (id.as_str(), Some("tv")));
    client.announce(announcement("c2", "tv", true)).await.unwrap();
    next(&mut events).await;
    client.exec_approval_resolve(ExecApprovalResolveRequest { id: id.clone(), decision: "allow-once".into() }).await.unwrap();
    let (None, ExecApprovalResolved(_)) = next(&mut events).await else { panic!("another event") };
    let (Some(audience), ExecApprovalResolved(told)) = next(&mut events).await else { panic!("another event") };
    assert_eq!((audience.conn_ids, told.id, told.decision.as_str()), (vec!["c2".to_owned()], id, "allow-once"));
}

#[tokio::test]
async fn a_message_that_no_agent_takes_is_not_called_handled() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    assert_eq!(tell(&mut client, "agent.request", r#"{"message":"hello"}"#).await.handled, Some(false), "there is no agent service here");
    assert_eq!(tell(&mut client, "agent.request", r#"{"message":" "}"#).await.handled, Some(false));
    assert_eq!(tell(&mut client, "voice.transcript", r#"{"words":"hello"}"#).await.reason.as_deref(), Some("unreadable payload"));
}

#[tokio::test]
async fn without_a_browser_there_is_nothing_to_ask() {
    let state = tempfile::tempdir().unwrap();
    let (_, channel) = start_channel(state.path(), 1).await;
    let mut links = LinksClient::new(channel);
    let request = BrowserRequestRequest { method: Some(json("\"GET\"")), path: Some(json("\"/tabs\"")), ..Default::default() };
    let status = links.browser_request(request).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unavailable, "browser control is disabled", None));
}
