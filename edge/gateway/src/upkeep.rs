//! What the services of this gateway ask of the edge, because the configuration file is its own.

use std::sync::Arc;

use tonic::{Code as GrpcCode, Request, Status};
use verso_kit::grpc::{Reply, reply};
use verso_proto::upkeep::v1::upkeep_server::{Upkeep, UpkeepServer};
use verso_proto::upkeep::v1::{ChangeRequest, ChangeResponse, DescribeRequest, DescribeResponse, LookRequest, LookResponse};
use verso_protocol::{Code, ErrorShape};

use crate::gateway::Gateway;
use crate::local::config::{by_agents, on_disk};

/// Returns what the edge serves on its own socket.
pub(crate) fn server(gateway: &Arc<Gateway>) -> UpkeepServer<Adapter> {
    UpkeepServer::new(Adapter { gateway: Arc::clone(gateway) })
}

/// Serves [`Upkeep`].
#[derive(Debug)]
pub(crate) struct Adapter {
    gateway: Arc<Gateway>,
}

#[tonic::async_trait]
impl Upkeep for Adapter {
    async fn look(&self, request: Request<LookRequest>) -> Reply<LookResponse> {
        let (gateway, path) = (Arc::clone(&self.gateway), request.into_inner().path);
        reply(on_disk(move || by_agents::look(&gateway, &path)).await.map_err(refusal)?)
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Reply<DescribeResponse> {
        reply(by_agents::describe(request.get_ref().path.trim()).map_err(refusal)?)
    }

    async fn change(&self, request: Request<ChangeRequest>) -> Reply<ChangeResponse> {
        let (gateway, request) = (Arc::clone(&self.gateway), request.into_inner());
        reply(on_disk(move || by_agents::change(&gateway, &request)).await.map_err(refusal)?)
    }
}

/// Keeps the words: the model that reads them may do better next time.
#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
fn refusal(error: ErrorShape) -> Status {
    let code = match error.code {
        Code::Unavailable => GrpcCode::Unavailable,
        Code::Forbidden => GrpcCode::PermissionDenied,
        _ => GrpcCode::InvalidArgument,
    };
    Status::new(code, error.message.into_owned())
}
