//! What is changed about sessions: settings, a fresh beginning, a shorter transcript, an end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use tonic::{Code, Status};
use verso_proto::agent::v1::{
    ChatInjectRequest, ChatStartupRequest, SessionEntry, SessionsCompactRequest, SessionsCompactResponse, SessionsDeleteRequest,
    SessionsDeleteResponse, SessionsDescribeRequest, SessionsPatchRequest, SessionsPatchResponse, SessionsPreviewRequest,
    SessionsResetRequest, SessionsResolveRequest,
};

use crate::agent::{Agent, config, turn};
use crate::provider::Provider;

const SESSION: &str = "agent:main:test";

async fn setup() -> (tempfile::TempDir, Provider, Agent) {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = Agent::open(folder.path(), config(&provider), 1).await;
    (folder, provider, agent)
}

async fn talk(agent: &Agent, provider: &mut Provider, session: &str, message: &str) -> Value {
    let answers = agent.run(turn(session, message, &format!("{session} {message}"))).await.unwrap();
    let asked = provider.reply(&format!("re {message}")).await;
    answers.rest().await;
    asked
}

/// Sends a patch as clients write it.
async fn patch(agent: &Agent, params: Value) -> Result<SessionsPatchResponse, Status> {
    let request: SessionsPatchRequest = serde_json::from_value(params).unwrap();
    agent.client.clone().sessions_patch(request).await.map(tonic::Response::into_inner)
}

async fn patched(agent: &Agent, params: Value) -> SessionEntry {
    patch(agent, params).await.unwrap().entry.unwrap()
}

async fn delete(agent: &Agent, key: &str) -> Result<SessionsDeleteResponse, Status> {
    let request = SessionsDeleteRequest { key: key.to_owned(), ..SessionsDeleteRequest::default() };
    agent.client.clone().sessions_delete(request).await.map(tonic::Response::into_inner)
}

async fn compact(agent: &Agent, key: &str, max_lines: Option<i64>) -> SessionsCompactResponse {
    let request = SessionsCompactRequest { key: key.to_owned(), max_lines, ..SessionsCompactRequest::default() };
    agent.client.clone().sessions_compact(request).await.unwrap().into_inner()
}

async fn resolve(agent: &Agent, params: Value) -> Result<String, Status> {
    let request: SessionsResolveRequest = serde_json::from_value(params).unwrap();
    agent.client.clone().sessions_resolve(request).await.map(|answer| answer.into_inner().key)
}

