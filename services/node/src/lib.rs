//! Nodes: which devices offer capabilities, which of them are connected, what they can do, and who decides what they may.

mod answers;
mod approvals;
mod browser;
mod commands;
mod document;
mod error;
mod exec_file;
mod forwarding;
mod grpc;
mod invokes;
mod metrics;
mod node_events;
mod pairings;
mod registry;
mod run_permit;
mod store;
mod told;
mod voice;
mod waiting;

use verso_kit::CancellationToken;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;

pub use error::Error;
pub use grpc::routes;

/// Runs the service until `shutdown`.
pub async fn serve(context: Context, shutdown: CancellationToken) -> Result<(), Error> {
    let tasks = Tasks::new(shutdown.clone());
    let (routes, forwarder) = grpc::start(&context, &tasks).await?;
    tasks.spawn("approvals to chats", forwarder.run(shutdown.clone()));
    let served = verso_kit::grpc::serve(&context, routes, shutdown.clone()).await;
    shutdown.cancel();
    tasks.join().await;
    Ok(served?)
}
