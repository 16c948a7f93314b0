//! Who and what is connected: a list that edges and beacons fill, that ages, and that every change of is told to the clients.

mod board;
mod entry;
mod error;
mod grpc;
mod line;
mod mdns;
mod metrics;
mod notice;
mod own;
mod roster;

use verso_kit::CancellationToken;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;

pub use error::Error;
pub use grpc::routes;

/// Runs the service until `shutdown`.
pub async fn serve(context: Context, shutdown: CancellationToken) -> Result<(), Error> {
    let tasks = Tasks::new(shutdown.clone());
    let served =
        verso_kit::grpc::serve(&context, routes(&context, &tasks).map_err(verso_kit::service::Error::from)?, shutdown.clone()).await;
    shutdown.cancel();
    let failed = tasks.failed();
    tasks.join().await;
    served?;
    if failed { Err(Error::Panicked) } else { Ok(()) }
}
