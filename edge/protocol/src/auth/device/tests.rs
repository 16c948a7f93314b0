use ed25519_dalek::{Signer as _, SigningKey};
use verso_proto::edge::v1::{ClientInfo, Credentials, StringList};

use super::*;

const KEY: &str = "ebVWLo_mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ";
const ID: &str = "65b60673d6ed884bf01c2c222d82ada0740f29ac3355d6a925c81f17f47a27b8";
const SIGNED_AT_MS: i64 = 1_700_000_000_000;

fn signing_key() -> SigningKey {
    let mut seed = [0; 32];
    for (index, byte) in (1..).zip(&mut seed) {
        *byte = index;
    }
    SigningKey::from_bytes(&seed)
}

/// One `connect` of a made-up device, unsigned.
fn connect(id: &str, mode: &str, role: &str, scopes: &[&str]) -> ConnectRequest {
    ConnectRequest {
        min_protocol: 3,
        max_protocol: 4,
        client: Some(ClientInfo {
            id: id.into(),
            mode: mode.into(),
            version: "1".into(),
            platform: " Linux".into(),
            device_family: Some("LINUX ".into()),
            ..ClientInfo::default()
        }),
        role: Some(role.into()),
        scopes: Some(StringList { values: scopes.iter().map(|scope| (*scope).to_owned()).collect() }),
        auth: Some(Credentials { token: Some("tok".into()), ..Credentials::default() }),
        device: Some(DeviceProof {
            id: ID.into(),
            public_key: KEY.into(),
            signature: String::new(),
            signed_at_ms: SIGNED_AT_MS,
            nonce: Some("nonce-1".into()),
        }),
        ..ConnectRequest::default()
    }
}

fn sign(connect: &mut ConnectRequest, version: PayloadVersion) {
    let proof = connect.device.clone().unwrap();
    let payload = SigningFields::of(connect, &proof).payload(version);
    connect.device.as_mut().unwrap().signature = URL_SAFE_NO_PAD.encode(signing_key().sign(payload.as_bytes()).to_bytes());
}

fn challenge() -> Challenge<'static> {
    Challenge { nonce: "nonce-1", now_ms: SIGNED_AT_MS, local: true, version: Version::V3 }
}

fn verify(connect: &ConnectRequest, challenge: &Challenge<'_>) -> Result<VerifiedDevice, String> {
    verify_device(connect, connect.device.as_ref().unwrap(), challenge).map_err(|error| error.message.into_owned())
}

fn operator() -> ConnectRequest {
    connect("cli", "cli", "operator", &["operator.admin"])
}

#[test]
fn the_key_has_the_published_id() {
    let key = PublicKey::from_bytes(signing_key().verifying_key().to_bytes());
    assert_eq!((key.to_base64url().as_str(), key.device_id().as_str()), (KEY, ID));
}

#[test]
fn published_signatures_are_accepted_and_reproduced() {
    const ALL: &[&str] = &["operator.admin", "operator.approvals", "operator.pairing"];
    let cases = [
        (
            PayloadVersion::V1,
            connect("cli", "cli", "operator", ALL),
            "zVZHXdQ9MAsP9-4jKy6jHbimsyuclqoyhnT6sfpHIhNLrmCIWyG2hFARg5TdaDcbMbz6EgqgPZWbxSMe8WS4CA",
        ),
        (
            PayloadVersion::V2,
            connect("cli", "cli", "operator", ALL),
            "mFTy_DujIj5RQQwJvdiAT6eM1YXy_MPj5rl4RK6lCc9dKztaWZFFSbjk98w5qycSYLpfDfDsbw0pc1jEM72EDA",
        ),
        (
            PayloadVersion::V2,
            connect("node-host", "node", "node", &[]),
            "v8WvVrVeKvqQbWRd4SrvhWwMM2Eced9A0Dq7Y5ftw4lA2QPqeINY82v3RqT3eWJhWGeXSVMQhHG3XxeSHC5SAg",
        ),
        (
            PayloadVersion::V3,
            connect("cli", "cli", "operator", &["operator.read"]),
            "Be5BJltD7cx065YCgbtuEMpPl0bN51Y5QH_DwNccX-NtFNfWDb6rLu2aEBmUTBmlj6sJ-pfrP2axy3xhFo7pCA",
        ),
    ];
    for (version, mut connect, signature) in cases {
        if version == PayloadVersion::V1 {
            connect.device.as_mut().unwrap().nonce = None;
        }
        sign(&mut connect, version);
        assert_eq!(connect.device.as_ref().unwrap().signature, signature, "{version:?}");
        assert_eq!(verify(&connect, &challenge()).unwrap().id, ID, "{version:?}");
    }
}

#[test]
fn a_change_of_any_signed_part_is_noticed() {
    type Change = fn(&mut ConnectRequest);
    let changes: [Change; 8] = [
        |connect| connect.client.as_mut().unwrap().id = "test".into(),
        |connect| connect.client.as_mut().unwrap().mode = "test".into(),
        |connect| connect.client.as_mut().unwrap().platform = "darwin".into(),
        |connect| connect.client.as_mut().unwrap().device_family = None,
        |connect| connect.role = Some("node".into()),
        |connect| connect.scopes = None,
        |connect| connect.auth.as_mut().unwrap().token = Some("other".into()),
        |connect| connect.device.as_mut().unwrap().signed_at_ms += 1,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut connect = operator();
        sign(&mut connect, PayloadVersion::V3);
        change(&mut connect);
        assert_eq!(verify(&connect, &challenge()), Err("device signature invalid".to_owned()), "change {index}");
    }
}

