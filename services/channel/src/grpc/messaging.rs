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
use crate::sending::{self, Message};
use crate::settings::DEFAULT_ACCOUNT;
use crate::target::Target;

#[tonic::async_trait]
impl Messaging for Service {
    async fn send(&self, request: Request<SendRequest>) -> Reply<SendResponse> {
        let request = request.into_inner();
        let target = Target { channel: request.channel.as_deref(), account: request.account_id.as_deref(), to: &request.to };
        let channels = self.accounts.channels(None).map_err(|error| self.failed(error))?;
        let network = target.network(&channels).map_err(status)?;
        target.check_target(network).map_err(status)?;
        let sender = target.account(network, &channels).map_err(status)?;
        let message = Message {
            idempotency_key: &request.idempotency_key,
            to: &request.to,
            thread: request.thread_id.as_deref(),
            reply_to: request.reply_to_id.as_deref(),
            text: &request.message,
            silent: request.silent == Some(true),
        };
        let receipt = sending::send(&self.store, &sender, &message, self.clock.now_ms()).await.map_err(|error| self.failed(error))?;
        reply(SendResponse {
            run_id: request.idempotency_key,
            message_id: receipt.message_id,
            channel: network.id().to_owned(),
            chat_id: Some(receipt.chat_id),
            ..SendResponse::default()
        })
    }

    async fn poll(&self, request: Request<PollRequest>) -> Reply<PollResponse> {
        let poll = request.into_inner();
        let target = Target { channel: poll.channel.as_deref(), account: poll.account_id.as_deref(), to: &poll.to };
        let channels = self.accounts.channels(None).map_err(|error| self.failed(error))?;
        let network = target.network_with_polls(&channels).map_err(status)?;
        target.check_target(network).map_err(status)?;
        let _sender = target.account(network, &channels).map_err(status)?;
        Err(status(Error::UnsupportedPollChannel(network.id().to_owned())))
    }

    async fn channels_logout(&self, request: Request<ChannelsLogoutRequest>) -> Reply<ChannelsLogoutResponse> {
        let ChannelsLogoutRequest { channel, account_id } = request.into_inner();
        let network = Network::find(&channel.trim().to_lowercase()).ok_or(Error::UnknownLogoutChannel).map_err(status)?;
        let named = account_id.map(|account| account.trim().to_owned()).filter(|account| !account.is_empty());
        let account_id = match named {
            Some(named) => named,
            None => self.default_account(network)?,
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
    fn default_account(&self, network: Network) -> Result<String, Status> {
        let channels = self.accounts.channels(Some(network.id())).map_err(|error| self.failed(error))?;
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
