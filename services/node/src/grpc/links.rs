//! The rpcs of connected nodes, and of a node's browser.

use std::sync::PoisonError;

use tonic::Request;
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_kit::principal::principal;
use verso_proto::node::v1::links_server::Links;
use verso_proto::node::v1::{
    BrowserRequestRequest, BrowserRequestResponse, ForgetRequest, ForgetResponse, InvokeChunk, InvokeFeedRequest, InvokeFeedResponse,
    InvokeInput, InvokeProgressRequest, InvokeProgressResponse, PendingAckRequest, PendingAckResponse, PendingDrainRequest,
    PendingDrainResponse, PendingPullRequest, PendingPullResponse, PluginToolsUpdateRequest, PluginToolsUpdateResponse,
    RunnerInventoryUpdateRequest, RunnerInventoryUpdateResponse, SkillsUpdateRequest, SkillsUpdateResponse,
};

use super::Service;
use crate::browser;

/// Which node asks.
fn node_id<T>(request: &Request<T>) -> String {
    principal(request).and_then(|principal| principal.device_id.clone()).unwrap_or_default()
}

#[tonic::async_trait]
impl Links for Service {
    async fn invoke_progress(&self, request: Request<InvokeProgressRequest>) -> Reply<InvokeProgressResponse> {
        let caller = principal(&request).and_then(|principal| principal.device_id.clone());
        let InvokeProgressRequest { invoke_id, node_id, seq, chunk } = request.into_inner();
        let chunk = InvokeChunk { invoke_id, node_id, seq, chunk, ..InvokeChunk::default() };
        let heard = self.invokes.progress(caller.as_deref(), chunk).map_err(status)?;
        reply(InvokeProgressResponse { ok: true, ignored: (!heard).then_some(true) })
    }

    async fn invoke_feed(&self, request: Request<InvokeFeedRequest>) -> Reply<InvokeFeedResponse> {
        let InvokeFeedRequest { node_id, idempotency_key, seq, payload_json } = request.into_inner();
        let input = InvokeInput { id: String::new(), node_id, seq, payload_json };
        reply(InvokeFeedResponse { delivered: self.invokes.feed(&idempotency_key, input).map_err(status)? })
    }

    async fn pending_pull(&self, request: Request<PendingPullRequest>) -> Reply<PendingPullResponse> {
        reply(PendingPullResponse { node_id: node_id(&request), actions: Vec::new() })
    }

    async fn pending_ack(&self, request: Request<PendingAckRequest>) -> Reply<PendingAckResponse> {
        reply(PendingAckResponse { ok: true, node_id: node_id(&request), acked_ids: Vec::new(), remaining_count: 0 })
    }

    async fn pending_drain(&self, request: Request<PendingDrainRequest>) -> Reply<PendingDrainResponse> {
        reply(PendingDrainResponse { node_id: node_id(&request), ..PendingDrainResponse::default() })
    }

    async fn skills_update(&self, request: Request<SkillsUpdateRequest>) -> Reply<SkillsUpdateResponse> {
        let node_id = node_id(&request);
        let skills = self.told.skills(&node_id, &request.into_inner().skills);
        reply(SkillsUpdateResponse { node_id, skills })
    }

    async fn plugin_tools_update(&self, request: Request<PluginToolsUpdateRequest>) -> Reply<PluginToolsUpdateResponse> {
        let node_id = node_id(&request);
        let tools = self.told.tools(&node_id, request.into_inner().tools);
        reply(PluginToolsUpdateResponse { node_id, tools })
    }

    async fn runner_inventory_update(&self, _: Request<RunnerInventoryUpdateRequest>) -> Reply<RunnerInventoryUpdateResponse> {
        reply(RunnerInventoryUpdateResponse { ok: true })
    }

    async fn browser_request(&self, request: Request<BrowserRequestRequest>) -> Reply<BrowserRequestResponse> {
        let asked = browser::Asked::parse(request.get_ref().clone()).map_err(status)?;
        let config = self.browser.read().unwrap_or_else(PoisonError::into_inner).clone();
        let node_id = config.choose(&self.nodes()).map_err(status)?;
        let answer = self.carry_out(&request, asked.invocation(node_id)).await?;
        reply(BrowserRequestResponse { result: Some(browser::answer(answer).map_err(status)?) })
    }

    async fn forget(&self, request: Request<ForgetRequest>) -> Reply<ForgetResponse> {
        let node_id = request.into_inner().node_id.trim().to_owned();
        let as_device = self.registry.forget(&node_id).await.map_err(|error| self.failed(error))?;
        let by_name = self.pairings.remove(&node_id).await.map_err(|error| self.failed(error))?;
        self.invokes.unpaired(&node_id);
        self.told.forget(&node_id);
        reply(ForgetResponse { known: as_device || by_name })
    }
}
