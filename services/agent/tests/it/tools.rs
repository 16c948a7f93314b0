//! Turns that use tools, against a scripted model.

use std::path::Path;

use serde_json::{Value, json};
use verso_proto::agent::v1::SessionsPatchRequest;

use crate::agent::{Agent, as_owner, config, turn};
use crate::provider::{ModelCall, Provider};

/// A service whose agent works in `folder`/workspace.
async fn agent(folder: &Path, provider: &Provider, more: Value) -> Agent {
    std::fs::create_dir_all(folder.join("workspace")).unwrap();
    let mut config = config(provider);
    let Value::Object(more) = more else { panic!("sections") };
    for (name, section) in more {
        if name == "defaults" {
            for (key, value) in section.as_object().unwrap() {
                config["agents"]["defaults"][key] = value.clone();
            }
        } else {
            config[name] = section;
        }
    }
    Agent::open(folder, config, 1).await
}

fn offered(call: &ModelCall) -> Vec<String> {
    let tools = call.body["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The results of tools that a model is shown, in order.
fn results(call: &ModelCall) -> Vec<(String, String)> {
    let messages = call.body["messages"].as_array().unwrap();
    let tools = messages.iter().filter(|message| message["role"] == "tool");
    tools
        .map(|message| (message["tool_call_id"].as_str().unwrap().to_owned(), message["content"].as_str().unwrap_or_default().to_owned()))
        .collect()
}

#[tokio::test]
async fn a_conversation_of_several_turns_uses_several_tools_at_once() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), &provider, json!({})).await;
    let mut answers = agent.run(turn("main", "make two notes", "r-1")).await.unwrap();
    answers.next().await;

    let call = provider.call().await;
    let names = offered(&call);
    for name in ["read", "write", "edit", "exec", "process", "session_status", "sessions_list", "sessions_spawn", "nodes"] {
        assert!(names.contains(&name.to_owned()), "{name} is not offered: {names:?}");
    }
    let first = call.stream();
    first.text("I write them. ").await;
    let write = |path: &str, content: &str| json!({"path": path, "content": content});
    first
        .tool_calls(&[
            ("c-1", "write", write("a.md", "alpha")),
            ("c-2", "write", write("deep/b.md", "beta")),
            ("c-3", "nonsense", json!({})),
        ])
        .await;

    let call = provider.call().await;
    let texts: Vec<_> = results(&call);
    assert_eq!(texts[0], ("c-1".to_owned(), "Wrote 5 bytes to a.md".to_owned()));
    assert_eq!(texts[1].0, "c-2");
    assert_eq!(texts[2].1, "there is no tool named nonsense");
    let second = call.stream();
    let read = |path: &str| json!({"path": path});
    second
        .tool_calls(&[("c-4", "read", read("deep/b.md")), ("c-5", "read", read("a.md")), ("c-6", "read", read("../../etc/passwd"))])
        .await;

    let call = provider.call().await;
    let texts = results(&call);
    assert_eq!((texts[3].1.as_str(), texts[4].1.as_str()), ("beta\n", "alpha\n"), "side by side, and still in order");
    assert_eq!(texts[5].1, "../../etc/passwd is outside the workspace");
    let third = call.stream();
    third.text("Done.").await;
    third.finish().await;
    let last = answers.next().await.unwrap();
    assert_eq!(last.status, "ok");
    assert_eq!(std::fs::read_to_string(folder.path().join("workspace/deep/b.md")).unwrap(), "beta");

    // The next turn shows the model what it did.
    let mut answers = agent.run(turn("main", "and now?", "r-2")).await.unwrap();
    answers.next().await;
    let call = provider.call().await;
    assert_eq!(results(&call).len(), 6);
    let answer = call.stream();
    answer.text("Nothing more.").await;
    answer.finish().await;
    assert_eq!(answers.next().await.unwrap().status, "ok");
}

#[tokio::test]
async fn a_policy_takes_tools_away_and_what_is_away_cannot_be_called() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let tools = json!({"tools": {"deny": ["group:runtime", "write"], "byProvider": {"mock": {"deny": ["nodes"]}}}});
    let agent = agent(folder.path(), &provider, tools).await;
    let mut answers = agent.run(turn("main", "hi", "r-1")).await.unwrap();
    answers.next().await;
    let call = provider.call().await;
    let names = offered(&call);
    assert!(names.contains(&"read".to_owned()));
    for name in ["exec", "process", "write", "nodes"] {
        assert!(!names.contains(&name.to_owned()), "{name}");
    }
    let first = call.stream();
    first.tool_calls(&[("c-1", "exec", json!({"command": "touch made"}))]).await;
    let call = provider.call().await;
    assert_eq!(results(&call)[0].1, "there is no tool named exec");
    let last = call.stream();
    last.text("ok").await;
    last.finish().await;
    answers.next().await;
    assert!(!folder.path().join("workspace/made").exists());
}

#[tokio::test]
async fn without_the_node_service_nothing_is_run() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), &provider, json!({"tools": {"exec": {"security": "full", "ask": "off"}}})).await;
    let mut answers = agent.run(turn("main", "hi", "r-1")).await.unwrap();
    answers.next().await;
    let first = provider.call().await.stream();
    first.tool_calls(&[("c-1", "exec", json!({"command": "touch made"}))]).await;
    let call = provider.call().await;
    assert!(results(&call)[0].1.contains("nothing is run"), "{:?}", results(&call));
    let last = call.stream();
    last.finish().await;
    answers.next().await;
    assert!(!folder.path().join("workspace/made").exists());
}

