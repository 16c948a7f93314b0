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
    /// It says that it is another kind of machine than the one that was approved. Protocol 4 only.
    MetadataUpgrade,
}

impl PairingReason {
    /// The reason as written in details.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotPaired => "not-paired",
            Self::RoleUpgrade => "role-upgrade",
            Self::ScopeUpgrade => "scope-upgrade",
            Self::MetadataUpgrade => "metadata-upgrade",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::NotPaired => "device is not approved yet",
            Self::RoleUpgrade => "device is asking for a higher role than currently approved",
            Self::ScopeUpgrade => "device is asking for more scopes than currently approved",
            Self::MetadataUpgrade => "device identity changed and must be re-approved",
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
    /// The platform, as it was told.
    pub platform: Option<&'a str>,
    /// The device family, as it was told.
    pub device_family: Option<&'a str>,
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
    /// The platform.
    pub platform: Option<&'a str>,
    /// The device family.
    pub device_family: Option<&'a str>,
}

/// Why the device must be paired first; none if it was approved for all that it asks. Only clients of protocol 4 tell the same of
/// themselves every time, and sign it.
pub fn pairing_needed(version: Version, approved: Option<Approved<'_>>, asked: &Asked<'_>) -> Option<PairingReason> {
    let Some(approved) = approved.filter(|approved| approved.public_key == asked.public_key) else {
        return Some(PairingReason::NotPaired);
    };
    if !approved.roles.iter().any(|role| role == asked.role) {
        return Some(PairingReason::RoleUpgrade);
    }
    if !covers(approved.scopes, asked.scopes) {
        return Some(PairingReason::ScopeUpgrade);
    }
    let changed = |known: Option<&str>, told: Option<&str>| matches!((known, told), (Some(known), Some(told)) if kind(known) != kind(told));
    let is_other = changed(approved.platform, asked.platform) || changed(approved.device_family, asked.device_family);
    (version >= Version::V4 && is_other).then_some(PairingReason::MetadataUpgrade)
}

/// A platform or device family in the spelling that both generations share.
fn kind(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    match text.as_str() {
        "darwin" => "macos".to_owned(),
        "win32" => "windows".to_owned(),
        _ => text,
    }
}

/// What a device that has to wait for approval is told.
#[derive(Debug, Clone)]
pub struct Waiting<'a> {
    /// Why it has to wait.
    pub reason: PairingReason,
    /// Names its request.
    pub request_id: &'a str,
    /// What it asked for.
    pub asked: Asked<'a>,
    /// The roles that it has already.
    pub approved_roles: &'a [String],
    /// The scopes that it has already.
    pub approved_scopes: &'a [String],
}

/// The error for a device that waits for approval, as `version` knows it, and the close that follows.
pub fn pairing_required(version: Version, waiting: &Waiting<'_>) -> (ErrorShape, Close) {
    let Waiting { reason, request_id, asked, .. } = waiting;
    let message = format!("pairing required: {}", reason.text());
    let mut details = json!({
        "code": "PAIRING_REQUIRED",
        "reason": reason.as_str(),
        "requestId": request_id,
        "remediationHint": "approve the request on the gateway host, then connect again",
        "deviceId": asked.device_id,
        "requestedRole": asked.role,
        "requestedScopes": asked.scopes,
    });
    if *reason != PairingReason::NotPaired {
        details["approvedRoles"] = json!(waiting.approved_roles);
        details["approvedScopes"] = json!(waiting.approved_scopes);
    }
    let error = Adapter::new(version).error(ErrorShape::new(Code::NotPaired, message).with_details(&details));
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
        Asked { device_id: "d", public_key: "k", role: "operator", scopes, platform: Some("linux"), device_family: None }
    }

    fn approved<'a>(public_key: &'a str, roles: &'a [String], scopes: &'a [String]) -> Approved<'a> {
        Approved { public_key, roles, scopes, platform: Some("Linux"), device_family: None }
    }

    #[test]
    fn asks_for_approval_of_what_is_new() {
        let roles = ["operator".to_owned()];
        let node = ["node".to_owned()];
        let (admin, read) = (["operator.admin".to_owned()], ["operator.read".to_owned()]);
        let table = [
            (None, PairingReason::NotPaired, true),
            (Some(approved("other", &roles, &admin)), PairingReason::NotPaired, true),
            (Some(approved("k", &node, &admin)), PairingReason::RoleUpgrade, true),
            (Some(approved("k", &roles, &[])), PairingReason::ScopeUpgrade, true),
            (Some(approved("k", &roles, &admin)), PairingReason::ScopeUpgrade, false),
        ];
        for (approved, reason, needed) in table {
            assert_eq!(pairing_needed(Version::V4, approved, &asked(&read)), needed.then_some(reason), "{approved:?}");
        }
    }

    #[test]
    fn another_machine_with_the_same_key_is_asked_about_again() {
        let roles = ["operator".to_owned()];
        let known = |platform, device_family| Approved { platform, device_family, ..approved("k", &roles, &[]) };
        let told = |platform, device_family| Asked { platform, device_family, ..asked(&[]) };
        for (known, told, changed) in [
            (known(Some("darwin"), None), told(Some("macos"), Some("mac")), false),
            (known(Some("linux"), Some("Linux ")), told(Some("LINUX"), Some("linux")), false),
            (known(None, None), told(Some("linux"), Some("linux")), false),
            (known(Some("linux"), None), told(Some("android"), None), true),
            (known(Some("ios"), Some("iphone")), told(Some("ios"), Some("ipad")), true),
        ] {
            let expected = changed.then_some(PairingReason::MetadataUpgrade);
            assert_eq!(pairing_needed(Version::V4, Some(known), &told), expected, "{known:?} {told:?}");
            assert_eq!(pairing_needed(Version::V3, Some(known), &told), None);
        }
    }

    #[test]
    fn each_generation_gets_its_text() {
        let read = ["operator.read".to_owned()];
        let waiting = |reason| Waiting { reason, request_id: "r-1", asked: asked(&[]), approved_roles: &[], approved_scopes: &read };
        let (error, close) = pairing_required(Version::V3, &waiting(PairingReason::NotPaired));
        assert_eq!((error.code, error.message.as_ref()), (Code::NotPaired, "pairing required"));
        assert_eq!((error.detail("requestId").as_deref(), close.reason.as_ref()), (Some("r-1"), "pairing required"));
        let (error, close) = pairing_required(Version::V4, &waiting(PairingReason::ScopeUpgrade));
        let details: serde_json::Value = serde_json::from_str(error.details.as_ref().unwrap().get()).unwrap();
        assert_eq!(details["approvedScopes"], json!(["operator.read"]));
        assert_eq!(error.message, "pairing required: device is asking for more scopes than currently approved");
        assert_eq!(error.detail("reason").as_deref(), Some("scope-upgrade"));
        assert!(close.reason.starts_with("pairing required: device is asking") && close.reason.contains("requestId: r-1"));
    }
}
