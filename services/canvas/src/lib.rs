//! The canvas host: the files of one folder on a port of their own, for pages that an agent draws.

mod access;
mod config;
mod error;
mod grpc;
mod listener;
mod mime;
mod root;
mod route;
mod site;
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
