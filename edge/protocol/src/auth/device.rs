//! Device identities: Ed25519 keys, the text that a device signs, and its verification.

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use verso_proto::edge::v1::{ConnectRequest, DeviceProof};

use crate::{ErrorShape, Version};

/// How far a device's own clock may be off, in milliseconds: older clients sign the time of their own machine.
const SKEW_MS_MAX: u64 = 600_000;
/// The same for a version 3 signature, whose time is the one of the challenge.
const SKEW_V3_MS_MAX: u64 = 120_000;
/// What stands before the 32 key bytes in a DER `SubjectPublicKeyInfo` of Ed25519.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A device's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    bytes: Vec<u8>,
}

impl PublicKey {
    /// Reads base64url (or base64, padded or not) of the raw key, or a PEM `SubjectPublicKeyInfo`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = if text.contains("BEGIN") { from_pem(text)? } else { from_base64(text)? };
        Some(Self { bytes })
    }

    /// Wraps the raw key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes: bytes.to_vec() }
    }

    /// The device id: lower-case hexadecimal SHA-256 of the raw key.
    pub fn device_id(&self) -> String {
        hex::encode(Sha256::digest(&self.bytes))
    }

    /// The form in which keys are stored: base64url without padding.
    pub fn to_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.bytes)
    }

    fn verifying_key(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_bytes(self.bytes.as_slice().try_into().ok()?).ok()
    }
}

/// The versions of the signed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadVersion {
    /// Without a nonce: only for local peers that connected before they saw the challenge.
    V1,
    /// With the challenge's nonce.
    V2,
    /// With the nonce, the platform and the device family.
    V3,
}

/// What a device signs. Nothing is escaped: the parts are as the client sent them.
#[derive(Debug)]
pub struct SigningFields<'a> {
    /// The device id.
    pub device_id: &'a str,
    /// `client.id`.
    pub client_id: &'a str,
    /// `client.mode`.
    pub client_mode: &'a str,
    /// The asked-for role; `operator` when absent.
    pub role: &'a str,
    /// The asked-for scopes, as they stand in the frame.
    pub scopes: &'a [String],
    /// `device.signedAt`.
    pub signed_at_ms: i64,
    /// The token, else the device token, else the bootstrap token, else nothing. Never a password.
    pub token: &'a str,
    /// The challenge's nonce.
    pub nonce: &'a str,
    /// `client.platform`.
    pub platform: &'a str,
    /// `client.deviceFamily`.
    pub device_family: &'a str,
}

impl<'a> SigningFields<'a> {
    /// The fields of one `connect`.
    pub fn of(connect: &'a ConnectRequest, proof: &'a DeviceProof) -> Self {
        let client = connect.client.as_ref();
        let auth = connect.auth.as_ref();
        let token = auth.and_then(|auth| auth.token.as_deref().or(auth.device_token.as_deref()).or(auth.bootstrap_token.as_deref()));
        Self {
            device_id: &proof.id,
            client_id: client.map_or("", |client| &client.id),
            client_mode: client.map_or("", |client| &client.mode),
            role: connect.role.as_deref().unwrap_or("operator"),
            scopes: connect.scopes.as_ref().map_or(&[], |scopes| &scopes.values),
            signed_at_ms: proof.signed_at_ms,
            token: token.unwrap_or_default(),
            nonce: proof.nonce.as_deref().unwrap_or_default(),
            platform: client.map_or("", |client| &client.platform),
            device_family: client.and_then(|client| client.device_family.as_deref()).unwrap_or_default(),
        }
    }

    /// The text to sign.
    pub fn payload(&self, version: PayloadVersion) -> String {
        let name = match version {
            PayloadVersion::V1 => "v1",
            PayloadVersion::V2 => "v2",
            PayloadVersion::V3 => "v3",
        };
        let (scopes, signed_at) = (self.scopes.join(","), self.signed_at_ms.to_string());
        let mut parts = vec![name, self.device_id, self.client_id, self.client_mode, self.role, &scopes, &signed_at, self.token];
        if version != PayloadVersion::V1 {
            parts.push(self.nonce);
        }
        let (platform, family) = (self.platform.trim().to_ascii_lowercase(), self.device_family.trim().to_ascii_lowercase());
        if version == PayloadVersion::V3 {
            parts.extend([platform.as_str(), family.as_str()]);
        }
        parts.join("|")
    }
}

