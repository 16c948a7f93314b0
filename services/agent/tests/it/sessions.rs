//! Sessions: their transcripts, their list, commands and what is refused.

use serde_json::json;
use tonic::Code;
use verso_proto::agent::v1::{
    AgentsListRequest, Attachment, ChatHistoryRequest, ChatInjectRequest, HealthSummaryRequest, IdentityGetRequest, RunRequest,
    SessionsListRequest, StatusSummaryRequest,
};

use crate::agent::{Agent, chat, config, turn};
use crate::provider::Provider;

const SESSION: &str = "agent:main:test";

async fn setup() -> (tempfile::TempDir, Provider, Agent) {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = Agent::open(folder.path(), config(&provider), 1).await;
    (folder, provider, agent)
}

async fn talk(agent: &Agent, provider: &mut Provider, session: &str, message: &str, reply: &str) {
    let answers = agent.run(turn(session, message, &format!("{session} {message}"))).await.unwrap();
    provider.reply(reply).await;
    answers.rest().await;
}

#[tokio::test]
async fn refuses_what_makes_no_sense() {
    let (_folder, _provider, agent) = setup().await;
    let run = |edit: fn(&mut RunRequest)| {
        let mut request = RunRequest { message: "x".to_owned(), idempotency_key: "k".to_owned(), ..RunRequest::default() };
        edit(&mut request);
        agent.run(request)
    };
    let some = |text: &str| Some(text.to_owned());
    let refusals = [
        (run(|request| request.agent_id = Some("kit-none".to_owned())).await, r#"invalid agent params: unknown agent id "kit-none""#),
        (run(|request| request.channel = Some("kit-none".to_owned())).await, "invalid agent params: unknown channel: kit-none"),
        (
            run(|request| {
                request.agent_id = Some("second".to_owned());
                request.session_key = Some("agent:main:kit".to_owned());
            })
            .await,
            r#"invalid agent params: agent "second" does not match session key agent "main""#,
        ),
        (run(|request| request.label = Some(" ".to_owned())).await, "invalid label: empty"),
    ];
    for (result, words) in refusals {
        let error = result.err().unwrap();
        assert_eq!((error.code(), error.message()), (Code::InvalidArgument, words));
    }
    let (_, last) = run(|request| request.model = Some("acme/one".to_owned())).await.unwrap().rest().await;
    assert_eq!(last.summary.as_deref(), Some("model not allowed: acme/one"));
    let blank = agent.send(SESSION, "   ", "b").await.unwrap_err();
    assert_eq!((blank.code(), blank.message()), (Code::InvalidArgument, "message or attachment required"));
    let attachment = Attachment { mime_type: some("image/png"), file_name: some("a.png"), content: some("***"), r#type: None };
    let request = verso_proto::agent::v1::ChatSendRequest { attachments: vec![attachment], ..chat(SESSION, "look", "a") };
    assert!(agent.send_with(request).await.unwrap_err().message().contains("base64"));
    let inject = ChatInjectRequest { session_key: "agent:main:none".to_owned(), message: "x".to_owned(), ..ChatInjectRequest::default() };
    assert_eq!(agent.client.clone().chat_inject(inject).await.unwrap_err().message(), "session not found");
    assert!(agent.history(SESSION, None).await.session_id.is_none(), "a refused request leaves no session");
}

#[tokio::test]
async fn a_history_is_the_newest_part_in_order() {
    let (_folder, mut provider, agent) = setup().await;
    let empty = agent.history("Test", None).await;
    assert_eq!((empty.session_key.as_str(), empty.messages.len(), empty.thinking_level.as_deref()), ("Test", 0, Some("off")));
    for number in 0..3 {
        talk(&agent, &mut provider, SESSION, &format!("q{number}"), &format!("a{number}")).await;
    }
    let texts = |messages: &[verso_proto::agent::v1::ChatMessage]| -> Vec<String> {
        messages.iter().filter_map(|message| message.content[0].text.clone()).collect()
    };
    let page = agent.history(SESSION, Some(3)).await;
    assert_eq!((texts(&page.messages), page.has_more), (vec!["a1".to_owned(), "q2".to_owned(), "a2".to_owned()], Some(true)));
    assert_eq!(page.session_info.unwrap().total_tokens, Some(10));
    let request = ChatHistoryRequest { session_key: SESSION.to_owned(), limit: Some(2), offset: Some(4), ..ChatHistoryRequest::default() };
    let oldest = agent.client.clone().chat_history(request).await.unwrap().into_inner();
    assert_eq!((texts(&oldest.messages), oldest.has_more), (vec!["q0".to_owned(), "a0".to_owned()], Some(false)));
    let answer = &oldest.messages[1];
    assert_eq!(
        (answer.provider.as_deref(), answer.model.as_deref(), answer.stop_reason.as_deref()),
        (Some("mock"), Some("mock-1"), Some("stop"))
    );
}

#[tokio::test]
async fn a_picture_reaches_the_transcript_but_not_the_list() {
    let (_folder, mut provider, agent) = setup().await;
    let attachment = Attachment { content: Some("aGk=".to_owned()), ..Attachment::default() };
    agent
        .send_with(verso_proto::agent::v1::ChatSendRequest { attachments: vec![attachment], ..chat(SESSION, "look", "r1") })
        .await
        .unwrap();
    let asked = provider.reply("nice").await;
    assert!(asked["messages"][1]["content"].as_str().unwrap().contains("1 picture(s) attached"));
    let picture = agent.history(SESSION, None).await.messages[0].content[1].clone();
    assert_eq!((picture.r#type.as_str(), picture.data, picture.omitted), ("image", None, Some(true)));
}

#[tokio::test]
async fn commands_answer_without_a_model_and_once() {
    let (_folder, mut provider, agent) = setup().await;
    let mut events = agent.listen(None).await;
    assert_eq!(agent.send(SESSION, "/status", "c1").await.unwrap().status.as_deref(), Some("started"));
    let end = events.chat_end("c1").await;
    let message = end.message.unwrap();
    assert_eq!((end.seq, message.stop_reason.as_deref()), (1, Some("injected")));
    assert!(message.content[0].text.as_deref().unwrap().contains("Model: mock/mock-1"));
    assert_eq!(agent.send(SESSION, "/status", "c1").await.unwrap().status.as_deref(), Some("ok"));
    assert_eq!(agent.history(SESSION, None).await.messages.len(), 1);
    talk(&agent, &mut provider, SESSION, "hi", "hello").await;
    assert!(provider.idle(), "only the message was for the model");
}

#[tokio::test]
async fn new_begins_the_session_afresh() {
    let (_folder, mut provider, agent) = setup().await;
    let mut events = agent.listen(None).await;
    talk(&agent, &mut provider, SESSION, "before", "x").await;
    let before = agent.history(SESSION, None).await.session_id;
    agent.send(SESSION, "/new", "n1").await.unwrap();
    events.chat_end("n1").await;
    let after = agent.history(SESSION, None).await;
    assert_ne!(after.session_id, before);
    assert_eq!(after.messages.len(), 1, "only the confirmation");
    let answers = agent.run(turn(SESSION, "/reset and tell me", "n2")).await.unwrap();
    let asked = provider.reply("told").await;
    answers.rest().await;
    assert_eq!(asked["messages"].as_array().unwrap().len(), 2);
    assert_eq!(agent.transcript(SESSION).await, ["user: and tell me", "assistant: told"]);
    let (statuses, last) = agent.run(turn(SESSION, "/new", "n3")).await.unwrap().rest().await;
    assert_eq!(statuses, ["ok"]);
    assert!(last.result.unwrap().payloads[0].text.contains("mock/mock-1"));
}

#[tokio::test]
async fn an_injected_message_is_heard_and_shown_to_the_model() {
    let (_folder, mut provider, agent) = setup().await;
    talk(&agent, &mut provider, SESSION, "hi", "hello").await;
    let mut events = agent.listen(None).await;
    let request = ChatInjectRequest {
        session_key: SESSION.to_owned(),
        message: "from outside".to_owned(),
        label: Some("Kit".to_owned()),
        ..ChatInjectRequest::default()
    };
    let injected = agent.client.clone().chat_inject(request).await.unwrap().into_inner();
    assert!(injected.ok && injected.message_id.len() == 8);
    let end = events.chat_end(&format!("inject-{}", injected.message_id)).await;
    assert_eq!((end.seq, end.state.as_str()), (0, "final"));
    assert_eq!(agent.transcript(SESSION).await[2], "assistant: [Kit]\n\nfrom outside");
    let answers = agent.run(turn(SESSION, "what was that", "r2")).await.unwrap();
    let asked = provider.reply("that").await;
    answers.rest().await;
    assert_eq!(asked["messages"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn sessions_are_listed_newest_first_and_filtered() {
    let (_folder, mut provider, agent) = setup().await;
    talk(&agent, &mut provider, "first", "a title for the first session", "lastword").await;
    talk(&agent, &mut provider, "agent:second:main", "hi", "hello").await;
    let list = |request: SessionsListRequest| {
        let mut client = agent.client.clone();
        async move { client.sessions_list(request).await.unwrap().into_inner() }
    };
    let all =
        list(SessionsListRequest { include_derived_titles: Some(true), include_last_message: Some(true), ..Default::default() }).await;
    assert_eq!((all.count, all.sessions.len()), (2, 2));
    assert!(all.sessions[0].updated_at_ms >= all.sessions[1].updated_at_ms);
    let first = all.sessions.iter().find(|session| session.key == "agent:main:first").unwrap();
    assert_eq!(first.derived_title.as_deref(), Some("a title for the first session"));
    assert_eq!((first.last_message_preview.as_deref(), first.kind.as_str()), (Some("lastword"), "direct"));
    assert_eq!((first.model.as_deref(), first.total_tokens, first.context_tokens), (Some("mock-1"), Some(10), Some(128_000)));
    for (request, keys) in [
        (SessionsListRequest { agent_id: Some("second".to_owned()), ..Default::default() }, &["agent:second:main"][..]),
        (SessionsListRequest { search: Some("FIRST".to_owned()), ..Default::default() }, &["agent:main:first"]),
        (SessionsListRequest { label: Some("none".to_owned()), ..Default::default() }, &[]),
    ] {
        let found: Vec<String> = list(request).await.sessions.into_iter().map(|session| session.key).collect();
        assert_eq!(found, keys);
    }
    assert_eq!(list(SessionsListRequest { limit: Some(1), ..Default::default() }).await.sessions.len(), 1);
}

#[tokio::test]
async fn a_session_id_finds_its_session_again() {
    let (_folder, mut provider, agent) = setup().await;
    let request = |run_id: &str| RunRequest {
        message: "hi".to_owned(),
        session_id: Some("made-up-id".to_owned()),
        idempotency_key: run_id.to_owned(),
        ..RunRequest::default()
    };
    for run_id in ["r1", "r2"] {
        let mut answers = agent.run(request(run_id)).await.unwrap();
        assert_eq!(answers.next().await.unwrap().session_key.as_deref(), Some("agent:main:explicit:made-up-id"));
        provider.reply("x").await;
        answers.rest().await;
    }
    let history = agent.history("explicit:made-up-id", None).await;
    assert_eq!((history.session_id.as_deref(), history.messages.len()), (Some("made-up-id"), 4));
}

#[tokio::test]
async fn agents_say_who_they_are() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut file = config(&provider);
    file["agents"]["list"][1] = json!({"id": "second", "identity": {"name": "Ada", "emoji": "🦉"}});
    let agent = Agent::open(folder.path(), file, 1).await;
    let identity = |request: IdentityGetRequest| {
        let mut client = agent.client.clone();
        async move { client.identity_get(request).await.map(tonic::Response::into_inner) }
    };
    let default = identity(IdentityGetRequest::default()).await.unwrap();
    assert_eq!((default.agent_id.as_str(), default.name.as_str(), default.avatar.as_str()), ("main", "Assistant", "A"));
    let by_key =
        |key: &str, agent: Option<&str>| IdentityGetRequest { session_key: Some(key.to_owned()), agent_id: agent.map(str::to_owned) };
    let second = identity(by_key("agent:second:main", None)).await.unwrap();
    assert_eq!((second.agent_id.as_str(), second.name.as_str(), second.avatar.as_str()), ("second", "Ada", "🦉"));
    let error = identity(by_key("agent:second:main", Some("main"))).await.unwrap_err();
    assert_eq!(error.message(), r#"invalid agent.identity.get params: agent "main" does not match session key agent "second""#);
    let agents = agent.client.clone().agents_list(AgentsListRequest::default()).await.unwrap().into_inner();
    assert_eq!((agents.default_id.as_str(), agents.main_key.as_str(), agents.scope.as_str()), ("main", "main", "per-sender"));
    assert_eq!(agents.agents.len(), 2);
}

#[tokio::test]
async fn summaries_count_sessions_and_name_the_model() {
    let (_folder, mut provider, agent) = setup().await;
    talk(&agent, &mut provider, "main", "hi", "hello").await;
    let health = agent.client.clone().health_summary(HealthSummaryRequest::default()).await.unwrap().into_inner();
    assert_eq!((health.default_agent_id.as_str(), health.model.as_str(), health.model_configured), ("main", "mock/mock-1", true));
    assert_eq!((health.main_session_key.as_str(), health.heartbeat_seconds, health.agents.len()), ("agent:main:main", 1_800, 2));
    assert_eq!(health.sessions.unwrap().recent[0].key, "agent:main:main");
    let status = agent.client.clone().status_summary(StatusSummaryRequest::default()).await.unwrap().into_inner();
    let sessions = status.sessions.unwrap();
    let row = &sessions.recent[0];
    assert_eq!((sessions.count, row.total_tokens, row.percent_used), (1, Some(10), Some(0)));
    assert_eq!(row.flags, ["system".to_owned(), format!("id:{}", row.session_id.clone().unwrap())]);
}
