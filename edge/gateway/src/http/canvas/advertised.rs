//! Which address of the canvas clients are told.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;
use tracing::warn;
use verso_proto::canvas::v1::StatusRequest;

use crate::capabilities::{Grant, LIFE_MS};
use crate::gateway::Gateway;

/// How long the canvas service may take to say that it is there; a client that comes meanwhile is told of no canvas.
const STATUS_WAIT: Duration = Duration::from_millis(250);

/// What of `canvasHost` concerns the edge.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Section {
    enabled: Option<bool>,
    /// `local` or `none`.
    auth: Option<String>,
    /// `gateway` or `standalone`.
    advertise: Option<String>,
}

impl Section {
    /// Whether everybody may look.
    pub(crate) fn open_to_all(&self) -> bool {
        self.auth.as_deref() == Some("none")
    }
}

/// Reads the section as it is in force. One that cannot be read opens nothing.
pub(crate) fn canvas_section(gateway: &Gateway) -> Section {
    gateway.running_config().section("canvasHost").unwrap_or_default()
}

/// The canvas's address for a client that reaches the gateway at `base`, with a secret of its own when it has `grant`, and until when that
/// works at least; none without a canvas. With `conn_id` the secret ends with that connection.
pub(crate) async fn surface_url(gateway: &Gateway, base: &str, grant: Option<Grant>, conn_id: Option<&str>) -> Option<(String, i64)> {
    let section = canvas_section(gateway);
    if section.enabled == Some(false) {
        return None;
    }
    let status = timeout(STATUS_WAIT, gateway.services.call(StatusRequest {})).await.ok()?.ok()?;
    if !status.enabled {
        return None;
    }
    let url = match grant {
        // The canvas's own port knows no secrets: it is for this machine, or for everybody.
        _ if section.advertise.as_deref() == Some("standalone") => with_port(base, status.port?),
        Some(grant) => match gateway.mint_canvas_address(grant, conn_id).await {
            Ok(token) => format!("{base}/__openclaw__/cap/{token}"),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "no address of the canvas could be written down");
                return None;
            }
        },
        None => base.to_owned(),
    };
    Some((url, gateway.context.clock.now_ms().saturating_add(LIFE_MS)))
}

fn with_port(base: &str, port: i32) -> String {
    let (scheme, host) = base.split_once("://").unwrap_or(("http", base));
    let name = match host.rsplit_once(':') {
        Some((name, digits)) if digits.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    format!("{scheme}://{name}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_replaces_the_one_that_is_there() {
        assert_eq!(with_port("http://den.example:18789", 18793), "http://den.example:18793");
        assert_eq!(with_port("https://den.example", 1), "https://den.example:1");
        assert_eq!(with_port("http://[::1]:80", 2), "http://[::1]:2");
    }
}
