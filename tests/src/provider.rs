//! A model provider that speaks the OpenAI chat API and does what the newest user message tells it.
//!
//! `[[tokens=5 gap=20 first=100 status=429 retry=1 cut=2 hang]]` asks for five pieces of text 20 ms apart after 100 ms, for an error with
//! `Retry-After: 1`, for a connection that breaks after two pieces, or for no answer at all. `[[call=read args={"path":"a.md"}]]` asks for a
//! call of a tool, and then for an answer; the arguments have no spaces. `call2` and `args2` ask for another call after it. `[[say=two%20words%0Aand%20more]]` asks for these words. `[[tool=weather]]` asks for a call of that tool, if it is offered; a
//! conversation whose newest words are `Tool:…` is answered with text again.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Pieces of text when the message does not say how many.
const TOKENS: u64 = 20;

/// A running provider; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Provider {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// One call that the provider received.
#[derive(Debug, Clone)]
pub struct Call {
    /// The request's body.
    pub body: Value,
    /// The `traceparent` header.
    pub traceparent: Option<String>,
}

impl Provider {
    /// Starts a provider on a free port.
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let provider = Self { address: listener.local_addr().expect("an address"), calls: Arc::default() };
        let router =
            Router::new().route("/v1/chat/completions", post(complete)).route("/v1/embeddings", post(embed)).with_state(provider.clone());
        // Pieces must not wait for each other, as they would not on the way from a real provider.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The configuration of a gateway that uses this provider.
    pub fn config(&self) -> Value {
        json!({
            "agents": {"defaults": {"model": {"primary": "scripted/model-1"}, "maxConcurrent": 64}},
            "models": {"providers": {"scripted": {
                "baseUrl": format!("http://{}/v1", self.address),
                "apiKey": "made-up-key",
                "api": "openai-completions",
                "models": [{"id": "model-1", "name": "Model 1", "contextWindow": 128_000, "maxTokens": 4096, "input": ["text", "image"]}],
            }}},
        })
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no test panics while it holds the lock").clone()
    }

    /// What the newest call says that a tool has answered.
    pub fn tool_answer(&self) -> Value {
        let calls = self.calls();
        let messages = calls.last().expect("a call").body["messages"].as_array().cloned().unwrap_or_default();
        messages.iter().rev().find(|message| message["role"] == "tool").expect("a tool's answer")["content"].clone()
    }
}

/// The words of a message that have the model call a tool. The order has no spaces.
pub fn calling(tool: &str, arguments: &Value) -> String {
    let arguments = arguments.to_string().replace(' ', "\\u0020");
    format!("[[call={tool} args={arguments}]]")
}

/// The text that a provider gives for `tokens` pieces.
pub fn reply(tokens: u64) -> String {
    (0..tokens).map(piece).collect()
}

fn piece(number: u64) -> String {
    if number == 0 { "word0".to_owned() } else { format!(" word{number}") }
}

async fn complete(State(provider): State<Provider>, headers: HeaderMap, request: Request) -> Response {
    let bytes = axum::body::to_bytes(request.into_body(), 32 << 20).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let orders = orders(&body);
    let streams = body["stream"] == true;
    let answered = last_role(&body).as_deref() == Some("tool");
    let second = answered && answers(&body) == 1;
    provider.calls.lock().expect("no test panics while it holds the lock").push(Call { body: body.clone(), traceparent });
    if orders.contains_key("hang") {
        std::future::pending::<Infallible>().await;
    }
    if let Some(status) = number(&orders, "status") {
        return refuse(status, number(&orders, "retry"));
    }
    if let Some(name) = orders.get("call").filter(|_| !answered) {
        return called(name, orders.get("args").map_or("{}", String::as_str));
    }
    if let Some(name) = orders.get("call2").filter(|_| second) {
        return called(name, orders.get("args2").map_or("{}", String::as_str));
    }
    if let Some(words) = orders.get("say") {
        return said(&words.replace("%20", " ").replace("%0A", "\n"));
    }
    let tokens = number(&orders, "tokens").unwrap_or(TOKENS);
    let (sender, receiver) = mpsc::channel(64);
    if streams {
        let call = orders.get("tool").filter(|name| offers(&body, name)).cloned();
        stream(orders, tokens, call, sender);
        let body = Body::from_stream(ReceiverStream::new(receiver));
        return ([("content-type", "text/event-stream")], body).into_response();
    }
    let message = json!({"role": "assistant", "content": reply(tokens)});
    let answer = json!({"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage(tokens)});
    ([("content-type", "application/json")], answer.to_string()).into_response()
}

#[allow(clippy::disallowed_methods, reason = "ends with its receiver")]
fn stream(orders: HashMap<String, String>, tokens: u64, call: Option<String>, sender: mpsc::Sender<Result<String, std::io::Error>>) {
    tokio::spawn(async move {
        let pause = |name| Duration::from_millis(number(&orders, name).unwrap_or(0));
        let line = |delta: Value, finish: Value| {
            format!(
                "data: {}\n\n",
                json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
            )
        };
        tokio::time::sleep(pause("first")).await;
        if let Some(name) = call {
            let call =
                json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": "{\"city\":\"Ulm\"}"}});
            let end = line(json!({}), json!("tool_calls"));
            let usage = json!({"choices": [], "usage": usage(1)});
            let text = format!("{}{end}data: {usage}\n\ndata: [DONE]\n\n", line(json!({"tool_calls": [call]}), Value::Null));
            drop(sender.send(Ok(text)).await);
            return;
        }
        for index in 0..tokens {
            if number(&orders, "cut") == Some(index) {
                drop(sender.send(Err(std::io::Error::other("cut"))).await);
                return;
            }
            if index > 0 && !pause("gap").is_zero() {
                tokio::time::sleep(pause("gap")).await;
            }
            if sender.send(Ok(line(json!({"content": piece(index)}), Value::Null))).await.is_err() {
                return;
            }
        }
        let end = format!("{}data: {}\n\ndata: [DONE]\n\n", line(json!({}), json!("stop")), json!({"choices": [], "usage": usage(tokens)}));
        drop(sender.send(Ok(end)).await);
    });
}

