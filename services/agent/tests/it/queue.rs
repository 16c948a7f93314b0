//! Messages that come while their session is busy.

use serde_json::{Value, json};
use verso_proto::agent::v1::WaitRequest;

use crate::agent::{Agent, chat, config};
use crate::provider::{ModelCall, Provider};
use crate::recovery::Mortal;

const SESSION: &str = "agent:main:test";

fn queued(provider: &Provider, queue: &Value) -> Value {
    let mut config = config(provider);
    config["messages"] = json!({"queue": queue});
    config
}

async fn setup(queue: Value) -> (tempfile::TempDir, Provider, Agent) {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = Agent::open(folder.path(), queued(&provider, &queue), 1).await;
    (folder, provider, agent)
}

/// Returns the last question that a model is asked, without its time.
fn question(call: &ModelCall) -> String {
    let messages = call.body["messages"].as_array().unwrap();
    let text = messages.iter().rev().find(|message| message["role"] == "user").unwrap()["content"].as_str().unwrap();
    text.split_once("] ").map_or(text, |(_, text)| text).to_owned()
}

async fn ended(agent: &Agent, run_id: &str) -> String {
    let request = WaitRequest { run_id: run_id.to_owned(), timeout_ms: Some(10_000) };
    agent.client.clone().wait(request).await.unwrap().into_inner().status
}

#[tokio::test]
async fn messages_that_wait_become_one_turn() {
    let (_folder, mut provider, agent) = setup(json!({"debounceMs": 20})).await;
    let mut events = agent.listen(None).await;
    agent.send(SESSION, "one", "r1").await.unwrap();
    let first = provider.call().await;
    for (text, run) in [("two", "r2"), ("three", "r3"), ("four", "r4")] {
        agent.send(SESSION, text, run).await.unwrap();
    }
    first.say("answer one").await;
    let second = provider.call().await;
    let asked = question(&second);
    for part in ["---\nQueued #1\ntwo", "---\nQueued #2\nthree", "---\nQueued #3\nfour"] {
        assert!(asked.contains(part), "{asked}");
    }
    assert_eq!((ended(&agent, "r3").await, ended(&agent, "r4").await), ("ok".to_owned(), "ok".to_owned()));
    let end = events.chat_end("r3").await;
    assert_eq!((end.state.as_str(), end.message), ("final", None), "what is answered with another has no answer of its own");
    second.say("answer to all").await;
    assert_eq!(ended(&agent, "r2").await, "ok");
    assert!(provider.idle());
    let transcript = agent.transcript(SESSION).await;
    assert_eq!((transcript.len(), transcript[3].as_str()), (4, "assistant: answer to all"));
    assert_eq!(agent.send(SESSION, "three", "r3").await.unwrap().status.as_deref(), Some("ok"), "a repeat is no new message");
}

#[tokio::test]
async fn followups_have_turns_of_their_own_in_order() {
    let (_folder, mut provider, agent) = setup(json!({"mode": "followup"})).await;
    agent.send(SESSION, "one", "r1").await.unwrap();
    let first = provider.call().await;
    agent.send(SESSION, "two", "r2").await.unwrap();
    agent.send(SESSION, "three", "r3").await.unwrap();
    first.say("a").await;
    for text in ["two", "three"] {
        let call = provider.call().await;
        assert_eq!(question(&call), text);
        call.say("b").await;
    }
    assert_eq!(ended(&agent, "r3").await, "ok");
}

#[tokio::test]
async fn a_turn_under_way_is_steered_between_its_steps() {
    let (_folder, mut provider, agent) = setup(json!({"mode": "steer"})).await;
    agent.send(SESSION, "one", "r1").await.unwrap();
    let first = provider.call().await.stream();
    agent.send(SESSION, "rather two", "r2").await.unwrap();
    first.tool_call("call_1", "session_status").await;
    let second = provider.call().await;
    assert_eq!(second.roles(), ["system", "user", "assistant", "tool", "user"]);
    assert_eq!(question(&second), "rather two");
    second.say("two it is").await;
    assert_eq!((ended(&agent, "r1").await, ended(&agent, "r2").await), ("ok".to_owned(), "ok".to_owned()));
    assert!(provider.idle(), "it has no turn of its own");
    let roles: Vec<String> = agent.history(SESSION, None).await.messages.into_iter().map(|message| message.role).collect();
    assert_eq!(roles, ["user", "assistant", "toolResult", "user", "assistant"]);
}

#[tokio::test]
async fn what_comes_too_late_to_steer_is_a_turn_of_its_own() {
    let (_folder, mut provider, agent) = setup(json!({"mode": "steer"})).await;
    agent.send(SESSION, "one", "r1").await.unwrap();
    let first = provider.call().await;
    agent.send(SESSION, "two", "r2").await.unwrap();
    first.say("done").await;
    let second = provider.call().await;
    assert_eq!(question(&second), "two");
    second.say("done too").await;
    assert_eq!(ended(&agent, "r2").await, "ok");
}

#[tokio::test]
async fn a_steering_message_with_a_backlog_is_heard_and_answered() {
    let (_folder, mut provider, agent) = setup(json!({"mode": "steer+backlog"})).await;
    agent.send(SESSION, "one", "r1").await.unwrap();
    let first = provider.call().await.stream();
    agent.send(SESSION, "two", "r2").await.unwrap();
    first.tool_call("call_1", "session_status").await;
    let second = provider.call().await;
    assert_eq!(question(&second), "two");
    second.say("heard").await;
    let third = provider.call().await;
    assert_eq!(question(&third), "two");
    third.say("answered").await;
    assert_eq!(ended(&agent, "r2").await, "ok");
}

