//! Models' access, usage and speech as gRPC.

use tonic::Request;
use verso_kit::grpc::{Reply, reply};
use verso_proto::agent::v1::model_access_server::ModelAccess;
use verso_proto::agent::v1::previews_server::Previews;
use verso_proto::agent::v1::tts_server::Tts;
use verso_proto::agent::v1::usage_reports_server::UsageReports;
use verso_proto::agent::v1::{
    AgentPreviewRequest, AgentPreviewResponse, ModelsAuthLogoutRequest, ModelsAuthLogoutResponse, ModelsAuthOrderSetRequest,
    ModelsAuthOrderSetResponse, ModelsAuthSetApiKeyRequest, ModelsAuthSetApiKeyResponse, ModelsAuthStatusRequest, ModelsAuthStatusResponse,
    ModelsProbeRequest, ModelsProbeResponse, TtsConvertRequest, TtsConvertResponse, TtsDisableRequest, TtsEnableRequest,
    TtsProvidersRequest, TtsProvidersResponse, TtsSetProviderRequest, TtsSetProviderResponse, TtsStatusRequest, TtsStatusResponse,
    TtsSwitchResponse, UsageCostRequest, UsageCostResponse, UsageStatusRequest, UsageStatusResponse,
};

use super::refusal;
use crate::error::Error;
use crate::models::{access, auth};
use crate::runs::Runs;
use crate::usage;

/// Serves them.
pub(super) struct Adapter {
    pub(super) runs: Runs,
}

#[tonic::async_trait]
impl ModelAccess for Adapter {
    async fn models_auth_status(&self, request: Request<ModelsAuthStatusRequest>) -> Reply<ModelsAuthStatusResponse> {
        reply(access::auth_status(&self.runs, request.get_ref()).await.map_err(refusal)?)
    }

    async fn models_probe(&self, request: Request<ModelsProbeRequest>) -> Reply<ModelsProbeResponse> {
        reply(access::probe(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn models_auth_set_api_key(&self, request: Request<ModelsAuthSetApiKeyRequest>) -> Reply<ModelsAuthSetApiKeyResponse> {
        reply(auth::set_api_key(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn models_auth_logout(&self, request: Request<ModelsAuthLogoutRequest>) -> Reply<ModelsAuthLogoutResponse> {
        reply(auth::logout(&self.runs, request.get_ref()).await.map_err(refusal)?)
    }

    async fn models_auth_order_set(&self, request: Request<ModelsAuthOrderSetRequest>) -> Reply<ModelsAuthOrderSetResponse> {
        reply(auth::set_order(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }
}

#[tonic::async_trait]
impl Previews for Adapter {
    async fn agent_preview(&self, request: Request<AgentPreviewRequest>) -> Reply<AgentPreviewResponse> {
        reply(crate::runs::preview(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }
}

#[tonic::async_trait]
impl UsageReports for Adapter {
    async fn usage_status(&self, _request: Request<UsageStatusRequest>) -> Reply<UsageStatusResponse> {
        reply(usage::status(&self.runs.parts))
    }

    async fn usage_cost(&self, request: Request<UsageCostRequest>) -> Reply<UsageCostResponse> {
        reply(usage::cost(&self.runs.parts, request.get_ref()).await.map_err(refusal)?)
    }
}

#[tonic::async_trait]
impl Tts for Adapter {
    async fn tts_status(&self, _request: Request<TtsStatusRequest>) -> Reply<TtsStatusResponse> {
        reply(self.runs.parts.speech.status().await)
    }

    async fn tts_providers(&self, _request: Request<TtsProvidersRequest>) -> Reply<TtsProvidersResponse> {
        reply(self.runs.parts.speech.providers().await)
    }

    async fn tts_enable(&self, _request: Request<TtsEnableRequest>) -> Reply<TtsSwitchResponse> {
        reply(self.runs.parts.speech.switch(true).await.map_err(Error::from).map_err(refusal)?)
    }

    async fn tts_disable(&self, _request: Request<TtsDisableRequest>) -> Reply<TtsSwitchResponse> {
        reply(self.runs.parts.speech.switch(false).await.map_err(Error::from).map_err(refusal)?)
    }

    async fn tts_convert(&self, request: Request<TtsConvertRequest>) -> Reply<TtsConvertResponse> {
        let parts = &self.runs.parts;
        reply(parts.speech.convert(&parts.clients, request.into_inner()).await.map_err(Error::from).map_err(refusal)?)
    }

    async fn tts_set_provider(&self, request: Request<TtsSetProviderRequest>) -> Reply<TtsSetProviderResponse> {
        reply(self.runs.parts.speech.set_provider(request.into_inner()).await.map_err(Error::from).map_err(refusal)?)
    }
}
