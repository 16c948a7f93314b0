//! Pairing by name, and renaming.

use verso_proto::node::v1::event::Event::{NodePairRequested, NodePairResolved};
use verso_proto::node::v1::{PairApproveRequest, PairListRequest, PairRejectRequest, PairRequestRequest, PairVerifyRequest, RenameRequest};

use super::*;

fn asking(node_id: &str) -> PairRequestRequest {
    PairRequestRequest { node_id: node_id.into(), platform: Some("linux".into()), ..PairRequestRequest::default() }
}

fn rename(node_id: &str, display_name: &str) -> RenameRequest {
    RenameRequest { node_id: node_id.into(), display_name: display_name.into() }
}

#[tokio::test]
async fn an_approved_node_has_a_token_that_outlives_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let (mut first, _) = start(state.path(), 1).await;
    let mut events = events(&mut first).await;
    let asked = first.pair_request(asking("lamp")).await.unwrap().into_inner();
    let request_id = asked.request.clone().unwrap().request_id;
    assert_eq!((asked.status.as_str(), asked.created), ("pending", true));
    let (None, NodePairRequested(told)) = next(&mut events).await else { panic!("another event") };
    assert_eq!(Some(told), asked.request);
    let again = first.pair_request(asking("lamp")).await.unwrap().into_inner();
    assert_eq!((again.created, again.request), (false, asked.request), "one request a node");
    let node = first.pair_approve(PairApproveRequest { request_id: request_id.clone() }).await.unwrap().into_inner().node.unwrap();
    let (None, NodePairResolved(told)) = next(&mut events).await else { panic!("another event") };
    assert_eq!((told.request_id.as_str(), told.node_id.as_str(), told.decision.as_str()), (request_id.as_str(), "lamp", "approved"));
    let status = first.pair_approve(PairApproveRequest { request_id }).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, "unknown requestId", None));

    let (mut second, _) = start(state.path(), 2).await;
    let token = node.token.unwrap();
    assert_eq!(token.len(), 32);
    let on_disk = std::fs::read_to_string(state.path().join("node/pairings.json")).unwrap();
    assert!(!on_disk.contains(&token), "a token cannot be read back");
    for (given, right) in [(token.as_str(), true), ("made-up", false)] {
        let request = PairVerifyRequest { node_id: "lamp".into(), token: given.into() };
        let answer = second.pair_verify(request).await.unwrap().into_inner();
        assert_eq!((answer.ok, answer.node.is_some()), (right, right));
    }
    let listed = second.pair_list(PairListRequest {}).await.unwrap().into_inner();
    assert_eq!((listed.pending.len(), listed.paired.len(), listed.paired[0].token.as_ref()), (0, 1, None));
    let repair = second.pair_request(asking("lamp")).await.unwrap().into_inner().request.unwrap();
    assert_eq!(repair.is_repair, Some(true));
}

#[tokio::test]
async fn a_rejected_node_is_not_paired() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let request = client.pair_request(asking("lamp")).await.unwrap().into_inner().request.unwrap();
    let mut events = events(&mut client).await;
    let reject = PairRejectRequest { request_id: request.request_id };
    assert_eq!(client.pair_reject(reject.clone()).await.unwrap().into_inner().node_id, "lamp");
    let (None, NodePairResolved(told)) = next(&mut events).await else { panic!("another event") };
    assert_eq!(told.decision, "rejected");
    assert_eq!(client.pair_reject(reject).await.unwrap_err().message(), "unknown requestId");
    assert!(client.pair_list(PairListRequest {}).await.unwrap().into_inner().paired.is_empty());
}

#[tokio::test]
async fn a_request_waits_five_minutes() {
    let state = tempfile::tempdir().unwrap();
    let clock = Clock::fixed(NOW_MS);
    let context = Context { clock: clock.clone(), ..Context::for_test("node", state.path()) };
    let routes = verso_node::routes(&context, &CancellationToken::new()).await.unwrap();
    let mut client = NodeClient::new(verso_kit::grpc::in_memory(routes));
    let request = client.pair_request(asking("lamp")).await.unwrap().into_inner().request.unwrap();
    clock.advance(299_999);
    assert_eq!(client.pair_list(PairListRequest {}).await.unwrap().into_inner().pending.len(), 1);
    clock.advance(1);
    assert!(client.pair_list(PairListRequest {}).await.unwrap().into_inner().pending.is_empty());
    let approve = PairApproveRequest { request_id: request.request_id };
    assert_eq!(client.pair_approve(approve).await.unwrap_err().message(), "unknown requestId");
    assert!(client.pair_request(asking("lamp")).await.unwrap().into_inner().created);
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    for number in 0..256 {
        client.pair_request(asking(&format!("n{number}"))).await.unwrap();
    }
    let status = client.pair_request(asking("lamp")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unavailable, "too many pending pairings: at most 256; try again later", None));
}

#[tokio::test]
async fn renames_nodes_of_either_kind() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let status = client.rename(rename("tv", "Attic")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, "unknown nodeId", None));
    client.announce(announcement("c1", "tv", true)).await.unwrap();
    assert_eq!(client.rename(rename("tv", "  ")).await.unwrap_err().message(), "displayName required");
    assert_eq!(client.rename(rename("tv", " Attic ")).await.unwrap().into_inner().display_name, "Attic");
    let node = client.describe(DescribeRequest { node_id: "tv".into() }).await.unwrap().into_inner();
    assert_eq!(node.display_name.as_deref(), Some("Attic"));

    let request_id = client.pair_request(asking("lamp")).await.unwrap().into_inner().request.unwrap().request_id;
    client.pair_approve(PairApproveRequest { request_id }).await.unwrap();
    client.rename(rename("lamp", "Desk")).await.unwrap();
    let paired = client.pair_list(PairListRequest {}).await.unwrap().into_inner().paired;
    let names: Vec<_> = paired.iter().map(|node| (node.node_id.as_str(), node.display_name.as_deref().unwrap())).collect();
    assert_eq!(names, [("lamp", "Desk"), ("tv", "Attic")], "devices are listed too");
}
