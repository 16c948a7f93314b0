//! What is counted, as dashboards read it.

use reqwest::StatusCode;
use serde_json::{Value, json};
use verso_tests::gateway::TOKEN;
use verso_tests::{Gateway, Provider, eventually};

use crate::http::http;

async fn metrics(gateway: &Gateway, path: &str) -> (StatusCode, String) {
    let answer = http().get(gateway.http(path)).bearer_auth(TOKEN).send().await.expect("an answer");
    (answer.status(), answer.text().await.expect("a body"))
}

#[tokio::test]
async fn runs_models_and_tools_are_counted_by_the_names_that_dashboards_know() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let ask = async |content: &str| {
        let body = json!({"model": "verso", "messages": [{"role": "user", "content": content}]});
        let asked = http().post(gateway.http("/v1/chat/completions")).bearer_auth(TOKEN).json(&body);
        asked.send().await.expect("an answer").json::<Value>().await.expect("JSON")
    };
    ask("hi [[tokens=4]]").await;
    ask("look [[call=read args={\"path\":\"none.md\"}]]").await;
    ask("no [[call=made_up]]").await;
    ask("fail [[status=400]]").await;
    let (status, text) = metrics(&gateway, "/api/diagnostics/prometheus").await;
    assert_eq!(status, StatusCode::OK);
    let run = |outcome: &str, count: u32| {
        format!(
            "openclaw_run_completed_total{{channel=\"webchat\",model=\"model-1\",outcome=\"{outcome}\",provider=\"scripted\",trigger=\"user\"}} {count}\n"
        )
    };
    for line in [
        run("completed", 3),
        run("error", 1),
        "# TYPE openclaw_run_duration_seconds histogram\n".to_owned(),
        "openclaw_model_call_total{api=\"openai-completions\",error_category=\"none\",model=\"model-1\",outcome=\"completed\",provider=\"scripted\"} 5\n".to_owned(),
        "openclaw_model_call_total{api=\"openai-completions\",error_category=\"format\",model=\"model-1\",outcome=\"error\",provider=\"scripted\"} 1\n".to_owned(),
        "openclaw_model_tokens_total{agent=\"main\",channel=\"webchat\",model=\"model-1\",provider=\"scripted\",token_type=\"output\"}".to_owned(),
        "openclaw_tool_execution_total{outcome=\"error\",tool=\"read\"} 1\n".to_owned(),
        "openclaw_tool_execution_total{outcome=\"error\",tool=\"other\"} 1\n".to_owned(),
        "openclaw_gateway_build_info".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("made_up") && !text.contains("# EOF"), "{text}");
}

#[tokio::test]
async fn metrics_that_are_switched_off_are_not_there() {
    let gateway = Gateway::start_with(json!({"diagnostics": {"prometheus": {"enabled": false}}})).await;
    for path in ["/metrics", "/api/diagnostics/prometheus"] {
        assert_eq!(metrics(&gateway, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_run_that_does_not_move_is_counted_and_said() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["diagnostics"] = json!({"stuckSessionWarnMs": 1_000});
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    let params = json!({"message": "go [[hang]]", "sessionKey": "agent:main:stuck", "idempotencyKey": "stuck"});
    client.call("chat.send", params).await.expect("an accepted message");
    let text = eventually("a stuck run", async || {
        let (_, text) = metrics(&gateway, "/metrics").await;
        text.contains("openclaw_session_stuck_total{reason=\"model_call\",state=\"processing\"}").then_some(text)
    })
    .await;
    assert!(text.contains("openclaw_session_stuck_age_seconds_count{reason=\"model_call\",state=\"processing\"}"), "{text}");
    client.call("chat.abort", json!({"sessionKey": "agent:main:stuck"})).await.expect("an answer");
}
