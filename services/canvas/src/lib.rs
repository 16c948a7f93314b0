//! The canvas host: the files of one folder on a port of their own, for pages that an agent draws, and the interfaces that it describes.

mod a2ui;
mod access;
mod actions;
mod config;
mod document;
mod error;
mod grpc;
mod inject;
mod listener;
mod live;
mod metrics;
mod mime;
mod reload;
mod root;
mod route;
mod site;
mod socket;
mod starter;

use verso_kit::CancellationToken;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;

pub use error::Error;
pub use grpc::routes;

/// Runs the service until `shutdown`.
pub async fn serve(context: Context, shutdown: CancellationToken) -> Result<(), Error> {
    let tasks = Tasks::new(shutdown.clone());
    let served = match routes(&context, &tasks).await {
        Ok(routes) => verso_kit::grpc::serve(&context, routes, shutdown.clone()).await.map_err(Error::Service),
        Err(error) => Err(error),
    };
    shutdown.cancel();
    let failed = tasks.failed();
    tasks.join().await;
    served?;
    if failed { Err(Error::Panicked) } else { Ok(()) }
}
