//! Chat networks: the accounts that are configured, what they receive and what they send.

mod access;
mod accounts;
#[allow(dead_code, reason = "the networks that come next use all of it")]
mod adapter;
mod agent;
mod courier;
mod dispatch;
mod error;
mod grpc;
mod host;
mod irc;
mod link;
mod logins;
mod make;
#[allow(dead_code, reason = "the networks that come next use all of it")]
mod media;
#[allow(dead_code, reason = "the networks that come next use all of it")]
mod message;
mod network;
mod pairing;
mod profile;
mod remote;
mod sending;
mod settings;
mod store;
mod target;
mod telegram;
mod text;
mod units;

use std::time::Duration;

use verso_kit::CancellationToken;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;

pub use error::Error;
pub use grpc::routes;
pub use host::host;

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