/// Reads an archived transcript and checks that it is a chain.
fn archived(path: &str) -> Vec<String> {
    let path = Path::new(path);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["type"], &lines[0]["version"]), (&json!("session"), &json!(3)));
    let mut before = Value::Null;
    for line in &lines[1..] {
        assert_eq!((&line["type"], &line["parentId"]), (&json!("message"), &before));
        before = line["id"].clone();
    }
    lines[1..].iter().map(|line| line["message"]["content"][0]["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_patch_sets_keeps_and_clears() {
    let (folder, provider, agent) = setup().await;
    let answer =
        patch(&agent, json!({"key": "Test", "label": " one ", "thinkingLevel": "ultrathink", "verboseLevel": "on"})).await.unwrap();
    assert_eq!((answer.ok, answer.key.as_str(), answer.resolved.unwrap().model.as_str()), (true, SESSION, "mock-1"));
    let made = answer.entry.unwrap();
    assert_eq!((made.label.as_deref(), made.thinking_level.as_deref(), made.system_sent), (Some("one"), Some("high"), None));
    let changed = patched(&agent, json!({"key": SESSION, "thinkingLevel": null, "execHost": "gateway", "sendPolicy": "allow"})).await;
    assert_eq!((changed.session_id.as_str(), changed.thinking_level), (made.session_id.as_str(), None));
    let kept = (changed.label.as_deref(), changed.verbose_level.as_deref(), changed.exec_host.as_deref());
    assert_eq!(kept, (Some("one"), Some("on"), Some("gateway")));
    drop(agent);
    let agent = Agent::open(folder.path(), config(&provider), 2).await;
    let restarted = patched(&agent, json!({"key": SESSION, "sendPolicy": null})).await;
    assert_eq!((restarted.session_id, restarted.exec_host.as_deref(), restarted.send_policy), (made.session_id, Some("gateway"), None));
}

#[tokio::test]
async fn refuses_values_that_make_no_sense() {
    let (_folder, _provider, agent) = setup().await;
    patched(&agent, json!({"key": "other", "label": "taken"})).await;
    patched(&agent, json!({"key": "subagent:a", "spawnedBy": "agent:main:main"})).await;
    for (params, words) in [
        (json!({"thinkingLevel": "huge"}), "invalid thinkingLevel (use off|minimal|low|medium|high)"),
        (json!({"verboseLevel": "loud"}), r#"invalid verboseLevel (use "on"|"off")"#),
        (json!({"reasoningLevel": "x"}), r#"invalid reasoningLevel (use "on"|"off"|"stream")"#),
        (json!({"responseUsage": "x"}), r#"invalid responseUsage (use "off"|"tokens"|"full")"#),
        (json!({"elevatedLevel": "x"}), r#"invalid elevatedLevel (use "on"|"off"|"ask"|"full")"#),
        (json!({"execHost": "moon"}), r#"invalid execHost (use "sandbox"|"gateway"|"node")"#),
        (json!({"execSecurity": "x"}), r#"invalid execSecurity (use "deny"|"allowlist"|"full")"#),
        (json!({"execAsk": "x"}), r#"invalid execAsk (use "off"|"on-miss"|"always")"#),
        (json!({"execNode": " "}), "invalid execNode: empty"),
        (json!({"model": " "}), "invalid model: empty"),
        (json!({"model": "acme/one"}), "model not allowed: acme/one"),
        (json!({"sendPolicy": "maybe"}), r#"invalid sendPolicy (use "allow"|"deny")"#),
        (json!({"groupActivation": "x"}), r#"invalid groupActivation (use "mention"|"always")"#),
        (json!({"label": " "}), "invalid label: empty"),
        (json!({"label": "taken", "verboseLevel": "on"}), "label already in use: taken"),
        (json!({"spawnedBy": "agent:main:main"}), "spawnedBy is only supported for subagent:* sessions"),
        (json!({"key": "subagent:a", "spawnedBy": "agent:main:b"}), "spawnedBy cannot be changed once set"),
        (json!({"key": "subagent:a", "spawnedBy": null}), "spawnedBy cannot be cleared once set"),
    ] {
        let mut request = json!({"key": SESSION});
        request.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let error = patch(&agent, request).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::InvalidArgument, words));
    }
    assert!(resolve(&agent, json!({"key": SESSION})).await.is_err(), "a refused patch leaves no session");
    assert_eq!(patched(&agent, json!({"key": "other", "label": "taken"})).await.label.as_deref(), Some("taken"));
}

#[tokio::test]
async fn a_session_that_takes_no_messages_refuses_them_until_it_does() {
    let (_folder, mut provider, agent) = setup().await;
    patched(&agent, json!({"key": SESSION, "sendPolicy": "deny"})).await;
    let refusals = [
        agent.send(SESSION, "hi", "r1").await.err(),
        agent.send(SESSION, "/status", "r2").await.err(),
        agent.run(turn(SESSION, "hi", "r3")).await.err(),
    ];
    for error in refusals {
        let error = error.unwrap();
        assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "send blocked by session policy"));
    }
    assert_eq!(agent.send(SESSION, "stop", "r4").await.unwrap().ok, Some(true), "what runs can be stopped");
    patched(&agent, json!({"key": SESSION, "sendPolicy": null})).await;
    let answers = agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
    provider.reply("hello").await;
    assert_eq!(answers.rest().await.1.status, "ok", "the refused run's id is free");
    assert_eq!(agent.transcript(SESSION).await, ["user: hi", "assistant: hello"]);
}

#[tokio::test]
async fn a_policy_for_all_sessions_refuses_what_no_rule_allows() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut config = config(&provider);
    config["session"] = json!({"sendPolicy": {"default": "deny", "rules": [{"action": "allow", "match": {"keyPrefix": "test"}}]}});
    let agent = Agent::open(folder.path(), config, 1).await;
    for error in [agent.send("other", "hi", "r1").await.err(), agent.run(turn("other", "hi", "r2")).await.err()] {
        let error = error.unwrap();
        assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "send blocked by session policy"));
    }
    talk(&agent, &mut provider, SESSION, "hi").await;
    patched(&agent, json!({"key": SESSION, "sendPolicy": "deny"})).await;
    assert!(agent.send(SESSION, "hi", "r3").await.is_err(), "the session's own word comes first");
    patched(&agent, json!({"key": "other", "sendPolicy": "allow"})).await;
    talk(&agent, &mut provider, "other", "hi").await;
}

#[tokio::test]
async fn a_run_asks_the_model_that_its_session_names() {
    let (_folder, mut provider, agent) = setup().await;
    let entry = patched(&agent, json!({"key": SESSION, "model": "mock/mock-2"})).await;
    assert_eq!((entry.provider_override.as_deref(), entry.model_override.as_deref()), (Some("mock"), Some("mock-2")));
    assert_eq!(talk(&agent, &mut provider, SESSION, "one").await["model"], "mock-2");
    patched(&agent, json!({"key": SESSION, "model": null})).await;
    assert_eq!(talk(&agent, &mut provider, SESSION, "two").await["model"], "mock-1");
}

#[tokio::test]
async fn a_session_is_found_by_key_id_or_label() {
    let (_folder, _provider, agent) = setup().await;
    let entry = patched(&agent, json!({"key": SESSION, "label": "mine"})).await;
    for params in [json!({"key": "test"}), json!({"sessionId": entry.session_id}), json!({"label": "mine"})] {
        assert_eq!(resolve(&agent, params).await.unwrap(), SESSION);
    }
    for (params, words) in [
        (json!({}), "Either key, sessionId, or label is required"),
        (json!({"key": "a", "label": "b"}), "Provide either key, sessionId, or label (not multiple)"),
        (json!({"sessionId": "a", "label": "b"}), "Provide either key, sessionId, or label (not multiple)"),
        (json!({"key": "none"}), "No session found: none"),
        (json!({"sessionId": "none"}), "No session found: none"),
        (json!({"label": "none"}), "No session found with label: none"),
        (json!({"label": "mine", "agentId": "second"}), "No session found with label: mine"),
    ] {
        let error = resolve(&agent, params).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::InvalidArgument, words));
    }
}

#[tokio::test]
async fn previews_and_descriptions_show_what_there_is() {
    let (_folder, mut provider, agent) = setup().await;
    patched(&agent, json!({"key": "blank"})).await;
    talk(&agent, &mut provider, SESSION, &"long ".repeat(20)).await;
    let keys = ["test", "blank", "none"].map(str::to_owned).to_vec();
    let request = SessionsPreviewRequest { keys, max_chars: Some(20), limit: None };
    let previews = agent.client.clone().sessions_preview(request).await.unwrap().into_inner().previews;
    let states: Vec<(&str, &str)> = previews.iter().map(|preview| (preview.key.as_str(), preview.status.as_str())).collect();
    assert_eq!(states, [("test", "ok"), ("blank", "empty"), ("none", "missing")]);
    let items: Vec<(&str, &str)> = previews[0].items.iter().map(|item| (item.role.as_str(), item.text.as_str())).collect();
    assert_eq!(items, [("user", "long long long long…"), ("assistant", "re long long long l…")]);
    let describe = |key: &str| {
        let mut client = agent.client.clone();
        let request = SessionsDescribeRequest { key: key.to_owned(), include_last_message: Some(true), ..Default::default() };
        async move { client.sessions_describe(request).await.unwrap().into_inner().session }
    };
    let row = describe("test").await.unwrap();
    assert_eq!((row.key.as_str(), row.model.as_deref()), (SESSION, Some("mock-1")));
    assert!(row.last_message_preview.unwrap().starts_with("re long"));
    assert!(describe("none").await.is_none());
    let startup = ChatStartupRequest { session_key: SESSION.to_owned(), ..ChatStartupRequest::default() };
    let startup = agent.client.clone().chat_startup(startup).await.unwrap().into_inner();
    let history = agent.history(SESSION, None).await;
    assert_eq!((startup.messages, startup.total_messages), (history.messages, history.total_messages));
}

#[tokio::test]
async fn a_reset_keeps_what_the_user_has_set() {
    let (_folder, mut provider, agent) = setup().await;
    talk(&agent, &mut provider, SESSION, "hi").await;
    let before = patched(&agent, json!({"key": SESSION, "label": "mine", "thinkingLevel": "low"})).await;
    let reset = |expected: Option<String>| {
        let mut client = agent.client.clone();
        let request = SessionsResetRequest { key: SESSION.to_owned(), expected_session_id: expected, ..SessionsResetRequest::default() };
        async move { client.sessions_reset(request).await.map(|answer| answer.into_inner().entry.unwrap()) }
    };
    assert!(reset(Some("another".to_owned())).await.unwrap_err().message().contains("has changed"));
    let after = reset(Some(before.session_id.clone())).await.unwrap();
    assert_ne!(after.session_id, before.session_id);
    assert_eq!((after.label.as_deref(), after.thinking_level.as_deref()), (Some("mine"), Some("low")));
    assert_eq!((after.system_sent, after.total_tokens), (Some(false), Some(0)));
    assert!(agent.transcript(SESSION).await.is_empty());
}

#[tokio::test]
async fn a_deleted_session_leaves_its_transcript_in_a_file() {
    let (folder, mut provider, agent) = setup().await;
    talk(&agent, &mut provider, SESSION, "hi").await;
    let answer = delete(&agent, SESSION).await.unwrap();
    assert!(answer.deleted && answer.key == SESSION);
    assert!(Path::new(&answer.archived[0]).starts_with(folder.path().join("agent/archive")));
    assert_eq!(archived(&answer.archived[0]), ["hi", "re hi"]);
    let history = agent.history(SESSION, None).await;
    assert!(history.session_id.is_none() && history.messages.is_empty());
    let again = delete(&agent, SESSION).await.unwrap();
    assert!(!again.deleted && again.archived.is_empty());
    let error = delete(&agent, "main").await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "Cannot delete the main session (agent:main:main)."));
}

