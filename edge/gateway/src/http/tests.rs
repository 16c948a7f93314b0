//! The HTTP APIs, from the request to the agent service's rpc and back.

mod agent;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::Status;
use tower::ServiceExt as _;
use verso_kit::CancellationToken;
use verso_kit::config::File;
use verso_kit::error::{WireCode, WireError, status};
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::agent::v1::{CompleteEnd, Usage};

use super::{Asked, router};
use crate::config::Config;
use crate::gateway::Gateway;
use crate::request_facts::Facts;
use agent::{FakeAgent, Step, end};

const CHAT: &str = "/v1/chat/completions";
const LOOPBACK: &str = "127.0.0.1:40000";
const REMOTE: &str = "203.0.113.9:40000";

/// An edge with an agent service behind it.
struct House {
    gateway: Arc<Gateway>,
    agent: FakeAgent,
    /// Holds the sockets as long as the edge is asked.
    _folder: TempDir,
}

fn house() -> House {
    house_with(&json!({"auth": {"token": "s3cret"}}))
}

fn house_with(config: &Value) -> House {
    let folder = tempfile::tempdir().unwrap();
    let mut context = Context::for_test("edge", folder.path());
    context.config = Arc::new(File::from_value(json!({"gateway": config})));
    let tasks = Tasks::new(CancellationToken::new());
    let config = Config::load(&context.config, &context.env).unwrap();
    let gateway = Arc::new(Gateway::new(context, config, tasks.clone()).unwrap());
    let agent = FakeAgent::default();
    agent.serve(&folder.path().join("run/agent.sock"), &tasks);
    House { gateway, agent, _folder: folder }
}

impl House {
    async fn ask_from(&self, address: &str, request: http::request::Builder, body: impl Into<Body>) -> Response {
        let mut request = request.header(HOST, "127.0.0.1:18789").body(body.into()).unwrap();
        let facts = Facts::of(&self.gateway, &request, address.parse::<SocketAddr>().unwrap());
        request.extensions_mut().insert(Asked { facts });
        router(&self.gateway).oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.ask_from(LOOPBACK, with_secret(Method::GET, path), Body::empty()).await
    }

    async fn chat(&self, mut fields: Value) -> Response {
        if fields.get("messages").is_none() {
            fields["messages"] = json!([{"role": "user", "content": "hi"}]);
        }
        self.ask_from(LOOPBACK, with_secret(Method::POST, CHAT), fields.to_string()).await
    }
}

fn with_secret(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(AUTHORIZATION, "bearer  s3cret ")
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, serde_json::from_str(&text(response).await).unwrap())
}

/// Returns the data of each event.
async fn events(response: Response) -> Vec<String> {
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream; charset=utf-8");
    let text = text(response).await;
    text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap().to_owned()).collect()
}

fn deltas(events: &[String]) -> Vec<Value> {
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    chunks.filter_map(|chunk| chunk["choices"].get(0).map(|choice| choice["delta"].clone())).collect()
}

