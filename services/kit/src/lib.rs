//! What every Verso service needs and no service is about: start-up, configuration, gRPC server and client, events, tasks, telemetry.

pub mod clock;
pub mod config;
pub mod confine;
pub mod credential;
pub mod error;
pub mod events;
pub mod files;
pub mod grpc;
pub mod links;
pub mod metrics;
pub mod page;
pub mod peer;
pub mod principal;
pub mod reload;
pub mod resume;
pub mod service;
pub mod tasks;
pub mod telemetry;
pub mod trace;
#[cfg(feature = "web")]
pub mod web;

/// Ends a service when it is triggered: every loop and wait listens to it.
pub use tokio_util::sync::CancellationToken;
