//! The rpc adapter.

mod messaging;
mod pairing;
mod probes;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tonic::service::Routes;
use tonic::{Request, Status};
use tracing::warn;
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_kit::peer::MESSAGE_BYTES_MAX;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::channel::v1::channel_server::{Channel as ChannelService, ChannelServer};
use verso_proto::channel::v1::messaging_server::MessagingServer;
use verso_proto::channel::v1::pairing_server::PairingServer;
use verso_proto::channel::v1::{
    Account, AccountList, ChannelMeta, ChannelSummary, ChannelsStatusRequest, ChannelsStatusResponse, HealthSummaryRequest,
    HealthSummaryResponse, StatusIssue,
};

use crate::accounts::{Accounts, Channel, Fare};
use crate::agent::Agent;
use crate::error::Error;
use crate::logins::Logins;
use crate::media::Shelf;
use crate::metrics;
use crate::profile::Profile;
use crate::remote::login::Desk;
use crate::settings;
use crate::store::Store;
use crate::units::Shared;
use crate::webhooks::Webhooks;

/// How long a message that was dealt with is remembered, so that it is not taken twice, in milliseconds.
const ENDED_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// How long a network may take to answer a probe, in milliseconds, unless the caller says otherwise.
const PROBE_MS_DEFAULT: u64 = 10_000;

/// The least that a caller may grant, in milliseconds.
const PROBE_MS_MIN: u64 = 1_000;

/// How often old files are looked for.
const TIDY_INTERVAL: Duration = Duration::from_hours(1);

/// Since when messages count of which nobody can tell whether they arrived, in milliseconds.
const UNCERTAIN_SHOWN_MS: i64 = 24 * 60 * 60 * 1_000;

/// Opens the database, starts the accounts and builds the service.
pub async fn routes(context: &Context, tasks: &Tasks) -> Result<Routes, Error> {
    let configured = settings::accounts(context)?;
    let path = context.folder()?.join("channel.sqlite");
    let store = Store::open(path.clone(), context.epoch).await.inspect_err(|error| {
        tracing::error!(path = %path.display(), error = error as &dyn std::error::Error, "the database cannot be used");
    })?;
    let now_ms = context.clock.now_ms();
    let uncertain = store.recover(now_ms, now_ms - ENDED_KEPT_MS).await?;
    if uncertain > 0 {
        warn!(messages = uncertain, "messages were being sent when the service died; nobody can tell whether they were taken");
    }
    let shelf = Shelf::open(context.folder()?.join("media")).await.map_err(Error::Shelf)?;
    let agent = Agent::new(context.peer("agent"), context.clock.clone());
    let shared = Shared { store: store.clone(), shelf, agent, webhooks: Webhooks::new(tasks.clone()), context: context.clone() };
    tasks.spawn("media", tidy(shared.shelf.clone(), Profile::media_kept_longest(context), context.clock.clone(), tasks.shutdown().clone()));
    let accounts = Arc::new(Accounts::start(configured, &shared, tasks));
    metrics::start(&accounts, &store, &context.clock);
    follow_configuration(context, &accounts);
    let logins = Logins::new(context.state_dir.join("credentials"));
    let desk = Desk::new(tasks.clone());
    let service = Service { accounts, store, logins, desk, shared, clock: context.clock.clone(), shutdown: tasks.shutdown().clone() };
    let messaging = MessagingServer::new(service.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok(Routes::new(ChannelServer::new(service.clone())).add_service(messaging).add_service(PairingServer::new(service)))
}

/// Has the accounts take every later configuration over; one whose accounts cannot be read changes nothing.
fn follow_configuration(context: &Context, accounts: &Arc<Accounts>) {
    let (given, accounts) = (context.clone(), Arc::clone(accounts));
    context.reload.on_change(move |config| {
        let (context, accounts) = (Context { config: Arc::clone(&config), ..given.clone() }, Arc::clone(&accounts));
        async move {
            let read = tokio::task::spawn_blocking(move || settings::accounts(&context)).await;
            let configured = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            accounts.take_over(configured, &config).await;
            Ok(None)
        }
    });
}

/// Forgets old files every now and then.
async fn tidy(shelf: Shelf, kept: Duration, clock: Clock, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(TIDY_INTERVAL);
    while shutdown.run_until_cancelled(interval.tick()).await.is_some() {
        let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(clock.now_ms()).unwrap_or(0));
        match shelf.sweep(now, kept).await {
            Ok(0) => {}
            Ok(files) => tracing::debug!(files, "old files are gone"),
            Err(error) => warn!(%error, "old files could not be removed"),
        }
    }
}

