//! What agents do without being asked, as gRPC.

use tonic::Request;
use verso_kit::grpc::{Reply, reply};
use verso_proto::agent::v1::automation_server::Automation;
use verso_proto::agent::v1::{
    HookAgentRequest, HookAgentResponse, SetHeartbeatsRequest, SetHeartbeatsResponse, SystemEventAddRequest, SystemEventAddResponse,
    WakeRequest, WakeResponse,
};

use super::refusal;
use crate::heartbeat::Heartbeats;
use crate::{hooks, system_events};

/// Serves [`Automation`].
#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) heartbeats: Heartbeats,
}

#[tonic::async_trait]
impl Automation for Adapter {
    async fn wake(&self, request: Request<WakeRequest>) -> Reply<WakeResponse> {
        reply(self.heartbeats.wake(request.into_inner()).await.map_err(refusal)?)
    }

    async fn set_heartbeats(&self, request: Request<SetHeartbeatsRequest>) -> Reply<SetHeartbeatsResponse> {
        reply(self.heartbeats.set_enabled(request.get_ref()).map_err(refusal)?)
    }

    async fn system_event_add(&self, request: Request<SystemEventAddRequest>) -> Reply<SystemEventAddResponse> {
        reply(system_events::add(&self.heartbeats.runs.parts, request.into_inner()).await.map_err(refusal)?)
    }

    async fn hook_agent(&self, request: Request<HookAgentRequest>) -> Reply<HookAgentResponse> {
        reply(hooks::agent(&self.heartbeats, request.into_inner()).await.map_err(refusal)?)
    }
}
