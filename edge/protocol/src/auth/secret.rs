//! The gateway's shared secret: comparison, decision, and the texts of a refusal.

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use verso_proto::edge::v1::{ClientInfo, Credentials};

use super::is_web_client;
use crate::ErrorShape;

/// How the gateway asks clients to prove themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Not at all.
    None,
    /// By the gateway token.
    Token,
    /// By the gateway password.
    Password,
}

impl Mode {
    /// The mode as `hello-ok` names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Password => "password",
        }
    }
}

/// What the gateway is configured with.
#[derive(Clone, Copy)]
pub struct ServerSecret<'a> {
    /// What is asked for.
    pub mode: Mode,
    /// The token or the password, whichever the mode asks for.
    pub secret: Option<&'a str>,
}

impl std::fmt::Debug for ServerSecret<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ServerSecret").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// How a client proved itself; goes into `hello-ok.auth.method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedMethod {
    /// Nothing was asked for.
    None,
    /// The gateway token.
    Token,
    /// The gateway password.
    Password,
    /// The token that was issued to this device.
    DeviceToken,
}

impl SharedMethod {
    /// The method as written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Password => "password",
            Self::DeviceToken => "device-token",
        }
    }
}

/// Compares two secrets in a time that tells neither where they differ nor how long they are.
pub fn same_secret(presented: &str, expected: &str) -> bool {
    let digest = |text: &str| <[u8; 32]>::from(Sha256::digest(text));
    digest(presented).ct_eq(&digest(expected)).into()
}

/// Decides by the shared secret alone. A client may send it in either field, whatever the mode.
pub fn check_shared(server: ServerSecret<'_>, credentials: Option<&Credentials>) -> Result<SharedMethod, Refusal> {
    let (method, missing_config, missing, mismatch) = match server.mode {
        Mode::None => return Ok(SharedMethod::None),
        Mode::Token => (SharedMethod::Token, Refusal::TokenNotConfigured, Refusal::TokenMissing, Refusal::TokenMismatch),
        Mode::Password => (SharedMethod::Password, Refusal::PasswordNotConfigured, Refusal::PasswordMissing, Refusal::PasswordMismatch),
    };
    let Some(expected) = server.secret.filter(|secret| !secret.is_empty()) else { return Err(missing_config) };
    let presented = credentials.map(|credentials| [credentials.token.as_deref(), credentials.password.as_deref()]);
    let presented: Vec<_> = presented.into_iter().flatten().flatten().filter(|secret| !secret.is_empty()).collect();
    if presented.is_empty() {
        return Err(missing);
    }
    // Both are compared, so that the time does not tell which one was right.
    let matches = presented.iter().filter(|secret| same_secret(secret, expected)).count();
    if matches > 0 { Ok(method) } else { Err(mismatch) }
}

/// Texts that may be a device token, in the order to try them: older clients send theirs in place of the gateway token.
pub fn device_token_candidates(credentials: &Credentials) -> impl Iterator<Item = &str> {
    [credentials.device_token.as_deref(), credentials.token.as_deref()].into_iter().flatten().filter(|token| !token.is_empty())
}

/// Why a client was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It sent no token.
    TokenMissing,
    /// It sent a wrong token.
    TokenMismatch,
    /// The gateway has no token to compare with.
    TokenNotConfigured,
    /// It sent no password.
    PasswordMissing,
    /// It sent a wrong password.
    PasswordMismatch,
    /// The gateway has no password to compare with.
    PasswordNotConfigured,
    /// Its device token is unknown, revoked or another device's.
    DeviceTokenMismatch,
    /// Its device token does not cover what it asks for.
    ScopeMismatch,
    /// Too many failures from its address.
    RateLimited {
        /// Until the lock ends, in milliseconds.
        retry_after_ms: u64,
    },
}

/// What a refusal's text depends on beside its reason.
#[derive(Debug, Clone, Copy)]
pub struct RefusalFacts<'a> {
    /// Who asks.
    pub client: &'a ClientInfo,
    /// Whether the client also proved a device, without having tried that device's token.
    pub may_try_device_token: bool,
}

impl Refusal {
    /// Whether it counts towards the limit of failures. A missing credential does not.
    pub const fn counts_as_failure(self) -> bool {
        matches!(self, Self::TokenMismatch | Self::PasswordMismatch | Self::DeviceTokenMismatch)
    }

