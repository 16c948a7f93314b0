//! What the HTTP APIs need beside runs, as gRPC.

use std::time::Duration;

use tonic::Request;
use verso_kit::grpc::{Reply, reply};
use verso_kit::peer::MESSAGE_BYTES_MAX;
use verso_proto::agent::v1::http_support_server::{HttpSupport, HttpSupportServer};
use verso_proto::agent::v1::{
    AvatarRequest, AvatarResponse, EmbedRequest, EmbedResponse, FetchMediaRequest, FetchMediaResponse, InvokeToolRequest,
    InvokeToolResponse,
};
use verso_tools::web::{MediaLimits, fetch_media};

use super::refusal;
use crate::error::Error;
use crate::runs::Runs;
use crate::{avatars, embeddings, tools};

/// Returns the part of the service that HTTP callers ask.
pub(super) fn server(runs: &Runs) -> HttpSupportServer<Adapter> {
    let server = HttpSupportServer::new(Adapter { runs: runs.clone() });
    server.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub(super) struct Adapter {
    runs: Runs,
}

#[tonic::async_trait]
impl HttpSupport for Adapter {
    async fn fetch_media(&self, request: Request<FetchMediaRequest>) -> Reply<FetchMediaResponse> {
        let asked = request.into_inner();
        let limits = MediaLimits {
            // What is larger does not fit into an answer.
            bytes_max: usize::try_from(asked.bytes_max).unwrap_or(0).min(MESSAGE_BYTES_MAX / 2),
            redirects_max: usize::try_from(asked.redirects_max).unwrap_or(0),
            timeout: Duration::from_millis(asked.timeout_ms.unsigned_abs()),
            hosts_allowed: asked.hosts_allowed,
        };
        let media = fetch_media(&asked.url, &limits).await.map_err(|error| refusal(Error::Media(error)))?;
        reply(FetchMediaResponse { content: media.content.to_vec(), media_type: media.media_type })
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Reply<EmbedResponse> {
        reply(embeddings::embed(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn invoke_tool(&self, request: Request<InvokeToolRequest>) -> Reply<InvokeToolResponse> {
        reply(tools::invoke(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn avatar(&self, request: Request<AvatarRequest>) -> Reply<AvatarResponse> {
        reply(avatars::get(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }
}