#[test]
fn failed_checks_are_reported_in_the_order_that_clients_expect() {
    // Each case leaves every later check failing too.
    let broken = |change: fn(&mut DeviceProof)| {
        let mut connect = operator();
        change(connect.device.as_mut().unwrap());
        connect
    };
    let old = Challenge { now_ms: SIGNED_AT_MS + 600_001, nonce: "other", ..challenge() };
    let remote = Challenge { nonce: "other", local: false, ..challenge() };
    let table = [
        (
            broken(|proof| proof.id = "0".repeat(64)),
            old,
            "device identity mismatch",
            "DEVICE_AUTH_DEVICE_ID_MISMATCH",
            "device-id-mismatch",
        ),
        (broken(|_| {}), old, "device signature expired", "DEVICE_AUTH_SIGNATURE_EXPIRED", "device-signature-stale"),
        (broken(|proof| proof.nonce = None), remote, "device nonce required", "DEVICE_AUTH_NONCE_REQUIRED", "device-nonce-missing"),
        (
            broken(|proof| proof.nonce = Some(String::new())),
            remote,
            "device nonce required",
            "DEVICE_AUTH_NONCE_REQUIRED",
            "device-nonce-missing",
        ),
        (broken(|_| {}), remote, "device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH", "device-nonce-mismatch"),
        (broken(|_| {}), challenge(), "device signature invalid", "DEVICE_AUTH_SIGNATURE_INVALID", "device-signature"),
        (
            broken(|proof| {
                let key = PublicKey { bytes: vec![7; 31] };
                (proof.id, proof.public_key) = (key.device_id(), key.to_base64url());
            }),
            challenge(),
            "device public key invalid",
            "DEVICE_AUTH_PUBLIC_KEY_INVALID",
            "device-public-key",
        ),
    ];
    for (connect, challenge, message, code, reason) in table {
        let error = verify_device(&connect, connect.device.as_ref().unwrap(), &challenge).unwrap_err();
        assert_eq!((error.code, error.message.as_ref()), (crate::Code::InvalidRequest, message));
        assert_eq!((error.detail("code").as_deref(), error.detail("reason").as_deref()), (Some(code), Some(reason)));
    }
}

#[test]
fn a_nonce_may_be_missing_only_for_local_clients_of_protocol_3() {
    let mut connect = operator();
    connect.device.as_mut().unwrap().nonce = None;
    sign(&mut connect, PayloadVersion::V1);
    assert!(verify(&connect, &challenge()).is_ok());
    for stricter in [Challenge { local: false, ..challenge() }, Challenge { version: Version::V4, ..challenge() }] {
        assert_eq!(verify(&connect, &stricter), Err("device nonce required".to_owned()));
    }
}

#[test]
fn sec_08_a_signature_for_one_nonce_does_not_open_another_connection() {
    let mut connect = operator();
    sign(&mut connect, PayloadVersion::V2);
    let next = Challenge { nonce: "nonce-2", ..challenge() };
    assert_eq!(verify(&connect, &next), Err("device nonce mismatch".to_owned()));
    connect.device.as_mut().unwrap().nonce = Some("nonce-2".into());
    assert_eq!(verify(&connect, &next), Err("device signature invalid".to_owned()));
    // Nor may a nonce-less text be passed off as one with a nonce.
    sign(&mut connect, PayloadVersion::V1);
    assert_eq!(verify(&connect, &next), Err("device signature invalid".to_owned()));
}

#[test]
fn the_newest_signature_allows_less_skew() {
    for (version, minutes, fresh) in [
        (PayloadVersion::V2, 3, true),
        (PayloadVersion::V3, 3, false),
        (PayloadVersion::V3, 2, true),
        (PayloadVersion::V2, 11, false),
        (PayloadVersion::V2, -3, true),
        (PayloadVersion::V2, -11, false),
    ] {
        let mut connect = operator();
        sign(&mut connect, version);
        let later = Challenge { now_ms: SIGNED_AT_MS + minutes * 60_000, ..challenge() };
        let expected = if fresh { Ok(()) } else { Err("device signature expired".to_owned()) };
        assert_eq!(verify(&connect, &later).map(drop), expected, "{version:?} after {minutes} minutes");
    }
}

#[test]
fn keys_and_signatures_are_read_in_every_tolerated_form() {
    let raw = URL_SAFE_NO_PAD.decode(KEY).unwrap();
    let der = [&SPKI_PREFIX[..], &raw].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
    for key in [KEY.to_owned(), format!("{KEY}="), STANDARD.encode(&raw), pem] {
        let mut connect = operator();
        connect.device.as_mut().unwrap().public_key = key.clone();
        sign(&mut connect, PayloadVersion::V2);
        let proof = connect.device.as_mut().unwrap();
        proof.signature = STANDARD.encode(URL_SAFE_NO_PAD.decode(&proof.signature).unwrap());
        assert_eq!(verify(&connect, &challenge()).unwrap().public_key, KEY, "{key}");
    }
    for key in ["", "*", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        assert!(PublicKey::parse(key).is_none_or(|key| key.verifying_key().is_none()), "{key}");
    }
}
