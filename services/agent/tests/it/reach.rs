//! Tools that reach beyond the conversation: chats, jobs, pictures, the gateway; and what they do not reach.

use std::path::Path;

use serde_json::{Value, json};
use verso_proto::agent::v1::{
    AgentPreviewRequest, ModelsAuthLogoutRequest, ModelsAuthOrderSetRequest, ModelsAuthSetApiKeyRequest, ModelsAuthStatusRequest,
    model_access_client::ModelAccessClient, previews_client::PreviewsClient,
};

use crate::agent::{Agent, config, turn};
use crate::provider::{ModelCall, Provider};

async fn agent(folder: &Path, provider: &Provider, more: Value) -> Agent {
    std::fs::create_dir_all(folder.join("workspace")).unwrap();
    let mut config = config(provider);
    for (name, section) in more.as_object().into_iter().flatten() {
        config[name] = section.clone();
    }
    Agent::open(folder, config, 1).await
}

fn offered(call: &ModelCall) -> Vec<String> {
    let tools = call.body["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Has the model call tools in one turn, and returns what each has answered, and what was offered.
async fn called(agent: &Agent, provider: &mut Provider, run_id: &str, calls: &[(&str, Value)]) -> (Vec<String>, Vec<String>) {
    let answers = agent.run(turn("main", "go", run_id)).await.unwrap();
    let call = provider.call().await;
    let names = offered(&call);
    let ids: Vec<String> = (0..calls.len()).map(|number| format!("{run_id}-{number}")).collect();
    let wanted: Vec<(&str, &str, Value)> =
        calls.iter().zip(&ids).map(|((name, arguments), id)| (id.as_str(), *name, arguments.clone())).collect();
    call.stream().tool_calls(&wanted).await;
    let call = provider.call().await;
    let messages = call.body["messages"].as_array().unwrap();
    let result = |id: &String| {
        let found = messages.iter().find(|message| message["tool_call_id"] == id.as_str()).unwrap();
        found["content"].as_str().unwrap_or_default().to_owned()
    };
    let results = ids.iter().map(result).collect();
    call.say("done").await;
    assert_eq!(answers.rest().await.0, ["accepted", "ok"]);
    (results, names)
}

#[tokio::test]
async fn sec_43_and_53_no_file_and_no_address_that_is_not_the_agents_own_leaves_by_a_message() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "s").unwrap();
    let agent = agent(folder.path(), &provider, json!({"channels": {"telegram": {}}})).await;
    std::os::unix::fs::symlink("../secret", folder.path().join("workspace/link")).unwrap();
    let media =
        ["/etc/hostname", "../secret", "link", "file:///etc/hostname", "http://127.0.0.1:9222/json", "http://169.254.169.254/latest"];
    let calls: Vec<(&str, Value)> =
        media.iter().map(|media| ("message", json!({"action": "send", "to": "42", "message": "x", "media": media}))).collect();
    let (results, _) = called(&agent, &mut provider, "r-1", &calls).await;
    for (media, result) in media.iter().zip(&results) {
        let refused =
            ["outside the workspace", "is not the path of a file", "Invalid URL", "Blocked"].iter().any(|words| result.contains(words));
        assert!(refused && !result.contains("could not be sent"), "{media}: {result}");
    }
    // A plain message gets as far as the service that is not there.
    let (results, _) = called(&agent, &mut provider, "r-2", &[("message", json!({"to": "42", "message": "x"}))]).await;
    assert!(results[0].contains("could not be sent"), "{results:?}");
}

#[tokio::test]
async fn sec_44_there_is_no_browser_and_its_debugger_is_out_of_reach() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut seeing = json!({"channels": {}});
    seeing["agents"] = config(&provider)["agents"].clone();
    seeing["agents"]["defaults"]["imageModel"] = json!("mock/mock-1");
    let agent = agent(folder.path(), &provider, seeing).await;
    let calls = [
        ("browser", json!({"action": "open", "url": "http://127.0.0.1/"})),
        ("web_fetch", json!({"url": "http://127.0.0.1:9222/json/version"})),
        ("web_fetch", json!({"url": "ws://127.0.0.1:9222/devtools/browser/x"})),
        ("image", json!({"image": "http://localhost:9222/screenshot.png"})),
        ("image", json!({"image": "../../etc/hostname"})),
    ];
    let (results, names) = called(&agent, &mut provider, "r-1", &calls).await;
    assert!(!names.contains(&"browser".to_owned()) && names.contains(&"image".to_owned()), "{names:?}");
    assert_eq!(results[0], "there is no tool named browser");
    assert!(results[1].contains("Blocked") && results[2].contains("Invalid URL protocol"), "{results:?}");
    assert!(results[3].contains("Blocked") && results[4].contains("outside the workspace"), "{results:?}");
}

