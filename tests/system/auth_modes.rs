//! Who is let in by what: nothing, a proxy's word, the tailnet, a secret.

use serde_json::{Value, json};
use verso_client::Identity;
use verso_tests::Gateway;
use verso_tests::gateway::TOKEN;

use crate::raw::{Raw, connect_params, request};

/// Headers of a request that a proxy passed on for somebody.
fn passed_on(user: &str) -> [(&'static str, &str); 3] {
    [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https"), ("x-user", user)]
}

async fn connect(gateway: &Gateway, headers: &[(&'static str, &str)], auth: Value) -> Value {
    let mut raw = Raw::open_with(gateway, headers).await.expect("an upgrade");
    let mut params = connect_params(4);
    params["auth"] = auth;
    raw.send(request("1", "connect", params)).await;
    raw.response().await.expect("an answer")
}

fn reason(answer: &Value) -> (&str, &str) {
    let details = &answer["error"]["details"];
    (details["code"].as_str().unwrap_or_default(), details["authReason"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn sec_18_a_gateway_that_asks_for_nothing_serves_this_machine_only() {
    let gateway = Gateway::start_with(json!({"gateway": {"auth": {"mode": "none", "token": null}}})).await;
    let here = connect(&gateway, &[], json!({})).await;
    assert_eq!((&here["payload"]["auth"]["method"], &here["payload"]["auth"]["scopes"]), (&json!("none"), &json!(["operator.admin"])));
    for headers in [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9"), ("host", "evil.example")] {
        let elsewhere = connect(&gateway, &[headers], json!({})).await;
        assert_eq!(reason(&elsewhere), ("AUTH_REQUIRED", "auth_required"), "{headers:?}: {elsewhere}");
    }
    let mut open = Gateway::prepare(json!({"gateway": {"auth": {"mode": "none", "token": null}}}));
    open.launch(&["--bind", "lan"]);
    assert!(!open.ended().await.success());
    assert!(open.output().contains("Refusing to bind gateway to lan without auth."), "{}", open.output());
}

#[tokio::test]
async fn sec_05_a_proxys_word_gives_no_scopes_before_the_device_is_paired() {
    let proxy = json!({"userHeader": "x-user", "requiredHeaders": ["x-forwarded-proto"], "allowUsers": ["ada"], "allowLoopback": true});
    let auth = json!({"mode": "trusted-proxy", "token": null, "password": TOKEN, "trustedProxy": proxy});
    let gateway = Gateway::start_with(json!({"gateway": {"trustedProxies": ["127.0.0.1"], "auth": auth}})).await;
    let ada = connect(&gateway, &passed_on("ada"), json!({})).await;
    assert_eq!(ada["payload"]["auth"], json!({"method": "trusted-proxy", "role": "operator", "scopes": []}));
    let eve = connect(&gateway, &passed_on("eve"), json!({})).await;
    assert_eq!(reason(&eve), ("AUTH_UNAUTHORIZED", "trusted_proxy_user_not_allowed"));
    assert_eq!(eve["error"]["message"], "unauthorized");
    let nobody = connect(&gateway, &passed_on("ada")[..2], json!({"token": TOKEN})).await;
    assert_eq!(reason(&nobody).1, "trusted_proxy_user_missing", "the secret is for this machine: {nobody}");

    let mut options = gateway.options().with_identity(Identity::generate(0)).with_scopes(["operator.read"]);
    options.token = None;
    options.headers.extend(passed_on("ada").map(|(name, value)| (name.to_owned(), value.to_owned())));
    let refused = verso_client::Client::connect(options.clone()).await.expect_err("not paired yet");
    assert!(format!("{refused:?}").contains("not-paired"), "{refused:?}");
    let mut here = gateway.options();
    (here.token, here.password) = (None, Some(TOKEN.to_owned()));
    let owner = gateway.connect(here).await;
    let list = owner.call("device.pair.list", json!({})).await.expect("a list");
    owner.call("device.pair.approve", json!({"requestId": list["pending"][0]["requestId"]})).await.expect("an approval");
    let ada = gateway.connect(options).await;
    let profile = ada.call("users.self", json!({})).await.expect("a person")["profile"].clone();
    assert_eq!((&profile["displayName"], &profile["hasAvatar"]), (&json!("ada"), &json!(false)));
}

#[tokio::test]
async fn a_tailnet_that_does_not_answer_lets_nobody_in() {
    let gateway = Gateway::start_with(json!({"gateway": {"auth": {"allowTailscale": true}}})).await;
    let whole = [
        ("tailscale-user-login", "ada@example.test"),
        ("x-forwarded-for", "100.64.0.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "box.tail1.ts.net"),
    ];
    let with_device = async |headers: &[(&'static str, &str)]| {
        let mut options = gateway.options().with_identity(Identity::generate(0)).with_protocol(4..=4);
        options.token = None;
        options.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        format!("{:?}", verso_client::Client::connect(options).await.expect_err("nobody vouches"))
    };
    for (headers, expected) in
        [(&whole[..], "tailscale_whois_failed"), (&whole[..2], "tailscale_proxy_missing"), (&whole[1..], "tailscale_user_missing")]
    {
        let refused = with_device(headers).await;
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
    let with_secret = connect(&gateway, &whole, json!({"token": TOKEN})).await;
    assert_eq!(with_secret["payload"]["auth"]["method"], "token", "the secret still counts: {with_secret}");
}

#[tokio::test]
async fn sec_13_many_guesses_at_once_are_locked_out_together() {
    let gateway = Gateway::start_with(json!({"gateway": {"trustedProxies": ["127.0.0.1"]}})).await;
    let from = [("x-forwarded-for", "203.0.113.77")];
    let guesses = (0..25).map(|number| connect(&gateway, &from, json!({"token": format!("guess-{number}")})));
    let answers = futures_util::future::join_all(guesses).await;
    let locked = answers.iter().filter(|answer| reason(answer).0 == "AUTH_RATE_LIMITED").count();
    let wrong = answers.iter().filter(|answer| reason(answer).0 == "AUTH_TOKEN_MISMATCH").count();
    assert_eq!((locked, wrong), (15, 10), "{answers:?}");
    let right = connect(&gateway, &from, json!({"token": TOKEN})).await;
    assert_eq!((reason(&right).0, &right["error"]["retryable"]), ("AUTH_RATE_LIMITED", &json!(true)));
    let waits = right["error"]["retryAfterMs"].as_u64().expect("a wait");
    assert!((1..=300_000).contains(&waits), "{waits}");
    let other = connect(&gateway, &[("x-forwarded-for", "203.0.113.78")], json!({"token": TOKEN})).await;
    assert_eq!(other["ok"], true, "another address is not his fault");
}
