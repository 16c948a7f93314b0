//! Messages from chat networks.

use futures_util::StreamExt as _;
use tonic::{Request, Response};
use verso_kit::grpc::{Reply, reply};
use verso_proto::agent::v1::inbound_server::{Inbound, InboundServer};
use verso_proto::agent::v1::{ActivationRequest, ActivationResponse, SubmitRequest, SubmitResponse};

use super::{Answers, refusal};
use crate::inbound;
use crate::runs::Runs;

/// Returns the service.
pub(super) fn server(runs: &Runs) -> InboundServer<impl Inbound> {
    let limit = verso_kit::peer::MESSAGE_BYTES_MAX;
    InboundServer::new(Adapter { runs: runs.clone() }).max_decoding_message_size(limit).max_encoding_message_size(limit)
}

struct Adapter {
    runs: Runs,
}

#[tonic::async_trait]
impl Inbound for Adapter {
    type SubmitStream = Answers<SubmitResponse>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Reply<Self::SubmitStream> {
        let answers = inbound::submit(&self.runs, request.into_inner()).await.map_err(refusal)?;
        Ok(Response::new(answers.map(|answer| answer.map_err(refusal)).boxed()))
    }

    async fn activation(&self, request: Request<ActivationRequest>) -> Reply<ActivationResponse> {
        reply(inbound::activation(&self.runs, request.get_ref()).await.map_err(refusal)?)
    }
}
