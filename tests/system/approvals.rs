//! Questions about commands: who may decide them, and how chats hear of them.

use serde_json::{Value, json};
use verso_client::{Client, Identity};
use verso_tests::bot_api::BotApi;
use verso_tests::provider::reply;
use verso_tests::{Gateway, Provider, eventually};

/// A command that tries to hide its second half from a terminal.
const COMMAND: &str = "ls\u{1b}[2K; rm -rf /made/up";

/// Asks, and returns the question's id once it is open.
async fn ask(gateway: &Gateway, more: Value) -> (String, tokio::task::JoinHandle<Value>) {
    let client = gateway.client().await;
    let before = open(&client).await.len();
    let mut params = json!({"command": COMMAND, "agentId": "main", "timeoutMs": 60_000});
    if let (Some(params), Value::Object(more)) = (params.as_object_mut(), more) {
        params.extend(more);
    }
    #[allow(clippy::disallowed_methods, reason = "the asker waits beside the test")]
    let asking = tokio::spawn(async move { client.call_within("exec.approval.request", params, 70_000).await.expect("a decision") });
    let watcher = gateway.client().await;
    let id = eventually("an open question", async || {
        let open = open(&watcher).await;
        (open.len() > before).then(|| open.last().and_then(|question| question["id"].as_str().map(str::to_owned))).flatten()
    })
    .await;
    (id, asking)
}

async fn open(client: &Client) -> Vec<Value> {
    let list = client.call("exec.approval.list", json!({})).await.expect("a list");
    list.as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn sec_52_a_decision_counts_only_from_who_may_decide() {
    let gateway = Gateway::start().await;
    let (id, asking) = ask(&gateway, json!({})).await;
    let resolve = json!({"id": id, "decision": "allow-once"});
    for scopes in [&["operator.read"][..], &["operator.read", "operator.write"], &["operator.read", "operator.pairing"]] {
        let client = gateway.connect(gateway.options().with_scopes(scopes.iter().copied())).await;
        let refused = client.call("exec.approval.resolve", resolve.clone()).await.expect_err("refused");
        assert!(refused.message.contains("operator.approvals"), "{scopes:?}: {refused:?}");
    }
    let mut options = gateway.options().with_client("node-host", "node").with_identity(Identity::generate(0));
    (options.role, options.scopes) = ("node".to_owned(), None);
    let node = gateway.connect(options).await;
    assert!(node.call("exec.approval.resolve", resolve.clone()).await.is_err(), "a node decides nothing");
    let client = gateway.client().await;
    assert_eq!(open(&client).await.len(), 1, "the question is still open");
    let wrong = client.call("exec.approval.resolve", json!({"id": id, "decision": "yes"})).await;
    assert!(wrong.is_err(), "there are three decisions");
    let approver = gateway.connect(gateway.options().with_scopes(["operator.read", "operator.approvals"])).await;
    approver.call("exec.approval.resolve", resolve.clone()).await.expect("decided");
    assert_eq!(asking.await.expect("an end")["decision"], "allow-once");
    assert!(approver.call("exec.approval.resolve", resolve).await.is_err(), "a question is decided once");
}

#[tokio::test]
async fn chats_are_shown_the_whole_question_and_its_end() {
    let api = BotApi::start().await;
    let mut config = api.channels(&json!({"allowFrom": ["42"]}));
    config["approvals"] = json!({"exec": {"enabled": true, "mode": "both", "targets": [{"channel": "telegram", "to": "77"}]}});
    let gateway = Gateway::start_with(config).await;
    let (id, asking) = ask(&gateway, json!({"sessionKey": "agent:main:telegram:dm:42"})).await;
    let texts = |chat: i64| api.sent_to(chat).iter().map(|sent| sent["text"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    for chat in [42, 77] {
        let told = eventually("the question in the chat", async || Some(texts(chat)).filter(|texts| !texts.is_empty())).await.concat();
        assert!(told.contains(&id) && told.contains("rm -rf /made/up") && told.contains("\\u{1b}[2K"), "{told}");
    }
    gateway.client().await.call("exec.approval.resolve", json!({"id": id, "decision": "deny"})).await.expect("decided");
    assert_eq!(asking.await.expect("an end")["decision"], "deny");
    for chat in [42, 77] {
        let told = eventually("the end in the chat", async || Some(texts(chat)).filter(|texts| texts.len() >= 2)).await;
        assert!(told[1].contains(&id) && told[1].contains("deny"), "{told:?}");
    }
}

#[tokio::test]
async fn a_conversation_is_asked_where_it_was_written_last() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"allowFrom": ["42"]}))["channels"].clone();
    config["approvals"] = json!({"exec": {"enabled": true, "mode": "session"}});
    let gateway = Gateway::start_with(config).await;
    api.write(42, "hello [[tokens=2]]");
    let texts = || api.sent_to(42).iter().map(|sent| sent["text"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    eventually("an answer", async || Some(texts()).filter(|texts| texts.contains(&reply(2)))).await;
    let (id, asking) = ask(&gateway, json!({"sessionKey": "agent:main:main"})).await;
    eventually("the question in the chat", async || texts().iter().any(|text| text.contains(&id)).then_some(())).await;
    gateway.client().await.call("exec.approval.resolve", json!({"id": id, "decision": "deny"})).await.expect("decided");
    assert_eq!(asking.await.expect("an end")["decision"], "deny");
}