#[tokio::test]
async fn sec_55_a_subagent_works_in_a_session_of_its_own_and_reports() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), &provider, json!({})).await;
    let mut answers = agent.run(turn("main", "delegate", "r-1")).await.unwrap();
    answers.next().await;
    let first = provider.call().await.stream();
    first
        .tool_calls(&[
            ("c-1", "sessions_spawn", json!({"task": "count to three"})),
            ("c-2", "sessions_spawn", json!({"task": "x", "agentId": "second"})),
        ])
        .await;
    // The child and the parent ask in either order.
    let (mut spawned, mut reported) = (false, false);
    while !(spawned && reported) {
        let call = provider.call().await;
        let last = call.body["messages"].as_array().unwrap().last().unwrap().clone();
        let (role, text) = (last["role"].as_str().unwrap_or_default().to_owned(), last["content"].to_string());
        if role == "user" && text.contains("count to three") && !text.contains("A subagent has ended") {
            assert!(!offered(&call).contains(&"sessions_spawn".to_owned()), "a subagent starts no subagents");
            spawned = true;
        } else if role == "tool" {
            assert!(results(&call)[0].1.contains("childSessionKey"), "{:?}", results(&call));
            assert_eq!(results(&call)[1].1, "agentId \"second\" is not allowed for sessions_spawn");
        } else {
            assert!(text.contains("A subagent has ended") && text.contains("one two three"), "{text}");
            reported = true;
        }
        let answer = call.stream();
        answer.text("one two three").await;
        answer.finish().await;
    }
}

#[tokio::test]
async fn sec_69_another_agents_sessions_cannot_be_read() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), &provider, json!({})).await;
    let mut answers = agent.run(turn("agent:second:main", "a secret", "r-0")).await.unwrap();
    answers.next().await;
    provider.reply("kept").await;
    answers.next().await;
    let mut answers = agent.run(turn("main", "look around", "r-1")).await.unwrap();
    answers.next().await;
    let first = provider.call().await.stream();
    let calls = [("c-1", "sessions_history", json!({"sessionKey": "agent:second:main"})), ("c-2", "sessions_list", json!({}))];
    first.tool_calls(&calls).await;
    let call = provider.call().await;
    let texts = results(&call);
    assert!(texts[0].1.contains("that can be seen from here") && !texts[1].1.contains("second"), "{texts:?}");
    call.stream().finish().await;
    answers.next().await;
}

#[tokio::test]
async fn sec_69_tools_see_no_more_sessions_than_their_key_lets_them() {
    for (visibility, sees) in [("self", [false, false]), ("tree", [false, true]), ("agent", [true, true])] {
        let mut provider = Provider::start().await;
        let folder = tempfile::tempdir().unwrap();
        let agent = agent(folder.path(), &provider, json!({"tools": {"sessions": {"visibility": visibility}}})).await;
        for (session, run) in [("agent:main:other", "r-0"), ("agent:main:subagent:child", "r-1")] {
            let mut answers = agent.run(turn(session, "a secret", run)).await.unwrap();
            answers.next().await;
            provider.reply("kept").await;
            answers.next().await;
        }
        let spawned = json!({"key": "agent:main:subagent:child", "spawnedBy": "agent:main:main"});
        agent.client.clone().sessions_patch(as_owner(serde_json::from_value::<SessionsPatchRequest>(spawned).unwrap())).await.unwrap();
        let mut answers = agent.run(turn("main", "look around", "r-2")).await.unwrap();
        answers.next().await;
        let first = provider.call().await.stream();
        let read = |key: &str| json!({"sessionKey": key});
        first
            .tool_calls(&[
                ("c-1", "sessions_history", read("agent:main:other")),
                ("c-2", "sessions_history", read("agent:main:subagent:child")),
                ("c-3", "sessions_send", json!({"sessionKey": "agent:main:other", "message": "x", "timeoutSeconds": 0})),
                ("c-4", "sessions_list", json!({})),
            ])
            .await;
        let mut calls = vec![provider.call().await];
        if sees[0] {
            // The message that was sent is answered in its own session.
            calls.push(provider.call().await);
        }
        let call = calls.iter().find(|call| results(call).len() == 4).unwrap();
        let texts: Vec<String> = results(call).into_iter().map(|(_, text)| text).collect();
        let seen = texts.iter().map(|text| !text.contains("that can be seen from here")).collect::<Vec<_>>();
        assert_eq!(seen[..3], [sees[0], sees[1], sees[0]], "{visibility} {texts:?}");
        let listed = [texts[3].contains("agent:main:other"), texts[3].contains("agent:main:subagent:child")];
        assert_eq!(listed, sees, "{visibility} {}", texts[3]);
        for call in calls {
            call.stream().finish().await;
        }
        answers.next().await;
    }
}

#[tokio::test]
async fn an_agent_has_in_a_sandbox_what_its_own_list_leaves_it() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&provider);
    config["agents"]["defaults"]["sandbox"] = json!({"mode": "all"});
    config["agents"]["list"][1]["tools"] = json!({"sandbox": {"tools": {"deny": ["exec", "sessions_list"]}}});
    let agent = Agent::open(folder.path(), config, 1).await;
    for (session, has) in [("agent:main:main", true), ("agent:second:main", false)] {
        let mut answers = agent.run(turn(session, "hi", session)).await.unwrap();
        answers.next().await;
        let call = provider.call().await;
        for tool in ["exec", "sessions_list"] {
            assert_eq!(offered(&call).contains(&tool.to_owned()), has, "{session} {tool}");
        }
        assert!(offered(&call).contains(&"process".to_owned()));
        call.stream().finish().await;
        answers.next().await;
    }
}
