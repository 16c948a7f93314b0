//! Nodes: which devices offer capabilities, which of them are connected, and what they can do.

mod error;
mod grpc;
mod registry;
mod store;

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
