//! Why a client was turned away, in the words that it knows, and what it should do next.

use serde_json::json;
use verso_proto::edge::v1::ClientInfo;

use super::is_web_client;
use crate::{ErrorShape, Version};

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
    /// It sent a setup code; this gateway issues none.
    BootstrapTokenInvalid,
    /// A gateway that asks for nothing serves this machine only.
    NotLocal,
    /// The tailnet's proxy named nobody.
    TailscaleUserMissing,
    /// The request did not come through the tailnet's proxy.
    TailscaleProxyMissing,
    /// The tailnet could not be asked who the sender is.
    TailscaleWhoisFailed,
    /// The tailnet says that the sender is somebody else.
    TailscaleUserMismatch,
    /// The gateway does not know which proxy to believe, or in which header.
    ProxyNotConfigured,
    /// The request did not come from a declared proxy.
    ProxyUntrustedSource,
    /// The proxy is on this machine, where every program could pose as it.
    ProxyOnLoopback,
    /// The proxy left out a header that it must send.
    ProxyHeaderMissing,
    /// The proxy named nobody.
    ProxyUserMissing,
    /// The proxy named somebody who may not come in.
    ProxyUserNotAllowed,
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
    /// The negotiated version.
    pub version: Version,
    /// Whether it asks from this machine.
    pub local: bool,
    /// Whether the client also proved a device, without having tried that device's token.
    pub may_try_device_token: bool,
}

/// The parts of a refusal that programs read: the code, the reason, and what to do next.
struct Words {
    code: &'static str,
    reason: &'static str,
    next: &'static str,
}

const fn words(code: &'static str, reason: &'static str, next: &'static str) -> Words {
    Words { code, reason, next }
}

const CONFIGURE: &str = "update_auth_configuration";
const CORRECT: &str = "update_auth_credentials";
const REVIEW: &str = "review_auth_configuration";

impl Refusal {
    /// Whether it counts towards the limit of failures. A missing credential does not.
    pub const fn counts_as_failure(self) -> bool {
        matches!(self, Self::TokenMismatch | Self::PasswordMismatch | Self::DeviceTokenMismatch | Self::BootstrapTokenInvalid)
    }

    /// Whether it is about the gateway's token or password.
    pub const fn concerns_shared_secret(self) -> bool {
        use Refusal as R;
        matches!(
            self,
            R::TokenMissing
                | R::TokenMismatch
                | R::TokenNotConfigured
                | R::PasswordMissing
                | R::PasswordMismatch
                | R::PasswordNotConfigured
        )
    }

    /// The error to send; the connection then closes with its message.
    pub fn error(self, facts: RefusalFacts<'_>) -> ErrorShape {
        let Words { code, reason, next } = self.words();
        let may_retry = facts.may_try_device_token && matches!(self, Self::TokenMismatch | Self::PasswordMismatch);
        let details = json!({
            "code": code,
            "authReason": reason,
            "canRetryWithDeviceToken": may_retry,
            "recommendedNextStep": if may_retry { "retry_with_device_token" } else { next },
        });
        let error = ErrorShape::invalid(self.message(facts)).with_details(&details);
        if let Self::RateLimited { retry_after_ms } = self { error.retryable(Some(retry_after_ms)) } else { error }
    }

    fn words(self) -> Words {
        match self {
            Self::TokenMissing => words("AUTH_TOKEN_MISSING", "token_missing", CONFIGURE),
            Self::TokenMismatch => words("AUTH_TOKEN_MISMATCH", "token_mismatch", CORRECT),
            Self::TokenNotConfigured => words("AUTH_TOKEN_NOT_CONFIGURED", "token_missing_config", CONFIGURE),
            Self::PasswordMissing => words("AUTH_PASSWORD_MISSING", "password_missing", CONFIGURE),
            Self::PasswordMismatch => words("AUTH_PASSWORD_MISMATCH", "password_mismatch", CORRECT),
            Self::PasswordNotConfigured => words("AUTH_PASSWORD_NOT_CONFIGURED", "password_missing_config", CONFIGURE),
            Self::DeviceTokenMismatch => words("AUTH_DEVICE_TOKEN_MISMATCH", "device_token_mismatch", CORRECT),
            Self::ScopeMismatch => words("AUTH_SCOPE_MISMATCH", "scope_mismatch", REVIEW),
            Self::BootstrapTokenInvalid => words("AUTH_BOOTSTRAP_TOKEN_INVALID", "bootstrap_token_invalid", CORRECT),
            Self::NotLocal => words("AUTH_REQUIRED", "auth_required", REVIEW),
            Self::TailscaleUserMissing => words("AUTH_TAILSCALE_IDENTITY_MISSING", "tailscale_user_missing", REVIEW),
            Self::TailscaleProxyMissing => words("AUTH_TAILSCALE_PROXY_MISSING", "tailscale_proxy_missing", REVIEW),
            Self::TailscaleWhoisFailed => words("AUTH_TAILSCALE_WHOIS_FAILED", "tailscale_whois_failed", REVIEW),
            Self::TailscaleUserMismatch => words("AUTH_TAILSCALE_IDENTITY_MISMATCH", "tailscale_user_mismatch", REVIEW),
            Self::ProxyNotConfigured => words("AUTH_UNAUTHORIZED", "trusted_proxy_config_missing", REVIEW),
            Self::ProxyUntrustedSource => words("AUTH_UNAUTHORIZED", "trusted_proxy_untrusted_source", REVIEW),
            Self::ProxyOnLoopback => words("AUTH_UNAUTHORIZED", "trusted_proxy_loopback_source", REVIEW),
            Self::ProxyHeaderMissing => words("AUTH_IDENTITY_HEADER_REQUIRED", "trusted_proxy_missing_header", REVIEW),
            Self::ProxyUserMissing => words("AUTH_IDENTITY_HEADER_REQUIRED", "trusted_proxy_user_missing", REVIEW),
            Self::ProxyUserNotAllowed => words("AUTH_UNAUTHORIZED", "trusted_proxy_user_not_allowed", REVIEW),
            Self::RateLimited { .. } => words("AUTH_RATE_LIMITED", "rate_limited", "wait_then_retry"),
        }
    }

