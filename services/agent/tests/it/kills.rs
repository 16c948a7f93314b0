//! The service as a process of its own, killed by signal 9 again and again: nothing of a transcript is lost or there twice, and every run is
//! accounted for. `VERSO_KILL_ROUNDS=100` kills it so often at each place.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use verso_kit::CancellationToken;
use verso_kit::config::{Env, File};
use verso_kit::peer::Peer;
use verso_kit::service::Context;
use verso_proto::agent::v1::agent_client::AgentClient;
use verso_proto::agent::v1::{ChatHistoryRequest, ChatSendRequest, SubscribeRequest, WaitRequest, WaitResponse};

use crate::agent::{as_owner, chat, config};
use crate::provider::{ModelCall, Provider};

/// Tells the child what it is: a folder, a configuration and an epoch, as JSON.
const CHILD: &str = "VERSO_TEST_AGENT_PROCESS";

/// Says how often the service is killed at each place.
const ROUNDS: &str = "VERSO_KILL_ROUNDS";

/// How often it is killed unless somebody says otherwise.
const ROUNDS_DEFAULT: usize = 3;

/// How long a process may take to answer, and a run to end.
const PATIENCE: Duration = Duration::from_mins(1);

const SESSION: &str = "agent:main:kill";
const OTHER: &str = "agent:main:other";

/// What the child runs. Without a parent that says so, it is a test that has nothing to do.
#[allow(clippy::disallowed_methods, reason = "the parent has no other way to tell")]
#[tokio::test]
async fn process() {
    let Ok(orders) = std::env::var(CHILD) else { return };
    let orders: Value = serde_json::from_str(&orders).unwrap();
    let folder = PathBuf::from(orders["folder"].as_str().unwrap());
    let context = Context {
        config: Arc::new(File::from_value(orders["config"].clone())),
        env: Env::from_pairs([("VERSO_LOCAL_MODELS", "off")]),
        epoch: orders["epoch"].as_u64().unwrap(),
        ..Context::for_test("agent", &folder)
    };
    verso_agent::serve(context, CancellationToken::new()).await.unwrap();
}

/// One life of the service.
struct Life {
    process: Child,
    client: AgentClient<tonic::transport::Channel>,
}