#[tokio::test]
async fn a_job_is_made_from_what_a_model_leaves_out_and_belongs_to_its_agent() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), &provider, json!({"cron": {"enabled": true}})).await;
    let job = json!({"schedule": {"at": "2099-01-01T00:00:00Z"}, "payload": {"text": "water the plants"}});
    let calls = [
        ("cron", json!({"action": "add", "job": job, "contextMessages": 3})),
        ("cron", json!({"action": "add", "job": {"agentId": "second", "schedule": {"everyMs": 60_000}, "payload": {"message": "x"}}})),
        ("cron", json!({"action": "list"})),
        ("cron", json!({"action": "remove", "jobId": "no-such-job"})),
        ("cron", json!({"action": "wake", "text": "hello", "mode": "never"})),
    ];
    let (results, _) = called(&agent, &mut provider, "r-1", &calls).await;
    let made: Value = serde_json::from_str(&results[0]).unwrap();
    assert_eq!(
        (&made["sessionTarget"], &made["wakeMode"], &made["payload"]["kind"], &made["agentId"], &made["schedule"]["kind"]),
        (&json!("main"), &json!("next-heartbeat"), &json!("systemEvent"), &json!("main"), &json!("at"))
    );
    assert!(made["payload"]["text"].as_str().unwrap().starts_with("water the plants"), "{made}");
    assert!(results[1].contains("for that agent to make") && results[2].contains(made["id"].as_str().unwrap()), "{results:?}");
    assert!(results[3].contains("no-such-job") && results[4].contains("mode is"), "{results:?}");
    // Another agent neither sees it nor can take it away.
    let answers = agent.run(turn("agent:second:main", "go", "r-2")).await.unwrap();
    let call = provider.call().await;
    let id = made["id"].clone();
    call.stream().tool_calls(&[("a", "cron", json!({"action": "list"})), ("b", "cron", json!({"action": "remove", "jobId": id}))]).await;
    let call = provider.call().await;
    let body = call.body["messages"].to_string();
    assert!(body.contains("there is no job") && !body.contains("water the plants"), "{body}");
    call.say("done").await;
    answers.rest().await;
}

#[tokio::test]
async fn sec_59_without_the_edge_nothing_is_changed_and_whole_files_are_never_replaced() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), &provider, json!({"commands": {"restart": false}})).await;
    let calls = [
        ("gateway", json!({"action": "config.apply", "raw": "{}"})),
        ("gateway", json!({"action": "restart"})),
        ("gateway", json!({"action": "update.run"})),
        ("gateway", json!({"action": "config.patch"})),
    ];
    let (results, _) = called(&agent, &mut provider, "r-1", &calls).await;
    let words = ["does not replace the whole file", "commands.restart is off", "does not update itself", "patch is required"];
    for (result, words) in results.iter().zip(words) {
        assert!(result.contains(words), "{result}");
    }
}

#[tokio::test]
async fn a_preview_is_what_would_be_sent_and_nothing_is() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), &provider, json!({})).await;
    let answers = agent.run(turn("main", "hello there", "r-1")).await.unwrap();
    provider.call().await.say("hi").await;
    answers.rest().await;
    let request = AgentPreviewRequest { message: "and now?".to_owned(), session_key: Some("main".to_owned()), ..Default::default() };
    let preview = PreviewsClient::new(agent.channel.clone()).agent_preview(request).await.unwrap().into_inner();
    assert!(provider.idle(), "nothing is sent");
    let sent = preview.request.unwrap();
    assert_eq!((sent.method.as_str(), sent.url.as_str()), ("POST", format!("{}/chat/completions", provider.base_url).as_str()));
    assert!(sent.headers.contains(&"authorization".to_owned()), "{:?}", sent.headers);
    let body: Value = serde_json::from_str(&sent.body.unwrap().text).unwrap();
    assert!(!body.to_string().contains("mock-key"), "no secret is shown");
    // The next turn sends just this.
    let answers = agent.run(turn("main", "and now?", "r-2")).await.unwrap();
    let call = provider.call().await;
    let without_times =
        |body: &Value| body["messages"].as_array().unwrap().iter().map(|message| message["role"].clone()).collect::<Vec<_>>();
    assert_eq!((&call.body["model"], &call.body["tools"]), (&body["model"], &body["tools"]));
    assert_eq!(call.body["messages"][0], body["messages"][0], "the system prompt is the same");
    assert_eq!(without_times(&call.body), without_times(&body));
    call.say("still").await;
    answers.rest().await;
    let sizes = preview.sizes.unwrap();
    assert!(sizes.system_prompt_tokens > 0 && sizes.tools_bytes > 0 && sizes.context_window == 128_000, "{sizes:?}");
    assert_eq!(agent.transcript("main").await.len(), 4, "the preview is in no transcript");
}

#[tokio::test]
async fn a_key_is_kept_tried_and_forgotten_and_never_shown() {
    let mut provider = Provider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), &provider, json!({})).await;
    let mut access = ModelAccessClient::new(agent.channel.clone());
    for (id, key) in [("mock:first", "k1"), ("mock:second", "k2")] {
        let request = ModelsAuthSetApiKeyRequest {
            provider: "Mock".to_owned(),
            api_key: format!(" {key} "),
            profile_id: Some(id.to_owned()),
            agent_id: None,
        };
        assert_eq!(access.models_auth_set_api_key(request).await.unwrap().into_inner().profile_id, id);
    }
    let order = ModelsAuthOrderSetRequest { provider: "mock".to_owned(), order: vec!["mock:second".to_owned()], agent_id: None };
    assert!(access.models_auth_order_set(order).await.unwrap().into_inner().ok);
    let file = folder.path().join("agents/main/agent/auth-profiles.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
    let status = access.models_auth_status(ModelsAuthStatusRequest::default()).await.unwrap().into_inner();
    assert!(!format!("{status:?}").contains("k1") && format!("{status:?}").contains("mock:second"), "{status:?}");
    let answers = agent.run(turn("main", "hi", "r-1")).await.unwrap();
    let call = provider.call().await;
    assert_eq!(call.headers["authorization"], "Bearer k2");
    call.say("hi").await;
    answers.rest().await;
    let logout = ModelsAuthLogoutRequest { provider: Some("mock".to_owned()), ..Default::default() };
    let mut removed = access.models_auth_logout(logout).await.unwrap().into_inner().removed;
    removed.sort();
    assert_eq!(removed, ["mock:first", "mock:second"]);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("k1"), "nothing is left of them");
    let answers = agent.run(turn("main", "hi", "r-2")).await.unwrap();
    let call = provider.call().await;
    assert_eq!(call.headers["authorization"], "Bearer mock-key", "what is configured is still there");
    call.say("hi").await;
    answers.rest().await;
}
