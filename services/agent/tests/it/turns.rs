//! Turns from the request to the last event.

use tonic::Code;
use verso_proto::agent::v1::{CompleteRequest, WaitRequest, WaitResponse, complete_response::Item};

use crate::agent::{Agent, chat, config, turn};
use crate::provider::Provider;

const SESSION: &str = "agent:main:test";

async fn setup() -> (tempfile::TempDir, Provider, Agent) {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = Agent::open(folder.path(), config(&provider), 1).await;
    (folder, provider, agent)
}

#[tokio::test]
async fn a_turn_streams_from_the_provider_to_the_listeners_in_order() {
    let (_folder, mut provider, agent) = setup().await;
    let mut events = agent.listen(None).await;
    let mut answers = agent.run(turn("Test", "hi", "r1")).await.unwrap();
    let accepted = answers.next().await.unwrap();
    assert_eq!((accepted.run_id.as_str(), accepted.status.as_str()), ("r1", "accepted"));
    assert_eq!((accepted.session_key.as_deref(), accepted.agent_id.as_deref()), (Some(SESSION), Some("main")));
    assert!(accepted.accepted_at_ms.is_some() && accepted.result.is_none());

    let call = provider.call().await;
    assert_eq!(call.body["model"], "mock-1");
    assert_eq!((&call.body["stream"], &call.body["stream_options"]["include_usage"]), (&true.into(), &true.into()));
    assert_eq!(call.body["max_tokens"], 4_096);
    assert!(call.body["tools"].as_array().unwrap().iter().any(|tool| tool["function"]["name"] == "session_status"));
    assert_eq!(call.headers["authorization"], "Bearer mock-key");
    assert_eq!(call.headers["traceparent"].len(), 55);
    assert_eq!(call.roles(), ["system", "user"]);
    let asked = call.body["messages"][1]["content"].as_str().unwrap();
    assert!(asked.starts_with('[') && asked.ends_with(" UTC] hi"), "{asked}");

    let answer = call.stream();
    let mut said = Vec::new();
    for piece in ["tok0", " tok1", " tok2"] {
        answer.text(piece).await;
        let event = events.said("r1").await;
        said.push((event.seq, event.data.unwrap().delta.unwrap()));
    }
    assert_eq!(said, [(2, "tok0".to_owned()), (3, " tok1".to_owned()), (4, " tok2".to_owned())]);
    answer.finish().await;

    let (statuses, last) = answers.rest().await;
    assert_eq!((statuses, last.summary.as_deref()), (vec!["ok".to_owned()], Some("completed")));
    let result = last.result.unwrap();
    assert_eq!(result.payloads[0].text, "tok0 tok1 tok2");
    let meta = result.meta.unwrap();
    let usage = meta.agent_meta.unwrap().usage.unwrap();
    assert_eq!((usage.input, usage.output, usage.total, meta.aborted), (10, 5, 15, false));
    let end = events.chat_end("r1").await;
    assert_eq!((end.seq, end.state.as_str()), (5, "final"));
    assert_eq!(agent.transcript(SESSION).await, ["user: hi", "assistant: tok0 tok1 tok2"]);
}

#[tokio::test]
async fn each_chat_event_follows_its_agent_event_and_the_last_delta_comes_before_the_end() {
    let (_folder, mut provider, agent) = setup().await;
    let mut events = agent.listen(None).await;
    agent.send(SESSION, "hi", "r1").await.unwrap();
    provider.reply("all of it").await;
    let lines = events.until_end("r1").await;
    assert_eq!(
        lines,
        ["1 lifecycle start", "2 assistant all of it", "2 chat delta all of it", "3 lifecycle end", "3 chat final all of it stop"]
    );
}

#[tokio::test]
async fn a_repeat_joins_the_run_or_gets_its_answer() {
    let (_folder, mut provider, agent) = setup().await;
    let mut first = agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
    first.next().await.unwrap();
    let answer = provider.call().await.stream();
    let (statuses, repeat) = agent.run(turn(SESSION, "hi", "r1")).await.unwrap().rest().await;
    assert_eq!((statuses, repeat.run_id.as_str()), (vec!["in_flight".to_owned()], "r1"));
    assert_eq!(agent.send(SESSION, "hi", "r1").await.unwrap().status.as_deref(), Some("in_flight"));
    answer.text("done").await;
    answer.finish().await;
    let (_, last) = first.rest().await;
    let (statuses, repeat) = agent.run(turn(SESSION, "hi", "r1")).await.unwrap().rest().await;
    assert_eq!((statuses.len(), repeat), (1, last));
    assert_eq!(agent.send(SESSION, "hi", "r1").await.unwrap().status.as_deref(), Some("ok"));
    assert!(provider.idle(), "the model was asked once");
    assert_eq!(agent.transcript(SESSION).await, ["user: hi", "assistant: done"]);
}

