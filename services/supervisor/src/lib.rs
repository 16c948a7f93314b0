//! Starts, watches and restarts the processes of one gateway, and holds their listening sockets. `LIFECYCLE.md` tells how.

mod allowance;
mod audit;
pub mod backup;
mod board;
mod budget;
mod cgroups;
mod config;
mod digest;
mod epochs;
mod error;
mod fleet;
mod gateway;
mod grpc;
mod keeper;
mod launch;
mod lock;
mod logs;
mod memory;
mod metrics;
mod pace;
mod probe;
mod process;
mod reload;
mod service_name;
mod signals;
mod sockets;
mod update;
mod usage;
mod warden;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use gateway::Gateway;
use signals::Signals;

pub use config::*;
pub use digest::digest_of;
pub use error::Error;
pub use lock::Holder;
pub use service_name::{ServiceName, UnknownService};
pub use sockets::run_dir;

/// Runs a gateway until `shutdown`, SIGTERM or SIGINT; a second signal cuts the stop short. The caller installs no handlers of
/// its own for these signals.
pub async fn run(mut config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let started = Instant::now();
    let mut signals = Signals::install()?;
    let gateway = tokio::select! {
        biased;
        gateway = Gateway::boot(&mut config, &shutdown) => gateway?,
        () = shutdown.cancelled() => return Ok(()),
        signal = signals.stop() => {
            info!("received {signal}; shutting down");
            return Ok(());
        }
    };
    gateway.announce(&mut config, started);
    gateway.steer(&config, &mut signals, &shutdown).await;
    gateway.close(&mut signals).await
}
