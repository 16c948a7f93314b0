//! Nodes: which devices offer capabilities, which of them are connected, what they can do, and who decides what they may.

mod answers;
mod approvals;
mod browser;
mod commands;
mod document;
mod error;
mod exec_file;
mod grpc;
mod invokes;
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

pub use error::Error;
pub use grpc::routes;

/// Runs the service until `shutdown`.
pub async fn serve(context: Context, shutdown: CancellationToken) -> Result<(), Error> {
    let routes = routes(&context, &shutdown).await?;
    verso_kit::grpc::serve(&context, routes, shutdown).await?;
    Ok(())
}
