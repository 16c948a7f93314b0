//! The values that the command line itself needs.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use verso_kit::config::{Env, Error, File, Secret};
use verso_supervisor::ServiceName;

/// The section `gateway`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Gateway {
    /// `local` starts a gateway here; `remote` makes the command line a client of `remote`.
    pub(crate) mode: Option<Mode>,
    /// Default 18789.
    pub(crate) port: Option<u16>,
    /// Default `loopback`.
    pub(crate) bind: Option<String>,
    /// The IPv4 address of `bind: "custom"`.
    pub(crate) custom_bind_host: Option<String>,
    /// How clients prove themselves.
    pub(crate) auth: Auth,
    /// The gateway of the mode `remote`.
    pub(crate) remote: Remote,
    /// Who reaches the port through the tailnet.
    pub(crate) tailscale: verso_gateway::Tailscale,
}

/// Where the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Local,
    Remote,
}

/// The section `gateway.auth`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Auth {
    pub(crate) mode: Option<String>,
    pub(crate) token: Option<Secret<String>>,
    pub(crate) password: Option<Secret<String>>,
}

/// The section `gateway.remote`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Remote {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<Secret<String>>,
    pub(crate) password: Option<Secret<String>>,
    /// The SHA-256 of the certificate that a `wss://` gateway must show. Default: one that the system trusts.
    pub(crate) tls_fingerprint: Option<String>,
}

/// The port when nothing says otherwise.
const PORT: u16 = 18_789;

impl Gateway {
    /// Reads the section key by key. One that cannot be used counts as absent: it is a problem of the configuration's check, or
    /// refers to a variable that is set only where the gateway runs.
    pub(crate) fn of(file: &File) -> Self {
        Self {
            mode: key(file, "mode"),
            port: key(file, "port"),
            bind: key(file, "bind"),
            custom_bind_host: key(file, "customBindHost"),
            auth: Auth { mode: key(file, "auth.mode"), token: key(file, "auth.token"), password: key(file, "auth.password") },
            remote: Remote {
                url: key(file, "remote.url"),
                token: key(file, "remote.token"),
                password: key(file, "remote.password"),
                tls_fingerprint: key(file, "remote.tlsFingerprint"),
            },
            tailscale: key(file, "tailscale").unwrap_or_default(),
        }
    }

    /// Returns the port: that of the environment, the file or the default. A value that is no port is passed over.
    pub(crate) fn effective_port(&self, env: &Env) -> u16 {
        let of_env = env.get("VERSO_GATEWAY_PORT").and_then(|text| text.parse().ok());
        of_env.or(self.port).filter(|port| *port > 0).unwrap_or(PORT)
    }
}

fn key<T: DeserializeOwned>(file: &File, name: &str) -> Option<T> {
    file.section(&format!("gateway.{name}")).unwrap_or_default()
}

/// The section `canvasHost`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct CanvasHost {
    /// Default true.
    enabled: Option<bool>,
    /// Default: the gateway's port and four.
    port: Option<u16>,
}

/// Returns the canvas server's port; none when it is turned off.
pub(crate) fn canvas_port(file: &File, env: &Env, gateway_port: u16) -> Result<Option<u16>, Error> {
    let section: CanvasHost = file.section("canvasHost")?;
    if section.enabled == Some(false) || env.flag("VERSO_SKIP_CANVAS_HOST") {
        return Ok(None);
    }
    let of_env = env.get("VERSO_CANVAS_HOST_PORT").and_then(|text| text.parse().ok());
    // Any free port for the gateway means any free port for its canvas.
    let derived = if gateway_port == 0 { 0 } else { gateway_port.saturating_add(4) };
    Ok(Some(of_env.or(section.port).unwrap_or(derived)))
}

/// The section `gateway.services.<name>`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Service {
    /// Default true.
    enabled: Option<bool>,
}

/// Whether the configuration leaves the service running.
pub(crate) fn enabled(file: &File, name: ServiceName) -> Result<bool, Error> {
    let section: Service = file.section(&format!("gateway.services.{name}"))?;
    Ok(section.enabled.unwrap_or(true))
}
