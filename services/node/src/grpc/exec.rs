//! The rpcs of questions and of nodes' own rules.

use serde_json::json;
use tonic::{Request, Status};
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_proto::Json;
use verso_proto::node::v1::exec_server::Exec;
use verso_proto::node::v1::{
    ExecApprovalGetRequest, ExecApprovalGetResponse, ExecApprovalListRequest, ExecApprovalListResponse, ExecApprovalWaitDecisionRequest,
    ExecApprovalWaitDecisionResponse, ExecApprovalsNodeGetRequest, ExecApprovalsNodeSetRequest, ExecApprovalsNodeSnapshot, InvokeRequest,
    InvokeResponse, NoApprovals, OpenclawApprovalListRequest, PluginApprovalListRequest, QuestionListRequest, QuestionListResponse,
};

use super::{Service, shapes};

/// The commands by which a node shows and replaces its rules.
const NODE_GET: &str = "system.execApprovals.get";
const NODE_SET: &str = "system.execApprovals.set";

#[tonic::async_trait]
impl Exec for Service {
    async fn exec_approval_list(&self, _: Request<ExecApprovalListRequest>) -> Reply<ExecApprovalListResponse> {
        reply(ExecApprovalListResponse { approvals: self.approvals.list() })
    }

    async fn exec_approval_get(&self, request: Request<ExecApprovalGetRequest>) -> Reply<ExecApprovalGetResponse> {
        let ExecApprovalGetRequest { id } = request.into_inner();
        let (question, times) = self.approvals.get(&id).map_err(status)?;
        reply(shapes::shown(id, question, times))
    }

    async fn exec_approval_wait_decision(
        &self,
        request: Request<ExecApprovalWaitDecisionRequest>,
    ) -> Reply<ExecApprovalWaitDecisionResponse> {
        let ExecApprovalWaitDecisionRequest { id } = request.into_inner();
        let (decision, times) = self.approvals.wait(&id).await.map_err(status)?;
        let (created_at_ms, expires_at_ms) = (times.created_at_ms, times.expires_at_ms);
        reply(ExecApprovalWaitDecisionResponse { id, decision, created_at_ms, expires_at_ms })
    }

    async fn exec_approvals_node_get(&self, request: Request<ExecApprovalsNodeGetRequest>) -> Reply<ExecApprovalsNodeSnapshot> {
        let node_id = request.get_ref().node_id.clone();
        self.rules_of(&request, node_id, NODE_GET, None).await
    }

    async fn exec_approvals_node_set(&self, request: Request<ExecApprovalsNodeSetRequest>) -> Reply<ExecApprovalsNodeSnapshot> {
        let ExecApprovalsNodeSetRequest { node_id, file, base_hash } = request.get_ref().clone();
        let mut params = json!({"file": file.unwrap_or_default()});
        if let Some(base_hash) = base_hash {
            params["baseHash"] = base_hash.into();
        }
        self.rules_of(&request, node_id, NODE_SET, Some(Json { text: params.to_string() })).await
    }

    async fn plugin_approval_list(&self, _: Request<PluginApprovalListRequest>) -> Reply<NoApprovals> {
        reply(NoApprovals::default())
    }

    async fn openclaw_approval_list(&self, _: Request<OpenclawApprovalListRequest>) -> Reply<NoApprovals> {
        reply(NoApprovals::default())
    }

    async fn question_list(&self, _: Request<QuestionListRequest>) -> Reply<QuestionListResponse> {
        reply(QuestionListResponse::default())
    }
}

impl Service {
    /// Has a node show or replace its rules.
    async fn rules_of<T: Sync>(
        &self,
        request: &Request<T>,
        node_id: String,
        command: &str,
        params: Option<Json>,
    ) -> Reply<ExecApprovalsNodeSnapshot> {
        let idempotency_key = uuid::Uuid::new_v4().to_string();
        let invocation = InvokeRequest { node_id, command: command.to_owned(), params, idempotency_key, ..InvokeRequest::default() };
        let answer: Result<InvokeResponse, Status> = self.carry_out(request, invocation).await;
        let snapshot = answer?.payload.unwrap_or_else(|| Json { text: "{}".to_owned() });
        reply(ExecApprovalsNodeSnapshot { snapshot: Some(snapshot) })
    }
}
