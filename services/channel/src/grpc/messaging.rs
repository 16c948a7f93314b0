//! The rpcs of messages and logins.

use tonic::{Request, Status};
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_proto::channel::v1::messaging_server::Messaging;
use verso_proto::channel::v1::{
    ChannelsLogoutRequest, ChannelsLogoutResponse, PollRequest, PollResponse, SendRequest, SendResponse, WebLoginStartRequest,
    WebLoginStartResponse, WebLoginWaitRequest, WebLoginWaitResponse,
};

use super::Service;
use crate::error::Error;
use crate::network::Network;
use crate::outbound::Address;
use crate::settings::DEFAULT_ACCOUNT;

#[tonic::async_trait]
impl Messaging for Service {
    async fn send(&self, request: Request<SendRequest>) -> Reply<SendResponse> {
        let message = request.into_inner();
        let address = Address { channel: message.channel.as_deref(), account: message.account_id.as_deref(), to: &message.to };
        let channels = self.accounts.channels(None).await.map_err(|error| self.failed(error))?;
        let network = address.network(&channels).map_err(status)?;
        address.check_target(network).map_err(status)?;
        Err(status(address.refusal(network, &channels)))
    }

    async fn poll(&self, request: Request<PollRequest>) -> Reply<PollResponse> {
        let poll = request.into_inner();
        let address = Address { channel: poll.channel.as_deref(), account: poll.account_id.as_deref(), to: &poll.to };
        let channels = self.accounts.channels(None).await.map_err(|error| self.failed(error))?;
        let network = address.network_with_polls(&channels).map_err(status)?;
        address.check_target(network).map_err(status)?;
        Err(status(address.refusal(network, &channels)))
    }

    async fn channels_logout(&self, request: Request<ChannelsLogoutRequest>) -> Reply<ChannelsLogoutResponse> {
        let ChannelsLogoutRequest { channel, account_id } = request.into_inner();
        let network = Network::find(&channel.trim().to_lowercase()).ok_or(Error::UnknownLogoutChannel).map_err(status)?;
        let named = account_id.map(|account| account.trim().to_owned()).filter(|account| !account.is_empty());
        let account_id = match named {
            Some(named) => named,
            None => self.default_account(network).await?,
        };
        let cleared = self.logins.remove(network, &account_id).await.map_err(status)?;
        reply(ChannelsLogoutResponse { channel: network.id().to_owned(), account_id, cleared, logged_out: Some(cleared) })
    }

    async fn web_login_start(&self, request: Request<WebLoginStartRequest>) -> Reply<WebLoginStartResponse> {
        Err(status(no_web_login(request.into_inner().channel)))
    }

    async fn web_login_wait(&self, request: Request<WebLoginWaitRequest>) -> Reply<WebLoginWaitResponse> {
        Err(status(no_web_login(request.into_inner().channel)))
    }
}

impl Service {
    async fn default_account(&self, network: Network) -> Result<String, Status> {
        let channels = self.accounts.channels(Some(network.id())).await.map_err(|error| self.failed(error))?;
        let default = channels.first().and_then(|channel| channel.default_account());
        Ok(default.map_or_else(|| DEFAULT_ACCOUNT.to_owned(), |fare| fare.account.id.clone()))
    }
}

/// Whether a code could be shown for the network at all, and that this build shows none.
fn no_web_login(channel: Option<String>) -> Error {
    match channel.map(|channel| channel.trim().to_lowercase()).filter(|channel| !channel.is_empty()) {
        Some(named) if Network::find(&named) != Some(Network::WhatsApp) => Error::WebLoginUnsupported(named),
        _ => Error::NoWebLogin,
    }
}
