//! A turn from a client to a model and back.

use serde_json::{Value, json};
use tokio::time::timeout;
use verso_tests::gateway::TOKEN;
use verso_tests::provider::reply;
use verso_tests::{Gateway, PATIENCE, Provider, eventually};

use crate::http::http;

async fn turn(client: &verso_client::Client, params: Value) -> Result<Value, verso_client::CallError> {
    let mut answers = client.call_streaming("agent", params).await?;
    let mut last = json!(null);
    while let Some(answer) = timeout(PATIENCE, answers.next()).await.expect("an answer in time") {
        last = answer?;
    }
    Ok(last)
}

#[tokio::test]
async fn a_turn_streams_and_ends_with_its_result() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let client = gateway.client().await;
    let mut events = client.events();
    let params = json!({"message": "hello [[tokens=6 gap=10]]", "sessionKey": "agent:main:turn", "idempotencyKey": "t1"});
    let result = turn(&client, params.clone()).await.expect("a finished run");
    assert_eq!((&result["status"], &result["result"]["payloads"][0]["text"]), (&json!("ok"), &json!(reply(6))));
    let mut deltas = String::new();
    let mut seqs = Vec::new();
    loop {
        let event = timeout(PATIENCE, events.next_named("agent")).await.expect("in time").expect("an event");
        assert_eq!(event.payload["runId"], "t1");
        seqs.push(event.payload["seq"].as_i64().expect("a seq"));
        deltas.push_str(event.payload["data"]["delta"].as_str().unwrap_or_default());
        if event.payload["data"]["phase"] == "end" {
            break;
        }
    }
    assert_eq!(deltas, reply(6));
    assert_eq!(seqs, (1..=i64::try_from(seqs.len()).expect("few")).collect::<Vec<_>>());
    let again = turn(&client, params).await.expect("the stored answer");
    assert_eq!(again["result"], result["result"]);
    assert_eq!(provider.calls().len(), 1, "a repeat does not ask the model again");
}

#[tokio::test]
async fn the_offline_responder_answers_without_any_model_and_says_so() {
    let gateway = Gateway::start().await;
    let output = gateway.command().args(["agent", "--message", "hello"]).output().expect("the CLI runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("No language model is configured") && text.contains("OPENAI_API_KEY"), "{text}");
}

#[tokio::test]
async fn the_trace_of_a_request_reaches_the_provider() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let client = gateway.client().await;
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let frame = json!({
        "type": "req", "id": "t", "method": "chat.send", "traceparent": format!("00-{trace_id}-b7ad6b7169203331-01"),
        "params": {"sessionKey": "agent:main:trace", "message": "hi [[tokens=1]]", "idempotencyKey": "trace-1"},
    });
    client.send_raw(frame.to_string()).await.expect("an open socket");
    let call = eventually("the provider's call", async || provider.calls().into_iter().next()).await;
    let traceparent = call.traceparent.expect("a trace context");
    assert!(traceparent.contains(trace_id) && !traceparent.contains("b7ad6b7169203331"), "{traceparent}");
}

#[tokio::test]
async fn an_abort_ends_the_run_and_the_providers_work() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let client = gateway.client().await;
    let mut events = client.events();
    let send = json!({"sessionKey": "agent:main:abort", "message": "long [[tokens=1000 gap=50]]", "idempotencyKey": "a1"});
    client.call("chat.send", send).await.expect("an accepted message");
    timeout(PATIENCE, events.next_named("chat")).await.expect("in time").expect("a first delta");
    let aborted = client.call("chat.abort", json!({"sessionKey": "agent:main:abort", "runId": "a1"})).await.expect("an answer");
    assert_eq!(aborted, json!({"ok": true, "aborted": true, "runIds": ["a1"]}));
    loop {
        let event = timeout(PATIENCE, events.next_named("chat")).await.expect("in time").expect("an event");
        if event.payload["state"] == "aborted" {
            break;
        }
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_named_in_the_answer() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let client = gateway.client().await;
    for (number, (orders, expected)) in [("status=400", "400"), ("tokens=5 cut=2", "broke off")].into_iter().enumerate() {
        let key = format!("f{number}");
        let params = json!({"message": format!("x [[{orders}]]"), "sessionKey": format!("agent:main:{key}"), "idempotencyKey": key});
        let text = match turn(&client, params).await {
            Ok(payload) => payload.to_string(),
            Err(error) => format!("{error:?}"),
        };
        assert!(text.contains(expected), "{orders}: {text}");
    }
    let params = json!({"message": "still there? [[tokens=2]]", "sessionKey": "agent:main:f0", "idempotencyKey": "f9"});
    assert_eq!(turn(&client, params).await.expect("a finished run")["result"]["payloads"][0]["text"], reply(2));
}

