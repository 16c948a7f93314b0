//! The rpc adapter.

mod messaging;

use std::sync::Arc;

use tonic::service::Routes;
use tonic::{Request, Status};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_kit::peer::MESSAGE_BYTES_MAX;
use verso_kit::service::Context;
use verso_proto::channel::v1::channel_server::{Channel as ChannelService, ChannelServer};
use verso_proto::channel::v1::messaging_server::MessagingServer;
use verso_proto::channel::v1::{
    Account, AccountList, ChannelMeta, ChannelSummary, ChannelsStatusRequest, ChannelsStatusResponse, HealthSummaryRequest,
    HealthSummaryResponse, StatusIssue,
};

use crate::accounts::{Accounts, Channel, Fare};
use crate::error::Error;
use crate::logins::Logins;
use crate::settings;
use crate::store::Store;

/// Opens the database, reads the accounts and builds the service.
pub async fn routes(context: &Context, shutdown: &CancellationToken) -> Result<Routes, Error> {
    let configured = settings::accounts(context)?;
    let store = Store::open(context.folder()?.join("channel.sqlite"), context.epoch).await?;
    let accounts = Accounts::start(configured, store, &context.clock).await?;
    let logins = Logins::new(context.state_dir.join("credentials"));
    let service = Arc::new(Service { accounts, logins, clock: context.clock.clone(), shutdown: shutdown.clone() });
    let routes = Routes::new(ChannelServer::from_arc(Arc::clone(&service)));
    Ok(routes.add_service(MessagingServer::from_arc(service).max_decoding_message_size(MESSAGE_BYTES_MAX)))
}

#[derive(Debug)]
struct Service {
    accounts: Accounts,
    logins: Logins,
    clock: Clock,
    shutdown: CancellationToken,
}

impl Service {
    /// Turns an error into a status. A process that was replaced has nothing left to do.
    fn failed(&self, error: Error) -> Status {
        if matches!(error, Error::Replaced) {
            self.shutdown.cancel();
        }
        status(error)
    }
}

#[tonic::async_trait]
impl ChannelService for Service {
    async fn channels_status(&self, request: Request<ChannelsStatusRequest>) -> Reply<ChannelsStatusResponse> {
        let only = request.into_inner().channel;
        let channels = self.accounts.channels(only.as_deref()).await.map_err(|error| self.failed(error))?;
        reply(report(&channels, self.clock.now_ms()))
    }

    async fn health_summary(&self, _: Request<HealthSummaryRequest>) -> Reply<HealthSummaryResponse> {
        let channels = self.accounts.channels(None).await.map_err(|error| self.failed(error))?;
        reply(HealthSummaryResponse {
            channels: channels.iter().map(|channel| (id(channel), summary(channel))).collect(),
            channel_order: channels.iter().map(id).collect(),
            channel_labels: channels.iter().map(|channel| (id(channel), channel.network.label().to_owned())).collect(),
        })
    }
}

fn report(channels: &[Channel], ts_ms: i64) -> ChannelsStatusResponse {
    let mut report = ChannelsStatusResponse { ts_ms, ..ChannelsStatusResponse::default() };
    for channel in channels {
        let network = channel.network;
        report.channel_order.push(id(channel));
        report.channel_labels.insert(id(channel), network.label().to_owned());
        report.channel_detail_labels.insert(id(channel), network.detail_label().to_owned());
        report.channel_system_images.insert(id(channel), network.system_image().to_owned());
        report.channel_meta.push(ChannelMeta {
            id: id(channel),
            label: network.label().to_owned(),
            detail_label: network.detail_label().to_owned(),
            system_image: Some(network.system_image().to_owned()),
        });
        report.channels.insert(id(channel), summary(channel));
        report.channel_accounts.insert(id(channel), AccountList { accounts: channel.accounts.iter().map(account).collect() });
        report.status_issues.extend(channel.accounts.iter().filter_map(|fare| issue(channel, fare)));
        let default = channel.default_account().map(|fare| fare.account.id.clone()).unwrap_or_default();
        report.channel_default_account_id.insert(id(channel), default);
    }
    report
}

fn issue(channel: &Channel, fare: &Fare) -> Option<StatusIssue> {
    let message = fare.last_error.clone()?;
    Some(StatusIssue { channel: id(channel), account_id: fare.account.id.clone(), kind: "runtime".to_owned(), message })
}

fn id(channel: &Channel) -> String {
    channel.network.id().to_owned()
}

fn summary(channel: &Channel) -> ChannelSummary {
    channel.default_account().map_or_else(ChannelSummary::default, |fare| ChannelSummary {
        configured: fare.account.configured,
        linked: fare.account.linked,
        running: Some(fare.running),
    })
}

fn account(fare: &Fare) -> Account {
    Account {
        account_id: fare.account.id.clone(),
        name: fare.account.name.clone(),
        enabled: Some(fare.account.enabled),
        configured: Some(fare.account.configured),
        linked: fare.account.linked,
        running: Some(fare.running),
        last_error: fare.last_error.clone(),
    }
}
