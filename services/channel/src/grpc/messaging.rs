//! The rpcs of messages and logins.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Status};
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_proto::channel::v1::messaging_server::Messaging;
use verso_proto::channel::v1::{
    ChannelsLogoutRequest, ChannelsLogoutResponse, EditRequest, EditResponse, PollRequest, PollResponse, ReactRequest, ReactResponse,
    SendRequest, SendResponse, Spot, UnsendRequest, UnsendResponse, WebLoginStartRequest, WebLoginStartResponse, WebLoginWaitRequest,
    WebLoginWaitResponse,
};

use super::Service;
use crate::accounts::Fare;
use crate::adapter::Ability;
use crate::composing::{Composer, Wrapping};
use crate::error::Error;
use crate::message::{Question, Receipt};
use crate::network::Network;
use crate::remote::Launch;
use crate::remote::login::{Ask, Standing};
use crate::sending::{self, Message};
use crate::settings::DEFAULT_ACCOUNT;
use crate::target::{Sender, Target};
use crate::units::Unit;

/// How long the first code of a login may take, unless the caller says otherwise.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How long the owner may take to use a code, unless the caller says otherwise.
const WAIT_PATIENCE: Duration = Duration::from_mins(2);

#[tonic::async_trait]
impl Messaging for Service {
    async fn send(&self, request: Request<SendRequest>) -> Reply<SendResponse> {
        let request = request.into_inner();
        let target = Target { channel: request.channel.as_deref(), account: request.account_id.as_deref(), to: &request.to };
        let channels = self.accounts.channels(None).map_err(|error| self.failed(error))?;
        let network = target.network(&channels).map_err(status)?;
        target.check_target(network).map_err(status)?;
        let sender = target.account(network, &channels).map_err(status)?;
        let mut media: Vec<&str> = request.media_urls.iter().map(String::as_str).collect();
        if media.is_empty() {
            media.extend(request.media_url.as_deref());
        }
        let message = Message {
            idempotency_key: &request.idempotency_key,
            to: &request.to,
            thread: request.thread_id.as_deref(),
            reply_to: request.reply_to_id.as_deref(),
            text: &request.message,
            html: request.parse_mode.as_deref() == Some("HTML") && network == Network::Telegram,
            silent: request.silent == Some(true),
            media,
            buffer: request.buffer.as_deref(),
            file_name: request.filename.as_deref(),
            mime_type: request.content_type.as_deref(),
            wrapping: Wrapping { as_voice: request.as_voice == Some(true), as_document: request.force_document == Some(true) },
            poll: None,
        };
        let receipt = self.deliver(&sender, &message).await?;
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
        let sender = target.account(network, &channels).map_err(status)?;
        if !sender.adapter.abilities().contains(&Ability::Polls) {
            return Err(status(Error::UnsupportedPollChannel(network.id().to_owned())));
        }
        let selections_max = u32::try_from(poll.max_selections.unwrap_or(1)).unwrap_or(1);
        let hours = poll.duration_hours.map(|hours| hours.saturating_mul(60 * 60));
        let question = Question {
            asks: poll.question.clone(),
            selections_max: selections_max.min(u32::try_from(poll.options.len()).unwrap_or(u32::MAX)),
            open_seconds: poll.duration_seconds.or(hours).and_then(|seconds| u32::try_from(seconds).ok()),
            anonymous: poll.is_anonymous.unwrap_or(true),
            options: poll.options,
        };
        let message = Message {
            idempotency_key: &poll.idempotency_key,
            to: &poll.to,
            thread: poll.thread_id.as_deref(),
            silent: poll.silent == Some(true),
            poll: Some(question),
            ..Message::default()
        };
        let receipt = self.deliver(&sender, &message).await?;
        reply(PollResponse {
            run_id: poll.idempotency_key,
            message_id: receipt.message_id,
            channel: network.id().to_owned(),
            poll_id: receipt.poll_id,
            chat_id: Some(receipt.chat_id),
            ..PollResponse::default()
        })
    }

    async fn react(&self, request: Request<ReactRequest>) -> Reply<ReactResponse> {
        let ReactRequest { spot, emoji } = request.into_inner();
        let emoji = emoji.filter(|emoji| !emoji.trim().is_empty());
        self.change(&spot.unwrap_or_default(), &Change::Mark(emoji)).await.map_err(|error| self.failed(error))?;
        reply(ReactResponse {})
    }

