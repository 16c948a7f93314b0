//! What can be asked about models, their costs and speech.

use std::os::unix::fs::PermissionsExt as _;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::{Value, json};
use tonic::Code;
use verso_kit::grpc::in_memory;
use verso_proto::agent::v1::model_access_client::ModelAccessClient;
use verso_proto::agent::v1::tts_client::TtsClient;
use verso_proto::agent::v1::usage_reports_client::UsageReportsClient;
use verso_proto::agent::v1::{
    ModelsAuthStatusRequest, ModelsListRequest, ModelsProbeRequest, TtsConvertRequest, TtsDisableRequest, TtsEnableRequest,
    TtsSetProviderRequest, TtsStatusRequest, UsageCostRequest,
};

use crate::agent::{Agent, config, turn};
use crate::provider::Provider;

#[tokio::test]
async fn what_runs_have_used_is_added_up_and_priced() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut file = config(&provider);
    file["models"]["providers"]["mock"]["models"][0]["cost"] = json!({"input": 1_000, "output": 2_000});
    let agent = Agent::open(folder.path(), file, 1).await;
    for run_id in ["r1", "r2"] {
        let answers = agent.run(turn("main", "hi", run_id)).await.unwrap();
        provider.reply("hello").await;
        answers.rest().await;
    }
    let mut client = UsageReportsClient::new(in_memory(agent.service.routes()));
    let report = client.usage_cost(UsageCostRequest { days: Some(1) }).await.unwrap().into_inner();
    let totals = report.totals.unwrap();
    assert_eq!((totals.input, totals.output, totals.total_tokens, totals.missing_cost_entries), (20, 10, 30, 0));
    // 20 tokens at a thousand dollars a million, 10 at two thousand.
    assert!((totals.total_cost - 0.04).abs() < 1e-9, "{totals:?}");
    assert_eq!((report.days, report.daily.len(), report.daily[0].total_tokens), (1, 1, 30));

    let answers = agent.run(turn("main", "hi", "r3")).await.unwrap();
    provider.reply("hello").await;
    answers.rest().await;
    let again = client.usage_cost(UsageCostRequest { days: Some(1) }).await.unwrap().into_inner();
    assert_eq!(again.totals.unwrap().total_tokens, 30, "a report is given again for a while");
    let other = client.usage_cost(UsageCostRequest { days: None }).await.unwrap().into_inner();
    assert_eq!((other.days, other.totals.unwrap().total_tokens), (30, 45));
}

#[tokio::test]
async fn models_say_what_they_are_and_whether_they_answer() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut file = config(&provider);
    file["models"]["providers"]["far"] = json!({"baseUrl": "https://models.invalid/v1", "models": [{"id": "x", "reasoning": true}]});
    file["agents"]["defaults"]["model"]["fallbacks"] = json!(["far/x"]);
    let agent = Agent::open(folder.path(), file, 1).await;
    let models = agent.client.clone().models_list(ModelsListRequest::default()).await.unwrap().into_inner().models;
    let rows: Vec<Value> = models
        .iter()
        .map(|model| json!([model.id, model.tags, model.available, model.thinking_levels.len(), model.thinking_default]))
        .collect();
    assert_eq!(
        rows,
        [json!(["mock-1", ["default", "configured"], true, 1, "off"]), json!(["x", ["fallback#1", "configured"], false, 5, "off"])]
    );

    let mut client = ModelAccessClient::new(in_memory(agent.service.routes()));
    let status = client.models_auth_status(ModelsAuthStatusRequest::default()).await.unwrap().into_inner();
    let rows: Vec<(&str, &str, usize)> =
        status.providers.iter().map(|one| (one.provider.as_str(), one.status.as_str(), one.profiles.len())).collect();
    assert_eq!(rows, [("mock", "static", 1), ("far", "missing", 0)]);

    let ask = ModelsProbeRequest { model: Some("mock/mock-1".to_owned()), ..ModelsProbeRequest::default() };
    for (status, refused) in [("ok", false), ("auth", true)] {
        let probing = client.models_probe(ask.clone());
        let (answer, ()) = tokio::join!(probing, async {
            let call = provider.call().await;
            assert_eq!(call.body["max_tokens"], 8);
            if refused { call.refuse(401, None) } else { call.say("OK").await }
        });
        let result = answer.unwrap().into_inner().results.remove(0);
        assert_eq!((result.status.as_str(), result.ok, result.error.is_some()), (status, !refused, refused));
    }
}

/// A server that speaks: it returns what it was asked.
#[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
async fn speaker() -> String {
    let speak = |headers: HeaderMap, body: Bytes| async move {
        assert_eq!(headers["authorization"], "Bearer speech-key");
        body
    };
    let routes = axum::Router::new().route("/v1/audio/speech", post(speak));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    base_url
}

#[tokio::test]
async fn a_text_is_spoken_into_a_file_of_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let file = json!({"messages": {"tts": {"openai": {"apiKey": "speech-key", "baseUrl": speaker().await, "voice": "nova"}}}});
    let agent = Agent::open(folder.path(), file, 1).await;
    let mut client = TtsClient::new(in_memory(agent.service.routes()));
    let request = TtsConvertRequest { text: Some(" hello ".to_owned()), channel: Some("telegram".to_owned()) };
    let spoken = client.tts_convert(request).await.unwrap().into_inner();
    assert_eq!((spoken.provider.as_str(), spoken.output_format.as_str(), spoken.voice_compatible), ("openai", "opus", true));
    let asked: Value = serde_json::from_slice(&std::fs::read(&spoken.audio_path).unwrap()).unwrap();
    assert_eq!(asked, json!({"model": "gpt-4o-mini-tts", "voice": "nova", "input": "hello", "response_format": "opus"}));
    assert_eq!(std::fs::metadata(&spoken.audio_path).unwrap().permissions().mode() & 0o777, 0o600);

    let refused = client.tts_convert(TtsConvertRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "tts.convert requires text"));
}

#[tokio::test]
async fn settings_of_speech_last_and_nobody_pretends_to_speak() {
    let folder = tempfile::tempdir().unwrap();
    for epoch in [1, 2] {
        let agent = Agent::open(folder.path(), json!({}), epoch).await;
        let mut client = TtsClient::new(in_memory(agent.service.routes()));
        let status = client.tts_status(TtsStatusRequest {}).await.unwrap().into_inner();
        if epoch == 1 {
            assert_eq!((status.enabled, status.auto.as_str(), status.provider.as_str()), (false, "off", "edge"));
            assert!(client.tts_enable(TtsEnableRequest {}).await.unwrap().into_inner().enabled);
            let choice = TtsSetProviderRequest { provider: Some("OpenAI".to_owned()) };
            assert_eq!(client.tts_set_provider(choice).await.unwrap().into_inner().provider, "openai");
            let unknown = TtsSetProviderRequest { provider: Some("acme".to_owned()) };
            let refused = client.tts_set_provider(unknown).await.unwrap_err();
            assert_eq!(refused.message(), "Invalid provider. Use openai, elevenlabs, or edge.");
        } else {
            assert_eq!((status.enabled, status.auto.as_str(), status.provider.as_str()), (true, "always", "openai"));
            assert!(!client.tts_disable(TtsDisableRequest {}).await.unwrap().into_inner().enabled);
        }
        let request = TtsConvertRequest { text: Some("hello".to_owned()), channel: None };
        let refused = client.tts_convert(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().starts_with("TTS conversion failed"), "{}", refused.message());
    }
}
