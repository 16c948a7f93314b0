//! Approvals: the file of rules, and single questions.

use std::os::unix::fs::PermissionsExt as _;

use verso_proto::node::v1::event::Event::{ExecApprovalRequested, ExecApprovalResolved};
use verso_proto::node::v1::exec_client::ExecClient;
use verso_proto::node::v1::{
    ExecApprovalGetRequest, ExecApprovalListRequest, ExecApprovalRequestRequest, ExecApprovalResolveRequest,
    ExecApprovalWaitDecisionRequest, ExecApprovalsAgent, ExecApprovalsFile, ExecApprovalsGetRequest, ExecApprovalsSetRequest,
};

use super::*;

fn file(agent: &str) -> ExecApprovalsFile {
    ExecApprovalsFile { version: 1, agents: [(agent.to_owned(), ExecApprovalsAgent::default())].into(), ..ExecApprovalsFile::default() }
}

fn question(id: &str, timeout_ms: Option<i64>) -> ExecApprovalRequestRequest {
    ExecApprovalRequestRequest { id: Some(id.into()), command: "ls -l".into(), cwd: Some("/srv".into()), timeout_ms, ..Default::default() }
}

fn decision(id: &str, decision: &str) -> ExecApprovalResolveRequest {
    ExecApprovalResolveRequest { id: id.into(), decision: decision.into() }
}

#[tokio::test]
async fn the_file_is_replaced_only_by_who_has_read_it() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let missing = client.exec_approvals_get(ExecApprovalsGetRequest {}).await.unwrap().into_inner();
    assert_eq!((missing.exists, missing.file.unwrap().version), (false, 1));
    let request = ExecApprovalsSetRequest { file: Some(file("a")), base_hash: Some("0".repeat(64)) };
    let status = client.exec_approvals_set(request).await.unwrap_err();
    assert_eq!(status.message(), "exec approvals changed since last load; re-run exec.approvals.get and retry");
    let set = client.exec_approvals_set(ExecApprovalsSetRequest { file: Some(file("a")), base_hash: None }).await.unwrap().into_inner();
    assert_eq!(set, client.exec_approvals_get(ExecApprovalsGetRequest {}).await.unwrap().into_inner());
    assert_eq!((set.exists, set.file), (true, Some(file("a"))));
    assert_eq!(Path::new(&set.path).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let status = client.exec_approvals_set(ExecApprovalsSetRequest { file: Some(file("b")), base_hash: None }).await.unwrap_err();
    assert_eq!(status.message(), "exec approvals base hash required; re-run exec.approvals.get and retry");
    let request = ExecApprovalsSetRequest { file: Some(file("b")), base_hash: Some(set.hash.clone()) };
    assert_ne!(client.exec_approvals_set(request.clone()).await.unwrap().into_inner().hash, set.hash);
    assert_eq!(client.exec_approvals_set(request).await.unwrap_err().code(), Code::InvalidArgument, "the hash is spent");
}

#[tokio::test]
async fn the_sockets_token_stays_and_is_shown_to_nobody() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let path = state.path().join("node/exec-approvals.json");
    std::fs::write(&path, r#"{"version":1,"socket":{"path":"/made/up.sock","token":"made-up"}}"#).unwrap();
    let got = client.exec_approvals_get(ExecApprovalsGetRequest {}).await.unwrap().into_inner();
    let socket = got.file.unwrap().socket.unwrap();
    assert_eq!((socket.path.as_deref(), socket.token), (Some("/made/up.sock"), None));
    let request = ExecApprovalsSetRequest { file: Some(file("a")), base_hash: Some(got.hash) };
    let set = client.exec_approvals_set(request).await.unwrap().into_inner();
    assert_eq!(set.file.unwrap().socket.unwrap().token, None);
    assert!(std::fs::read_to_string(&path).unwrap().contains("made-up"));
}

