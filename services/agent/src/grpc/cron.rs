//! Jobs, as gRPC.

use tonic::Request;
use verso_kit::grpc::{Reply, reply};
use verso_proto::agent::v1::cron_server::Cron as Service;
use verso_proto::agent::v1::{
    CronAddRequest, CronGetRequest, CronJob, CronListRequest, CronListResponse, CronRemoveRequest, CronRemoveResponse, CronRunRequest,
    CronRunResponse, CronRunsRequest, CronRunsResponse, CronStatusRequest, CronStatusResponse, CronUpdateRequest,
};

use super::refusal;
use crate::cron::Cron;

/// Serves [`Service`].
#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) cron: Cron,
}

#[tonic::async_trait]
impl Service for Adapter {
    async fn cron_list(&self, request: Request<CronListRequest>) -> Reply<CronListResponse> {
        reply(self.cron.list(request.into_inner()).await.map_err(refusal)?)
    }

    async fn cron_status(&self, _request: Request<CronStatusRequest>) -> Reply<CronStatusResponse> {
        reply(self.cron.status().await.map_err(refusal)?)
    }

    async fn cron_get(&self, request: Request<CronGetRequest>) -> Reply<CronJob> {
        reply(self.cron.get(request.into_inner()).await.map_err(refusal)?)
    }

    async fn cron_add(&self, request: Request<CronAddRequest>) -> Reply<CronJob> {
        reply(self.cron.add(request.into_inner()).await.map_err(refusal)?)
    }

    async fn cron_update(&self, request: Request<CronUpdateRequest>) -> Reply<CronJob> {
        reply(self.cron.update(request.into_inner()).await.map_err(refusal)?)
    }

    async fn cron_remove(&self, request: Request<CronRemoveRequest>) -> Reply<CronRemoveResponse> {
        reply(self.cron.remove(request.into_inner()).await.map_err(refusal)?)
    }

    async fn cron_run(&self, request: Request<CronRunRequest>) -> Reply<CronRunResponse> {
        reply(self.cron.run(request.into_inner()).await.map_err(refusal)?)
    }

    async fn cron_runs(&self, request: Request<CronRunsRequest>) -> Reply<CronRunsResponse> {
        reply(self.cron.log(request.into_inner()).await.map_err(refusal)?)
    }
}
