//! Clients that bring no device identity.

use serde::Deserialize;
use serde_json::json;
use verso_proto::edge::v1::{ClientInfo, Credentials};

use super::{CONTROL_UI, PeerRole, Refusal, RefusalFacts, SharedMethod, requested_scopes};
use crate::{Code, ErrorShape, Version};

/// What the browser UI may do without a device, from `gateway.controlUi`. Both are off by default.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlUiPolicy {
    /// The shared secret is enough.
    pub allow_insecure_auth: bool,
    /// No device is asked for. The shared secret still is.
    pub dangerously_disable_device_auth: bool,
}

/// What is known about a client without a device.
#[derive(Debug, Clone, Copy)]
pub struct Deviceless<'a> {
    /// The negotiated version.
    pub version: Version,
    /// The asked-for role.
    pub role: PeerRole,
    /// Who it says it is.
    pub client: &'a ClientInfo,
    /// What it sent.
    pub credentials: Option<&'a Credentials>,
    /// The asked-for scopes, as they stand in the frame.
    pub scopes: Option<&'a [String]>,
    /// What the shared secret decided.
    pub shared: Result<SharedMethod, Refusal>,
    /// Whether it connected directly from this machine.
    pub direct_local: bool,
    /// What the browser UI may do.
    pub control_ui: ControlUiPolicy,
}

/// Decides over a client without a device; returns the scopes that it is granted.
///
/// A client that is not on this machine gets none: whoever holds the shared secret could otherwise make himself an administrator
/// without any device to revoke.
pub fn admit_without_device(peer: &Deviceless<'_>) -> Result<Vec<String>, ErrorShape> {
    if peer.role == PeerRole::Node {
        return Err(device_required());
    }
    if peer.client.id == CONTROL_UI && !peer.may_use_browser_ui() {
        return Err(secure_context_required(peer.version));
    }
    if let Err(refusal) = peer.shared {
        // Without a credential there is nothing to call wrong: what the client lacks is an identity.
        let facts = RefusalFacts { client: peer.client, version: peer.version, local: peer.direct_local, may_try_device_token: false };
        let lacks_identity = !peer.sent_a_secret() && refusal.concerns_shared_secret();
        return Err(if lacks_identity { device_required() } else { refusal.error(facts) });
    }
    if !peer.sent_a_secret() && matches!(peer.shared, Ok(SharedMethod::Token | SharedMethod::Password)) {
        return Err(device_required());
    }
    Ok(if peer.direct_local { requested_scopes(peer.version, peer.role, peer.scopes) } else { Vec::new() })
}

impl Deviceless<'_> {
    fn may_use_browser_ui(&self) -> bool {
        self.shared.is_ok() && (self.control_ui.allow_insecure_auth || self.control_ui.dangerously_disable_device_auth)
    }

    /// For protocol 3 a password does not stand in for the token.
    fn sent_a_secret(&self) -> bool {
        let filled = |secret: &Option<String>| secret.as_deref().is_some_and(|secret| !secret.is_empty());
        self.credentials.is_some_and(|sent| filled(&sent.token) || (self.version >= Version::V4 && filled(&sent.password)))
    }
}

fn device_required() -> ErrorShape {
    ErrorShape::new(Code::NotPaired, "device identity required").with_details(&json!({"code": "DEVICE_IDENTITY_REQUIRED"}))
}