#[tokio::test]
async fn an_id_that_a_client_chose_names_no_file_elsewhere() {
    let (folder, mut provider, agent) = setup().await;
    let request = verso_proto::agent::v1::RunRequest { session_id: Some("../../escape".to_owned()), ..turn(SESSION, "hi", "r") };
    let answers = agent.run(request).await.unwrap();
    provider.reply("hello").await;
    answers.rest().await;
    let answer = delete(&agent, SESSION).await.unwrap();
    assert!(Path::new(&answer.archived[0]).parent().unwrap().ends_with("agent/archive"));
    assert_eq!(std::fs::read_dir(folder.path().join("agent/archive")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_deletion_stops_the_run_first() {
    let (_folder, mut provider, agent) = setup().await;
    let answers = agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
    let call = provider.call().await;
    let waiting = agent.run(turn(SESSION, "and this", "r2")).await.unwrap();
    let answer = delete(&agent, SESSION).await.unwrap();
    assert!(answer.deleted);
    for answers in [answers, waiting] {
        assert_eq!(answers.rest().await.1.summary.as_deref(), Some("aborted"));
    }
    drop(call);
    assert_eq!(archived(&answer.archived[0]), ["hi"]);
    assert!(agent.history(SESSION, None).await.session_id.is_none(), "nothing makes it again");
}

#[tokio::test]
async fn a_shortened_transcript_keeps_its_newest_lines_and_a_file_the_rest() {
    let (_folder, mut provider, agent) = setup().await;
    assert_eq!(compact(&agent, SESSION, None).await.reason.as_deref(), Some("no sessionId"));
    patched(&agent, json!({"key": SESSION})).await;
    assert_eq!(compact(&agent, SESSION, None).await.reason.as_deref(), Some("no transcript"));
    for message in ["one", "two", "three"] {
        talk(&agent, &mut provider, SESSION, message).await;
    }
    let unchanged = compact(&agent, SESSION, None).await;
    assert_eq!((unchanged.compacted, unchanged.kept, unchanged.archived), (false, Some(6), None));
    let cut = compact(&agent, SESSION, Some(3)).await;
    assert_eq!((cut.compacted, cut.kept), (true, Some(3)));
    assert_eq!(archived(&cut.archived.unwrap()), ["one", "re one", "two", "re two", "three", "re three"]);
    let history = agent.history(SESSION, None).await;
    assert_eq!((history.messages.len(), history.has_more), (3, Some(false)));
    let asked = talk(&agent, &mut provider, SESSION, "four").await;
    assert_eq!(asked["messages"].as_array().unwrap().len(), 5, "the system prompt, three old messages, a new one");
    assert_eq!(agent.transcript(SESSION).await.len(), 5);
    let inject = ChatInjectRequest { session_key: SESSION.to_owned(), message: "more".to_owned(), ..ChatInjectRequest::default() };
    agent.client.clone().chat_inject(inject).await.unwrap();
    assert_eq!(compact(&agent, SESSION, Some(2)).await.kept, Some(2));
    assert_eq!(agent.transcript(SESSION).await, ["assistant: re four", "assistant: more"]);
}
