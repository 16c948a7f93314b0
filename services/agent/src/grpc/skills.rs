//! Skills as gRPC.

use tonic::Request;
use verso_kit::grpc::{Reply, reply};
use verso_proto::agent::v1::skills_server::{Skills, SkillsServer};
use verso_proto::agent::v1::{
    SkillsBinsRequest, SkillsBinsResponse, SkillsInstallRequest, SkillsInstallResponse, SkillsStatusRequest, SkillsStatusResponse,
};

use super::refusal;
use crate::runs::Runs;
use crate::skills;

/// Returns the service of skills.
pub(super) fn server(runs: &Runs) -> SkillsServer<impl Skills> {
    SkillsServer::new(Adapter { runs: runs.clone() })
}

struct Adapter {
    runs: Runs,
}

#[tonic::async_trait]
impl Skills for Adapter {
    async fn status(&self, request: Request<SkillsStatusRequest>) -> Reply<SkillsStatusResponse> {
        reply(skills::status(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn bins(&self, _request: Request<SkillsBinsRequest>) -> Reply<SkillsBinsResponse> {
        reply(skills::bins(&self.runs).await.map_err(refusal)?)
    }

    async fn install(&self, request: Request<SkillsInstallRequest>) -> Reply<SkillsInstallResponse> {
        reply(skills::install(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }
}
