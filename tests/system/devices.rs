//! Paired devices as operators see and govern them.

use serde_json::json;
use verso_client::{Client, Identity, Options};
use verso_tests::Gateway;

/// A device that does not sit at the gateway's machine.
fn remote(gateway: &Gateway, identity: &Identity) -> Options {
    let mut options = gateway.options().with_identity(identity.clone());
    options.headers.push(("X-Forwarded-For".to_owned(), "203.0.113.9".to_owned()));
    options
}

/// What a refused device is told.
async fn refused(options: Options) -> String {
    format!("{:?}", Client::connect(options).await.expect_err("a refusal"))
}

async fn message(client: &Client, method: &str, params: serde_json::Value) -> String {
    client.call(method, params).await.expect_err("a refusal").message
}

#[tokio::test]
async fn sec_11_who_may_pair_devices_makes_no_administrators() {
    let gateway = Gateway::start().await;
    let pairing = gateway.connect(gateway.options().with_scopes(["operator.pairing"])).await;
    let identity = Identity::generate(0);
    refused(remote(&gateway, &identity)).await;
    let list = pairing.call("device.pair.list", json!({})).await.expect("a list");
    let request = json!({"requestId": list["pending"][0]["requestId"]});
    assert_eq!(message(&pairing, "device.pair.approve", request.clone()).await, "missing scope: operator.admin");
    gateway.client().await.call("device.pair.approve", request).await.expect("an administrator may");
    let device = gateway.connect(remote(&gateway, &identity)).await;
    let token = json!({"deviceId": identity.device_id(), "role": "operator"});
    assert_eq!(message(&pairing, "device.token.rotate", token.clone()).await, "missing scope: operator.admin");
    device.call("health", json!({})).await.expect("a refused rotation changes nothing");
    let reader = gateway.connect(gateway.options().with_scopes(["operator.read", "operator.write"])).await;
    for method in ["device.pair.approve", "device.pair.remove", "device.token.rotate", "device.token.revoke"] {
        assert_eq!(message(&reader, method, token.clone()).await, "missing scope: operator.pairing", "{method}");
    }
    let rotated = gateway.client().await.call("device.token.rotate", token).await.expect("a rotation");
    assert_eq!((&rotated["tokenDelivery"], rotated.get("token")), (&json!("withheld-cross-device"), None));
    assert_eq!(device.closed().await.code, 4001);
}

#[tokio::test]
async fn a_removed_device_is_thrown_out_and_unknown() {
    let gateway = Gateway::start().await;
    let admin = gateway.client().await;
    let identity = Identity::generate(0);
    let device = gateway.connect(gateway.options().with_identity(identity.clone())).await;
    device.call("users.prefs.set", json!({"entries": {"theme": "claw"}})).await.expect("a preference");
    let id = json!({"deviceId": identity.device_id()});
    let name = json!({"deviceId": identity.device_id(), "displayName": " Kitchen "});
    let renamed = admin.call("device.pair.rename", name).await.expect("a new name");
    assert_eq!(renamed["displayName"], "Kitchen");
    let list = admin.call("device.pair.list", json!({})).await.expect("a list");
    let paired = &list["paired"][0];
    assert_eq!((&paired["displayName"], &paired["connected"], &paired["approvedVia"]), (&json!("Kitchen"), &json!(true), &json!("silent")));
    assert_eq!(paired["lastSeenReason"], "connect");
    admin.call("device.pair.remove", id.clone()).await.expect("a removal");
    let closed = device.closed().await;
    assert_eq!((closed.code, closed.reason.as_ref()), (4001, "device removed"));
    assert_eq!(message(&admin, "device.pair.remove", id).await, "unknown deviceId");
    assert!(refused(remote(&gateway, &identity)).await.contains("not-paired"));
    let again = gateway.connect(gateway.options().with_identity(identity)).await;
    let prefs = again.call("users.prefs.get", json!({})).await.expect("preferences");
    assert_eq!(prefs, json!({"status": "ok", "entries": {}}), "what a removed device had stored is gone");
}

#[tokio::test]
async fn more_than_was_approved_is_asked_for_by_its_name() {
    let gateway = Gateway::start().await;
    let identity = Identity::generate(0);
    gateway.connect(gateway.options().with_identity(identity.clone()).with_scopes(["operator.read"])).await;
    let wider = refused(remote(&gateway, &identity)).await;
    assert!(wider.contains("scope-upgrade") && wider.contains("approvedScopes"), "{wider}");
    let mut node = remote(&gateway, &identity).with_client("node-host", "node");
    (node.role, node.scopes) = ("node".to_owned(), Some(Vec::new()));
    assert!(refused(node).await.contains("role-upgrade"));
    let mut other = remote(&gateway, &identity).with_scopes(["operator.read"]);
    other.client.platform = "android".to_owned();
    assert!(refused(other).await.contains("metadata-upgrade"));
    gateway.connect(remote(&gateway, &identity).with_scopes(["operator.read"])).await;
}

#[tokio::test]
async fn what_is_no_person_and_no_device_is_not_remembered() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let nobody = json!({"status": "no_durable_identity"});
    assert_eq!(client.call("users.prefs.get", json!({"keys": ["theme"]})).await.expect("an answer"), nobody);
    assert_eq!(client.call("users.prefs.set", json!({"entries": {"theme": 1}})).await.expect("an answer"), nobody);
    assert_eq!(message(&client, "users.self", json!({})).await, "users.self requires an authenticated user");
    let identity = Identity::generate(0);
    let device = gateway.connect(gateway.options().with_identity(identity.clone())).await;
    device.call("users.prefs.set", json!({"entries": {"theme": {"dark": true}, "x": 1}})).await.expect("two preferences");
    device.call("users.prefs.set", json!({"entries": {"x": null}})).await.expect("one less");
    let again = gateway.connect(gateway.options().with_identity(identity)).await;
    let prefs = again.call("users.prefs.get", json!({})).await.expect("preferences");
    assert_eq!(prefs, json!({"status": "ok", "entries": {"theme": {"dark": true}}}));
}

#[tokio::test]
async fn the_machine_and_its_updates_are_told_as_they_are() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let info = client.call("system.info", json!({})).await.expect("a machine");
    assert!(info["memoryTotalBytes"].as_i64() > Some(1 << 20) && info["cpuCount"].as_i64() >= Some(1), "{info}");
    let status = client.call("update.status", json!({})).await.expect("a status");
    assert_eq!((&status["updateAvailable"], &status["schedule"]["autoEnabled"]), (&json!(null), &json!(false)));
    assert!(message(&client, "update.run", json!({})).await.contains("does not update itself"));
    assert!(message(&client, "update.run", json!({"kit": 1})).await.contains("unexpected property 'kit'"));
}