#[tokio::test]
async fn answers_a_chat_request_whole() {
    let house = house();
    let usage = Usage { input: 7, output: 3, cache_read: 0, cache_write: 0, total: 10 };
    house.agent.will([vec![
        Step::Say("Hel"),
        Step::End(CompleteEnd { usage: Some(usage), text: "Hello.".into(), stop_reason: "stop".into(), ..CompleteEnd::default() }),
    ]]);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = with_secret(Method::POST, CHAT).header("traceparent", parent);
    let fields = json!({"model": "openclaw:beta", "user": "Ann", "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]});
    let response = house.ask_from(LOOPBACK, request, fields.to_string()).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json; charset=utf-8");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let (status, reply) = read(response).await;
    assert_eq!((status, &reply["id"], &reply["model"]), (200, &json!(request_id), &json!("openclaw:beta")));
    assert_eq!(reply["choices"][0]["message"]["content"], "Hello.");
    assert_eq!(reply["usage"]["total_tokens"], 10);
    let called = house.agent.called().remove(0);
    assert_eq!((called.request.agent_id.as_str(), called.request.session_key.as_str()), ("beta", "agent:beta:openai-user:ann"));
    assert_eq!((called.request.message.as_str(), called.request.extra_system_prompt.as_deref()), ("hi", Some("be kind")));
    assert_eq!(called.request.idempotency_key, request_id);
    assert!(called.traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{}", called.traceparent);
}

#[tokio::test]
async fn streams_a_chat_reply_piece_by_piece() {
    let house = house();
    house.agent.will([vec![Step::Say("Hel"), Step::Say("lo"), end("Hello.")]]);
    let response = house.chat(json!({"stream": true, "stream_options": {"include_usage": true}})).await;
    assert_eq!((response.status(), &response.headers()[CACHE_CONTROL]), (StatusCode::OK, &"no-cache".parse().unwrap()));
    let events = events(response).await;
    let expected = [json!({"role": "assistant"}), json!({"content": "Hel"}), json!({"content": "lo"}), json!({"content": "."}), json!({})];
    assert_eq!(deltas(&events), expected);
    let usage: Value = serde_json::from_str(&events[5]).unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(0)));
    assert_eq!(events.last().unwrap(), "[DONE]");
}

#[tokio::test]
async fn a_run_that_fails_is_an_error_in_either_form() {
    let house = house();
    let failed =
        || vec![Step::End(CompleteEnd { stop_reason: "error".into(), error: Some("no provider".into()), ..CompleteEnd::default() })];
    house.agent.will([failed(), failed()]);
    let error = json!({"error": {"message": "no provider", "type": "api_error"}});
    assert_eq!(read(house.chat(json!({})).await).await, (502, error.clone()));
    let events = events(house.chat(json!({"stream": true})).await).await;
    assert_eq!((events.len(), serde_json::from_str::<Value>(&events[1]).unwrap(), events[2].as_str()), (3, error, "[DONE]"));
}

#[tokio::test]
async fn a_run_whose_service_dies_unseen_is_begun_again_under_the_same_key() {
    let house = house();
    house.agent.will([vec![Step::Break], vec![Step::Say("Hi."), end("Hi.")]]);
    let events = events(house.chat(json!({"stream": true})).await).await;
    assert_eq!(deltas(&events), [json!({"role": "assistant"}), json!({"content": "Hi."}), json!({})]);
    // Of a whole reply nothing has been seen before its end.
    house.agent.will([vec![Step::Say("H"), Step::Break], vec![end("Hi again.")]]);
    let (status, reply) = read(house.chat(json!({})).await).await;
    assert_eq!((status, &reply["choices"][0]["message"]["content"]), (200, &json!("Hi again.")));
    let keys: Vec<_> = house.agent.called().into_iter().map(|called| called.request.idempotency_key).collect();
    assert!(keys[0] == keys[1] && keys[2] == keys[3] && keys[0] != keys[2], "{keys:?}");
}

#[tokio::test]
async fn a_stream_whose_service_dies_ends_with_an_error_and_is_not_done() {
    let house = house();
    house.agent.will([vec![Step::Say("Hel"), Step::Break]]);
    let events = events(house.chat(json!({"stream": true})).await).await;
    assert_eq!(events.len(), 3);
    let error: Value = serde_json::from_str(&events[2]).unwrap();
    assert_eq!((&error["error"]["type"], &error["error"]["code"]), (&json!("service_unavailable"), &json!("gateway_unavailable")));
}

#[tokio::test]
async fn a_run_that_ends_its_service_each_time_is_given_up() {
    let house = house();
    house.agent.will([vec![Step::Break], vec![Step::Break], vec![Step::Break]]);
    let response = house.chat(json!({})).await;
    assert_eq!((response.status(), &response.headers()[RETRY_AFTER]), (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap()));
    assert_eq!(house.agent.called().len(), 3);
}

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refused {
    text: &'static str,
    code: WireCode,
    retry_after_ms: Option<u64>,
}

impl WireError for Refused {
    fn code(&self) -> WireCode {
        self.code
    }
    fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after_ms
    }
}

fn refused(text: &'static str, code: WireCode, retry_after_ms: Option<u64>) -> Status {
    status(Refused { text, code, retry_after_ms })
}

