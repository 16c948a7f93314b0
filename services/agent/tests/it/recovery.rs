//! A service that dies in the middle of its work, and the next one.

use std::path::Path;

use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::Code;
use verso_agent::{Error, Service};
use verso_kit::CancellationToken;
use verso_kit::service::Context;
use verso_proto::agent::v1::event::Event as Kind;

use crate::agent::{Agent, config, turn};
use crate::provider::Provider;

const SESSION: &str = "agent:main:test";

/// A service on a runtime of its own, which can be taken away under it.
pub(crate) struct Mortal {
    agent: Option<Agent>,
    runtime: Option<Runtime>,
}

impl Mortal {
    pub(crate) async fn open(folder: &Path, config: Value) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = folder.to_owned();
        let agent = runtime.spawn(async move { Agent::open(&folder, config, 1).await }).await.unwrap();
        Self { agent: Some(agent), runtime: Some(runtime) }
    }

    pub(crate) fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }

    /// Ends it between two instructions: nothing is said, written or closed in good order. Returns its name.
    pub(crate) fn kill(mut self) -> String {
        self.runtime.take().unwrap().shutdown_background();
        self.agent.take().unwrap().incarnation
    }
}

#[tokio::test]
async fn a_killed_run_is_begun_again_and_its_caller_gets_the_rest() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let first = Mortal::open(folder.path(), config(&provider)).await;
    let mut events = first.agent().listen(None).await;
    let mut answers = first.agent().run(turn(SESSION, "hi", "r1")).await.unwrap();
    assert_eq!(answers.next().await.unwrap().status, "accepted");
    let answer = provider.call().await.stream();
    answer.text("half an ans").await;
    let before = events.said("r1").await;
    let killed = first.kill();
    answer.abandoned().await;

    let second = Agent::open(folder.path(), config(&provider), 2).await;
    let resumed = second.run_again(turn(SESSION, "hi", "r1"), 1).await.unwrap();
    assert!(provider.idle(), "nothing goes on before somebody listens");
    let mut events = second.listen(Some(&killed)).await;
    let Kind::Agent(start) = events.next().await else { panic!("not an agent event") };
    assert_eq!((start.stream.as_str(), start.data.unwrap().phase.as_deref()), ("lifecycle", Some("start")));
    assert!(start.seq > before.seq, "{} follows {}", start.seq, before.seq);
    let call = provider.call().await;
    assert_eq!(call.roles(), ["system", "user"]);
    let answer = call.stream();
    answer.text("a whole answer").await;
    answer.finish().await;
    let (statuses, last) = resumed.rest().await;
    assert_eq!((statuses, last.result.unwrap().payloads[0].text.as_str()), (vec!["ok".to_owned()], "a whole answer"));
    events.said("r1").await;
    let Kind::Chat(delta) = events.next().await else { panic!("not a chat event") };
    assert_eq!((delta.state.as_str(), delta.replace), ("delta", Some(true)), "what was shown before is replaced");
    assert_eq!(second.transcript(SESSION).await, ["user: hi", "assistant: a whole answer"]);
}

#[tokio::test]
async fn a_caller_that_never_heard_of_its_acceptance_gets_both_answers() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let first = Mortal::open(folder.path(), config(&provider)).await;
    first.agent().send(SESSION, "hi", "r1").await.unwrap();
    provider.call().await;
    first.kill();
    let second = Agent::open(folder.path(), config(&provider), 2).await;
    let _events = second.listen(None).await;
    let answers = second.run(turn(SESSION, "hi", "r1")).await.unwrap();
    provider.reply("x").await;
    assert_eq!(answers.rest().await.0, ["accepted", "ok"]);
}

#[tokio::test]
async fn waiting_runs_are_not_forgotten() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut config = config(&provider);
    config["messages"] = serde_json::json!({"queue": {"mode": "followup"}});
    let first = Mortal::open(folder.path(), config.clone()).await;
    for number in 1..=3 {
        first.agent().send(SESSION, &format!("q{number}"), &format!("r{number}")).await.unwrap();
    }
    provider.call().await;
    first.kill();
    let second = Agent::open(folder.path(), config, 2).await;
    let mut events = second.listen(None).await;
    for number in 1..=3 {
        provider.reply(&format!("a{number}")).await;
        events.chat_end(&format!("r{number}")).await;
    }
    let transcript = second.transcript(SESSION).await;
    assert_eq!(transcript, ["user: q1", "assistant: a1", "user: q2", "assistant: a2", "user: q3", "assistant: a3"]);
}

