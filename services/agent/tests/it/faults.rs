//! What goes wrong with providers, in every dialect: who is asked next, and what people read.

use std::time::Duration;

use serde_json::{Value, json};
use verso_proto::agent::v1::{CompleteRequest, RunResponse, complete_response::Item};

use crate::agent::{Agent, turn};
use crate::provider::{Dialect, Provider};

const SESSION: &str = "agent:main:test";

/// A model with another one behind it, both of the scripted server.
fn config(provider: &Provider, dialect: Dialect) -> Value {
    let section = |model: &str| {
        json!({"baseUrl": provider.base_url, "apiKey": format!("key-of-{model}"), "api": dialect.api(),
               "models": [{"id": model, "contextWindow": 128_000, "maxTokens": 4_096}]})
    };
    json!({
        "agents": {"defaults": {"model": {"primary": "first/one", "fallbacks": ["second/two"]}, "userTimezone": "UTC"}},
        "models": {"providers": {"first": section("one"), "second": section("two")}},
    })
}

struct Setup {
    _folder: tempfile::TempDir,
    provider: Provider,
    agent: Agent,
}

async fn setup(dialect: Dialect) -> Setup {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = Agent::open(folder.path(), config(&provider, dialect), 1).await;
    Setup { _folder: folder, provider, agent }
}

fn provider_of(response: &RunResponse) -> String {
    let meta = response.result.as_ref().unwrap().meta.as_ref().unwrap();
    meta.agent_meta.as_ref().unwrap().provider.clone()
}

#[tokio::test]
async fn a_conversation_with_a_tool_call_works_in_every_dialect() {
    for dialect in Dialect::ALL {
        let mut setup = setup(dialect).await;
        let answers = setup.agent.run(turn(SESSION, "how are you?", "r1")).await.unwrap();
        let call = setup.provider.call().await;
        assert!(call.body.to_string().contains("how are you?"), "{dialect:?}");
        let answer = call.stream();
        answer.text("let me see").await;
        answer.tool_call("call_1", "session_status").await;
        let second = setup.provider.call().await;
        let body = second.body.to_string();
        assert!(body.contains("session_status") && body.contains("let me see") && body.contains("first/one"), "{dialect:?}: {body}");
        second.say("all well").await;
        let (statuses, last) = answers.rest().await;
        assert_eq!(statuses, ["accepted", "ok"], "{dialect:?} {last:?}");
        let result = last.result.unwrap();
        let texts: Vec<&str> = result.payloads.iter().map(|payload| payload.text.as_str()).collect();
        assert_eq!(texts, ["let me see", "all well"], "{dialect:?}");
        let usage = result.meta.unwrap().agent_meta.unwrap().usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.total), (20, 10, 30), "{dialect:?}");

        // The next turn shows the whole of it to the model.
        let answers = setup.agent.run(turn(SESSION, "and now?", "r2")).await.unwrap();
        let third = setup.provider.call().await;
        let body = third.body.to_string();
        assert!(body.contains("all well") && body.contains("first/one") && body.contains("and now?"), "{dialect:?}: {body}");
        third.say("still well").await;
        assert_eq!(answers.rest().await.0, ["accepted", "ok"]);
    }
}

#[tokio::test]
async fn each_dialect_shows_its_key_in_its_own_way() {
    for (dialect, header, value) in [
        (Dialect::Completions, "authorization", "Bearer key-of-one"),
        (Dialect::Responses, "authorization", "Bearer key-of-one"),
        (Dialect::Anthropic, "x-api-key", "key-of-one"),
        (Dialect::Google, "x-goog-api-key", "key-of-one"),
        (Dialect::Ollama, "authorization", "Bearer key-of-one"),
        (Dialect::Bedrock, "authorization", "Bearer key-of-one"),
    ] {
        let mut setup = setup(dialect).await;
        let (_, ()) = tokio::join!(setup.agent.run(turn(SESSION, "hi", "r1")), async {
            let call = setup.provider.call().await;
            assert_eq!(call.headers[header], value, "{dialect:?}");
            call.say("hello").await;
        });
    }
}

