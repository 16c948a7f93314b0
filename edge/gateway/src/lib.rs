//! The edge: terminates the WebSocket protocol and the HTTP APIs on one port and fans requests out to the services.

mod accept;
mod config;
mod connection;
mod connections;
mod devices;
mod dispatch;
mod error;
mod event;
mod gateway;
mod health;
mod http;
mod limits;
mod local;
mod metered;
mod outlet;
mod preferences;
mod rate_limit;
mod request_facts;
mod roster;
mod services;
mod sources;
mod timers;
mod wire;

use std::net::TcpListener;
use std::sync::Arc;

use tonic::service::Routes;
use tracing::info;
use verso_kit::CancellationToken;
use verso_kit::service::{Context, Error};
use verso_kit::tasks::Tasks;

pub use config::Config;
use gateway::Gateway;

/// The version that clients are told.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the edge until `shutdown`, then sees its clients off.
pub async fn serve(context: Context, shutdown: CancellationToken) -> Result<(), Error> {
    let config = Config::load(&context.config, &context.env)?;
    verso_kit::service::raise_descriptor_limit();
    let mut listeners = context.sockets.tcp("public");
    if listeners.is_empty() {
        listeners.push(TcpListener::bind(("127.0.0.1", config.port.unwrap_or(config::PORT)))?);
    }
    let tasks = Tasks::new(shutdown.clone());
    let gateway = Arc::new(Gateway::new(context.clone(), config, tasks.clone())?);
    sources::follow_all(&gateway);
    health::keep_fresh(&gateway);
    timers::start(&gateway);
    info!(connections = gateway.connections.count(), "edge starting");
    let control = verso_kit::grpc::serve(&context, Routes::default(), shutdown.clone());
    let public = accept::serve(Arc::clone(&gateway), listeners, http::router(&gateway));
    let (control, public) = tokio::join!(control, public);
    control?;
    Ok(public?)
}
