//! A proxy in front of a Bot API that somebody else wrote: it notes what passes, and does harm when a test asks for it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde_json::{Value, json};

/// The largest request, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// What is done to a call.
#[derive(Debug, Clone)]
pub enum Harm {
    /// It is refused with this body, and not passed on.
    Refuse(Value),
    /// The connection is cut, and nothing is passed on.
    CutBefore,
    /// It is passed on, and the connection is cut before the answer.
    CutAfter,
}

/// A call that was passed on.
#[derive(Debug, Clone)]
pub struct Passed {
    /// The method.
    pub method: String,
    /// What it asked for: JSON, or the text of a form with files.
    pub body: Value,
    /// What the Bot API answered.
    pub answer: Value,
}

/// A running proxy; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct BotProxy {
    address: SocketAddr,
    upstream: String,
    client: reqwest::Client,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    harm: VecDeque<(String, Harm)>,
    passed: Vec<Passed>,
    /// How many calls were harmed.
    harmed: usize,
}

impl BotProxy {
    /// Starts a proxy in front of the Bot API at `upstream`, such as `http://127.0.0.1:8081`.
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub async fn start(upstream: String) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let proxy = Self { address, upstream, client: reqwest::Client::new(), known: Arc::default() };
        let router = Router::new().fallback(pass).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        proxy
    }

    /// The root that a bot is configured with.
    pub fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next call of `method` is harmed so. Several are harmed in their order.
    pub fn harm(&self, method: &str, harm: Harm) {
        self.known().harm.push_back((method.to_owned(), harm));
    }

    /// How many calls were harmed so far.
    pub fn harmed(&self) -> usize {
        self.known().harmed
    }

    /// What was passed on of `method`, in order.
    pub fn passed(&self, method: &str) -> Vec<Passed> {
        self.known().passed.iter().filter(|passed| passed.method == method).cloned().collect()
    }

    /// The texts of the messages that the Bot API has taken for a chat, in order.
    pub fn texts_to(&self, chat: i64) -> Vec<String> {
        let of_chat = |passed: &Passed| passed.body["chat_id"] == json!(chat.to_string()) && passed.answer["ok"] == json!(true);
        let texts = self.passed("sendMessage").into_iter().filter(of_chat);
        texts.map(|passed| passed.body["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no test panics while it holds the lock")
    }

    fn harm_for(&self, method: &str) -> Option<Harm> {
        let mut known = self.known();
        let at = known.harm.iter().position(|(wanted, _)| wanted == method)?;
        known.harmed += 1;
        known.harm.remove(at).map(|(_, harm)| harm)
    }
}

async fn pass(State(proxy): State<BotProxy>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let method = path.rsplit('/').next().unwrap_or_default().to_owned();
    let harm = proxy.harm_for(&method);
    match &harm {
        Some(Harm::Refuse(refusal)) => return refused(refusal),
        Some(Harm::CutBefore) => return cut(),
        _ => {}
    }
    let (verb, kind) = (request.method().clone(), request.headers().get(header::CONTENT_TYPE).cloned());
    let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await.unwrap_or_default();
    let mut onward = proxy.client.request(verb, format!("{}{path}", proxy.upstream)).body(body.clone());
    if let Some(kind) = kind {
        onward = onward.header(header::CONTENT_TYPE, kind);
    }
    let Ok(answer) = onward.send().await else { return cut() };
    let (status, kind) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
    let Ok(bytes) = answer.bytes().await else { return cut() };
    let asked = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
    let answered = serde_json::from_slice(&bytes).unwrap_or_default();
    proxy.known().passed.push(Passed { method, body: asked, answer: answered });
    if matches!(harm, Some(Harm::CutAfter)) {
        return cut();
    }
    let mut response = (status, bytes).into_response();
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

fn refused(refusal: &Value) -> Response {
    let code = refusal["error_code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(400);
    let mut body = refusal.clone();
    if let Some(body) = body.as_object_mut() {
        body.insert("ok".to_owned(), json!(false));
    }
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// An answer that breaks off before anything of it is there.
fn cut() -> Response {
    let broken = stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
    Body::from_stream(broken).into_response()
}
