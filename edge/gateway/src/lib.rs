//! The edge: terminates the WebSocket protocol and the HTTP APIs on one port and fans requests out to the services.

mod accept;
mod admission;
mod capabilities;
mod config;
mod connection;
mod connections;
mod control_writes;
mod devices;
mod dispatch;
mod error;
mod event;
mod fence;
mod following;
mod frame_boundary;
mod gateway;
mod handover;
mod health;
mod http;
mod journal;
mod kept_answer;
mod limits;
mod local;
mod metered;
mod metrics;
mod outlet;
mod pdf;
mod preferences;
mod rate_limit;
mod reload;
mod request_facts;
mod roster;
mod services;
mod sources;
mod tailscale;
mod timers;
mod tls;
mod upkeep;
mod wire;

use std::net::TcpListener;
use std::sync::Arc;

use tonic::service::Routes;
use tracing::info;
use verso_kit::CancellationToken;
use verso_kit::service::{Context, Error};
use verso_kit::tasks::Tasks;
use verso_proto::presence::v1::AdvertiseRequest;

pub use config::{Config, Tailscale, TailscaleMode};
use gateway::Gateway;
pub use pdf::run as read_pdf;
use tls::Terminator;

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
    refuse_open_door(&config, &listeners)?;
    let tasks = Tasks::new(shutdown.clone());
    let gateway = Arc::new(Gateway::new(context.clone(), config, tasks.clone())?);
    let tls = Terminator::open(&gateway.config().tls, &gateway.context.state_dir)?;
    tell_where(&gateway, &listeners, tls.as_ref());
    metrics::start(&gateway);
    if let Some(listener) = context.sockets.handover() {
        handover::expect(&gateway, listener);
    }
    sources::follow_all(&gateway);
    roster::keep_told(&gateway);
    sources::wait_until_followed(&gateway).await;
    health::keep_fresh(&gateway);
    timers::start(&gateway);
    reload::follow(&gateway);
    info!(connections = gateway.connections.count(), "edge starting");
    let control = verso_kit::grpc::serve(&context, Routes::new(upkeep::server(&gateway)), shutdown.clone());
    let public = accept::serve(Arc::clone(&gateway), (listeners, tls), http::router(&gateway));
    let (control, public) = tokio::join!(control, public);
    control?;
    Ok(public?)
}

/// Notes what others need to find the port.
fn tell_where(gateway: &Gateway, listeners: &[TcpListener], tls: Option<&Terminator>) {
    let addresses: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let port = addresses.first().map_or(0, |address| i32::from(address.port()));
    let loopback_only = addresses.iter().all(|address| address.ip().is_loopback());
    let tls_sha256 = tls.map(|terminator| terminator.fingerprint.clone());
    drop(gateway.reachable.set(AdvertiseRequest { port, loopback_only, tls_sha256, canvas_port: None }));
}

/// Without a credential the gateway serves this machine only, wherever its sockets come from.
fn refuse_open_door(config: &Config, listeners: &[TcpListener]) -> Result<(), Error> {
    let open = listeners.iter().filter_map(|listener| listener.local_addr().ok()).find(|address| !address.ip().is_loopback());
    let Some(address) = open.filter(|_| !config.auth.protects()) else { return Ok(()) };
    let reason = format!(
        "refusing to bind gateway to {address} without auth (set gateway.auth.token/password, or set \
         VERSO_GATEWAY_TOKEN/VERSO_GATEWAY_PASSWORD)"
    );
    Err(verso_kit::config::Error::Value { key: "gateway.auth".to_owned(), reason }.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use verso_kit::config::{Env, File};

    use super::*;

    #[test]
    fn sec_18_without_a_credential_only_this_machine_is_served() {
        let config = |auth| Config::load(&File::from_value(json!({"gateway": {"auth": auth}})), &Env::default()).unwrap();
        let (open, closed) = (TcpListener::bind(("0.0.0.0", 0)).unwrap(), TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let listeners = [closed, open];
        for auth in [json!({}), json!({"token": ""}), json!({"mode": "none"}), json!({"mode": "password"})] {
            let error = refuse_open_door(&config(auth.clone()), &listeners).unwrap_err().to_string();
            assert!(error.contains("refusing to bind gateway to 0.0.0.0:"), "{auth}: {error}");
            refuse_open_door(&config(auth), &listeners[..1]).unwrap();
        }
        refuse_open_door(&config(json!({"token": "t"})), &listeners).unwrap();
    }
}