#[tokio::test]
async fn what_the_service_refuses_has_a_status_of_its_own_even_for_streams() {
    let house = house();
    let invalid = || vec![Step::Refuse(refused("session key is too long", WireCode::InvalidRequest, None))];
    let busy = vec![Step::Refuse(refused("queue is full", WireCode::Unavailable, Some(1_500)))];
    let fault = vec![Step::Refuse(refused("secret detail", WireCode::Fault, None))];
    house.agent.will([invalid(), invalid(), busy, fault]);
    let error = json!({"error": {"message": "session key is too long", "type": "invalid_request_error"}});
    assert_eq!(read(house.chat(json!({})).await).await, (400, error.clone()));
    assert_eq!(read(house.chat(json!({"stream": true})).await).await, (400, error));
    let response = house.chat(json!({})).await;
    assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (503, &"2".parse().unwrap()));
    let error = json!({"error": {"message": "internal error", "type": "api_error"}});
    assert_eq!(read(house.chat(json!({})).await).await, (500, error));
}

#[tokio::test]
async fn a_service_that_says_it_restarts_is_asked_again() {
    let house = house();
    let restarting = || Step::Refuse(refused("the agent service is restarting", WireCode::Unavailable, Some(250)));
    house.agent.will([vec![restarting()], vec![Step::Say("H"), restarting()], vec![end("Hi.")]]);
    let (status, reply) = read(house.chat(json!({})).await).await;
    assert_eq!((status, &reply["choices"][0]["message"]["content"]), (200, &json!("Hi.")));
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_run() {
    let house = house();
    house.agent.will([vec![Step::Say("Hel"), Step::Hang], vec![Step::Hang]]);
    let mut body = house.chat(json!({"stream": true})).await.into_body();
    for expected in ["assistant", "Hel"] {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(String::from_utf8_lossy(&frame).contains(expected));
    }
    drop(body);
    timeout(Duration::from_secs(5), house.agent.dropped()).await.unwrap();
    assert!(timeout(Duration::from_millis(50), house.chat(json!({}))).await.is_err());
    timeout(Duration::from_secs(5), house.agent.dropped()).await.unwrap();
}

#[tokio::test]
async fn an_unknown_agent_or_a_foreign_model_is_treated_as_configured() {
    let lenient = house();
    let (status, error) = read(lenient.chat(json!({"model": "openclaw/nobody"})).await).await;
    assert_eq!((status, &error["error"]["message"]), (400, &json!("Unknown agent 'nobody'.")));
    lenient.agent.will([vec![end("Hi.")]]);
    assert_eq!(read(lenient.chat(json!({"model": "gpt-4o"})).await).await.1["model"], "gpt-4o");
    assert_eq!(lenient.agent.called()[0].request.agent_id, "main");
    let strict = house_with(
        &json!({"auth": {"token": "s3cret"}, "http": {"endpoints": {"chatCompletions": {"enabled": true, "strictModel": true}}}}),
    );
    let (status, error) = read(strict.chat(json!({"model": "gpt-4o"})).await).await;
    assert_eq!((status, &error["error"]["message"]), (400, &json!("Invalid `model`. Use `openclaw` or `openclaw/<agentId>`.")));
}

#[tokio::test]
async fn lists_agents_as_models() {
    let house = house();
    let (status, list) = read(house.get("/v1/models").await).await;
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    let expected = ["openclaw", "openclaw/default", "openclaw/main", "openclaw/beta", "verso", "verso/default", "verso/main", "verso/beta"];
    assert_eq!((status, ids), (200, expected.to_vec()));
    let model = json!({"id": "openclaw/beta", "object": "model", "created": 0, "owned_by": "openclaw", "permission": []});
    assert_eq!(list["data"][3], model);
    assert_eq!(read(house.get("/v1/models/openclaw%2Fbeta").await).await, (200, model.clone()));
    assert_eq!(read(house.get("/v1/models/openclaw/beta").await).await, (200, model));
    for (path, status, message) in [
        ("/v1/models/openclaw%2Fnobody", 404, "Model 'openclaw/nobody' not found."),
        ("/v1/models/gpt-4o", 400, "Invalid model id."),
        ("/v1/models/%ff", 400, "Invalid model id."),
        ("/v1/models/", 400, "Missing model id."),
    ] {
        let expected = json!({"error": {"message": message, "type": "invalid_request_error"}});
        assert_eq!(read(house.get(path).await).await, (status, expected), "{path}");
    }
}

#[tokio::test]
async fn checks_the_path_then_the_method_then_the_secret() {
    let house = house();
    for (method, path, allowed) in [
        (Method::GET, CHAT, "POST"),
        (Method::OPTIONS, CHAT, "POST"),
        (Method::POST, "/v1/models", "GET"),
        (Method::HEAD, "/v1/models", "GET"),
        (Method::DELETE, "/v1/models/openclaw", "GET"),
    ] {
        let response = house.ask_from(LOOPBACK, Request::builder().method(&method).uri(path), Body::empty()).await;
        assert_eq!((response.status().as_u16(), &response.headers()[ALLOW]), (405, &allowed.parse().unwrap()), "{method} {path}");
        assert!(!response.headers().keys().any(|name| name.as_str().starts_with("access-control")));
        // An answer to `HEAD` has no body.
        let expected = if method == Method::HEAD { "" } else { "Method Not Allowed" };
        assert_eq!(text(response).await, expected);
    }
    let response = house.get("/v1/nothing").await;
    assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!((response.status().as_u16(), text(response).await.as_str()), (404, "Not Found"));
    let off = house_with(&json!({"http": {"endpoints": {"chatCompletions": {"enabled": false}}}}));
    for path in [CHAT, "/v1/models", "/v1/models/openclaw"] {
        assert_eq!(off.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn sec_13_wrong_secrets_are_refused_and_counted() {
    let house = house();
    let wrong = || Request::builder().uri("/v1/models").header(AUTHORIZATION, "Bearer wrong");
    let unauthorized = json!({"error": {"message": "Unauthorized", "type": "unauthorized"}});
    for credential in [None, Some("Basic s3cret"), Some("Bearer"), Some("s3cret")] {
        let request = credential.iter().fold(Request::builder().uri("/v1/models"), |request, value| request.header(AUTHORIZATION, *value));
        assert_eq!(read(house.ask_from(REMOTE, request, Body::empty()).await).await, (401, unauthorized.clone()), "{credential:?}");
    }
    for _ in 0..10 {
        assert_eq!(read(house.ask_from(REMOTE, wrong(), Body::empty()).await).await, (401, unauthorized.clone()));
    }
    let right = with_secret(Method::GET, "/v1/models");
    let locked = house.ask_from(REMOTE, right, Body::empty()).await;
    assert_eq!((locked.status().as_u16(), &locked.headers()[RETRY_AFTER]), (429, &"300".parse().unwrap()));
    assert_eq!(read(locked).await.1["error"]["type"], "rate_limited");
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(house.ask_from(LOOPBACK, wrong(), Body::empty()).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(begun.elapsed().as_millis(), 250 + 500 + 1_000);
}

#[tokio::test]
async fn a_password_is_presented_like_a_token_and_no_secret_opens_a_gateway_without_one() {
    let password = house_with(&json!({"auth": {"password": "s3cret"}}));
    assert_eq!(password.get("/v1/models").await.status(), StatusCode::OK);
    let bare = house_with(&json!({}));
    assert_eq!(bare.get("/v1/models").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sec_25_without_a_secret_foreign_pages_are_refused() {
    let house = house_with(&json!({"auth": {"mode": "none"}}));
    let models = |name, value: &str| Request::builder().uri("/v1/models").header(name, value);
    for (header, value, status) in [
        (ORIGIN, "http://127.0.0.1:18789", 200),
        (ORIGIN, "http://localhost:18789", 200),
        (ORIGIN, "https://evil.example", 403),
        (ORIGIN, "null", 403),
        // Stands for any request that names neither a page nor another host.
        (CONTENT_TYPE, "text/plain", 200),
    ] {
        assert_eq!(house.ask_from(LOOPBACK, models(header, value), Body::empty()).await.status(), status, "{value}");
    }
    // A name that was pointed at this machine: the page's own host, so that it names no origin.
    let mut rebound = Request::builder().uri("/v1/models").header(HOST, "evil.example:18789").body(Body::empty()).unwrap();
    let facts = Facts::of(&house.gateway, &rebound, LOOPBACK.parse().unwrap());
    rebound.extensions_mut().insert(Asked { facts });
    assert_eq!(router(&house.gateway).oneshot(rebound).await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn sec_06_a_proxy_must_be_declared_to_speak_for_others() {
    let forwarded = || with_secret(Method::GET, "/v1/models").header("x-forwarded-for", "203.0.113.5");
    let stranger = house();
    let (status, error) = read(stranger.ask_from(LOOPBACK, forwarded(), Body::empty()).await).await;
    assert_eq!((status, &error["error"]["type"]), (403, &json!("proxy_attribution_required")));
    let declared = house_with(&json!({"auth": {"token": "s3cret"}, "trustedProxies": ["127.0.0.1"]}));
    assert_eq!(declared.ask_from(LOOPBACK, forwarded(), Body::empty()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn reads_any_body_that_may_be_json_and_none_that_is_too_large() {
    let house = house();
    let post = || with_secret(Method::POST, CHAT);
    let missing = "Missing user message in `messages`.";
    for body in ["", "  ", "[1]", "7", "\u{feff}{}"] {
        let (status, error) = read(house.ask_from(LOOPBACK, post(), body).await).await;
        assert_eq!((status, &error["error"]["message"]), (400, &json!(missing)), "{body:?}");
    }
    let (status, error) = read(house.ask_from(LOOPBACK, post(), "{nope").await).await;
    assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
    let too_large = json!({"error": {"message": "Payload too large", "type": "invalid_request_error"}});
    let announced = post().header("content-length", (20 << 20) + 1).header("expect", "100-continue");
    assert_eq!(read(house.ask_from(LOOPBACK, announced, Body::empty()).await).await, (413, too_large.clone()));
    assert_eq!(read(house.ask_from(LOOPBACK, post(), vec![b' '; (20 << 20) + 1]).await).await, (413, too_large));
    let mut large = json!({"messages": [{"role": "user", "content": "x".repeat(1 << 20)}]}).to_string();
    large.push_str(&" ".repeat((20 << 20) - large.len()));
    house.agent.will([vec![end("Read.")]]);
    assert_eq!(house.ask_from(LOOPBACK, post(), large).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_not_waited_for_for_ever() {
    let house = house();
    let endless = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let response = house.ask_from(LOOPBACK, with_secret(Method::POST, CHAT), endless).await;
    let expected = json!({"error": {"message": "Request body timeout", "type": "invalid_request_error"}});
    assert_eq!(read(response).await, (408, expected));
}

#[tokio::test]
async fn a_gateway_that_drains_sends_its_clients_away() {
    let house = house();
    house.gateway.drain();
    let response = house.chat(json!({})).await;
    assert_eq!((response.status().as_u16(), &response.headers()[CACHE_CONTROL]), (503, &"no-store".parse().unwrap()));
    assert_eq!(read(response).await.1["error"]["code"], "gateway_unavailable");
}

#[tokio::test]
async fn sec_15_another_secret_counts_at_once() {
    let house = house();
    assert_eq!(house.get("/v1/models").await.status(), StatusCode::OK);
    let replaced = File::from_value(json!({"gateway": {"auth": {"token": "another"}}}));
    let config = Config::load(&replaced, &house.gateway.context.env).unwrap();
    house.gateway.replace_config(Arc::new(replaced), config);
    assert_eq!(house.get("/v1/models").await.status(), StatusCode::UNAUTHORIZED);
    let request = Request::builder().uri("/v1/models").header(AUTHORIZATION, "Bearer another");
    assert_eq!(house.ask_from(REMOTE, request, Body::empty()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn sec_06_a_proxy_that_was_named_says_who_asks() {
    let proxied = json!({
        "trustedProxies": ["203.0.113.9"],
        "auth": {"mode": "trusted-proxy", "password": "s3cret", "trustedProxy": {"userHeader": "x-user", "requiredHeaders": ["x-proxy"], "allowUsers": ["ada"]}},
    });
    let house = house_with(&proxied);
    let ask = |user: &str| Request::builder().uri("/v1/models").header("x-user", user).header("x-proxy", "1");
    for (address, user, status) in [
        (REMOTE, "ada", 200),
        (REMOTE, "eve", 401),
        ("203.0.113.8:40000", "ada", 401),
        // The owner's password, without which the proxy would be the only way in.
        (LOOPBACK, "ada", 401),
    ] {
        assert_eq!(house.ask_from(address, ask(user), Body::empty()).await.status().as_u16(), status, "{address} {user}");
    }
    assert_eq!(house.get("/v1/models").await.status(), StatusCode::OK);
    assert_eq!(house.ask_from("203.0.113.8:40000", with_secret(Method::GET, "/v1/models"), Body::empty()).await.status(), 401);
    let foreign = ask("ada").header(ORIGIN, "https://evil.example");
    assert_eq!(house.ask_from(REMOTE, foreign, Body::empty()).await.status(), StatusCode::FORBIDDEN);
}