#[derive(Debug, Clone)]
struct Service {
    accounts: Arc<Accounts>,
    store: Store,
    logins: Logins,
    desk: Desk,
    shared: Shared,
    clock: Clock,
    shutdown: CancellationToken,
}

impl Service {
    /// Adds how many messages may or may not have arrived: nobody sends them again, so somebody should know.
    async fn add_uncertain(&self, report: &mut ChannelsStatusResponse, channels: &[Channel]) -> Result<(), Error> {
        let since_ms = self.clock.now_ms() - UNCERTAIN_SHOWN_MS;
        for channel in channels {
            for fare in &channel.accounts {
                let Some(unit) = &fare.unit else { continue };
                let count = self.store.uncertain_count(&unit.key, since_ms).await?;
                if count == 0 {
                    continue;
                }
                let list = report.channel_accounts.get_mut(&id(channel));
                if let Some(account) = list.and_then(|list| list.accounts.iter_mut().find(|account| account.account_id == fare.account.id))
                {
                    account.uncertain_messages = Some(count);
                }
                report.status_issues.push(StatusIssue {
                    channel: id(channel),
                    account_id: fare.account.id.clone(),
                    kind: "delivery".to_owned(),
                    message: format!("{count} messages of the last day may or may not have arrived; they are not sent again"),
                });
            }
        }
        Ok(())
    }

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
        let request = request.into_inner();
        let channels = self.accounts.channels(request.channel.as_deref()).map_err(|error| self.failed(error))?;
        let mut report = report(&channels, self.clock.now_ms());
        self.add_uncertain(&mut report, &channels).await.map_err(|error| self.failed(error))?;
        if request.probe == Some(true) {
            let timeout_ms = request.timeout_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(PROBE_MS_DEFAULT).max(PROBE_MS_MIN);
            probes::add(&mut report, &channels, Duration::from_millis(timeout_ms), &self.clock).await;
        }
        reply(report)
    }

    async fn health_summary(&self, _: Request<HealthSummaryRequest>) -> Reply<HealthSummaryResponse> {
        let channels = self.accounts.channels(None).map_err(|error| self.failed(error))?;
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
    let message = fare.state.last_error.clone()?;
    Some(StatusIssue { channel: id(channel), account_id: fare.account.id.clone(), kind: "runtime".to_owned(), message })
}

fn id(channel: &Channel) -> String {
    channel.network.id().to_owned()
}

fn summary(channel: &Channel) -> ChannelSummary {
    channel.default_account().map_or_else(ChannelSummary::default, |fare| ChannelSummary {
        configured: fare.configured(),
        linked: fare.linked(),
        running: Some(fare.state.running),
    })
}

fn account(fare: &Fare) -> Account {
    let pulse = fare.unit.as_ref().map(|unit| &unit.pulse);
    Account {
        account_id: fare.account.id.clone(),
        name: fare.account.name.clone(),
        enabled: Some(fare.account.enabled),
        configured: Some(fare.configured()),
        linked: fare.linked(),
        running: Some(fare.state.running),
        last_error: fare.state.last_error.clone(),
        connected: fare.unit.as_ref().map(|unit| fare.state.running && unit.pulse.is_connected(fare.state.last_start_at_ms)),
        reconnect_attempts: fare.unit.as_ref().map(|_| i64::from(fare.state.restarts)),
        last_connected_at_ms: pulse.and_then(|pulse| pulse.connected_at_ms()),
        last_start_at_ms: fare.state.last_start_at_ms,
        last_stop_at_ms: fare.state.last_stop_at_ms,
        last_inbound_at_ms: pulse.and_then(|pulse| pulse.inbound_at_ms()),
        last_outbound_at_ms: pulse.and_then(|pulse| pulse.outbound_at_ms()),
        last_probe_at_ms: None,
        uncertain_messages: None,
        probe: None,
        mode: fare.state.adapter.as_ref().and_then(|adapter| adapter.mode()).map(str::to_owned),
    }
}
