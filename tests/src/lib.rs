//! What the tests and the benchmark share: a gateway of real processes, and a model provider that does what a message tells it.

#![allow(clippy::missing_panics_doc, reason = "a test that cannot go on panics")]

pub mod apart;
pub mod bot_api;
pub mod browser;
pub mod chaos;
pub mod collector;
pub mod control_ui;
pub mod emulators;
pub mod file_drop;
pub mod gateway;
pub mod irc_server;
pub mod leak;
pub mod lean;
pub mod mount;
pub mod peers;
pub mod process;
pub mod provider;
pub mod proxy;

pub use browser::Browser;
pub use control_ui::ControlUi;
pub use gateway::Gateway;
pub use provider::Provider;

use std::path::PathBuf;
use std::time::Duration;

/// How long anything may take before a test gives up. Generous: test machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of this package. Asked when a test runs, not when it is built: a target folder outlives the clone it was filled from.
#[allow(clippy::disallowed_methods, reason = "cargo says it in the environment")]
pub fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// How often something is done: as often as the environment variable says, or `usual`. The gate is short, a long run is asked for.
#[allow(clippy::disallowed_methods, reason = "a test is told by its surroundings how long it may take")]
pub fn count(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

/// Waits until `condition` gives a value; panics with `what` when it takes too long.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