#[tokio::test]
async fn simultaneous_repeats_are_one_run() {
    let (_folder, mut provider, agent) = setup().await;
    let (a, b) = tokio::join!(agent.send(SESSION, "hi", "r1"), agent.send(SESSION, "hi", "r1"));
    let mut statuses = [a.unwrap().status.unwrap(), b.unwrap().status.unwrap()];
    statuses.sort();
    assert_eq!(statuses, ["in_flight", "started"]);
    provider.reply("x").await;
    assert!(provider.idle());
}

#[tokio::test]
async fn an_abort_cancels_the_request_to_the_provider_and_is_the_last_that_is_heard() {
    let (_folder, mut provider, agent) = setup().await;
    let mut events = agent.listen(None).await;
    agent.send(SESSION, "hi", "r1").await.unwrap();
    let answer = provider.call().await.stream();
    answer.text("half an ans").await;
    events.said("r1").await;
    assert_eq!(agent.abort("agent:main:other", Some("r1")).await.unwrap_err().message(), "runId does not match sessionKey");
    assert_eq!(agent.abort(SESSION, Some("r1")).await.unwrap(), ["r1"]);
    answer.abandoned().await;
    let end = events.chat_end("r1").await;
    assert_eq!((end.seq, end.state.as_str(), end.stop_reason.as_deref()), (3, "aborted", Some("rpc")));
    assert_eq!(end.message, None);
    assert!(agent.abort(SESSION, None).await.unwrap().is_empty());

    agent.send(SESSION, "again", "r2").await.unwrap();
    let call = provider.call().await;
    assert_eq!(call.roles(), ["system", "user", "assistant", "user"], "what was said before the abort stays");
    let lines = tokio::join!(events.until_end("r2"), async {
        let answer = call.stream();
        answer.finish().await;
    });
    assert_eq!(lines.0, ["1 lifecycle start", "2 lifecycle end", "2 chat final stop"], "an empty answer has no message");
}

#[tokio::test]
async fn a_stop_word_stops_running_and_waiting_runs() {
    let (_folder, mut provider, agent) = setup().await;
    let mut events = agent.listen(None).await;
    agent.send(SESSION, "one", "r1").await.unwrap();
    let answer = provider.call().await.stream();
    agent.send(SESSION, "two", "r2").await.unwrap();
    let stopped = agent.send(SESSION, " STOP ", "r3").await.unwrap();
    assert_eq!((stopped.ok, stopped.aborted, stopped.run_ids), (Some(true), Some(true), vec!["r1".to_owned(), "r2".to_owned()]));
    assert_eq!(stopped.run_id, None);
    answer.abandoned().await;
    let ends = [events.chat_end("r2").await, events.chat_end("r1").await];
    assert!(ends.iter().all(|end| end.stop_reason.as_deref() == Some("stop")));
    let waited = wait(&agent, "r2", 10_000).await;
    assert_eq!((waited.status.as_str(), waited.started_at_ms), ("ok", None));
    assert!(provider.idle(), "the waiting run never began");
    assert_eq!(agent.transcript(SESSION).await, ["user: one"]);
}

#[tokio::test]
async fn runs_of_one_session_take_turns_and_see_each_other() {
    let (_folder, mut provider, agent) = setup().await;
    agent.send(SESSION, "one", "r1").await.unwrap();
    let first = provider.call().await;
    agent.send(SESSION, "two", "r2").await.unwrap();
    agent.send("agent:main:elsewhere", "three", "r3").await.unwrap();
    let other = provider.call().await;
    assert!(other.body.to_string().contains("three"), "another session does not wait");
    assert!(provider.idle());
    let answer = first.stream();
    answer.text("answer one").await;
    answer.finish().await;
    let second = provider.call().await;
    assert_eq!(second.roles(), ["system", "user", "assistant", "user"]);
    second.stream().finish().await;
    wait(&agent, "r2", 10_000).await;
    assert_eq!(agent.transcript(SESSION).await, ["user: one", "assistant: answer one", "user: two"]);
}

#[tokio::test]
async fn a_full_session_queue_is_unavailable() {
    let (_folder, mut provider, agent) = setup().await;
    let mut answers = Vec::new();
    for number in 0..21 {
        answers.push(agent.run(turn(SESSION, "hi", &format!("r{number}"))).await.unwrap());
    }
    let Err(error) = agent.run(turn(SESSION, "hi", "one-too-many")).await else { panic!("it was taken") };
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "session queue is full: 20 runs are waiting"));
    provider.call().await;
    assert_eq!(agent.abort(SESSION, None).await.unwrap().len(), 21);
    agent.send(SESSION, "hi", "one-too-many").await.unwrap();
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_stopped() {
    let (_folder, mut provider, agent) = setup().await;
    let mut events = agent.listen(None).await;
    let request = verso_proto::agent::v1::ChatSendRequest { timeout_ms: Some(50), ..chat(SESSION, "hi", "r1") };
    agent.send_with(request).await.unwrap();
    let answer = provider.call().await.stream();
    answer.abandoned().await;
    let end = events.chat_end("r1").await;
    assert_eq!((end.state.as_str(), end.stop_reason.as_deref()), ("aborted", Some("timeout")));
    let waited = wait(&agent, "r1", 10_000).await;
    assert_eq!(waited.error.as_deref(), Some("the run was stopped because it took longer than 0.05 s"));
}