    /// The error to send; the connection then closes with its message.
    pub fn error(self, facts: RefusalFacts<'_>) -> ErrorShape {
        let (code, reason, next_step) = self.words();
        let mut details = json!({"code": code, "authReason": reason, "recommendedNextStep": next_step});
        if self == Self::TokenMismatch {
            details["canRetryWithDeviceToken"] = json!(facts.may_try_device_token);
            if facts.may_try_device_token {
                details["recommendedNextStep"] = json!("retry_with_device_token");
            }
        }
        let error = ErrorShape::invalid(self.message(facts.client)).with_details(&details);
        if let Self::RateLimited { retry_after_ms } = self { error.retryable(Some(retry_after_ms)) } else { error }
    }

    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::TokenMissing => ("AUTH_TOKEN_MISSING", "token_missing", "update_auth_configuration"),
            Self::TokenMismatch => ("AUTH_TOKEN_MISMATCH", "token_mismatch", "update_auth_credentials"),
            Self::TokenNotConfigured => ("AUTH_TOKEN_NOT_CONFIGURED", "token_missing_config", "update_auth_configuration"),
            Self::PasswordMissing => ("AUTH_PASSWORD_MISSING", "password_missing", "update_auth_configuration"),
            Self::PasswordMismatch => ("AUTH_PASSWORD_MISMATCH", "password_mismatch", "update_auth_credentials"),
            Self::PasswordNotConfigured => ("AUTH_PASSWORD_NOT_CONFIGURED", "password_missing_config", "update_auth_configuration"),
            Self::DeviceTokenMismatch => ("AUTH_DEVICE_TOKEN_MISMATCH", "device_token_mismatch", "update_auth_credentials"),
            Self::ScopeMismatch => ("AUTH_SCOPE_MISMATCH", "scope_mismatch", "review_auth_configuration"),
            Self::RateLimited { .. } => ("AUTH_RATE_LIMITED", "rate_limited", "wait_then_retry"),
        }
    }

    fn message(self, client: &ClientInfo) -> String {
        let what = match self {
            Self::TokenMissing => format!("gateway token missing ({})", token_hint(client)),
            Self::TokenMismatch => format!("gateway token mismatch ({})", token_hint(client)),
            Self::TokenNotConfigured => "gateway token not configured on gateway (set gateway.auth.token)".to_owned(),
            Self::PasswordMissing => format!("gateway password missing ({})", password_hint(client)),
            Self::PasswordMismatch => format!("gateway password mismatch ({})", password_hint(client)),
            Self::PasswordNotConfigured => "gateway password not configured on gateway (set gateway.auth.password)".to_owned(),
            Self::DeviceTokenMismatch | Self::ScopeMismatch => "device token mismatch (rotate/reissue device token)".to_owned(),
            Self::RateLimited { .. } => "too many failed authentication attempts (retry later)".to_owned(),
        };
        format!("unauthorized: {what}")
    }
}

fn token_hint(client: &ClientInfo) -> &'static str {
    if client.mode == "cli" {
        "set gateway.remote.token to match gateway.auth.token"
    } else if is_web_client(client) {
        "open a tokenized dashboard URL or paste token in Control UI settings"
    } else {
        "provide gateway auth token"
    }
}

