//! Accounts of chat networks that cannot work: none of them spins, none of them gives up in silence.

use serde_json::json;
use verso_tests::{Gateway, eventually};

#[tokio::test]
async fn sec_85_an_account_without_credentials_spins_nothing() {
    let gateway = Gateway::start_with(json!({"channels": {"telegram": {"enabled": true}, "discord": {"enabled": true}, "irc": {}}})).await;
    let client = gateway.client().await;
    let status = client.call("channels.status", json!({})).await.expect("the channels");
    for network in ["telegram", "discord", "irc"] {
        let account = &status["channelAccounts"][network][0];
        assert_eq!((&account["configured"], &account["running"]), (&json!(false), &json!(false)), "{account}");
        assert!(account["reconnectAttempts"].as_i64().unwrap_or_default() == 0, "{account}");
    }
    let service = gateway.service("channel").await;
    assert_eq!((service.starts, service.state.as_str()), (1, "serving"), "{service:?}");
    assert!(!gateway.output().contains("account stopped"), "{}", gateway.output());
}

#[tokio::test]
async fn sec_87_an_account_that_cannot_connect_says_so_and_tries_on_slowly() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let irc = json!({"host": "127.0.0.1", "port": port, "tls": false, "nick": "verso"});
    let gateway = Gateway::start_with(json!({"channels": {"irc": irc}})).await;
    let client = gateway.client().await;
    let status = eventually("a second attempt", async || {
        let status = client.call("channels.status", json!({})).await.ok()?;
        (status["channelAccounts"]["irc"][0]["reconnectAttempts"].as_i64() >= Some(2)).then_some(status)
    })
    .await;
    let account = &status["channelAccounts"]["irc"][0];
    assert!(account["lastError"].as_str().is_some_and(|error| !error.is_empty()), "{account}");
    let issues = status["statusIssues"].as_array().expect("a list");
    assert!(issues.iter().any(|issue| issue["channel"] == "irc"), "operators are told: {status}");
    assert!(gateway.output().contains("account stopped; it is started again"), "{}", gateway.output());
    let service = gateway.service("channel").await;
    assert_eq!((service.starts, service.state.as_str()), (1, "serving"), "one account takes nobody with it: {service:?}");
}
