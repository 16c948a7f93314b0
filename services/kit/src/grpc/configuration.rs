//! What every process serves to its supervisor: taking over the configuration that was handed to it.

use tonic::{Request, async_trait};
use tracing::warn;
use verso_proto::supervisor::v1::configuration_server::Configuration;
use verso_proto::supervisor::v1::{ApplyRequest, ApplyResponse, NoticeRequest, NoticeResponse};

use super::{Reply, reply};
use crate::service::Context;

pub(super) struct Adapter(pub(super) Context);

#[async_trait]
impl Configuration for Adapter {
    async fn apply(&self, request: Request<ApplyRequest>) -> Reply<ApplyResponse> {
        let refusal = match self.0.reread_config() {
            Ok(file) => self.0.reload.apply(file).await.err(),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = &refusal {
            warn!(generation = request.get_ref().generation, reason, "configuration refused; the present one stays");
        }
        reply(ApplyResponse { refusal })
    }

    async fn notice(&self, _: Request<NoticeRequest>) -> Reply<NoticeResponse> {
        self.0.reload.notice();
        reply(NoticeResponse {})
    }
}