#[tokio::test]
async fn a_tool_call_is_answered_and_the_turn_goes_on() {
    let (_folder, mut provider, agent) = setup().await;
    let mut events = agent.listen(None).await;
    let answers = agent.run(turn(SESSION, "status please", "r1")).await.unwrap();
    provider.call().await.stream().tool_call("call_1", "session_status").await;
    let call = provider.call().await;
    assert_eq!(call.roles(), ["system", "user", "assistant", "tool"]);
    let messages = &call.body["messages"];
    assert_eq!(messages[2]["tool_calls"][0]["function"]["arguments"], "{}");
    assert_eq!(messages[3]["tool_call_id"], "call_1");
    assert!(messages[3]["content"].as_str().unwrap().contains("mock/mock-1"));
    let answer = call.stream();
    answer.text("all well").await;
    answer.finish().await;
    let (_, last) = answers.rest().await;
    let result = last.result.unwrap();
    assert_eq!(result.payloads.len(), 1);
    assert_eq!(result.meta.unwrap().agent_meta.unwrap().usage.unwrap().total, 30, "both calls count");
    let lines = events.until_end("r1").await;
    assert_eq!(lines[1..3], ["2 tool start session_status", "3 tool result session_status"]);
    let roles: Vec<String> = agent.history(SESSION, None).await.messages.into_iter().map(|message| message.role).collect();
    assert_eq!(roles, ["user", "assistant", "toolResult", "assistant"]);
}

#[tokio::test]
async fn a_model_that_only_calls_tools_is_stopped() {
    let (_folder, mut provider, agent) = setup().await;
    let answers = agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
    for round in 0..16 {
        provider.call().await.stream().tool_call(&format!("call_{round}"), "unknown_tool").await;
    }
    let (_, last) = answers.rest().await;
    assert_eq!(last.summary.as_deref(), Some("stopped after 16 rounds of tool calls without an answer"));
}

#[tokio::test]
async fn waiting_for_a_run_ends_with_it_or_in_time() {
    let (_folder, mut provider, agent) = setup().await;
    assert_eq!(wait(&agent, "nobody", 1).await.status, "timeout");
    let (early, ()) = tokio::join!(wait(&agent, "r1", 10_000), async {
        agent.send(SESSION, "hi", "r1").await.unwrap();
        provider.reply("x").await;
    });
    let late = wait(&agent, "r1", 0).await;
    assert_eq!((early.status.as_str(), &early), ("ok", &late));
    assert!(late.started_at_ms.is_some() && late.ended_at_ms >= late.started_at_ms);
}

#[tokio::test]
async fn an_http_caller_gets_the_text_and_its_end_and_stops_the_run_by_leaving() {
    let (_folder, mut provider, agent) = setup().await;
    let request = |id: &str| CompleteRequest {
        agent_id: "main".to_owned(),
        session_key: SESSION.to_owned(),
        message: "hi".to_owned(),
        extra_system_prompt: Some("EXTRA".to_owned()),
        idempotency_key: id.to_owned(),
        ..CompleteRequest::default()
    };
    let mut pieces = agent.client.clone().complete(request("r1")).await.unwrap().into_inner();
    let call = provider.call().await;
    assert!(call.body["messages"][0]["content"].as_str().unwrap().contains("EXTRA"));
    let answer = call.stream();
    for text in ["one", " two"] {
        answer.text(text).await;
        assert_eq!(pieces.message().await.unwrap().unwrap().item, Some(Item::Delta(text.to_owned())));
    }
    answer.finish().await;
    let Some(Item::End(end)) = pieces.message().await.unwrap().unwrap().item else { panic!("no end") };
    assert_eq!((end.text.as_str(), end.stop_reason.as_str(), end.usage.unwrap().total), ("one two", "stop", 15));
    assert!(pieces.message().await.unwrap().is_none());

    let pieces = agent.client.clone().complete(request("r2")).await.unwrap();
    let answer = provider.call().await.stream();
    drop(pieces);
    answer.abandoned().await;
}

async fn wait(agent: &Agent, run_id: &str, timeout_ms: i64) -> WaitResponse {
    let request = WaitRequest { run_id: run_id.to_owned(), timeout_ms: Some(timeout_ms) };
    agent.client.clone().wait(request).await.unwrap().into_inner()
}
