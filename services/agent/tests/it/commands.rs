//! Commands and directives, and conversations that become too long.

use serde_json::json;
use verso_proto::agent::v1::{ChatMessage, RunRequest, SessionsDescribeRequest, WaitRequest};

use crate::agent::{Agent, Events, chat, config, turn};
use crate::provider::Provider;

const SESSION: &str = "agent:main:test";

async fn setup() -> (tempfile::TempDir, Provider, Agent, Events) {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = Agent::open(folder.path(), config(&provider), 1).await;
    let events = agent.listen(None).await;
    (folder, provider, agent, events)
}

fn text(message: Option<ChatMessage>) -> String {
    message.unwrap().content[0].text.clone().unwrap()
}

/// Sends a command and returns what is answered.
async fn told(agent: &Agent, events: &mut Events, command: &str, run_id: &str) -> String {
    agent.send(SESSION, command, run_id).await.unwrap();
    text(events.chat_end(run_id).await.message)
}

async fn talk(agent: &Agent, provider: &mut Provider, said: &str, run_id: &str, answer: &str) -> serde_json::Value {
    agent.send(SESSION, said, run_id).await.unwrap();
    let asked = provider.reply(answer).await;
    let wait = WaitRequest { run_id: run_id.to_owned(), timeout_ms: Some(10_000) };
    agent.client.clone().wait(wait).await.unwrap();
    asked
}

#[tokio::test]
async fn a_directive_alone_is_kept_and_one_among_words_holds_for_them() {
    let (_folder, mut provider, agent, mut events) = setup().await;
    assert_eq!(
        told(&agent, &mut events, "/think high /verbose on", "c1").await,
        "Thinking: high (options: off, minimal, low, medium, high)\nTool calls are shown: on (options: on, full, off)"
    );
    let asked = talk(&agent, &mut provider, "/model mock/mock-2 hello /think low", "r1", "hi").await;
    assert_eq!(asked["model"], "mock-2");
    assert!(asked["messages"][1]["content"].as_str().unwrap().ends_with("] hello"), "{}", asked["messages"][1]);
    let asked = talk(&agent, &mut provider, "and now", "r2", "hi").await;
    assert_eq!(asked["model"], "mock-1", "the next message has the session's model");
    assert_eq!(told(&agent, &mut events, "/model mock/mock-2", "c2").await, "Model: mock/mock-2 (/models lists them)");
    assert_eq!(talk(&agent, &mut provider, "and then", "r3", "hi").await["model"], "mock-2");
    let found = agent.client.clone().sessions_describe(SessionsDescribeRequest { key: SESSION.to_owned(), ..Default::default() }).await;
    let row = found.unwrap().into_inner().session.unwrap();
    assert_eq!((row.thinking_level.as_deref(), row.verbose_level.as_deref()), (Some("high"), Some("on")));
    assert!(told(&agent, &mut events, "/think huge", "c3").await.contains("invalid thinkingLevel"));
    assert!(told(&agent, &mut events, "/model 1", "c4").await.contains("mock/mock-1"));
    assert!(told(&agent, &mut events, "/model nobody/nothing", "c5").await.contains("model not allowed"));
    assert!(provider.idle());
}

#[tokio::test]
async fn commands_say_how_things_are() {
    let (_folder, mut provider, agent, mut events) = setup().await;
    talk(&agent, &mut provider, "hi", "r1", "hello").await;
    for (command, part) in [
        ("/help", "/compact [instructions]"),
        ("/status", "Model: mock/mock-1"),
        ("/whoami", "Owner: yes"),
        ("/context", "Conversation: "),
        ("/context json", "\"contextWindow\":128000"),
        ("/models", "1. mock/mock-1"),
        ("/usage", "mock/mock-1: 1 calls · 10 in / 5 out"),
        ("/usage tokens", "Below answers: tokens"),
        ("/subagents", "no subagents"),
        ("/tts", "Speech: off"),
        ("/allowlist", "names nobody"),
        ("/activation always", "about groups"),
        ("/skill nothing at all", "no usable skill \"nothing\""),
        ("/compact", "nothing to summarise"),
    ] {
        let answer = told(&agent, &mut events, command, command).await;
        assert!(answer.contains(part), "{command}: {answer}");
    }
    assert!(provider.idle());
}