    fn message(self, facts: RefusalFacts<'_>) -> String {
        let tailnet = |what: &str| format!("tailscale {what} (use Tailscale Serve auth or gateway token/password)");
        let what = match self {
            Self::TokenMissing => format!("gateway token missing ({})", token_hint(facts)),
            Self::TokenMismatch => format!("gateway token mismatch ({})", token_hint(facts)),
            Self::TokenNotConfigured => "gateway token not configured on gateway (set gateway.auth.token)".to_owned(),
            Self::PasswordMissing => format!("gateway password missing ({})", password_hint(facts.client)),
            Self::PasswordMismatch => format!("gateway password mismatch ({})", password_hint(facts.client)),
            Self::PasswordNotConfigured => "gateway password not configured on gateway (set gateway.auth.password)".to_owned(),
            Self::DeviceTokenMismatch | Self::ScopeMismatch => "device token mismatch (rotate/reissue device token)".to_owned(),
            Self::BootstrapTokenInvalid => "setup code not accepted (pair the device instead)".to_owned(),
            Self::TailscaleUserMissing => tailnet("identity missing"),
            Self::TailscaleProxyMissing => tailnet("proxy headers missing"),
            Self::TailscaleWhoisFailed => tailnet("identity check failed"),
            Self::TailscaleUserMismatch => tailnet("identity mismatch"),
            Self::RateLimited { .. } => "too many failed authentication attempts (retry later)".to_owned(),
            Self::NotLocal
            | Self::ProxyNotConfigured
            | Self::ProxyUntrustedSource
            | Self::ProxyOnLoopback
            | Self::ProxyHeaderMissing
            | Self::ProxyUserMissing
            | Self::ProxyUserNotAllowed => return "unauthorized".to_owned(),
        };
        format!("unauthorized: {what}")
    }
}