#[tokio::test]
async fn a_run_that_has_called_a_tool_is_closed_with_an_error_that_says_so() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let first = Mortal::open(folder.path(), config(&provider)).await;
    first.agent().send(SESSION, "hi", "r1").await.unwrap();
    provider.call().await.stream().tool_call("call_1", "session_status").await;
    provider.call().await;
    let killed = first.kill();

    let words = "agent service restarted while this run was in progress; send the message again";
    let second = Agent::open(folder.path(), config(&provider), 2).await;
    let mut events = second.listen(Some(&killed)).await;
    let lines = events.until_end("r1").await;
    assert_eq!(lines, [format!("1000001 lifecycle error {words}"), format!("1000001 chat error {words}")]);
    let repeat = second.send(SESSION, "hi", "r1").await.unwrap();
    assert_eq!((repeat.status.as_deref(), repeat.summary.as_deref()), (Some("error"), Some(words)));
    let (statuses, last) = second.run_again(turn(SESSION, "hi", "r1"), 1).await.unwrap().rest().await;
    assert_eq!((statuses, last.summary.as_deref()), (vec!["error".to_owned()], Some(words)));
    assert_eq!(second.transcript(SESSION).await, ["user: hi"], "a turn is whole or not there");
    assert!(provider.idle());
}

#[tokio::test]
async fn a_run_is_begun_again_only_once() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    for epoch in 1..=2 {
        let mortal = Mortal::open(folder.path(), config(&provider)).await;
        let _events = mortal.agent().listen(None).await;
        if epoch == 1 {
            mortal.agent().send(SESSION, "hi", "r1").await.unwrap();
        }
        provider.call().await;
        mortal.kill();
    }
    let third = Agent::open(folder.path(), config(&provider), 3).await;
    assert_eq!(third.send(SESSION, "hi", "r1").await.unwrap().status.as_deref(), Some("error"));
}

#[tokio::test]
async fn a_service_that_is_told_to_stop_leaves_its_runs_to_the_next() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let first = Agent::open(folder.path(), config(&provider), 1).await;
    let mut answers = first.run(turn(SESSION, "hi", "r1")).await.unwrap();
    answers.next().await.unwrap();
    let answer = provider.call().await.stream();
    let mut client = first.client.clone();
    first.service.stop().await.unwrap();
    answer.abandoned().await;
    let error = client.chat_send(crate::agent::chat(SESSION, "more", "r2")).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "the agent service is restarting"));
    let second = Agent::open(folder.path(), config(&provider), 2).await;
    let _events = second.listen(None).await;
    let resumed = second.run_again(turn(SESSION, "hi", "r1"), 1).await.unwrap();
    provider.reply("x").await;
    assert_eq!(resumed.rest().await.0, ["ok"]);
}

#[tokio::test]
async fn a_stale_incarnation_can_neither_write_nor_go_on() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let stale = Agent::open(folder.path(), config(&provider), 1).await;
    let mut heard = stale.listen(None).await;
    stale.send(SESSION, "hi", "r1").await.unwrap();
    let old_answer = provider.call().await.stream();
    let current = Agent::open(folder.path(), config(&provider), 2).await;
    let mut events = current.listen(None).await;

    old_answer.text("from the past").await;
    old_answer.finish().await;
    assert!(matches!(stale.service.failed().await, Error::Store(_)));
    let error = stale.send(SESSION, "more", "r2").await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "another incarnation of the agent service has taken over"));

    provider.reply("from now").await;
    events.chat_end("r1").await;
    assert_eq!(current.transcript(SESSION).await, ["user: hi", "assistant: from now"]);
    stale.service.stop().await.unwrap();
    drop(stale.client);
    while let Some(event) = heard.next_or_end().await {
        assert!(!matches!(&event, Kind::Chat(chat) if chat.state != "delta"), "the stale incarnation ended a run: {event:?}");
    }
    let late = Service::open(&Context { epoch: 1, ..Context::for_test("agent", folder.path()) }, CancellationToken::new()).await;
    assert!(matches!(late.err().unwrap(), Error::Store(_)));
}