fn secure_context_required(version: Version) -> ErrorShape {
    let message = match version {
        Version::V3 => "control ui requires HTTPS or localhost (secure context)",
        Version::V4 => "control ui requires device identity (use HTTPS or localhost secure context)",
    };
    ErrorShape::invalid(message).with_details(&json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Mode, ServerSecret, check_shared};

    struct Case {
        version: Version,
        role: PeerRole,
        id: &'static str,
        token: Option<&'static str>,
        password: Option<&'static str>,
        mode: Mode,
        direct_local: bool,
        control_ui: ControlUiPolicy,
    }

    /// A local client of protocol 3 that sends the right token.
    fn case() -> Case {
        Case {
            version: Version::V3,
            role: PeerRole::Operator,
            id: "gateway-client",
            token: Some("s"),
            password: None,
            mode: Mode::Token,
            direct_local: true,
            control_ui: ControlUiPolicy::default(),
        }
    }

    fn decide(case: &Case) -> Result<Vec<String>, (Code, String)> {
        let client = ClientInfo { id: case.id.into(), mode: "backend".into(), ..ClientInfo::default() };
        let credentials =
            Credentials { token: case.token.map(Into::into), password: case.password.map(Into::into), ..Credentials::default() };
        let asked = ["operator.admin".to_owned()];
        admit_without_device(&Deviceless {
            version: case.version,
            role: case.role,
            client: &client,
            credentials: Some(&credentials),
            scopes: Some(&asked),
            shared: check_shared(ServerSecret { mode: case.mode, secret: Some("s") }, Some(&credentials)),
            direct_local: case.direct_local,
            control_ui: case.control_ui,
        })
        .map_err(|error| (error.code, error.message.into_owned()))
    }

    fn refused(case: &Case, code: Code, message: &str) {
        assert_eq!(decide(case), Err((code, message.to_owned())));
    }

    #[test]
    fn a_local_client_with_the_secret_keeps_what_it_asks_for() {
        for version in [Version::V3, Version::V4] {
            assert_eq!(decide(&Case { version, ..case() }).unwrap(), ["operator.admin"]);
        }
        assert_eq!(decide(&Case { mode: Mode::None, token: None, ..case() }).unwrap(), ["operator.admin"]);
    }

    #[test]
    fn sec_04_a_remote_client_with_the_secret_is_granted_nothing() {
        for version in [Version::V3, Version::V4] {
            assert_eq!(decide(&Case { version, direct_local: false, ..case() }).unwrap(), Vec::<String>::new());
        }
    }

    #[test]
    fn a_client_without_a_secret_lacks_an_identity() {
        for version in [Version::V3, Version::V4] {
            refused(&Case { version, token: None, ..case() }, Code::NotPaired, "device identity required");
            refused(&Case { version, token: Some(""), ..case() }, Code::NotPaired, "device identity required");
        }
    }

    #[test]
    fn a_password_is_no_token_for_protocol_3() {
        let password_only = Case { token: None, password: Some("s"), ..case() };
        refused(&password_only, Code::NotPaired, "device identity required");
        refused(&Case { password: Some("x"), ..password_only }, Code::NotPaired, "device identity required");
        let newer = Case { version: Version::V4, token: None, password: Some("s"), ..case() };
        assert_eq!(decide(&newer).unwrap(), ["operator.admin"]);
    }

    #[test]
    fn a_wrong_secret_is_unauthorized() {
        let wrong = Case { token: Some("x"), ..case() };
        refused(&wrong, Code::InvalidRequest, "unauthorized: gateway token mismatch (provide gateway auth token)");
    }

    #[test]
    fn a_node_always_needs_a_device() {
        for mode in [Mode::None, Mode::Token] {
            refused(&Case { role: PeerRole::Node, mode, ..case() }, Code::NotPaired, "device identity required");
        }
    }

    #[test]
    fn the_browser_ui_needs_a_device_unless_the_owner_says_otherwise() {
        let ui = |control_ui, token, version| Case { id: CONTROL_UI, control_ui, token, version, ..case() };
        let closed = ControlUiPolicy::default();
        refused(&ui(closed, Some("s"), Version::V3), Code::InvalidRequest, "control ui requires HTTPS or localhost (secure context)");
        refused(
            &ui(closed, Some("s"), Version::V4),
            Code::InvalidRequest,
            "control ui requires device identity (use HTTPS or localhost secure context)",
        );
        for open in
            [ControlUiPolicy { allow_insecure_auth: true, ..closed }, ControlUiPolicy { dangerously_disable_device_auth: true, ..closed }]
        {
            assert!(decide(&ui(open, Some("s"), Version::V3)).is_ok());
            assert!(decide(&ui(open, Some("x"), Version::V3)).is_err());
        }
    }
}