#[tokio::test]
async fn a_question_waits_for_its_decision() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    let mut events = events(&mut client).await;
    let mut other = client.clone();
    let deciding = async {
        let (None, ExecApprovalRequested(asked)) = next(&mut events).await else { panic!("another event") };
        assert_eq!((asked.id.as_str(), asked.created_at_ms, asked.expires_at_ms), ("q", NOW_MS, NOW_MS + 120_000));
        let request = asked.request.unwrap();
        assert_eq!((request.command.as_str(), request.cwd.as_deref(), request.host), ("ls -l", Some("/srv"), None));
        let status = client.exec_approval_request(question("q", None)).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::InvalidArgument, "approval id already pending", None));
        let anna = Principal { client_id: "cli".into(), display_name: Some("Anna".into()), ..Principal::default() };
        client.exec_approval_resolve(by(&anna, decision("q", "allow-once"))).await.unwrap();
        let (None, ExecApprovalResolved(told)) = next(&mut events).await else { panic!("another event") };
        assert_eq!((told.decision.as_str(), told.resolved_by.as_deref(), told.ts_ms), ("allow-once", Some("Anna"), NOW_MS));
        let status = client.exec_approval_resolve(decision("q", "deny")).await.unwrap_err();
        let (code, message, details) = refusal(&status);
        assert_eq!((code, message), (Code::InvalidArgument, "unknown or expired approval id"));
        assert!(details.unwrap().contains("APPROVAL_NOT_FOUND"));
        let status = client.exec_approval_resolve(decision("q", "maybe")).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::InvalidArgument, "invalid decision", None));
    };
    let asking = async { other.exec_approval_request(question("q", None)).await.unwrap().into_inner().message().await };
    let (answer, ()) = tokio::join!(asking, deciding);
    assert_eq!(answer.unwrap().unwrap().decision.as_deref(), Some("allow-once"));
}

#[tokio::test]
async fn a_question_that_nobody_decides_ends_without_a_decision() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, _) = start(state.path(), 1).await;
    for _ in 0..2 {
        let mut answers = client.exec_approval_request(question("q", Some(1))).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.id.as_str(), answer.decision, answer.expires_at_ms), ("q", None, NOW_MS + 1));
    }
}

#[tokio::test]
async fn a_question_outlives_its_asker() {
    let state = tempfile::tempdir().unwrap();
    let (mut client, channel) = start_channel(state.path(), 1).await;
    let mut exec = ExecClient::new(channel);
    let two_phase = ExecApprovalRequestRequest { two_phase: Some(true), ..question("q", None) };
    let mut answers = client.exec_approval_request(two_phase).await.unwrap().into_inner();
    let accepted = answers.message().await.unwrap().unwrap();
    assert_eq!((accepted.status.as_deref(), accepted.decision), (Some("accepted"), None));
    drop(answers);
    let open = exec.exec_approval_list(ExecApprovalListRequest {}).await.unwrap().into_inner().approvals;
    assert_eq!((open.len(), open[0].id.as_str()), (1, "q"));
    let shown = exec.exec_approval_get(ExecApprovalGetRequest { id: "q".into() }).await.unwrap().into_inner();
    assert_eq!((shown.command_text.as_str(), shown.allowed_decisions.len()), ("ls -l", 3));
    let mut waiter = exec.clone();
    let waiting = waiter.exec_approval_wait_decision(ExecApprovalWaitDecisionRequest { id: "q".into() });
    let (heard, decided) = tokio::join!(waiting, client.exec_approval_resolve(decision("q", "deny")));
    decided.unwrap();
    assert_eq!(heard.unwrap().into_inner().decision.as_deref(), Some("deny"));
    assert!(exec.exec_approval_list(ExecApprovalListRequest {}).await.unwrap().into_inner().approvals.is_empty());
    let again = exec.exec_approval_wait_decision(ExecApprovalWaitDecisionRequest { id: "q".into() }).await.unwrap().into_inner();
    assert_eq!(again.decision.as_deref(), Some("deny"), "who comes late learns it too");
    let status = exec.exec_approval_wait_decision(ExecApprovalWaitDecisionRequest { id: "other".into() }).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, "approval expired or not found", None));
}