    async fn edit(&self, request: Request<EditRequest>) -> Reply<EditResponse> {
        let EditRequest { spot, text } = request.into_inner();
        self.change(&spot.unwrap_or_default(), &Change::Text(text)).await.map_err(|error| self.failed(error))?;
        reply(EditResponse {})
    }

    async fn unsend(&self, request: Request<UnsendRequest>) -> Reply<UnsendResponse> {
        let spot = request.into_inner().spot.unwrap_or_default();
        self.change(&spot, &Change::Gone).await.map_err(|error| self.failed(error))?;
        reply(UnsendResponse {})
    }

    async fn channels_logout(&self, request: Request<ChannelsLogoutRequest>) -> Reply<ChannelsLogoutResponse> {
        let ChannelsLogoutRequest { channel, account_id } = request.into_inner();
        let network = Network::find(&channel.trim().to_lowercase()).ok_or(Error::UnknownLogoutChannel).map_err(status)?;
        let named = account_id.map(|account| account.trim().to_owned()).filter(|account| !account.is_empty());
        let account_id = match named {
            Some(named) => named,
            None => self.default_account(network)?,
        };
        let cleared = self.log_out(network, &account_id).await.map_err(status)?;
        reply(ChannelsLogoutResponse { channel: network.id().to_owned(), account_id, cleared, logged_out: Some(cleared) })
    }

    async fn web_login_start(&self, request: Request<WebLoginStartRequest>) -> Reply<WebLoginStartResponse> {
        let request = request.into_inner();
        let (unit, launch, linked) = self.to_be_linked(request.channel, request.account_id.as_deref()).map_err(status)?;
        if linked && request.force != Some(true) {
            let message = "The account is linked already. Say force to link it anew.".to_owned();
            return reply(WebLoginStartResponse { qr_data_url: None, message, qr_text: None });
        }
        let ask = Ask { force: request.force == Some(true), phone_number: request.phone_number };
        let patience = patience(request.timeout_ms, START_PATIENCE);
        let standing = self.desk.start(&unit, launch, ask, patience).await.map_err(status)?;
        reply(WebLoginStartResponse { qr_data_url: standing.qr_data_url, message: standing.message, qr_text: standing.qr_text })
    }

    async fn web_login_wait(&self, request: Request<WebLoginWaitRequest>) -> Reply<WebLoginWaitResponse> {
        let request = request.into_inner();
        let (unit, _, connected) = self.to_be_linked(request.channel, request.account_id.as_deref()).map_err(status)?;
        let patience = patience(request.timeout_ms, WAIT_PATIENCE);
        let standing = self.desk.wait(&unit.key, request.current_qr_data_url.as_deref(), patience).await;
        let standing = standing.unwrap_or_else(|| {
            let message = if connected { "The account is linked." } else { "No login is under way; begin one first." };
            Standing { connected, message: message.to_owned(), ..Standing::default() }
        });
        reply(WebLoginWaitResponse { connected: standing.connected, message: standing.message, qr_data_url: standing.qr_data_url })
    }
}

fn patience(asked_ms: Option<i64>, usual: Duration) -> Duration {
    asked_ms.and_then(|ms| u64::try_from(ms).ok()).map_or(usual, Duration::from_millis)
}

/// What is to become of a message.
enum Change {
    /// It is marked with an emoji, or with none.
    Mark(Option<String>),
    /// It says this.
    Text(String),
    /// It is taken back.
    Gone,
}