#[tokio::test]
async fn what_another_provider_can_do_better_is_asked_of_it() {
    for dialect in Dialect::ALL {
        for (status, retry_after) in [(401, None), (402, None), (404, None), (429, Some("3600")), (500, None), (529, None)] {
            let mut setup = setup(dialect).await;
            let answers = setup.agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
            setup.provider.call().await.refuse(status, retry_after);
            let second = setup.provider.call().await;
            assert_eq!(second.model(), "two", "{dialect:?} {status}");
            second.say("from the other").await;
            let (statuses, last) = answers.rest().await;
            assert_eq!(statuses, ["accepted", "ok"], "{dialect:?} {status}");
            assert_eq!((provider_of(&last).as_str(), last.result.unwrap().payloads.len()), ("second", 1), "{dialect:?} {status}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_asked_for_elsewhere() {
    for dialect in Dialect::ALL {
        let mut setup = setup(dialect).await;
        let answers = setup.agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
        setup.provider.call().await.stream().garbage().await;
        setup.provider.call().await.say("from the other").await;
        assert_eq!(provider_of(&answers.rest().await.1), "second", "{dialect:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_said_again_by_another() {
    for dialect in Dialect::ALL {
        let mut setup = setup(dialect).await;
        let mut events = setup.agent.listen(None).await;
        let answers = setup.agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
        let answer = setup.provider.call().await.stream();
        answer.text("half").await;
        events.said("r1").await;
        answer.cut().await;
        let (statuses, last) = answers.rest().await;
        assert_eq!(statuses, ["accepted", "error"], "{dialect:?}");
        assert_eq!(last.summary.as_deref(), Some("first/one: the provider's answer broke off in the middle"), "{dialect:?}");
        assert_eq!(setup.agent.transcript(SESSION).await, ["user: hi", "assistant: half"]);
        assert!(setup.provider.idle(), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_provider_that_never_begins_is_left_for_another() {
    for dialect in Dialect::ALL {
        let mut setup = setup(dialect).await;
        let answers = setup.agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
        let _silent = setup.provider.call().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(301)).await;
        tokio::time::resume();
        setup.provider.call().await.say("from the other").await;
        assert_eq!(provider_of(&answers.rest().await.1), "second", "{dialect:?}");
    }
}

#[tokio::test]
async fn a_conversation_that_is_too_long_for_the_model_is_said_to_be() {
    for dialect in Dialect::ALL {
        let mut setup = setup(dialect).await;
        let answers = setup.agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
        setup.provider.call().await.refuse_with(400, "prompt is too long: 9 tokens > 8 maximum");
        let (statuses, last) = answers.rest().await;
        assert_eq!(statuses, ["accepted", "error"], "{dialect:?}");
        assert!(last.summary.unwrap().contains("longer than the model's context window (HTTP 400): prompt is too long"), "{dialect:?}");
        let error = last.result.unwrap().meta.unwrap().error.unwrap();
        assert_eq!(error.kind, "context_overflow", "{dialect:?}");
        assert!(setup.provider.idle(), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_conversation_that_turns_out_too_long_is_shortened_once() {
    for dialect in Dialect::ALL {
        let mut setup = setup(dialect).await;
        for (run_id, message) in [("r1", "the first question"), ("r2", "the second question")] {
            let answers = setup.agent.run(turn(SESSION, message, run_id)).await.unwrap();
            setup.provider.call().await.say("an answer").await;
            answers.rest().await;
        }
        let mut events = setup.agent.listen(None).await;
        let answers = setup.agent.run(turn(SESSION, "the third question", "r3")).await.unwrap();
        setup.provider.call().await.refuse_with(400, "prompt is too long");
        let summary = setup.provider.call().await;
        assert!(summary.body.to_string().contains("the first question"), "{dialect:?}: {}", summary.body);
        summary.say("A SHORT MEMORY").await;
        let call = setup.provider.call().await;
        let body = call.body.to_string();
        assert!(!body.contains("the first question") && body.contains("A SHORT MEMORY") && body.contains("the third question"), "{body}");
        call.say("short enough").await;
        let (statuses, last) = answers.rest().await;
        assert_eq!((statuses, provider_of(&last)), (vec!["accepted".to_owned(), "ok".to_owned()], "first".to_owned()), "{dialect:?}");
        let lines = events.until_end("r3").await;
        assert!(lines.iter().any(|line| line.contains("compaction end")), "{dialect:?}: {lines:?}");
        assert_eq!(setup.agent.history(SESSION, None).await.messages.len(), 6, "the transcript has everything");
    }
}

#[tokio::test]
async fn when_nobody_answers_every_reason_is_named() {
    for dialect in Dialect::ALL {
        let mut setup = setup(dialect).await;
        let answers = setup.agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
        setup.provider.call().await.refuse(401, None);
        setup.provider.call().await.refuse(402, None);
        let (_, last) = answers.rest().await;
        let words = "first/one: the provider did not accept the API key (HTTP 401): mock status 401 (auth) | \
                     second/two: the provider says that the account has no credit left (HTTP 402): mock status 402 (billing)";
        assert_eq!(last.summary.as_deref(), Some(words), "{dialect:?}");
    }
}

#[tokio::test]
async fn an_http_caller_learns_why_by_name_and_may_choose_the_sampling() {
    for dialect in Dialect::ALL {
        let mut setup = setup(dialect).await;
        let sampling = verso_proto::agent::v1::Sampling { temperature: Some(0.25), max_tokens: Some(7), ..Default::default() };
        let request = CompleteRequest {
            agent_id: "main".to_owned(),
            session_key: SESSION.to_owned(),
            message: "hi".to_owned(),
            idempotency_key: "r1".to_owned(),
            sampling: Some(sampling),
            ..CompleteRequest::default()
        };
        let mut pieces = setup.agent.client.clone().complete(request).await.unwrap().into_inner();
        let call = setup.provider.call().await;
        let sent = |names: &[&str], value: &Value| names.iter().any(|name| call.body.pointer(name) == Some(value));
        let temperatures = ["/temperature", "/generationConfig/temperature", "/options/temperature", "/inferenceConfig/temperature"];
        let limits = [
            "/max_tokens",
            "/max_output_tokens",
            "/generationConfig/maxOutputTokens",
            "/options/num_predict",
            "/inferenceConfig/maxTokens",
        ];
        assert!(sent(&temperatures, &json!(0.25)) && sent(&limits, &json!(7)), "{dialect:?}: {}", call.body);
        call.refuse(400, None);
        let Some(Item::End(end)) = pieces.message().await.unwrap().unwrap().item else { panic!("no end") };
        assert_eq!((end.stop_reason.as_str(), end.provider_status), ("format", Some(400)), "{dialect:?}");
        assert!(setup.provider.idle(), "{dialect:?}: a request that makes no sense makes none to anybody");
    }
}

#[tokio::test]
async fn a_key_that_failed_rests_and_the_next_run_does_not_try_it() {
    let mut setup = setup(Dialect::Completions).await;
    for (run_id, first) in [("r1", true), ("r2", false)] {
        let answers = setup.agent.run(turn(SESSION, "hi", run_id)).await.unwrap();
        if first {
            setup.provider.call().await.refuse(429, Some("60"));
        }
        let call = setup.provider.call().await;
        assert_eq!(call.model(), "two", "{run_id}");
        call.say("ok").await;
        answers.rest().await;
    }
}

#[tokio::test]
async fn the_next_profile_of_a_provider_is_tried_in_the_same_turn() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let path = folder.path().join("agents/main/agent/auth-profiles.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let profile = |key: &str| json!({"type": "api_key", "provider": "first", "key": key});
    std::fs::write(&path, json!({"version": 1, "profiles": {"first:a": profile("ka"), "first:b": profile("kb")}}).to_string()).unwrap();
    let agent = Agent::open(folder.path(), config(&provider, Dialect::Completions), 1).await;
    let answers = agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
    let call = provider.call().await;
    assert_eq!(call.headers["authorization"], "Bearer ka");
    call.refuse(429, None);
    let call = provider.call().await;
    assert_eq!((call.headers["authorization"].to_str().unwrap(), &call.body["model"]), ("Bearer kb", &json!("one")));
    call.say("one answer").await;
    let (statuses, last) = answers.rest().await;
    assert_eq!((statuses, last.result.unwrap().payloads.len()), (vec!["accepted".to_owned(), "ok".to_owned()], 1));
    let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(file["usageStats"]["first:a"]["errorCount"], 1);
}

/// What each fault comes to when there is nobody else to ask: what people read, and what programs are told.
#[tokio::test]
async fn what_people_read_of_a_fault_says_what_to_do_in_every_dialect() {
    for dialect in Dialect::ALL {
        for (fault, words, kind) in FAULTS {
            let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
            let mut alone = config(&provider, dialect);
            alone["agents"]["defaults"]["model"] = json!("first/one");
            let agent = Agent::open(folder.path(), alone, 1).await;
            let answers = agent.run(turn(SESSION, "hi", "r1")).await.unwrap();
            // Whoever only has too much to do is asked again, as often as it takes to know.
            for _ in 0..if fault.passes() { 3 } else { 1 } {
                fault.happen(provider.call().await).await;
            }
            let (statuses, last) = answers.rest().await;
            assert_eq!(statuses, ["accepted", "error"], "{dialect:?} {fault:?}");
            let summary = last.summary.clone().unwrap();
            assert!(summary.contains(words), "{dialect:?} {fault:?}: {summary}");
            let found = last.result.unwrap().meta.unwrap().error.unwrap().kind;
            assert_eq!(found, kind, "{dialect:?} {fault:?}");
            assert!(provider.idle(), "{dialect:?} {fault:?}: nobody is asked once more");
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Status(u16, Option<&'static str>),
    /// A refusal in words.
    Words(u16, &'static str),
    Garbage,
    /// The connection breaks before the first word.
    Cut,
}

const FAULTS: [(Fault, &str, &str); 9] = [
    (Fault::Status(401, None), "the provider did not accept the API key (HTTP 401)", "auth"),
    (Fault::Status(402, None), "the account has no credit left (HTTP 402)", "billing"),
    // Longer than anybody waits: the pause is told, not made.
    (Fault::Status(429, Some("90")), "asks for fewer requests (HTTP 429): mock status 429; it may be tried again in 90 s", "rate_limit"),
    (Fault::Status(429, Some("0")), "asks for fewer requests (HTTP 429)", "rate_limit"),
    (Fault::Status(529, Some("0")), "the provider has too much to do (HTTP 529)", "overloaded"),
    (
        Fault::Words(400, "prompt is too long: 9 tokens > 8 maximum"),
        "longer than the model's context window (HTTP 400)",
        "context_overflow",
    ),
    (Fault::Words(400, "model not found"), "the provider does not know the model", "model_not_found"),
    (Fault::Garbage, "the provider's answer", "server_error"),
    (Fault::Cut, "broke", "server_error"),
];

impl Fault {
    fn passes(self) -> bool {
        matches!(self, Self::Status(_, Some("0")))
    }

    async fn happen(self, call: crate::provider::ModelCall) {
        match self {
            Self::Status(status, retry_after) => call.refuse(status, retry_after),
            Self::Words(status, words) => call.refuse_with(status, words),
            Self::Garbage => call.stream().garbage().await,
            Self::Cut => call.stream().cut().await,
        }
    }
}

#[tokio::test]
async fn a_picture_that_a_tool_answers_with_is_shown_in_every_dialect() {
    const PICTURE: &str = "iVBORw0KGgo=";
    for dialect in Dialect::ALL {
        for sees in [true, false] {
            let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
            let mut config = config(&provider, dialect);
            if sees {
                config["models"]["providers"]["first"]["models"][0]["input"] = json!(["text", "image"]);
            }
            config["agents"]["defaults"]["workspace"] = json!(folder.path());
            std::fs::write(folder.path().join("a.png"), [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A]).unwrap();
            let agent = Agent::open(folder.path(), config, 1).await;
            let answers = agent.run(turn(SESSION, "look", "r1")).await.unwrap();
            provider.call().await.stream().tool_call_with("call_1", "read", &json!({"path": "a.png"})).await;
            let call = provider.call().await;
            let body = call.body.to_string();
            assert_eq!(body.contains(PICTURE), sees, "{dialect:?}: {body}");
            assert_eq!(body.contains("which this model cannot see"), !sees, "{dialect:?}: {body}");
            call.say("a picture").await;
            assert_eq!(answers.rest().await.0, ["accepted", "ok"], "{dialect:?}");
        }
    }
}