fn token_hint(facts: RefusalFacts<'_>) -> &'static str {
    if facts.client.mode == "cli" {
        if facts.local && facts.version >= Version::V4 {
            "use this gateway's gateway.auth.token or pair the device"
        } else {
            "set gateway.remote.token to match gateway.auth.token"
        }
    } else if is_web_client(facts.client) {
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

    fn client(id: &str, mode: &str) -> ClientInfo {
        ClientInfo { id: id.into(), mode: mode.into(), ..ClientInfo::default() }
    }

    fn refused(refusal: Refusal, client: &ClientInfo, version: Version) -> ErrorShape {
        refusal.error(RefusalFacts { client, version, local: true, may_try_device_token: false })
    }

    #[test]
    fn each_kind_of_client_is_told_what_to_do() {
        use Refusal as R;
        let table = [
            (R::TokenMissing, "cli", "gateway token missing (set gateway.remote.token to match gateway.auth.token)"),
            (R::TokenMismatch, "webchat", "gateway token mismatch (open a tokenized dashboard URL or paste token in Control UI settings)"),
            (R::TokenMismatch, "backend", "gateway token mismatch (provide gateway auth token)"),
            (R::TokenNotConfigured, "cli", "gateway token not configured on gateway (set gateway.auth.token)"),
            (R::PasswordMissing, "cli", "gateway password missing (set gateway.remote.password to match gateway.auth.password)"),
            (R::PasswordMismatch, "webchat", "gateway password mismatch (enter the password in Control UI settings)"),
            (R::PasswordMismatch, "test", "gateway password mismatch (provide gateway auth password)"),
            (R::PasswordNotConfigured, "test", "gateway password not configured on gateway (set gateway.auth.password)"),
            (R::DeviceTokenMismatch, "cli", "device token mismatch (rotate/reissue device token)"),
            (R::ScopeMismatch, "cli", "device token mismatch (rotate/reissue device token)"),
            (R::TailscaleUserMissing, "cli", "tailscale identity missing (use Tailscale Serve auth or gateway token/password)"),
            (R::TailscaleProxyMissing, "cli", "tailscale proxy headers missing (use Tailscale Serve auth or gateway token/password)"),
            (R::TailscaleWhoisFailed, "cli", "tailscale identity check failed (use Tailscale Serve auth or gateway token/password)"),
            (R::TailscaleUserMismatch, "cli", "tailscale identity mismatch (use Tailscale Serve auth or gateway token/password)"),
        ];
        for (refusal, mode, message) in table {
            let error = refused(refusal, &client("test", mode), Version::V3);
            assert_eq!(error.message, format!("unauthorized: {message}"), "{refusal:?}");
        }
        for refusal in [R::NotLocal, R::ProxyNotConfigured, R::ProxyUntrustedSource, R::ProxyUserMissing, R::ProxyUserNotAllowed] {
            assert_eq!(refused(refusal, &client("cli", "cli"), Version::V4).message, "unauthorized");
        }
    }

    #[test]
    fn a_newer_command_line_on_this_machine_is_pointed_at_this_gateway() {
        let cli = client("cli", "cli");
        let error = refused(Refusal::TokenMissing, &cli, Version::V4);
        assert_eq!(error.message, "unauthorized: gateway token missing (use this gateway's gateway.auth.token or pair the device)");
        let details: serde_json::Value = serde_json::from_str(error.details.unwrap().get()).unwrap();
        let expected = json!({
            "code": "AUTH_TOKEN_MISSING", "authReason": "token_missing", "canRetryWithDeviceToken": false,
            "recommendedNextStep": "update_auth_configuration",
        });
        assert_eq!(details, expected);
        let remote = RefusalFacts { client: &cli, version: Version::V4, local: false, may_try_device_token: false };
        assert!(Refusal::TokenMissing.error(remote).message.contains("gateway.remote.token"));
    }

    #[test]
    fn every_refusal_has_a_code_a_reason_and_a_next_step() {
        for (refusal, code, reason) in [
            (Refusal::DeviceTokenMismatch, "AUTH_DEVICE_TOKEN_MISMATCH", "device_token_mismatch"),
            (Refusal::ScopeMismatch, "AUTH_SCOPE_MISMATCH", "scope_mismatch"),
            (Refusal::BootstrapTokenInvalid, "AUTH_BOOTSTRAP_TOKEN_INVALID", "bootstrap_token_invalid"),
            (Refusal::NotLocal, "AUTH_REQUIRED", "auth_required"),
            (Refusal::TailscaleUserMismatch, "AUTH_TAILSCALE_IDENTITY_MISMATCH", "tailscale_user_mismatch"),
            (Refusal::ProxyHeaderMissing, "AUTH_IDENTITY_HEADER_REQUIRED", "trusted_proxy_missing_header"),
            (Refusal::ProxyOnLoopback, "AUTH_UNAUTHORIZED", "trusted_proxy_loopback_source"),
        ] {
            let error = refused(refusal, &client("cli", "cli"), Version::V4);
            assert_eq!((error.detail("code").as_deref(), error.detail("authReason").as_deref()), (Some(code), Some(reason)));
            assert!(error.detail("recommendedNextStep").is_some());
        }
    }

    #[test]
    fn a_locked_address_is_told_when_to_come_back() {
        let error = refused(Refusal::RateLimited { retry_after_ms: 7_000 }, &client("cli", "cli"), Version::V3);
        assert_eq!(error.message, "unauthorized: too many failed authentication attempts (retry later)");
        assert_eq!((error.retryable, error.retry_after_ms), (Some(true), Some(7_000)));
    }

    #[test]
    fn a_device_with_a_wrong_gateway_token_may_try_its_own() {
        let client = client("cli", "cli");
        let facts = RefusalFacts { client: &client, version: Version::V4, local: true, may_try_device_token: true };
        let error = Refusal::TokenMismatch.error(facts);
        assert_eq!(error.detail("recommendedNextStep").as_deref(), Some("retry_with_device_token"));
        assert!(error.details.unwrap().get().contains("\"canRetryWithDeviceToken\":true"));
        assert_eq!(Refusal::ScopeMismatch.error(facts).detail("recommendedNextStep").as_deref(), Some(REVIEW));
    }

    #[test]
    fn only_wrong_secrets_count_as_failures() {
        assert!(Refusal::TokenMismatch.counts_as_failure());
        assert!(!Refusal::TokenMissing.counts_as_failure());
        assert!(!Refusal::RateLimited { retry_after_ms: 1 }.counts_as_failure());
    }
}