/// An answer in one piece.
fn said(words: &str) -> Response {
    let piece = |delta: Value, finish: Value| json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let (first, last) = (piece(json!({"content": words}), Value::Null), piece(json!({}), json!("stop")));
    let body = format!("data: {first}\n\ndata: {last}\n\ndata: {}\n\ndata: [DONE]\n\n", json!({"choices": [], "usage": usage(1)}));
    ([("content-type", "text/event-stream")], body).into_response()
}

/// An answer that calls a tool.
fn called(name: &str, arguments: &str) -> Response {
    let call = json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}});
    let piece = |delta: Value, finish: Value| json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let (first, last) = (piece(json!({"tool_calls": [call]}), Value::Null), piece(json!({}), json!("tool_calls")));
    let body = format!("data: {first}\n\ndata: {last}\n\ndata: {}\n\ndata: [DONE]\n\n", json!({"choices": [], "usage": usage(1)}));
    ([("content-type", "text/event-stream")], body).into_response()
}

/// How many answers of tools the conversation ends with, since somebody last said something.
fn answers(body: &Value) -> usize {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    messages.iter().rev().take_while(|message| message["role"] != "user").filter(|message| message["role"] == "tool").count()
}

fn last_role(body: &Value) -> Option<String> {
    body["messages"].as_array()?.last()?["role"].as_str().map(str::to_owned)
}

/// Whether a request has a tool of that name, and is not yet about its result.
fn offers(body: &Value, name: &str) -> bool {
    let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let newest = body["messages"].as_array().and_then(|messages| messages.last()).map(|message| message["content"].to_string());
    tools.iter().any(|tool| tool["function"]["name"] == name) && !newest.unwrap_or_default().contains("Tool:")
}

/// Vectors that are as long as was asked for, of the lengths of the texts.
async fn embed(State(provider): State<Provider>, request: Request) -> Response {
    let bytes = axum::body::to_bytes(request.into_body(), 32 << 20).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    provider.calls.lock().expect("no test panics while it holds the lock").push(Call { body: body.clone(), traceparent: None });
    let dimensions = usize::try_from(body["dimensions"].as_u64().unwrap_or(4)).unwrap_or(4);
    let texts = body["input"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |(index, text): (usize, &Value)| {
        let length = text.as_str().map_or(0, str::len);
        json!({"object": "embedding", "index": index, "embedding": vec![length; dimensions]})
    };
    let data: Vec<Value> = texts.iter().enumerate().map(row).collect();
    let answer = json!({"object": "list", "data": data, "model": body["model"], "usage": {"prompt_tokens": 3, "total_tokens": 3}});
    ([("content-type", "application/json")], answer.to_string()).into_response()
}

fn refuse(status: u64, retry: Option<u64>) -> Response {
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({"error": {"message": format!("refused with {status}"), "type": "invalid_request_error"}}).to_string();
    let mut response = (status, [("content-type", "application/json")], body).into_response();
    if let Some(value) = retry.and_then(|seconds| seconds.to_string().parse().ok()) {
        response.headers_mut().insert("retry-after", value);
    }
    response
}

fn usage(tokens: u64) -> Value {
    json!({"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens})
}

fn number(orders: &HashMap<String, String>, name: &str) -> Option<u64> {
    orders.get(name)?.parse().ok()
}

/// What the newest user message asks for.
fn orders(body: &Value) -> HashMap<String, String> {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let newest = messages.iter().rev().find(|message| message["role"] == "user").map(|message| {
        // Words alone, or parts of a message.
        message["content"].as_str().map_or_else(|| message["content"].to_string(), str::to_owned)
    });
    let text = newest.unwrap_or_default();
    let Some((_, inside)) = text.rsplit_once("[[") else { return HashMap::new() };
    let inside = inside.split("]]").next().unwrap_or_default();
    inside
        .split_whitespace()
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