#[tokio::test]
async fn sec_20_who_may_only_write_changes_no_session_by_words() {
    let (_folder, mut provider, agent, _events) = setup().await;
    for (number, message) in
        ["/new", "/think high", "/model mock/mock-2", "/send off", "/compact", "/queue interrupt"].into_iter().enumerate()
    {
        let run_id = format!("r{number}");
        agent.send_as_guest(chat(SESSION, message, &run_id)).await.unwrap();
        let asked = provider.reply("words").await;
        let last = asked["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
        assert!(last.ends_with(message), "{message} is for the model: {last}");
        let wait = WaitRequest { run_id, timeout_ms: Some(10_000) };
        agent.client.clone().wait(wait).await.unwrap();
    }
    assert_eq!(agent.history(SESSION, None).await.messages.len(), 12, "the session was never begun afresh");
}

#[tokio::test]
async fn a_closed_session_says_so_before_it_is() {
    let (_folder, _provider, agent, mut events) = setup().await;
    assert!(told(&agent, &mut events, "/send off", "c1").await.starts_with("The session takes no messages"));
    assert_eq!(agent.send(SESSION, "hi", "r1").await.unwrap_err().message(), "send blocked by session policy");
    assert_eq!(agent.send(SESSION, "/send off", "c1").await.unwrap().status.as_deref(), Some("ok"), "a repeat is answered as before");
}

#[tokio::test]
async fn a_summary_takes_the_place_of_what_was_said_before() {
    let (_folder, mut provider, agent, mut events) = setup().await;
    for number in 0..4 {
        talk(&agent, &mut provider, &format!("question {number}"), &format!("r{number}"), &format!("answer {number}")).await;
    }
    let (sent, asked) = tokio::join!(agent.send(SESSION, "/compact keep the numbers", "c1"), provider.reply("A SHORT MEMORY"));
    assert_eq!(sent.unwrap().status.as_deref(), Some("started"));
    assert!(asked["messages"][0]["content"].as_str().unwrap().contains("keep the numbers"));
    assert!(asked["messages"][1]["content"].as_str().unwrap().contains("User: question 0\nAssistant: answer 0"), "{asked}");
    let told = text(events.chat_end("c1").await.message);
    assert!(told.starts_with("Summarised: "), "{told}");
    let asked = talk(&agent, &mut provider, "go on", "r9", "yes").await;
    let shown = asked["messages"].to_string();
    assert!(shown.contains("A SHORT MEMORY") && !shown.contains("question 0") && shown.contains("question 3"), "{shown}");
    assert_eq!(agent.history(SESSION, None).await.messages.len(), 11, "the transcript keeps every line");
}

#[tokio::test]
async fn a_nearly_full_window_is_summarised_before_the_next_turn() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut config = config(&provider);
    // The scripted model says that it has used ten tokens of so many.
    config["models"]["providers"]["mock"]["models"][0]["contextWindow"] = json!(12);
    config["agents"]["defaults"]["minContextTokens"] = json!(1);
    config["agents"]["defaults"]["compaction"] = json!({"memoryFlush": {"enabled": false}});
    let agent = Agent::open(folder.path(), config, 1).await;
    let mut events = agent.listen(None).await;
    for number in 0..2 {
        talk(&agent, &mut provider, &format!("question {number}"), &format!("r{number}"), "answer").await;
    }
    let answers = agent.run(RunRequest { ..turn(SESSION, "go on", "r9") }).await.unwrap();
    // The window is so small that each message is a part of its own.
    for part in ["User: question 0", "Assistant: answer"] {
        let summary = provider.call().await;
        assert!(summary.body["messages"].to_string().contains(part), "{}", summary.body);
        summary.say("A SHORT MEMORY").await;
    }
    let call = provider.call().await;
    assert!(call.body["messages"].to_string().contains("go on"));
    call.say("done").await;
    assert_eq!(answers.rest().await.1.status, "ok");
    let lines = events.until_end("r9").await;
    assert_eq!(lines[1..3], ["2 compaction start", "3 compaction end"]);
}
