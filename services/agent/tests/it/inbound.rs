//! Messages from chat networks.

use serde_json::json;
use verso_proto::agent::v1::inbound_client::InboundClient;
use verso_proto::agent::v1::{ActivationRequest, SessionsPatchRequest, SubmitRequest, SubmitResponse};

use crate::agent::{Agent, as_owner, config};
use crate::provider::Provider;

fn message(run_id: &str, text: &str) -> SubmitRequest {
    SubmitRequest {
        run_id: run_id.to_owned(),
        channel: "telegram".to_owned(),
        account_id: "default".to_owned(),
        chat_type: "direct".to_owned(),
        peer_id: "42".to_owned(),
        to: "42".to_owned(),
        sender_id: "42".to_owned(),
        sender_name: Some("Ann".to_owned()),
        body: format!("[Telegram Ann id:42 2026-02-01T12:00Z] {text}"),
        text: text.to_owned(),
        authorized: true,
        ..SubmitRequest::default()
    }
}

async fn submit(agent: &Agent, request: SubmitRequest) -> tonic::Streaming<SubmitResponse> {
    InboundClient::new(agent.channel.clone()).submit(request).await.unwrap().into_inner()
}

fn texts(response: &SubmitResponse) -> Vec<&str> {
    response.payloads.iter().map(|payload| payload.text.as_str()).collect()
}

#[tokio::test]
async fn an_answer_is_told_in_pieces_and_a_repeat_tells_the_same_pieces() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut config = config(&provider);
    config["agents"]["defaults"]["blockStreamingChunk"] = json!({"minChars": 10, "maxChars": 40});
    let agent = Agent::open(folder.path(), config, 1).await;
    let wanted = SubmitRequest { parts: true, ..message("m1", "hi") };
    let mut answers = submit(&agent, wanted.clone()).await;
    assert_eq!(answers.message().await.unwrap().unwrap().status, "accepted");
    let answer = provider.call().await.stream();
    answer.text("First para").await;
    answer.text("graph here.\n\nSecond par").await;
    let part = answers.message().await.unwrap().unwrap();
    assert_eq!((part.status.as_str(), part.pieces_before), ("part", 0));
    let mut pieces: Vec<String> = texts(&part).iter().map(ToString::to_string).collect();
    answer.text("agraph, the last.").await;
    answer.finish().await;
    let end = loop {
        let response = answers.message().await.unwrap().unwrap();
        assert_eq!(response.pieces_before, i64::try_from(pieces.len()).unwrap());
        pieces.extend(texts(&response).iter().map(ToString::to_string));
        if response.status != "part" {
            break response.status;
        }
    };
    assert_eq!((end.as_str(), pieces.join(" ").as_str()), ("ok", "First paragraph here. Second paragraph, the last."));
    let again = submit(&agent, wanted).await.message().await.unwrap().unwrap();
    assert_eq!((again.status.as_str(), again.pieces_before, texts(&again)), ("ok", 0, pieces.iter().map(String::as_str).collect()));
}

#[tokio::test]
async fn silence_is_no_piece() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = Agent::open(folder.path(), config(&provider), 1).await;
    let mut answers = submit(&agent, SubmitRequest { parts: true, ..message("m1", "hi") }).await;
    answers.message().await.unwrap().unwrap();
    provider.reply("NO_REPLY").await;
    let end = answers.message().await.unwrap().unwrap();
    assert_eq!((end.status.as_str(), texts(&end).len()), ("ok", 0));
}

#[tokio::test]
async fn sec_20_a_guest_gives_no_commands_and_only_an_owner_says_how_programs_are_run() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = Agent::open(folder.path(), config(&provider), 1).await;
    let guest = SubmitRequest { authorized: false, ..message("g1", "/status") };
    let mut answers = submit(&agent, guest).await;
    assert_eq!(answers.message().await.unwrap().unwrap().status, "accepted", "words for the model");
    provider.reply("hm").await;
    answers.message().await.unwrap().unwrap();
    for (run, owner, part) in [("a1", false, "Owner: no"), ("a2", true, "Owner: yes")] {
        let answer = submit(&agent, SubmitRequest { owner, ..message(run, "/whoami") }).await.message().await.unwrap().unwrap();
        assert!(texts(&answer)[0].contains(part), "{answer:?}");
    }
    let mut answers = submit(&agent, message("e1", "/exec security=full")).await;
    assert_eq!(answers.message().await.unwrap().unwrap().status, "accepted", "words for the model");
    provider.reply("no").await;
    answers.message().await.unwrap().unwrap();
    let answer =
        submit(&agent, SubmitRequest { owner: true, ..message("e2", "/exec security=deny") }).await.message().await.unwrap().unwrap();
    assert_eq!(texts(&answer), ["Programs: host=as configured security=deny ask=as configured node=none"]);
}

#[tokio::test]
async fn a_directive_leaves_the_envelope_as_it_is() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = Agent::open(folder.path(), config(&provider), 1).await;
    let mut answers = submit(&agent, message("m1", "/think low what is this")).await;
    answers.message().await.unwrap().unwrap();
    let asked = provider.reply("that").await;
    let said = asked["messages"][1]["content"].as_str().unwrap();
    assert!(said.ends_with("[Telegram Ann id:42 2026-02-01T12:00Z] what is this"), "{said}");
    answers.message().await.unwrap().unwrap();
}