#[tokio::test]
async fn an_interrupting_message_stops_the_turn_and_takes_the_place_of_what_waits() {
    let (_folder, mut provider, agent) = setup(json!({"mode": "interrupt"})).await;
    let mut events = agent.listen(None).await;
    agent.send(SESSION, "one", "r1").await.unwrap();
    let first = provider.call().await.stream();
    agent.send(SESSION, "two", "r2").await.unwrap();
    first.abandoned().await;
    assert_eq!(events.chat_end("r1").await.stop_reason.as_deref(), Some("interrupt"));
    let second = provider.call().await;
    assert_eq!(question(&second), "two");
    second.say("done").await;
    assert_eq!(ended(&agent, "r2").await, "ok");
}

#[tokio::test]
async fn the_oldest_make_room_and_are_told_in_a_line_each() {
    let (_folder, mut provider, agent) = setup(json!({"mode": "followup", "cap": 2})).await;
    let mut events = agent.listen(None).await;
    agent.send(SESSION, "one", "r1").await.unwrap();
    let first = provider.call().await;
    for number in 2..=5 {
        agent.send(SESSION, &format!("message\n{number}"), &format!("r{number}")).await.unwrap();
    }
    assert_eq!(events.chat_end("r2").await.stop_reason.as_deref(), Some("dropped"));
    assert_eq!(events.chat_end("r3").await.state, "aborted");
    first.say("a").await;
    let second = provider.call().await;
    let asked = question(&second);
    assert!(asked.contains("2 older messages") && asked.contains("- message 2\n- message 3\n\nmessage\n4"), "{asked}");
    second.say("b").await;
    let third = provider.call().await;
    assert_eq!(question(&third), "message\n5", "it is told once");
    third.say("c").await;
    assert_eq!(ended(&agent, "r5").await, "ok");
    assert!(provider.idle());
}

#[tokio::test]
async fn a_new_message_is_refused_where_the_old_ones_stay() {
    let (_folder, mut provider, agent) = setup(json!({"mode": "followup", "cap": 1, "drop": "new"})).await;
    agent.send(SESSION, "one", "r1").await.unwrap();
    let first = provider.call().await;
    agent.send(SESSION, "two", "r2").await.unwrap();
    let refused = agent.send(SESSION, "three", "r3").await.unwrap_err();
    assert_eq!(refused.message(), "session queue is full: 1 runs are waiting");
    assert_eq!(agent.send(SESSION, "two", "r2").await.unwrap().status.as_deref(), Some("in_flight"), "a repeat is not refused");
    first.say("a").await;
    provider.call().await.say("b").await;
    assert_eq!(ended(&agent, "r2").await, "ok");
}

#[tokio::test]
async fn sec_66_a_strangers_message_never_joins_the_owners_turn() {
    for mode in ["collect", "steer"] {
        let (_folder, mut provider, agent) = setup(json!({"mode": mode, "debounceMs": 20})).await;
        agent.send(SESSION, "one", "r1").await.unwrap();
        let first = provider.call().await.stream();
        agent.send_as_guest(chat(SESSION, "from a guest", "r2")).await.unwrap();
        first.tool_call("call_1", "session_status").await;
        let second = provider.call().await;
        assert_eq!(question(&second), "one", "{mode}: nobody steers the owner's turn");
        agent.send(SESSION, "from the owner", "r3").await.unwrap();
        second.say("a").await;
        for text in ["from a guest", "from the owner"] {
            let call = provider.call().await;
            assert_eq!(question(&call), text, "{mode}");
            call.say("b").await;
        }
        assert_eq!(ended(&agent, "r3").await, "ok");
    }
}

#[tokio::test]
async fn a_session_and_a_message_have_modes_of_their_own() {
    let (_folder, mut provider, agent) = setup(json!({"mode": "interrupt", "debounceMs": 20})).await;
    let mut events = agent.listen(None).await;
    agent.send(SESSION, "/queue collect cap:7", "q1").await.unwrap();
    let told = events.chat_end("q1").await.message.unwrap();
    assert!(told.content[0].text.as_deref().unwrap().starts_with("Queue: collect · debounce 20 ms · cap 7"));
    agent.send(SESSION, "one", "r1").await.unwrap();
    let first = provider.call().await;
    agent.send(SESSION, "two", "r2").await.unwrap();
    agent.send(SESSION, "/queue followup three", "r3").await.unwrap();
    first.say("a").await;
    for text in ["two", "three"] {
        let call = provider.call().await;
        assert_eq!(question(&call), text, "the session collects, but this message wants a turn of its own");
        call.say("b").await;
    }
    assert_eq!(ended(&agent, "r3").await, "ok");
}

#[tokio::test]
async fn what_waits_survives_the_death_of_the_service() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let config = queued(&provider, &json!({"debounceMs": 20}));
    let first = Mortal::open(folder.path(), config.clone()).await;
    first.agent().send(SESSION, "one", "r1").await.unwrap();
    let answer = provider.call().await.stream();
    first.agent().send(SESSION, "two", "r2").await.unwrap();
    first.agent().send(SESSION, "three", "r3").await.unwrap();
    let killed = first.kill();
    answer.abandoned().await;

    let second = Agent::open(folder.path(), config, 2).await;
    let _events = second.listen(Some(&killed)).await;
    let again = provider.call().await;
    assert_eq!(question(&again), "one");
    again.say("a").await;
    let both = provider.call().await;
    let asked = question(&both);
    assert!(asked.contains("Queued #1\ntwo") && asked.contains("Queued #2\nthree"), "{asked}");
    both.say("b").await;
    assert_eq!((ended(&second, "r2").await, ended(&second, "r3").await), ("ok".to_owned(), "ok".to_owned()));
    assert!(provider.idle());
    assert_eq!(second.transcript(SESSION).await.len(), 4, "nothing is lost and nothing is there twice");
}
