//! `gateway.auth` and `gateway.tailscale`: who is let in, and by what.

use serde::Deserialize;
use verso_kit::config::{Error, Secret};
use verso_protocol::auth::{Mode, ServerSecret, TrustedProxyPolicy};

use super::Config;

/// How clients prove themselves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Auth {
    /// `token` (default), `password` (default when there is a password), `trusted-proxy` or `none`.
    pub mode: Option<Mode>,
    /// The shared token.
    pub token: Option<Secret<String>>,
    /// The shared password.
    pub password: Option<Secret<String>>,
    /// Whether people of the tailnet are let in by their identity. Default: when the tailnet serves the gateway and no password is set.
    pub allow_tailscale: Option<bool>,
    /// Whom to believe in the mode `trusted-proxy`.
    pub trusted_proxy: Option<TrustedProxyPolicy>,
    /// What happens to those who guess.
    pub rate_limit: RateLimit,
}

/// What happens to those who guess.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Failures after which an address is locked out. Default 10.
    pub max_attempts: u32,
    /// How long failures are remembered, in milliseconds. Default 60,000.
    pub window_ms: u64,
    /// How long an address is locked out, in milliseconds. Default 300,000.
    pub lockout_ms: u64,
    /// Whether this machine is slowed down instead. Default true.
    pub exempt_loopback: bool,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { max_attempts: 10, window_ms: 60_000, lockout_ms: 300_000, exempt_loopback: true }
    }
}

/// How the tailnet reaches the gateway.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tailscale {
    /// Default `off`.
    pub mode: TailscaleMode,
    /// Whether it is taken back when the gateway ends. Default: false.
    pub reset_on_exit: bool,
}

/// Who of the tailnet, or of the world, reaches the gateway through it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TailscaleMode {
    /// Nobody.
    #[default]
    Off,
    /// Members of the tailnet.
    Serve,
    /// Everybody.
    Funnel,
}

impl Auth {
    /// Returns what clients must present.
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or(if self.password.is_some() { Mode::Password } else { Mode::Token })
    }

    /// Returns what presented secrets are compared with.
    pub fn server_secret(&self) -> ServerSecret<'_> {
        let mode = self.mode();
        let secret = match mode {
            Mode::Token => self.token.as_ref(),
            Mode::Password | Mode::TrustedProxy => self.password.as_ref(),
            Mode::None => None,
        };
        ServerSecret { mode, secret: secret.map(|secret| secret.expose().as_str()).filter(|secret| !secret.is_empty()) }
    }

    /// Whether the gateway asks strangers for something: without it, it must not listen beyond this machine.
    pub fn protects(&self) -> bool {
        match self.mode() {
            Mode::None => false,
            Mode::Token | Mode::Password => self.server_secret().secret.is_some(),
            Mode::TrustedProxy => self.trusted_proxy.is_some(),
        }
    }
}

/// Refuses what would leave a door open.
pub(super) fn check(config: &Config) -> Result<(), Error> {
    let refuse = |key: &str, reason: &str| Err(Error::Value { key: key.to_owned(), reason: reason.to_owned() });
    let auth = &config.auth;
    if auth.mode() == Mode::TrustedProxy {
        if config.trusted_proxies.is_empty() {
            return refuse("gateway.trustedProxies", "must name the proxy when gateway.auth.mode is trusted-proxy");
        }
        if auth.trusted_proxy.as_ref().is_none_or(|policy| policy.user_header.is_empty()) {
            return refuse("gateway.auth.trustedProxy.userHeader", "must be set when gateway.auth.mode is trusted-proxy");
        }
        if auth.token.is_some() {
            return refuse("gateway.auth.token", "has no effect when gateway.auth.mode is trusted-proxy: remove it");
        }
    }
    let rate = auth.rate_limit;
    if rate.max_attempts == 0 || rate.window_ms == 0 {
        return refuse("gateway.auth.rateLimit", "maxAttempts and windowMs must be at least 1");
    }
    let is_loopback = config.bind.as_deref().is_none_or(|bind| bind == "loopback" || bind == "auto");
    match config.tailscale.mode {
        TailscaleMode::Off => Ok(()),
        _ if !is_loopback => refuse("gateway.bind", "tailscale serve/funnel requires gateway bind=loopback (127.0.0.1)"),
        TailscaleMode::Funnel if auth.mode() != Mode::Password => {
            let reason = "tailscale funnel requires gateway auth mode=password (set gateway.auth.password or VERSO_GATEWAY_PASSWORD)";
            refuse("gateway.auth.mode", reason)
        }
        TailscaleMode::Serve | TailscaleMode::Funnel => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use verso_kit::config::{Env, File};

    use super::*;

    fn load(gateway: &Value) -> Result<Config, String> {
        Config::load(&File::from_value(json!({"gateway": gateway})), &Env::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn refuses_what_would_leave_a_door_open() {
        let proxy = json!({"userHeader": "x-user"});
        for (config, key) in [
            (json!({"auth": {"mode": "trusted-proxy", "trustedProxy": proxy}}), "gateway.trustedProxies"),
            (json!({"trustedProxies": ["10.0.0.1"], "auth": {"mode": "trusted-proxy"}}), "gateway.auth.trustedProxy.userHeader"),
            (
                json!({"trustedProxies": ["10.0.0.1"], "auth": {"mode": "trusted-proxy", "trustedProxy": proxy, "token": "t"}}),
                "gateway.auth.token",
            ),
            (json!({"tailscale": {"mode": "funnel"}, "auth": {"token": "t"}}), "gateway.auth.mode"),
            (json!({"tailscale": {"mode": "serve"}, "bind": "lan"}), "gateway.bind"),
            (json!({"auth": {"rateLimit": {"maxAttempts": 0}}}), "gateway.auth.rateLimit"),
            (json!({"auth": {"mode": "maybe"}}), "gateway.auth.mode"),
        ] {
            let error = load(&config).expect_err("a refusal");
            assert!(error.starts_with(key), "{config}: {error}");
        }
        load(&json!({"trustedProxies": ["10.0.0.1"], "auth": {"mode": "trusted-proxy", "trustedProxy": proxy}})).unwrap();
    }

    #[test]
    fn the_tailnet_is_believed_where_it_serves_and_no_password_is_asked_for() {
        for (config, expected) in [
            (json!({"auth": {"token": "t"}}), false),
            (json!({"tailscale": {"mode": "serve"}, "auth": {"token": "t"}}), true),
            (json!({"tailscale": {"mode": "serve"}, "auth": {"password": "p"}}), false),
            (json!({"auth": {"token": "t", "allowTailscale": true}}), true),
            (json!({"tailscale": {"mode": "serve"}, "auth": {"token": "t", "allowTailscale": false}}), false),
        ] {
            assert_eq!(load(&config).unwrap().allows_tailscale(), expected, "{config}");
        }
    }

    #[test]
    fn an_empty_secret_protects_nothing() {
        for (config, expected) in [
            (json!({}), false),
            (json!({"auth": {"token": ""}}), false),
            (json!({"auth": {"token": "t"}}), true),
            (json!({"auth": {"password": "p"}}), true),
            (json!({"auth": {"mode": "none", "token": "t"}}), false),
        ] {
            assert_eq!(load(&config).unwrap().auth.protects(), expected, "{config}");
        }
    }
}
