//! What is kept of one device.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use verso_proto::edge::v1::{PairedDevice, PairingRequest, TokenInfo};
use verso_protocol::auth::{Approved, Asked, covers};

/// What a device says of itself when it connects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claim {
    pub(crate) device_id: String,
    /// Normalised: base64url of the raw key.
    pub(crate) public_key: String,
    pub(crate) display_name: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) device_family: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_mode: Option<String>,
    pub(crate) role: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) remote_ip: Option<String>,
}

impl Claim {
    /// The claim that a pairing request was made of.
    pub(super) fn of(request: &PairingRequest) -> Self {
        Self {
            device_id: request.device_id.clone(),
            public_key: request.public_key.clone(),
            display_name: request.display_name.clone(),
            platform: request.platform.clone(),
            device_family: request.device_family.clone(),
            client_id: request.client_id.clone(),
            client_mode: request.client_mode.clone(),
            role: request.role.clone().unwrap_or_default(),
            scopes: request.scopes.clone(),
            remote_ip: request.remote_ip.clone(),
        }
    }

    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            device_id: &self.device_id,
            public_key: &self.public_key,
            role: &self.role,
            scopes: &self.scopes,
            platform: self.platform.as_deref(),
            device_family: self.device_family.as_deref(),
        }
    }

    /// Whether somebody who approves `request` approves nothing that this claim does not ask for.
    pub(super) fn is_within(&self, request: &PairingRequest) -> bool {
        self.public_key == request.public_key
            && request.role.as_deref() == Some(self.role.as_str())
            && covers(&request.scopes, &self.scopes)
            && self.platform == request.platform
            && self.device_family == request.device_family
    }

    pub(super) fn request(&self, request_id: String, is_repair: bool, now_ms: i64) -> PairingRequest {
        PairingRequest {
            request_id,
            device_id: self.device_id.clone(),
            public_key: self.public_key.clone(),
            display_name: self.display_name.clone(),
            platform: self.platform.clone(),
            device_family: self.device_family.clone(),
            client_id: self.client_id.clone(),
            client_mode: self.client_mode.clone(),
            role: Some(self.role.clone()),
            roles: vec![self.role.clone()],
            scopes: self.scopes.clone(),
            remote_ip: self.remote_ip.clone(),
            silent: Some(false),
            is_repair: Some(is_repair),
            ts_ms: now_ms,
        }
    }
}

/// A paired device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Paired {
    pub(crate) device_id: String,
    pub(crate) public_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote_ip: Option<String>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) created_at_ms: i64,
    pub(crate) approved_at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approved_via: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_seen_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_seen_reason: Option<String>,
}

/// How a device came to be paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Approval {
    /// It sits at this machine and has proven itself.
    Silent,
    /// Somebody with the right to do so said yes.
    Owner,
}

impl Approval {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Owner => "owner",
        }
    }
}

impl Paired {
    pub(super) fn approved(&self) -> Approved<'_> {
        Approved {
            public_key: &self.public_key,
            roles: &self.roles,
            scopes: &self.scopes,
            platform: self.platform.as_deref(),
            device_family: self.device_family.as_deref(),
        }
    }

    /// What operators see: everything but the tokens' values.
    pub(super) fn view(&self) -> PairedDevice {
        PairedDevice {
            device_id: self.device_id.clone(),
            public_key: self.public_key.clone(),
            display_name: self.display_name.clone(),
            platform: self.platform.clone(),
            client_id: self.client_id.clone(),
            client_mode: self.client_mode.clone(),
            role: self.role.clone(),
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
            remote_ip: self.remote_ip.clone(),
            created_at_ms: self.created_at_ms,
            approved_at_ms: self.approved_at_ms,
            tokens: self.tokens.values().map(Token::view).collect(),
            device_family: self.device_family.clone(),
            approved_via: self.approved_via.clone(),
            last_seen_at_ms: self.last_seen_at_ms,
            last_seen_reason: self.last_seen_reason.clone(),
            connected: None,
        }
    }
}

/// What a device presents instead of the shared secret, in one role.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Token {
    #[serde(rename = "token")]
    pub(crate) value: String,
    pub(crate) role: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) created_at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rotated_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoked_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_used_at_ms: Option<i64>,
}

impl Token {
    pub(super) fn mint(role: &str, scopes: Vec<String>, now_ms: i64) -> Self {
        let value = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        Self { value, role: role.to_owned(), scopes, created_at_ms: now_ms, ..Self::default() }
    }

    /// When the value that is valid now was made, in milliseconds since 1970.
    pub(crate) fn issued_at_ms(&self) -> i64 {
        self.rotated_at_ms.unwrap_or(self.created_at_ms)
    }

    fn view(&self) -> TokenInfo {
        TokenInfo {
            role: self.role.clone(),
            scopes: self.scopes.clone(),
            created_at_ms: self.created_at_ms,
            rotated_at_ms: self.rotated_at_ms,
            revoked_at_ms: self.revoked_at_ms,
            last_used_at_ms: self.last_used_at_ms,
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Token").field("role", &self.role).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// Adds what a claim asks for to the device, which is made when it is not there or has another key.
pub(super) fn merge<'a>(paired: &'a mut BTreeMap<String, Paired>, claim: &Claim, via: Approval, now_ms: i64) -> &'a mut Paired {
    let device = paired.entry(claim.device_id.clone()).or_default();
    if device.public_key != claim.public_key {
        // Another key is another device: it inherits nothing.
        *device = Paired { device_id: claim.device_id.clone(), created_at_ms: now_ms, ..Paired::default() };
        device.public_key.clone_from(&claim.public_key);
    }
    for (known, claimed) in [
        (&mut device.display_name, &claim.display_name),
        (&mut device.platform, &claim.platform),
        (&mut device.device_family, &claim.device_family),
        (&mut device.client_id, &claim.client_id),
        (&mut device.client_mode, &claim.client_mode),
        (&mut device.remote_ip, &claim.remote_ip),
    ] {
        if claimed.is_some() {
            known.clone_from(claimed);
        }
    }
    device.role = Some(claim.role.clone());
    add(&mut device.roles, [&claim.role]);
    add(&mut device.scopes, &claim.scopes);
    device.approved_at_ms = now_ms;
    device.approved_via = Some(via.as_str().to_owned());
    device
}

fn add<'a>(known: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for item in more {
        if !known.contains(item) {
            known.push(item.clone());
        }
    }
}
