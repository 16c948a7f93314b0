//! Whether a device must be paired (again), and how it is told.

use serde_json::json;

use super::covers;
use crate::close::Close;
use crate::{Adapter, Code, ErrorShape, Version};

/// Why a device must be paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairingReason {
    /// It is unknown, or its key changed.
    NotPaired,
    /// It asks for a role that it does not have.
    RoleUpgrade,
    /// It asks for scopes that it does not have.
    ScopeUpgrade,
}

impl PairingReason {
    /// The reason as written in details.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotPaired => "not-paired",
            Self::RoleUpgrade => "role-upgrade",
            Self::ScopeUpgrade => "scope-upgrade",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::NotPaired => "device is not approved yet",
            Self::RoleUpgrade => "device is asking for a higher role than currently approved",
            Self::ScopeUpgrade => "device is asking for more scopes than currently approved",
        }
    }
}

/// What a device was approved for.
#[derive(Debug, Clone, Copy)]
pub struct Approved<'a> {
    /// The key in its stored form.
    pub public_key: &'a str,
    /// Roles.
    pub roles: &'a [String],
    /// Scopes.
    pub scopes: &'a [String],
}

/// What a device asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The device.
    pub device_id: &'a str,
    /// Its key in the stored form.
    pub public_key: &'a str,
    /// The role.
    pub role: &'a str,
    /// The scopes.
    pub scopes: &'a [String],
}

/// Why the device must be paired first; none if it was approved for all that it asks.
pub fn pairing_needed(approved: Option<Approved<'_>>, asked: &Asked<'_>) -> Option<PairingReason> {
    let Some(approved) = approved.filter(|approved| approved.public_key == asked.public_key) else {
        return Some(PairingReason::NotPaired);
    };
    if !approved.roles.iter().any(|role| role == asked.role) {
        return Some(PairingReason::RoleUpgrade);
    }
    (!covers(approved.scopes, asked.scopes)).then_some(PairingReason::ScopeUpgrade)
}

/// The error for a device that waits for approval, as `version` knows it, and the close that follows.
pub fn pairing_required(version: Version, reason: PairingReason, request_id: &str, asked: &Asked<'_>) -> (ErrorShape, Close) {
    let message = format!("pairing required: {}", reason.text());
    let error = ErrorShape::new(Code::NotPaired, message).with_details(&json!({
        "code": "PAIRING_REQUIRED",
        "reason": reason.as_str(),
        "requestId": request_id,
        "remediationHint": "approve the request on the gateway host, then connect again",
        "deviceId": asked.device_id,
        "requestedRole": asked.role,
        "requestedScopes": asked.scopes,
    }));
    let error = Adapter::new(version).error(error);
    let close = match version {
        Version::V3 => Close::refused(&error),
        Version::V4 => Close::policy(&format!("{} (requestId: {request_id})", error.message)),
    };
    (error, close)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(scopes: &[String]) -> Asked<'_> {
        Asked { device_id: "d", public_key: "k", role: "operator", scopes }
    }

    #[test]
    fn asks_for_approval_of_what_is_new() {
        let roles = ["operator".to_owned()];
        let node = ["node".to_owned()];
        let (admin, read) = (["operator.admin".to_owned()], ["operator.read".to_owned()]);
        let table = [
            (None, PairingReason::NotPaired, true),
            (Some(Approved { public_key: "other", roles: &roles, scopes: &admin }), PairingReason::NotPaired, true),
            (Some(Approved { public_key: "k", roles: &node, scopes: &admin }), PairingReason::RoleUpgrade, true),
            (Some(Approved { public_key: "k", roles: &roles, scopes: &[] }), PairingReason::ScopeUpgrade, true),
            (Some(Approved { public_key: "k", roles: &roles, scopes: &admin }), PairingReason::ScopeUpgrade, false),
        ];
        for (approved, reason, needed) in table {
            assert_eq!(pairing_needed(approved, &asked(&read)), needed.then_some(reason), "{approved:?}");
        }
    }

    #[test]
    fn each_generation_gets_its_text() {
        let (error, close) = pairing_required(Version::V3, PairingReason::NotPaired, "r-1", &asked(&[]));
        assert_eq!((error.code, error.message.as_ref()), (Code::NotPaired, "pairing required"));
        assert_eq!((error.detail("requestId").as_deref(), close.reason.as_ref()), (Some("r-1"), "pairing required"));
        let (error, close) = pairing_required(Version::V4, PairingReason::ScopeUpgrade, "r-1", &asked(&[]));
        assert_eq!(error.message, "pairing required: device is asking for more scopes than currently approved");
        assert_eq!(error.detail("reason").as_deref(), Some("scope-upgrade"));
        assert!(close.reason.starts_with("pairing required: device is asking") && close.reason.contains("requestId: r-1"));
    }
}