impl Service {
    async fn change(&self, spot: &Spot, change: &Change) -> Result<(), Error> {
        let target = Target { channel: Some(&spot.channel), account: spot.account_id.as_deref(), to: &spot.to };
        let channels = self.accounts.channels(None)?;
        let network = target.network(&channels)?;
        target.check_target(network)?;
        let sender = target.account(network, &channels)?;
        let refused = |reason: String| Error::NotRunning { channel: network.id(), reason };
        let (ability, what) = match change {
            Change::Mark(_) => (Ability::Reactions, "it has no reactions"),
            Change::Text(_) | Change::Gone => (Ability::Edits, "it cannot change what was sent"),
        };
        if !sender.adapter.abilities().contains(&ability) {
            return Err(refused(what.to_owned()));
        }
        let to = sender.adapter.address(&spot.to, spot.thread_id.as_deref());
        let to = to.ok_or_else(|| Error::NoTarget { label: network.label(), hint: "<an address of this network>" })?;
        let done = match change {
            Change::Mark(emoji) => sender.adapter.react(&to, &spot.message_id, emoji.as_deref()).await,
            Change::Gone => sender.adapter.remove(&to, &spot.message_id).await,
            Change::Text(text) => {
                let composer = Composer { adapter: sender.adapter.as_ref(), profile: sender.profile, shelf: &self.shared.shelf };
                let mut parts = composer.texts(&to, text);
                let part = parts.pop().filter(|_| parts.is_empty());
                let part = part.ok_or_else(|| refused("the words are none, or more than one message".to_owned()))?;
                sender.adapter.edit(&spot.message_id, &part).await
            }
        };
        done.map_err(|refusal| refused(refusal.to_string()))
    }

    /// Finds the account that is to be linked, how its process is started, and whether it is linked already.
    fn to_be_linked(&self, channel: Option<String>, account: Option<&str>) -> Result<(Arc<Unit>, Launch, bool), Error> {
        let channel = channel.map(|channel| channel.trim().to_lowercase()).filter(|channel| !channel.is_empty());
        let network = match &channel {
            None => Network::WhatsApp,
            Some(named) => Network::find(named).ok_or_else(|| Error::WebLoginUnsupported(named.clone()))?,
        };
        if network != Network::WhatsApp && network.is_built_in() {
            return Err(Error::WebLoginUnsupported(network.id().to_owned()));
        }
        let channels = self.accounts.channels(Some(network.id()))?;
        let channel = channels.first().ok_or(Error::NoWebLogin)?;
        let fare = match account.map(str::trim).filter(|account| !account.is_empty()) {
            None => channel.default_account(),
            Some(named) => match channel.accounts.iter().find(|fare| fare.account.id == named) {
                None => return Err(Error::UnknownAccount { channel: network.id(), account: named.to_owned() }),
                known => known,
            },
        };
        let linked = fare.and_then(Fare::linked) == Some(true);
        let unit = fare.and_then(|fare| fare.unit.clone()).ok_or(Error::NoWebLogin)?;
        let (context, files) = (self.shared.context.clone(), self.shared.shelf.clone());
        let launch = Launch { key: unit.key.clone(), network, context, shelf: files };
        Ok((unit, launch, linked))
    }

    /// Stops the account, and forgets its credentials.
    async fn log_out(&self, network: Network, account: &str) -> Result<bool, Error> {
        let channels = self.accounts.channels(Some(network.id()))?;
        let fare = channels.first().and_then(|channel| channel.accounts.iter().find(|fare| fare.account.id == account));
        let Some(unit) = fare.and_then(|fare| fare.unit.clone()).filter(|_| !network.is_built_in() || network == Network::WhatsApp) else {
            return self.logins.remove(network, account).await;
        };
        self.desk.give_up(&unit.key).await;
        let (context, files) = (self.shared.context.clone(), self.shared.shelf.clone());
        let launch = Launch { key: unit.key.clone(), network, context, shelf: files };
        let told = launch.log_out(&unit).await;
        // What is on the disk goes also when the network could not be told.
        let removed = if network == Network::WhatsApp { self.logins.remove(network, account).await? } else { false };
        Ok(removed || told?)
    }

    fn default_account(&self, network: Network) -> Result<String, Status> {
        let channels = self.accounts.channels(Some(network.id())).map_err(|error| self.failed(error))?;
        let default = channels.first().and_then(|channel| channel.default_account());
        Ok(default.map_or_else(|| DEFAULT_ACCOUNT.to_owned(), |fare| fare.account.id.clone()))
    }

    async fn deliver(&self, sender: &Sender<'_>, message: &Message<'_>) -> Result<Receipt, Status> {
        let sent = sending::send(&self.store, &self.shared.shelf, sender, message, self.clock.now_ms()).await;
        sent.map_err(|error| self.failed(error))
    }
}