/// What the connection knows when a device proves itself.
#[derive(Debug, Clone, Copy)]
pub struct Challenge<'a> {
    /// The nonce that this connection was given.
    pub nonce: &'a str,
    /// The time now, in milliseconds since 1970.
    pub now_ms: i64,
    /// Whether the peer counts as local.
    pub local: bool,
    /// The negotiated version.
    pub version: Version,
}

/// A device that proved to hold its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedDevice {
    /// The device id.
    pub id: String,
    /// The public key in its stored form.
    pub public_key: String,
}

/// Checks a device's proof in the order that clients expect, and says which check failed.
pub fn verify_device(connect: &ConnectRequest, proof: &DeviceProof, challenge: &Challenge<'_>) -> Result<VerifiedDevice, ErrorShape> {
    let key = PublicKey::parse(&proof.public_key)
        .filter(|key| key.device_id() == proof.id)
        .ok_or_else(|| refused("device identity mismatch", "DEVICE_ID_MISMATCH", "device-id-mismatch"))?;
    let skew_ms = challenge.now_ms.abs_diff(proof.signed_at_ms);
    if skew_ms > SKEW_MS_MAX {
        return Err(expired());
    }
    let nonce = proof.nonce.as_deref().filter(|nonce| !nonce.is_empty());
    match nonce {
        None if challenge.local && challenge.version == Version::V3 => {}
        None => return Err(refused("device nonce required", "NONCE_REQUIRED", "device-nonce-missing")),
        Some(nonce) if nonce != challenge.nonce => {
            return Err(refused("device nonce mismatch", "NONCE_MISMATCH", "device-nonce-mismatch"));
        }
        Some(_) => {}
    }
    let verifying_key =
        key.verifying_key().ok_or_else(|| refused("device public key invalid", "PUBLIC_KEY_INVALID", "device-public-key"))?;
    let signed = signed_version(&SigningFields::of(connect, proof), &verifying_key, proof, nonce.is_some())
        .ok_or_else(|| refused("device signature invalid", "SIGNATURE_INVALID", "device-signature"))?;
    if signed == PayloadVersion::V3 && skew_ms > SKEW_V3_MS_MAX {
        return Err(expired());
    }
    Ok(VerifiedDevice { id: proof.id.clone(), public_key: key.to_base64url() })
}

/// The version of the text that the proof's signature fits.
fn signed_version(fields: &SigningFields<'_>, key: &VerifyingKey, proof: &DeviceProof, with_nonce: bool) -> Option<PayloadVersion> {
    let signature = Signature::from_slice(&from_base64(&proof.signature)?).ok()?;
    let versions: &[_] = if with_nonce { &[PayloadVersion::V3, PayloadVersion::V2] } else { &[PayloadVersion::V1] };
    versions.iter().copied().find(|version| key.verify_strict(fields.payload(*version).as_bytes(), &signature).is_ok())
}

fn expired() -> ErrorShape {
    refused("device signature expired", "SIGNATURE_EXPIRED", "device-signature-stale")
}

fn refused(message: &'static str, code: &str, reason: &str) -> ErrorShape {
    ErrorShape::invalid(message).with_details(&json!({"code": format!("DEVICE_AUTH_{code}"), "reason": reason}))
}

/// Reads both alphabets, padded or not.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.trim().trim_end_matches('=').chars().map(url_safe).collect();
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn url_safe(letter: char) -> char {
    match letter {
        '+' => '-',
        '/' => '_',
        other => other,
    }
}

fn from_pem(text: &str) -> Option<Vec<u8>> {
    let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body).ok()?;
    der.strip_prefix(&SPKI_PREFIX).filter(|key| key.len() == 32).map(<[u8]>::to_vec)
}
