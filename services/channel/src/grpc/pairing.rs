//! Letting people in.

use tonic::Request;
use verso_kit::grpc::{Reply, reply};
use verso_proto::channel::v1::pairing_server::Pairing;
use verso_proto::channel::v1::{
    PairingApproveRequest, PairingApproveResponse, PairingDismissRequest, PairingDismissResponse, PairingListRequest, PairingListResponse,
    PairingRequest,
};

use super::Service;
use crate::error::Error;
use crate::store::pairing::Asking;

impl Service {
    async fn decide(&self, channel: &str, code: &str, let_in: bool) -> Result<Asking, Error> {
        let decided = self.store.decide(&channel.trim().to_lowercase(), code, let_in, self.clock.now_ms()).await?;
        decided.ok_or_else(|| Error::UnknownCode(code.trim().to_uppercase()))
    }
}

#[tonic::async_trait]
impl Pairing for Service {
    async fn pairing_list(&self, request: Request<PairingListRequest>) -> Reply<PairingListResponse> {
        let channel = request.into_inner().channel.map(|channel| channel.trim().to_lowercase());
        let asking = self.store.asking(channel.as_deref(), self.clock.now_ms()).await.map_err(|error| self.failed(error))?;
        reply(PairingListResponse { requests: asking.into_iter().map(shown).collect() })
    }

    async fn pairing_approve(&self, request: Request<PairingApproveRequest>) -> Reply<PairingApproveResponse> {
        let PairingApproveRequest { channel, code } = request.into_inner();
        let asking = self.decide(&channel, &code, true).await.map_err(|error| self.failed(error))?;
        reply(PairingApproveResponse { ok: true, channel: asking.channel, account_id: asking.account, id: asking.sender })
    }

    async fn pairing_dismiss(&self, request: Request<PairingDismissRequest>) -> Reply<PairingDismissResponse> {
        let PairingDismissRequest { channel, code } = request.into_inner();
        let asking = self.decide(&channel, &code, false).await.map_err(|error| self.failed(error))?;
        reply(PairingDismissResponse { ok: true, channel: asking.channel, account_id: asking.account, id: asking.sender })
    }
}

fn shown(asking: Asking) -> PairingRequest {
    PairingRequest {
        channel: asking.channel,
        account_id: asking.account,
        id: asking.sender,
        code: asking.code,
        name: asking.name,
        created_at_ms: asking.created_at_ms,
        last_seen_at_ms: asking.seen_at_ms,
    }
}