#[tokio::test]
async fn sec_66_a_policy_refuses_messages_of_a_network_unless_the_session_says_otherwise() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut config = config(&provider);
    config["session"] = json!({"sendPolicy": {"rules": [{"action": "deny", "match": {"channel": "telegram", "chatType": "group"}}]}});
    let agent = Agent::open(folder.path(), config, 1).await;
    let in_group = |run: &str, text: &str| SubmitRequest { chat_type: "group".to_owned(), peer_id: "-1".to_owned(), ..message(run, text) };
    for (run, text) in [("m1", "hi"), ("m2", "/status")] {
        let answer = submit(&agent, in_group(run, text)).await.message().await.unwrap().unwrap();
        assert_eq!(answer.status, "denied", "{text}");
    }
    let mut elsewhere = submit(&agent, message("m3", "hi")).await;
    assert_eq!(elsewhere.message().await.unwrap().unwrap().status, "accepted", "the rule is about groups");
    provider.reply("hello").await;
    elsewhere.message().await.unwrap().unwrap();
    let patch = json!({"key": "agent:main:telegram:group:-1", "sendPolicy": "allow"});
    agent.client.clone().sessions_patch(as_owner(serde_json::from_value::<SessionsPatchRequest>(patch).unwrap())).await.unwrap();
    let mut answers = submit(&agent, in_group("m4", "hi")).await;
    assert_eq!(answers.message().await.unwrap().unwrap().status, "accepted", "the session's own word comes first");
    provider.reply("hello").await;
    answers.message().await.unwrap().unwrap();
}

#[tokio::test]
async fn sec_20_a_chat_changes_nothing_of_the_configuration_where_writes_are_off() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut config = config(&provider);
    config["commands"] = json!({"config": true, "ownerAllowFrom": ["42"]});
    config["channels"] = json!({"telegram": {"configWrites": false, "accounts": {"open": {"configWrites": true}}}});
    let agent = Agent::open(folder.path(), config, 1).await;
    let mut said = Vec::new();
    for (run, text, account) in [
        ("c1", "/config set ui.seamColor #123456", "default"),
        ("c2", "/config unset ui.seamColor", "default"),
        ("c3", "/config SET ui.seamColor #123456", "default"),
        ("c4", "/allowlist add 7", "default"),
        ("c5", "/config get session", "default"),
        ("c6", "/config set ui.seamColor #123456", "open"),
    ] {
        let request = SubmitRequest { owner: true, account_id: account.to_owned(), ..message(run, text) };
        let answer = submit(&agent, request).await.message().await.unwrap().unwrap();
        said.push(texts(&answer).join(" "));
    }
    let off = "⚠️ channels.telegram.configWrites is off.";
    assert_eq!(said[..4], [off; 4], "{said:?}");
    assert!(said[4..].iter().all(|words| words != off), "to look is no write, and an account has its own word: {said:?}");
}

#[tokio::test]
async fn sec_55_only_those_that_an_agent_names_lead_its_programs_out_of_a_sandbox() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut config = config(&provider);
    config["tools"] = json!({"elevated": {"allowFrom": {"telegram": ["42"]}}});
    config["agents"]["list"][1]["tools"] = json!({"elevated": {"allowFrom": {"telegram": ["7"]}}});
    config["bindings"] = json!([{"agentId": "second", "match": {"channel": "telegram", "accountId": "work"}}]);
    let agent = Agent::open(folder.path(), config, 1).await;
    for (run, account, part) in [("e1", "default", "on"), ("e2", "work", "Programs may not leave the sandbox for you here")] {
        let request = SubmitRequest { owner: true, account_id: account.to_owned(), ..message(run, "/elevated on") };
        let answer = submit(&agent, request).await.message().await.unwrap().unwrap();
        let words = texts(&answer).join(" ");
        assert!(words.contains(part) && words.contains("may not leave") == (account == "work"), "{words}");
    }
}

#[tokio::test]
async fn a_group_hears_what_its_agent_is_called_by() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut config = config(&provider);
    config["agents"]["list"][1]["groupChat"] = json!({"mentionPatterns": ["vera"]});
    config["bindings"] = json!([{"agentId": "second", "match": {"channel": "telegram", "peer": {"kind": "group", "id": "-1"}}}]);
    let agent = Agent::open(folder.path(), config, 1).await;
    for (peer, patterns) in [("-1", Some(vec!["vera".to_owned()])), ("-2", None)] {
        let (channel, account_id) = ("telegram".to_owned(), "default".to_owned());
        let request = ActivationRequest { channel, account_id, peer_id: peer.to_owned(), thread_id: None };
        let said = InboundClient::new(agent.channel.clone()).activation(request).await.unwrap().into_inner();
        assert_eq!(said.called_by.map(|called_by| called_by.patterns), patterns, "{peer}");
    }
}