#[tokio::test]
async fn a_provider_that_is_down_is_named_in_the_answer() {
    let provider =
        json!({"baseUrl": "http://127.0.0.1:9/v1", "apiKey": "k", "api": "openai-completions", "models": [{"id": "m", "name": "M"}]});
    let config = json!({"agents": {"defaults": {"model": {"primary": "gone/m"}}}, "models": {"providers": {"gone": provider}}});
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    let params = json!({"message": "x", "sessionKey": "agent:main:down", "idempotencyKey": "d1"});
    let error = turn(&client, params).await.expect_err("a failed run");
    assert_eq!(error.code, "UNAVAILABLE");
    assert!(error.message.contains("could not be reached"), "{error:?}");
}

#[tokio::test]
async fn a_model_is_asked_with_its_parameters_unless_the_caller_has_his_own() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["agents"]["defaults"]["models"] =
        json!({"scripted/model-1": {"params": {"temperature": 0.25, "topP": 0.5, "maxTokens": 77, "cacheRetention": "long"}}});
    config["agents"]["list"] = json!([{"id": "main", "default": true}, {"id": "second", "params": {"temperature": 1, "maxTokens": 9000}}]);
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    let asked = || {
        let body = provider.calls().last().expect("a call").body.clone();
        ["temperature", "top_p", "max_tokens"].map(|name| body[name].clone())
    };
    let params = |session: &str| json!({"message": "x [[tokens=1]]", "sessionKey": session, "idempotencyKey": session});
    turn(&client, params("agent:main:p")).await.expect("a finished run");
    assert_eq!(asked(), [json!(0.25), json!(0.5), json!(77)]);
    turn(&client, params("agent:second:p")).await.expect("a finished run");
    assert_eq!(asked(), [json!(1.0), json!(0.5), json!(4096)], "an agent's own come first, and no answer is longer than its model can");
    let body = json!({"model": "verso", "temperature": 0.75, "messages": [{"role": "user", "content": "x [[tokens=1]]"}]});
    let request = http().post(gateway.http("/v1/chat/completions")).bearer_auth(TOKEN).json(&body);
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    assert_eq!(asked(), [json!(0.75), json!(0.5), json!(77)]);
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_waited_for_as_long_as_is_configured() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["agents"]["defaults"]["llm"] = json!({"idleTimeoutSeconds": 1});
    let gateway = Gateway::start_with(config.clone()).await;
    let client = gateway.client().await;
    let params = |key: &str, orders: &str| json!({"message": format!("x [[{orders}]]"), "sessionKey": format!("agent:main:{key}"), "idempotencyKey": key});
    let error = turn(&client, params("i1", "tokens=2 gap=600000")).await.expect_err("a failed run");
    assert!(error.message.contains("fell silent for 1 s"), "{error:?}");
    let slow = turn(&client, params("i2", "tokens=3 gap=300")).await.expect("who says something in time is heard to the end");
    assert_eq!(slow["result"]["payloads"][0]["text"], reply(3));

    config["agents"]["defaults"]["llm"] = json!({"idleTimeoutSeconds": 0});
    let patient = Gateway::start_with(config).await;
    let slow = turn(&patient.client().await, params("i3", "tokens=2 gap=1500")).await.expect("0 is no limit at all");
    assert_eq!(slow["result"]["payloads"][0]["text"], reply(2));
}
