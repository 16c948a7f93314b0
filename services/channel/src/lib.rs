//! Chat networks: the accounts that are configured, and how each of them fares.

mod accounts;
mod error;
mod grpc;
mod logins;
mod network;
mod outbound;
mod settings;
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
