//! Model servers that refuse, stall and break, and the responder that needs none.

use std::time::Duration;

use serde_json::{Value, json};
use verso_proto::agent::v1::{HealthSummaryRequest, ModelsListRequest, RunResponse};

use crate::agent::{Agent, config, turn};
use crate::provider::Provider;

const SESSION: &str = "agent:main:test";

async fn setup() -> (tempfile::TempDir, Provider, Agent) {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = Agent::open(folder.path(), config(&provider), 1).await;
    (folder, provider, agent)
}

async fn failed(agent: &Agent, run_id: &str) -> RunResponse {
    let (statuses, last) = agent.run_again(turn(SESSION, "hi", run_id), 1).await.unwrap().rest().await;
    assert_eq!(statuses, ["error"], "{last:?}");
    last
}

#[tokio::test]
async fn a_refusal_ends_the_run_with_the_words_of_the_provider() {
    let (_folder, mut provider, agent) = setup().await;
    let mut events = agent.listen(None).await;
    let (last, ()) = tokio::join!(failed(&agent, "r1"), async { provider.call().await.refuse(400, None) });
    let words = "mock/mock-1: the provider refused the request (HTTP 400): mock status 400";
    assert_eq!(last.summary.as_deref(), Some(words));
    assert_eq!(last.result.unwrap().payloads[0].text, words, "clients that show a refusal as a reply find it there");
    let lines = events.until_end("r1").await;
    assert_eq!(lines, ["1 lifecycle start".to_owned(), format!("2 lifecycle error {words}"), format!("2 chat error {words}")]);
    assert!(provider.idle(), "a refusal is not repeated");
    assert_eq!(agent.transcript(SESSION).await, ["user: hi"]);
}

#[tokio::test]
async fn a_busy_provider_is_asked_again_when_it_says() {
    let (_folder, mut provider, agent) = setup().await;
    let answers = agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
    provider.call().await.refuse(429, Some("0"));
    provider.call().await.refuse(503, Some("0"));
    provider.reply("at last").await;
    let (statuses, last) = answers.rest().await;
    assert_eq!(statuses, ["accepted", "ok"]);
    assert_eq!(last.result.unwrap().payloads[0].text, "at last");
}

#[tokio::test]
async fn a_provider_that_stays_busy_ends_the_run() {
    let (_folder, mut provider, agent) = setup().await;
    let (last, ()) = tokio::join!(failed(&agent, "r1"), async {
        for _ in 0..3 {
            provider.call().await.refuse(500, Some("0"));
        }
    });
    assert!(last.summary.unwrap().contains("the provider has a fault (HTTP 500): mock status 500"));
    let (last, ()) = tokio::join!(failed(&agent, "r2"), async { provider.call().await.refuse(429, Some("3600")) });
    assert!(last.summary.unwrap().contains("it may be tried again in 3600 s"));
    assert!(provider.idle(), "nobody waits for an hour");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_what_was_said_stays() {
    let (_folder, mut provider, agent) = setup().await;
    let mut events = agent.listen(None).await;
    let (last, ()) = tokio::join!(failed(&agent, "r1"), async {
        let answer = provider.call().await.stream();
        answer.text("half").await;
        events.said("r1").await;
        answer.cut().await;
    });
    assert_eq!(last.summary.as_deref(), Some("mock/mock-1: the provider's answer broke off in the middle"));
    assert_eq!(agent.transcript(SESSION).await, ["user: hi", "assistant: half"]);
    let end = events.chat_end("r1").await;
    assert_eq!((end.seq, end.state.as_str()), (3, "error"));
}

#[tokio::test]
async fn a_silent_provider_is_given_up() {
    let (_folder, mut provider, agent) = setup().await;
    let (last, _call) = tokio::join!(failed(&agent, "r1"), async {
        let call = provider.call().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_mins(6)).await;
        tokio::time::resume();
        call
    });
    assert_eq!(last.summary.as_deref(), Some("mock/mock-1: the provider did not answer within 300 s"));
}

#[tokio::test]
async fn a_provider_that_does_not_stream_is_understood() {
    let (_folder, mut provider, agent) = setup().await;
    let answers = agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
    let whole = json!({"choices": [{"message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}]});
    provider.call().await.document(&whole);
    assert_eq!(answers.rest().await.1.result.unwrap().payloads[0].text, "whole");
}

#[tokio::test]
async fn an_unreachable_or_unusable_provider_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let provider = |base_url: String, api: &str| {
        json!({"agents": {"defaults": {"model": "mock/m"}},
               "models": {"providers": {"mock": {"baseUrl": base_url, "api": api, "models": [{"id": "m"}]}}}})
    };
    let agent = Agent::open(folder.path(), provider(format!("http://{unused}/v1"), "openai-completions"), 1).await;
    let words = failed(&agent, "r1").await.summary.unwrap();
    assert!(words.starts_with("mock/m: the provider could not be reached"), "{words}");
    let agent = Agent::open(folder.path(), provider("http://x".to_owned(), "other-dialect"), 2).await;
    let words = failed(&agent, "r2").await.summary.unwrap();
    assert!(words.contains("models.providers.mock.api is \"other-dialect\""), "{words}");
}

#[tokio::test]
async fn only_as_much_history_as_fits_is_sent() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut file = config(&provider);
    file["models"]["providers"]["mock"]["models"][0]["contextWindow"] = json!(3_000);
    let agent = Agent::open(folder.path(), file, 1).await;
    let long = "word ".repeat(200);
    let mut sent = Value::Null;
    for number in 0..8 {
        let answers = agent.run(turn(SESSION, &format!("{number} {long}"), &format!("r{number}"))).await.unwrap();
        sent = provider.reply("ok").await;
        answers.rest().await;
    }
    let messages = sent["messages"].as_array().unwrap();
    assert!((4..14).contains(&messages.len()), "{} messages", messages.len());
    assert_eq!(messages[1]["role"], "user");
    assert!(messages.last().unwrap()["content"].as_str().unwrap().contains("] 7 word"));
    assert_eq!(agent.history(SESSION, None).await.messages.len(), 16, "the transcript has everything");
}

#[tokio::test]
async fn without_a_model_the_offline_responder_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::open(folder.path(), json!({}), 1).await;
    let mut events = agent.listen(None).await;
    let (statuses, last) = agent.run(turn("main", "hello", "r1")).await.unwrap().rest().await;
    assert_eq!(statuses, ["accepted", "ok"]);
    let result = last.result.unwrap();
    let text = &result.payloads[0].text;
    for part in ["No language model is configured yet", "models: {", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "Ollama"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(result.meta.unwrap().agent_meta.unwrap().model, "offline");
    let streamed = events.until_end("r1").await.iter().filter(|line| line.contains(" assistant ")).count();
    assert!(streamed > 20, "{streamed} pieces");

    let (_, last) = agent.run(turn("main", "status?", "r2")).await.unwrap().rest().await;
    let text = &last.result.unwrap().payloads[0].text;
    assert!(text.contains("Model: verso/offline") && text.contains("Session: agent:main:main"), "{text}");

    let models = agent.client.clone().models_list(ModelsListRequest::default()).await.unwrap().into_inner().models;
    assert_eq!((models[0].provider.as_str(), models[0].id.as_str()), ("verso", "offline"));
    let health = agent.client.clone().health_summary(HealthSummaryRequest::default()).await.unwrap().into_inner();
    assert!(!health.model_configured);
}