impl Life {
    /// Starts the process, and hears its events.
    async fn begin(folder: &Path, config: &Value, epoch: u64) -> Self {
        let run = folder.join("run");
        std::fs::create_dir_all(&run).unwrap();
        let socket = run.join("agent.sock");
        drop(std::fs::remove_file(&socket));
        let orders = json!({"folder": folder, "config": config, "epoch": epoch}).to_string();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::process", "--nocapture"])
            .env(CHILD, orders)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let client = AgentClient::new(Peer::unix(socket).channel());
        let life = Self { process, client };
        let listening = async {
            loop {
                if let Ok(events) = life.client.clone().subscribe(SubscribeRequest { from: None }).await {
                    return events.into_inner();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let mut events = tokio::time::timeout(PATIENCE, listening).await.expect("the process answers in time");
        // A run that is taken up waits for somebody who could hear it.
        #[expect(clippy::disallowed_methods, reason = "it ends with the process that it listens to")]
        tokio::task::spawn(async move { while let Ok(Some(_)) = events.message().await {} });
        life
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    async fn send(&self, session: &str, text: &str, run_id: &str) {
        let request: ChatSendRequest = chat(session, text, run_id);
        self.client.clone().chat_send(as_owner(request)).await.unwrap();
    }

    /// Answers whatever models are asked until the runs have ended, and returns how.
    async fn settle(&self, provider: &mut Provider, runs: &[String]) -> Vec<WaitResponse> {
        let ends = join_all(runs.iter().map(|run| async {
            let wait = WaitRequest { run_id: run.clone(), timeout_ms: Some(i64::try_from(PATIENCE.as_millis()).unwrap()) };
            self.client.clone().wait(wait).await.unwrap().into_inner()
        }));
        tokio::pin!(ends);
        loop {
            tokio::select! {
                ends = &mut ends => return ends,
                call = provider.call() => answer(call).await,
            }
        }
    }

    async fn transcript(&self, session: &str) -> Vec<String> {
        let request = ChatHistoryRequest { session_key: session.to_owned(), limit: Some(1_000), ..ChatHistoryRequest::default() };
        let history = self.client.clone().chat_history(request).await.unwrap().into_inner();
        let text = |message: &verso_proto::agent::v1::ChatMessage| {
            let words: String = message.content.iter().filter_map(|block| block.text.as_deref()).collect();
            format!("{}: {words}", message.role)
        };
        history.messages.iter().map(text).collect()
    }

    /// Checks that each of `said` is there once, and each answer at most once: exactly once where its run ended well.
    async fn check(&self, session: &str, said: &[(String, WaitResponse)]) {
        let transcript = self.transcript(session).await;
        let count = |line: &str| transcript.iter().filter(|found| *found == line).count();
        for (text, end) in said {
            assert_eq!(count(&format!("user: {text}")), 1, "{text} in {transcript:?}");
            let answers = count(&format!("assistant: answer to {text}"));
            match end.status.as_str() {
                "ok" => assert_eq!(answers, 1, "{text} in {transcript:?}"),
                "error" => assert!(answers == 0 && end.error.is_some(), "{text}: {end:?} in {transcript:?}"),
                status => panic!("{text} is {status}"),
            }
        }
    }
}

/// Answers a question so that one can tell which it was.
async fn answer(call: ModelCall) {
    let text = question(&call);
    call.offer(&format!("answer to {text}")).await;
}

fn question(call: &ModelCall) -> String {
    let messages = call.body["messages"].as_array().unwrap();
    let text = messages.iter().rev().find(|message| message["role"] == "user").unwrap()["content"].as_str().unwrap();
    text.split_once("] ").map_or(text, |(_, text)| text).to_owned()
}

#[allow(clippy::disallowed_methods, reason = "whoever runs the tests says how long they may take")]
fn rounds() -> usize {
    std::env::var(ROUNDS).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS_DEFAULT)
}

fn quick(provider: &Provider) -> Value {
    let mut config = config(provider);
    config["messages"] = json!({"queue": {"mode": "followup"}});
    config
}

#[tokio::test]
async fn killed_while_an_answer_streams_it_is_given_once_all_the_same() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let (config, mut said) = (quick(&provider), Vec::new());
    let mut life = Life::begin(folder.path(), &config, 1).await;
    for round in 0..rounds() {
        let (text, run_id) = (format!("streamed {round}"), format!("s{round}"));
        life.send(SESSION, &text, &run_id).await;
        let streaming = provider.call().await.stream();
        streaming.text("half of an ans").await;
        life.kill();
        streaming.abandoned().await;
        life = Life::begin(folder.path(), &config, u64::try_from(round).unwrap() + 2).await;
        let ends = life.settle(&mut provider, &[run_id]).await;
        assert_eq!(ends[0].status, "ok", "a run that has done nothing yet is begun again");
        said.push((text, ends[0].clone()));
        life.check(SESSION, &said).await;
    }
    life.kill();
}

#[tokio::test]
async fn killed_during_a_tool_call_the_run_is_closed_and_what_it_caused_goes_on() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let (config, mut said, mut caused) = (quick(&provider), Vec::new(), Vec::new());
    let mut life = Life::begin(folder.path(), &config, 1).await;
    life.send(OTHER, "first of all", "o").await;
    caused.push(("first of all".to_owned(), life.settle(&mut provider, &["o".to_owned()]).await.remove(0)));
    for round in 0..rounds() {
        let (text, asked, run_id) = (format!("ask {round}"), format!("asked {round}"), format!("t{round}"));
        life.send(SESSION, &text, &run_id).await;
        let arguments = json!({"sessionKey": OTHER, "message": asked});
        provider.call().await.stream().tool_calls(&[("call_1", "sessions_send", arguments)]).await;
        // The tool waits for the other session's answer, which is on its way.
        let other = provider.call().await.stream();
        life.kill();
        other.abandoned().await;
        life = Life::begin(folder.path(), &config, u64::try_from(round).unwrap() + 2).await;
        let ends = life.settle(&mut provider, &[run_id.clone(), format!("{run_id}-call_1")]).await;
        assert!(ends[0].error.as_deref().is_some_and(|error| error.contains("restarted")), "{:?}", ends[0]);
        said.push((text, ends[0].clone()));
        caused.push((asked, ends[1].clone()));
        life.check(SESSION, &said).await;
        life.check(OTHER, &caused).await;
    }
    life.kill();
}

#[tokio::test]
async fn killed_between_two_turns_both_are_carried_out_once() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let (config, mut said) = (quick(&provider), Vec::new());
    let mut life = Life::begin(folder.path(), &config, 1).await;
    for round in 0..rounds() {
        let texts = [format!("one {round}"), format!("two {round}")];
        let runs = [format!("a{round}"), format!("b{round}")];
        life.send(SESSION, &texts[0], &runs[0]).await;
        let first = provider.call().await;
        life.send(SESSION, &texts[1], &runs[1]).await;
        answer(first).await;
        // Sometimes before the end of the first is written, sometimes after it, sometimes when the second has begun.
        tokio::time::sleep(Duration::from_micros(u64::try_from(round % 20).unwrap() * 500)).await;
        life.kill();
        life = Life::begin(folder.path(), &config, u64::try_from(round).unwrap() + 2).await;
        let ends = life.settle(&mut provider, &runs).await;
        said.extend(texts.into_iter().zip(ends));
        life.check(SESSION, &said).await;
        assert!(said.iter().all(|(_, end)| end.status == "ok"), "{said:?}");
    }
    life.kill();
}
