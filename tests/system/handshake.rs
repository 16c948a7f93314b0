//! Both generations of clients on one port, and devices.

use serde_json::{Value, json};
use verso_client::{Client, Identity};
use verso_tests::{Gateway, PATIENCE};

use crate::raw::{Raw, connect_params, request};

#[tokio::test]
async fn each_generation_gets_its_own_hello() {
    let gateway = Gateway::start().await;
    let old = Raw::open(&gateway).await.connect(3).await["payload"].clone();
    let new = Raw::open(&gateway).await.connect(4).await["payload"].clone();
    assert_eq!((&old["protocol"], &new["protocol"]), (&json!(3), &json!(4)));
    assert_eq!(old["auth"], Value::Null, "an older client would store it as a device token");
    assert_eq!(new["auth"], json!({"method": "token", "role": "operator", "scopes": ["operator.admin"]}));
    assert_eq!(old["server"]["bootId"], Value::Null);
    assert_eq!(new["server"]["controlUiBuildSource"], "configured");
    for hello in [&old, &new] {
        assert_eq!(hello["type"], "hello-ok");
        assert!(hello["features"]["methods"].as_array().is_some_and(|methods| methods.contains(&json!("chat.send"))));
        assert!(hello["snapshot"]["presence"].as_array().is_some_and(|list| list.iter().any(|entry| entry["reason"] == "self")));
        assert_eq!(hello["snapshot"]["sessionDefaults"]["mainSessionKey"], "agent:main:main");
        assert_eq!(hello["policy"]["tickIntervalMs"], 30_000);
    }
}

#[tokio::test]
async fn versions_that_are_not_served_are_named() {
    let gateway = Gateway::start().await;
    for version in [2, 5] {
        let mut raw = Raw::open(&gateway).await;
        raw.send(request("1", "connect", connect_params(version))).await;
        let error = raw.response().await.expect("an answer")["error"].clone();
        assert_eq!((&error["message"], &error["details"]["expectedProtocol"]), (&json!("protocol mismatch"), &json!(4)));
        assert_eq!(raw.closed().await, (1002, "protocol mismatch".to_owned()));
    }
}

#[tokio::test]
async fn a_device_on_this_machine_is_paired_silently_and_keeps_its_token() {
    let gateway = Gateway::start().await;
    let identity = Identity::generate(0);
    let first = gateway.connect(gateway.options().with_identity(identity.clone())).await;
    let token = first.hello().device_token.clone().expect("a device token");
    let second = gateway.connect(gateway.options().with_identity(identity.clone())).await;
    assert_eq!(second.hello().device_token.as_deref(), Some(token.as_str()));
    let mut options = gateway.options().with_identity(identity);
    options.token = Some(token);
    gateway.connect(options).await.call("health", json!({})).await.expect("the device token is enough");
}

#[tokio::test]
async fn sec_09_a_remote_device_waits_for_approval_and_a_revoked_one_is_thrown_out() {
    let gateway = Gateway::start().await;
    let admin = gateway.client().await;
    let mut events = admin.events();
    let remote = |identity: Identity| {
        let mut options = gateway.options().with_identity(identity);
        options.headers.push(("X-Forwarded-For".to_owned(), "203.0.113.9".to_owned()));
        options
    };
    let identity = Identity::generate(0);
    let refused = Client::connect(remote(identity.clone())).await.expect_err("not paired yet");
    assert!(format!("{refused:?}").contains("pairing required"), "{refused:?}");
    let asked = tokio::time::timeout(PATIENCE, events.next_named("device.pair.requested")).await.expect("in time").expect("an event");
    assert_eq!(asked.payload["deviceId"], json!(identity.device_id()));
    let approval = admin.call("device.pair.approve", json!({"requestId": asked.payload["requestId"]})).await.expect("an approval");
    assert_eq!(approval["device"]["deviceId"], json!(identity.device_id()));

    let device = gateway.connect(remote(identity.clone())).await;
    let revoke = json!({"deviceId": identity.device_id(), "role": "operator"});
    admin.call("device.token.revoke", revoke).await.expect("a revocation");
    assert_eq!(device.closed().await.code, 4001);
    let mut options = remote(identity);
    options.token = device.hello().device_token.clone();
    assert!(Client::connect(options).await.is_err(), "a revoked token opens nothing");
}

#[tokio::test]
async fn sec_02_a_foreign_page_cannot_connect() {
    let gateway = Gateway::start().await;
    for origin in ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"] {
        let mut raw = Raw::open_with(&gateway, &[("origin", origin)]).await.expect("an upgrade");
        raw.send(request("1", "connect", connect_params(4))).await;
        let error = raw.response().await.expect("an answer")["error"].clone();
        assert_eq!(error["details"]["code"], "CONTROL_UI_ORIGIN_NOT_ALLOWED", "{origin}: {error}");
        assert_eq!(raw.closed().await.0, 1008);
    }
}

#[tokio::test]
async fn sec_04_a_remote_client_without_a_device_gets_no_scopes() {
    let gateway = Gateway::start().await;
    let mut raw = Raw::open_with(&gateway, &[("x-forwarded-for", "203.0.113.9")]).await.expect("an upgrade");
    let hello = raw.connect(4).await;
    assert_eq!(hello["payload"]["auth"]["scopes"], json!([]), "{hello}");
    raw.send(request("1", "sessions.list", json!({}))).await;
    let error = raw.response().await.expect("an answer")["error"].clone();
    assert_eq!((&error["code"], &error["message"]), (&json!("FORBIDDEN"), &json!("missing scope: operator.read")));
}

#[tokio::test]
async fn sec_08_a_signature_works_once() {
    let gateway = Gateway::start().await;
    let mut first = Raw::open(&gateway).await;
    let nonce = first.next().await.expect("a challenge")["payload"]["nonce"].clone();
    let mut second = Raw::open(&gateway).await;
    let other = second.next().await.expect("a challenge")["payload"]["nonce"].clone();
    assert_ne!(nonce, other);
    let identity = Identity::generate(0);
    let mut params = connect_params(3);
    let signed_at = std::fs::metadata(gateway.state_dir()).and_then(|folder| folder.modified()).expect("a time");
    let signed_at = signed_at.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let text = format!(
        "v2|{}|gateway-client|backend|operator|operator.admin|{signed_at}|{}|{}",
        identity.device_id(),
        verso_tests::gateway::TOKEN,
        nonce.as_str().expect("a nonce")
    );
    params["device"] = json!({
        "id": identity.device_id(), "publicKey": identity.public_key(), "signature": identity.sign(&text),
        "signedAt": u64::try_from(signed_at).expect("a time"), "nonce": nonce,
    });
    first.send(request("1", "connect", params.clone())).await;
    assert_eq!(first.response().await.expect("an answer")["ok"], true);
    second.send(request("1", "connect", params)).await;
    assert_eq!(second.response().await.expect("an answer")["error"]["message"], "device nonce mismatch");
}
