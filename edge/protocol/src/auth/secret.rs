//! The gateway's shared secret: how it is compared, and what that decides.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use verso_proto::edge::v1::Credentials;

use super::Refusal;

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
    /// By whoever a declared proxy says that they are.
    TrustedProxy,
}

impl Mode {
    /// The mode as `hello-ok` names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Password => "password",
            Self::TrustedProxy => "trusted-proxy",
        }
    }
}

/// What the gateway is configured with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ServerSecret<'a> {
    /// What is asked for.
    pub mode: Mode,
    /// The token or the password, whichever the mode asks for. With a trusted proxy: the password by which this machine gets in
    /// without it.
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
    /// A person of the tailnet.
    Tailscale,
    /// A person whom a declared proxy vouched for.
    TrustedProxy,
}

impl SharedMethod {
    /// Every method.
    pub const ALL: [Self; 6] = [Self::None, Self::Token, Self::Password, Self::DeviceToken, Self::Tailscale, Self::TrustedProxy];

    /// The method as written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Password => "password",
            Self::DeviceToken => "device-token",
            Self::Tailscale => "tailscale",
            Self::TrustedProxy => "trusted-proxy",
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
        Mode::Password | Mode::TrustedProxy => {
            (SharedMethod::Password, Refusal::PasswordNotConfigured, Refusal::PasswordMissing, Refusal::PasswordMismatch)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(token: Option<&str>, password: Option<&str>) -> Credentials {
        Credentials { token: token.map(Into::into), password: password.map(Into::into), ..Credentials::default() }
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
    fn the_secret_is_not_printed() {
        assert!(!format!("{:?}", ServerSecret { mode: Mode::Token, secret: Some("hush") }).contains("hush"));
    }
}
