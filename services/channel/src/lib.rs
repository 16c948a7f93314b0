//! Chat networks: the accounts that are configured, what they receive and what they send.

mod access;
mod accounts;
mod adapter;
mod agent;
mod answering;
mod composing;
mod courier;
mod dispatch;
mod error;
mod gather;
mod grpc;
mod history;
mod host;
mod irc;
mod link;
mod logins;
mod luggage;
mod make;
mod media;
mod mentions;
mod message;
mod metrics;
mod network;
mod pairing;
mod preview;
mod profile;
mod reach;
#[cfg(test)]
mod reconnects;
mod remote;
mod sending;
mod settings;
mod store;
mod target;
mod telegram;
mod text;
mod units;
mod webhooks;

use std::time::Duration;

use verso_kit::CancellationToken;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;

pub use error::Error;
pub use grpc::routes;
pub use host::host;
pub use reach::{Reach, confine};

/// How long the accounts of a stopping service may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the service until `shutdown`.
pub async fn serve(context: Context, shutdown: CancellationToken) -> Result<(), Error> {
    let tasks = Tasks::new(shutdown.clone());
    let routes = routes(&context, &tasks).await?;
    let served = verso_kit::grpc::serve(&context, routes, shutdown.clone()).await;
    shutdown.cancel();
    if tokio::time::timeout(STOP_TIMEOUT, tasks.join()).await.is_err() {
        tracing::warn!("some accounts did not stop in time");
    }
    Ok(served?)
}