fn password_hint(client: &ClientInfo) -> &'static str {
    if client.mode == "cli" {
        "set gateway.remote.password to match gateway.auth.password"
    } else if is_web_client(client) {
        "enter the password in Control UI settings"
    } else {
        "provide gateway auth password"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(token: Option<&str>, password: Option<&str>) -> Credentials {
        Credentials { token: token.map(Into::into), password: password.map(Into::into), ..Credentials::default() }
    }

    fn client(id: &str, mode: &str) -> ClientInfo {
        ClientInfo { id: id.into(), mode: mode.into(), ..ClientInfo::default() }
    }

    fn refused(refusal: Refusal, client: &ClientInfo) -> ErrorShape {
        refusal.error(RefusalFacts { client, may_try_device_token: false })
    }

    #[test]
    fn sec_17_secrets_of_any_length_are_compared() {
        assert!(same_secret("s3cret", "s3cret"));
        for other in ["", "s3cre", "s3crets", "S3cret"] {
            assert!(!same_secret(other, "s3cret"), "{other}");
        }
    }

    #[test]
    fn decides_by_mode_and_by_what_was_sent() {
        let (right, wrong, empty) = (Some("s"), Some("x"), Some(""));
        let table = [
            (Mode::None, None, sent(None, None), Ok(SharedMethod::None)),
            (Mode::Token, right, sent(right, None), Ok(SharedMethod::Token)),
            (Mode::Token, right, sent(None, right), Ok(SharedMethod::Token)),
            (Mode::Token, right, sent(wrong, right), Ok(SharedMethod::Token)),
            (Mode::Token, right, sent(None, None), Err(Refusal::TokenMissing)),
            (Mode::Token, right, sent(empty, None), Err(Refusal::TokenMissing)),
            (Mode::Token, right, sent(wrong, wrong), Err(Refusal::TokenMismatch)),
            (Mode::Token, None, sent(right, None), Err(Refusal::TokenNotConfigured)),
            (Mode::Token, empty, sent(empty, None), Err(Refusal::TokenNotConfigured)),
            (Mode::Password, right, sent(None, right), Ok(SharedMethod::Password)),
            (Mode::Password, right, sent(right, None), Ok(SharedMethod::Password)),
            (Mode::Password, right, sent(None, None), Err(Refusal::PasswordMissing)),
            (Mode::Password, right, sent(None, wrong), Err(Refusal::PasswordMismatch)),
            (Mode::Password, None, sent(None, right), Err(Refusal::PasswordNotConfigured)),
        ];
        for (mode, secret, credentials, expected) in table {
            assert_eq!(check_shared(ServerSecret { mode, secret }, Some(&credentials)), expected, "{mode:?} {credentials:?}");
        }
        assert_eq!(check_shared(ServerSecret { mode: Mode::Token, secret: right }, None), Err(Refusal::TokenMissing));
    }

    #[test]
    fn each_kind_of_client_is_told_what_to_do() {
        let table = [
            (
                Refusal::TokenMissing,
                client("cli", "cli"),
                "unauthorized: gateway token missing (set gateway.remote.token to match gateway.auth.token)",
                "AUTH_TOKEN_MISSING",
            ),
            (
                Refusal::TokenMismatch,
                client("openclaw-control-ui", "ui"),
                "unauthorized: gateway token mismatch (open a tokenized dashboard URL or paste token in Control UI settings)",
                "AUTH_TOKEN_MISMATCH",
            ),
            (
                Refusal::TokenMismatch,
                client("gateway-client", "backend"),
                "unauthorized: gateway token mismatch (provide gateway auth token)",
                "AUTH_TOKEN_MISMATCH",
            ),
            (
                Refusal::TokenNotConfigured,
                client("cli", "cli"),
                "unauthorized: gateway token not configured on gateway (set gateway.auth.token)",
                "AUTH_TOKEN_NOT_CONFIGURED",
            ),
            (
                Refusal::PasswordMissing,
                client("cli", "cli"),
                "unauthorized: gateway password missing (set gateway.remote.password to match gateway.auth.password)",
                "AUTH_PASSWORD_MISSING",
            ),
            (
                Refusal::PasswordMismatch,
                client("webchat", "webchat"),
                "unauthorized: gateway password mismatch (enter the password in Control UI settings)",
                "AUTH_PASSWORD_MISMATCH",
            ),
            (
                Refusal::PasswordMismatch,
                client("test", "test"),
                "unauthorized: gateway password mismatch (provide gateway auth password)",
                "AUTH_PASSWORD_MISMATCH",
            ),
            (
                Refusal::PasswordNotConfigured,
                client("test", "test"),
                "unauthorized: gateway password not configured on gateway (set gateway.auth.password)",
                "AUTH_PASSWORD_NOT_CONFIGURED",
            ),
            (
                Refusal::DeviceTokenMismatch,
                client("cli", "cli"),
                "unauthorized: device token mismatch (rotate/reissue device token)",
                "AUTH_DEVICE_TOKEN_MISMATCH",
            ),
            (
                Refusal::ScopeMismatch,
                client("cli", "cli"),
                "unauthorized: device token mismatch (rotate/reissue device token)",
                "AUTH_SCOPE_MISMATCH",
            ),
        ];
        for (refusal, client, message, code) in table {
            let error = refused(refusal, &client);
            assert_eq!((error.code, error.message.as_ref()), (crate::Code::InvalidRequest, message));
            assert_eq!(error.detail("code").as_deref(), Some(code));
            assert!(error.retryable.is_none());
        }
    }

    #[test]
    fn a_locked_address_is_told_when_to_come_back() {
        let error = refused(Refusal::RateLimited { retry_after_ms: 7_000 }, &client("cli", "cli"));
        assert_eq!(error.message, "unauthorized: too many failed authentication attempts (retry later)");
        assert_eq!((error.retryable, error.retry_after_ms), (Some(true), Some(7_000)));
    }

    #[test]
    fn a_device_with_a_wrong_gateway_token_may_try_its_own() {
        let client = client("cli", "cli");
        let error = Refusal::TokenMismatch.error(RefusalFacts { client: &client, may_try_device_token: true });
        assert_eq!(error.detail("recommendedNextStep").as_deref(), Some("retry_with_device_token"));
        assert!(error.details.unwrap().get().contains("\"canRetryWithDeviceToken\":true"));
    }

    #[test]
    fn only_wrong_secrets_count_as_failures() {
        assert!(Refusal::TokenMismatch.counts_as_failure());
        assert!(!Refusal::TokenMissing.counts_as_failure());
        assert!(!Refusal::RateLimited { retry_after_ms: 1 }.counts_as_failure());
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert!(!format!("{:?}", ServerSecret { mode: Mode::Token, secret: Some("hush") }).contains("hush"));
    }
}
