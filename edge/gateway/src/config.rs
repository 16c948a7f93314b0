//! The `gateway` section of the configuration.

mod auth;

use serde::Deserialize;
use verso_kit::config::{Env, Error, File, Secret};
use verso_protocol::auth::{ControlUiPolicy, Mode, is_listed};

use crate::limits::LimitsConfig;
use crate::tls::TlsConfig;
pub(crate) use auth::{Auth, RateLimit};
pub use auth::{Tailscale, TailscaleMode};

/// The port when nothing says otherwise.
pub(crate) const PORT: u16 = 18_789;

/// The `gateway` section, and what overrides it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// The TCP port of the WebSocket protocol and HTTP. Default 18789.
    pub port: Option<u16>,
    /// Which addresses are listened on: `loopback` (default), `lan`, `tailnet`, `auto` or `custom`.
    pub bind: Option<String>,
    /// The address of `bind: "custom"`.
    pub custom_bind_host: Option<String>,
    /// How clients prove themselves.
    pub auth: Auth,
    /// Addresses and blocks of proxies whose forwarding headers count.
    pub trusted_proxies: Vec<String>,
    /// Whether their `x-real-ip` counts when they forward no address. Default false.
    pub allow_real_ip_fallback: bool,
    /// The browser client.
    pub control_ui: ControlUi,
    /// The HTTP APIs.
    pub http: Http,
    /// How the tailnet reaches the gateway.
    pub tailscale: Tailscale,
    /// What clients may use.
    pub limits: LimitsConfig,
    /// Whether, and as whom, the public port speaks TLS.
    pub tls: TlsConfig,
}

/// The browser client.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ControlUi {
    /// Whether it is served. Default true.
    pub enabled: Option<bool>,
    /// The path that it is served under. Default: the root.
    pub base_path: Option<String>,
    /// A folder of its files, instead of those built in.
    pub root: Option<String>,
    /// Web origins from which browsers may connect; `*` allows all.
    pub allowed_origins: Vec<String>,
    /// What it may do without a device identity.
    #[serde(flatten)]
    pub policy: ControlUiPolicy,
}

/// The HTTP APIs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Http {
    /// Which of them are served.
    pub endpoints: Endpoints,
    /// Headers of every answer.
    pub security_headers: SecurityHeaders,
}

/// Headers of every answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SecurityHeaders {
    /// The value of `Strict-Transport-Security`; false, or nothing, for none.
    pub strict_transport_security: Option<serde_json::Value>,
}

/// Which HTTP APIs are served.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoints {
    /// `/v1/chat/completions` and `/v1/models`. Default: served, as callers need the gateway's secret anyway.
    pub chat_completions: Endpoint,
    /// `/v1/responses`. Default: not served.
    pub responses: Endpoint,
}

/// One HTTP API.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Whether it is served.
    pub enabled: Option<bool>,
}

impl Config {
    /// Reads the section. The file's secrets win over those of the environment, unless a flag of the command line has settled them:
    /// then a change of the file must not undo it.
    pub fn load(file: &File, env: &Env) -> Result<Self, Error> {
        let mut config: Self = file.section("gateway")?;
        let from_env = |names: [&str; 2]| names.iter().find_map(|name| env.get(name)).map(|value| Secret::new(value.to_owned()));
        let auth = &mut config.auth;
        let settled = env.flag("VERSO_GATEWAY_AUTH_FIXED");
        let choose = |file: Option<Secret<String>>, env: Option<Secret<String>>| if settled { env.or(file) } else { file.or(env) };
        auth.token = choose(auth.token.take(), from_env(["VERSO_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_TOKEN"]));
        auth.password = choose(auth.password.take(), from_env(["VERSO_GATEWAY_PASSWORD", "OPENCLAW_GATEWAY_PASSWORD"]));
        if let Some(mode) = env.get("VERSO_GATEWAY_AUTH") {
            auth.mode = Some(serde_json::from_value(mode.into()).map_err(|_| Error::Value {
                key: "gateway.auth.mode".to_owned(),
                reason: "must be token, password, trusted-proxy or none".to_owned(),
            })?);
        }
        if let Some(mode) = env.get("VERSO_TAILSCALE_MODE").and_then(|mode| serde_json::from_value(mode.into()).ok()) {
            config.tailscale.mode = mode;
        }
        let port = env.get("VERSO_GATEWAY_PORT").and_then(|port| port.parse().ok()).filter(|port| *port > 0);
        config.port = port.or(config.port);
        auth::check(&config)?;
        config.limits.check()?;
        Ok(config)
    }

    /// Whether an address is that of a declared proxy.
    pub(crate) fn is_trusted_proxy(&self, address: std::net::IpAddr) -> bool {
        is_listed(&self.trusted_proxies, address)
    }

    /// Whether people of the tailnet are let in by their identity.
    pub fn allows_tailscale(&self) -> bool {
        let served = self.tailscale.mode == TailscaleMode::Serve && self.auth.mode() != Mode::Password;
        self.auth.allow_tailscale.unwrap_or(served)
    }
}
