//! Webhooks of a whole gateway.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use verso_tests::bot_api::BotApi;
use verso_tests::gateway::TOKEN;
use verso_tests::provider::reply;
use verso_tests::{Gateway, Provider, eventually};

use crate::http::http;

/// The webhooks' own secret.
const SECRET: &str = "made-up-hook-secret";

async fn gateway(hooks: Value) -> (Provider, Gateway) {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["hooks"] = json!({"enabled": true, "token": SECRET});
    config["hooks"].as_object_mut().expect("an object").extend(hooks.as_object().expect("an object").clone());
    let gateway = Gateway::start_with(config).await;
    (provider, gateway)
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> Response {
    http().post(gateway.http(path)).bearer_auth(SECRET).json(body).send().await.expect("an answer")
}

async fn told(answer: Response) -> (u16, Value) {
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// What the model was asked, all calls together.
fn asked(provider: &Provider) -> String {
    provider.calls().iter().map(|call| call.body["messages"].to_string()).collect()
}

#[tokio::test]
async fn a_webhook_begins_a_turn_and_wakes_an_agent() {
    let (provider, gateway) = gateway(json!({})).await;
    let (status, body) = told(post(&gateway, "/hooks/wake", &json!({"text": "the kettle boils", "mode": "next-heartbeat"})).await).await;
    assert_eq!((status, &body), (200, &json!({"ok": true, "mode": "next-heartbeat", "eventOutcome": "queued"})));
    let (status, body) = told(post(&gateway, "/hooks/agent", &json!({"message": "look [[tokens=2]]", "name": "CI"})).await).await;
    assert!(status == 202 && body["runId"].is_string(), "{body}");
    eventually("the turn to be asked for", async || asked(&provider).contains("look").then_some(())).await;
    let waiting = json!({"message": "now [[tokens=3]]", "waitForCompletion": true, "wakeMode": "next-heartbeat"});
    let (status, body) = told(post(&gateway, "/hooks/agent", &waiting).await).await;
    assert_eq!((status, &body["completion"]), (200, &json!({"status": "ok", "replyDisposition": "visible"})), "{body}");
    let failing = json!({"message": "now [[status=400]]", "waitForCompletion": true, "wakeMode": "next-heartbeat"});
    let (_, body) = told(post(&gateway, "/hooks/agent", &failing).await).await;
    assert_eq!(body["completion"]["status"], "error", "{body}");
    let undelivered = json!({"message": "x [[tokens=1]]", "waitForCompletion": true, "channel": "telegram", "to": "1"});
    let (_, body) = told(post(&gateway, "/hooks/agent", &undelivered).await).await;
    assert_eq!(
        (&body["completion"]["delivered"], &body["completion"]["deliveryError"]),
        (&json!(false), &json!("delivery-failed")),
        "{body}"
    );
    for (body, words) in [
        (json!({}), "message required"),
        (json!({"message": "x", "model": ""}), "model required"),
        (json!({"message": "x", "waitForCompletion": 1}), "waitForCompletion must be boolean"),
        (json!({"message": "x", "sessionKey": "cron:1"}), "sessionKey cannot use reserved internal session namespaces"),
    ] {
        assert_eq!(told(post(&gateway, "/hooks/agent", &body).await).await, (400, json!({"ok": false, "error": words})));
    }
    let channel = told(post(&gateway, "/hooks/agent", &json!({"message": "x", "channel": "pigeon"})).await).await;
    assert_eq!(channel, (400, json!({"ok": false, "error": "channel must be last"})));
    assert_eq!(
        told(post(&gateway, "/hooks/wake", &json!({"text": " "})).await).await,
        (400, json!({"ok": false, "error": "text required"}))
    );
}

#[tokio::test]
async fn a_call_that_is_named_has_its_effect_once_also_over_the_death_of_the_edge() {
    let (provider, gateway) = gateway(json!({})).await;
    let call = async || {
        let body = json!({"message": "quokka [[tokens=1]]", "waitForCompletion": true, "wakeMode": "next-heartbeat"});
        let asked = http().post(gateway.http("/hooks/agent")).bearer_auth(SECRET).header("idempotency-key", "delivery-1").json(&body);
        told(asked.send().await.expect("an answer")).await
    };
    let (status, first) = call().await;
    assert_eq!((status, call().await.1["runId"].clone()), (200, first["runId"].clone()));
    let pid = gateway.kill("edge").await;
    gateway.recovered("edge", pid).await;
    let again = eventually("the edge to answer", async || {
        let (status, body) = call().await;
        (status == 200).then_some(body)
    })
    .await;
    assert_eq!(again["runId"], first["runId"]);
    assert_eq!(asked(&provider).matches("quokka").count(), 1, "{}", asked(&provider));
}

#[tokio::test]
async fn mapped_names_have_templates_programs_and_lists() {
    let mappings = json!([
        {"match": {"path": "github"}, "name": "GitHub", "messageTemplate": "gh {{payload.action}} {{headers.x-github-event}} q={{query.q}} [[tokens=1]]",
         "wakeMode": "next-heartbeat"},
        {"match": {"path": "note"}, "action": "wake", "textTemplate": "{{text}}", "wakeMode": "next-heartbeat"},
        {"match": {"path": "skip"}, "messageTemplate": "x", "transform": {"command": ["/bin/sh", "-c", "echo null"]}},
        {"match": {"path": "program"}, "messageTemplate": "x", "wakeMode": "next-heartbeat",
         "transform": {"command": ["/bin/sh", "-c", "cat >/dev/null; echo '{\"message\": \"from a program [[tokens=1]]\"}'"]}},
        {"match": {"path": "slow"}, "messageTemplate": "x", "transform": {"command": ["/bin/sleep", "60"], "timeoutMs": 100}},
        {"match": {"path": "bad"}, "messageTemplate": "{% include 'secrets' %}"},
        {"match": {"path": "blank"}, "messageTemplate": "{{nothing}}"},
    ]);
    let (provider, gateway) = gateway(json!({"mappings": mappings, "presets": ["gmail"]})).await;
    let github = http().post(gateway.http("/hooks/github?q=1")).bearer_auth(SECRET).header("x-github-event", "push");
    assert_eq!(github.json(&json!({"action": "opened"})).send().await.expect("an answer").status(), StatusCode::ACCEPTED);
    eventually("the mapped words", async || asked(&provider).contains("gh opened push q=1").then_some(())).await;
    assert_eq!(told(post(&gateway, "/hooks/note", &json!({"text": "tea"})).await).await.0, 200);
    assert_eq!(post(&gateway, "/hooks/skip", &json!({})).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(post(&gateway, "/hooks/program", &json!({})).await.status(), StatusCode::ACCEPTED);
    eventually("the program's words", async || asked(&provider).contains("from a program").then_some(())).await;
    for path in ["/hooks/slow", "/hooks/bad"] {
        assert_eq!(
            told(post(&gateway, path, &json!({})).await).await,
            (500, json!({"ok": false, "error": "hook mapping failed"})),
            "{path}"
        );
    }
    let blank = told(post(&gateway, "/hooks/blank", &json!({})).await).await;
    assert_eq!(blank, (400, json!({"ok": false, "error": "hook mapping requires message"})));
    assert_eq!(post(&gateway, "/hooks/unknown", &json!({})).await.status(), StatusCode::NOT_FOUND);
    let mails = json!({"messages": [
        {"id": "m1", "from": "ada@example.test", "subject": "One", "snippet": "s", "body": "[[tokens=1]]"},
        {"id": "m2", "from": "bob@example.test", "subject": "Two", "snippet": "s", "body": "[[tokens=1]]"},
    ]});
    let (status, body) = told(post(&gateway, "/hooks/gmail", &mails).await).await;
    assert_eq!((status, &body["dispatched"]), (200, &json!(2)), "{body}");
    let (_, again) = told(post(&gateway, "/hooks/gmail", &mails).await).await;
    assert_eq!(again["runIds"], body["runIds"], "mail that is told twice is answered once");
    eventually("both mails", async || {
        let asked = asked(&provider);
        (asked.contains("New email from ada@example.test") && asked.contains("Subject: Two")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sec_32_without_the_right_secret_nothing_comes_in() {
    let (provider, gateway) = gateway(json!({"mappings": [{"match": {"path": "x"}, "messageTemplate": "x"}]})).await;
    let ask = async |path: &str, secret: Option<&str>| {
        let asked = http().post(gateway.http(path)).json(&json!({"message": "x", "text": "x"}));
        let asked = secret.into_iter().fold(asked, reqwest::RequestBuilder::bearer_auth);
        asked.send().await.expect("an answer")
    };
    for path in ["/hooks/agent", "/hooks/wake", "/hooks/x", "/hooks"] {
        for secret in [None, Some(""), Some("wrong"), Some(TOKEN)] {
            assert_eq!(ask(path, secret).await.status(), StatusCode::UNAUTHORIZED, "{path} {secret:?}");
        }
        // The limit of guesses is not for whoever knows the secret.
        assert_ne!(ask(path, Some(SECRET)).await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let in_address = http().post(gateway.http(&format!("/hooks/agent?token={SECRET}"))).json(&json!({"message": "x"}));
    assert_eq!(in_address.send().await.expect("an answer").status(), StatusCode::BAD_REQUEST);
    for _ in 0..20 {
        assert_eq!(ask("/hooks/agent", Some("wrong")).await.status(), StatusCode::UNAUTHORIZED);
    }
    let many = ask("/hooks/agent", Some("wrong")).await;
    assert!(many.status() == StatusCode::TOO_MANY_REQUESTS && many.headers().contains_key("retry-after"));
    assert_eq!(ask("/hooks", Some(SECRET)).await.status(), StatusCode::NOT_FOUND);
    let got = http().get(gateway.http("/hooks/agent")).bearer_auth(SECRET).send().await.expect("an answer");
    assert_eq!((got.status(), got.headers()["allow"].to_str().expect("words")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    let closed = Gateway::start_with(json!({"hooks": {"enabled": false, "token": SECRET}})).await;
    assert_eq!(post(&closed, "/hooks/agent", &json!({"message": "x"})).await.status(), StatusCode::NOT_FOUND);
    drop(provider);
}

#[tokio::test]
async fn sec_15_another_secret_of_webhooks_counts_at_once() {
    let (_provider, gateway) = gateway(json!({})).await;
    let path = gateway.state_dir().join("verso.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("a file")).expect("JSON");
    config["hooks"]["token"] = json!("another-made-up-secret");
    std::fs::write(&path, config.to_string()).expect("a file");
    eventually("the new secret", async || {
        let asked = http()
            .post(gateway.http("/hooks/wake"))
            .bearer_auth("another-made-up-secret")
            .json(&json!({"text": "x", "mode": "next-heartbeat"}));
        (asked.send().await.expect("an answer").status() == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(post(&gateway, "/hooks/wake", &json!({"text": "x"})).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sec_42_no_address_of_a_request_makes_the_gateway_talk_to_itself() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["gateway"] = json!({"http": {"endpoints": {"responses": {"enabled": true}}}});
    let gateway = Gateway::start_with(config).await;
    let own = gateway.http("/v1/models");
    for url in [
        own.clone(),
        own.replace("127.0.0.1", "localhost"),
        own.replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        own.replace("127.0.0.1", "2130706433"),
    ] {
        let content = json!([{"type": "input_text", "text": "x"}, {"type": "input_file", "file_url": url}]);
        let body = json!({"model": "verso", "input": [{"role": "user", "content": content}]});
        let answer = http().post(gateway.http("/v1/responses")).bearer_auth(TOKEN).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{url}");
        let fetched = json!({"tool": "web_fetch", "args": {"url": url}});
        let answer = http().post(gateway.http("/tools/invoke")).bearer_auth(TOKEN).json(&fetched).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{url}");
    }
    assert!(provider.calls().is_empty(), "no model was asked");
    let scraped = http().get(gateway.http("/metrics")).bearer_auth(TOKEN).send().await.expect("an answer").text().await.expect("a body");
    assert!(!scraped.contains("route=\"/v1/models\""), "{scraped}");
}

#[tokio::test]
async fn what_a_webhook_s_turn_says_goes_to_whoever_wrote_last() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"allowFrom": ["42"]}))["channels"].clone();
    config["hooks"] = json!({"enabled": true, "token": SECRET});
    let gateway = Gateway::start_with(config).await;
    let call = async |more: Value| {
        let mut body = json!({"message": "report [[tokens=4]]", "waitForCompletion": true, "wakeMode": "next-heartbeat"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        told(post(&gateway, "/hooks/agent", &body).await).await.1["completion"].clone()
    };
    assert_eq!(call(json!({})).await, json!({"status": "ok", "replyDisposition": "visible"}), "nobody has written yet");
    let nobody = call(json!({"channel": "telegram"})).await;
    assert_eq!((&nobody["status"], &nobody["deliveryError"]), (&json!("error"), &json!("delivery-failed")), "{nobody}");
    api.write(42, "hello [[tokens=2]]");
    let texts = || api.sent_to(42).iter().map(|sent| sent["text"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    eventually("an answer", async || Some(()).filter(|()| texts().contains(&reply(2)))).await;
    for more in [json!({}), json!({"channel": "last", "name": "CI"}), json!({"channel": "telegram"})] {
        let completion = call(more).await;
        assert_eq!((&completion["status"], &completion["delivered"]), (&json!("ok"), &json!(true)), "{completion}");
    }
    call(json!({"deliver": false})).await;
    assert_eq!(texts().into_iter().filter(|text| *text == reply(4)).count(), 3, "{:?}", texts());
}
