//! A model server whose answers the test writes, piece by piece.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};

/// The server. It ends with the test's runtime.
pub(crate) struct Provider {
    pub(crate) base_url: String,
    calls: mpsc::UnboundedReceiver<ModelCall>,
}

/// A request that waits for its answer.
pub(crate) struct ModelCall {
    pub(crate) body: Value,
    pub(crate) headers: HeaderMap,
    answer: oneshot::Sender<Response>,
}

/// A streamed answer under way.
pub(crate) struct Answer {
    pieces: mpsc::Sender<Result<Bytes, std::io::Error>>,
}

type Calls = Arc<Mutex<mpsc::UnboundedSender<ModelCall>>>;

impl Provider {
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (sender, calls) = mpsc::unbounded_channel();
        let routes = Router::new().route("/v1/chat/completions", post(receive)).with_state(Arc::new(Mutex::new(sender)));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { base_url, calls }
    }

    /// Returns the next request.
    pub(crate) async fn call(&mut self) -> ModelCall {
        self.calls.recv().await.unwrap()
    }

    /// Whether no request waits.
    pub(crate) fn idle(&mut self) -> bool {
        self.calls.is_empty()
    }

    /// Answers the next request with `text`, and returns what was asked.
    pub(crate) async fn reply(&mut self, text: &str) -> Value {
        let call = self.call().await;
        let body = call.body.clone();
        let answer = call.stream();
        answer.text(text).await;
        answer.finish().await;
        body
    }
}

async fn receive(State(calls): State<Calls>, headers: HeaderMap, body: Bytes) -> Response {
    let (answer, response) = oneshot::channel();
    let body = serde_json::from_slice(&body).unwrap();
    calls.lock().await.send(ModelCall { body, headers, answer }).unwrap();
    response.await.unwrap_or_else(|_| Response::new(Body::empty()))
}

impl ModelCall {
    /// Begins a streamed answer.
    pub(crate) fn stream(self) -> Answer {
        let (pieces, receiver) = mpsc::channel(64);
        let body =
            Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }));
        let response = Response::builder().header("content-type", "text/event-stream").body(body).unwrap();
        assert!(self.answer.send(response).is_ok(), "nobody waits for the answer");
        Answer { pieces }
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, status: u16, retry_after: Option<&str>) {
        let body = json!({"error": {"message": format!("mock status {status}")}}).to_string();
        let mut response = Response::builder().status(status).header("content-type", "application/json");
        if let Some(seconds) = retry_after {
            response = response.header("retry-after", seconds);
        }
        assert!(self.answer.send(response.body(Body::from(body)).unwrap()).is_ok(), "nobody waits for the answer");
    }

    /// Answers with one JSON document.
    pub(crate) fn document(self, body: &Value) {
        let response = Response::builder().header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
        assert!(self.answer.send(response).is_ok(), "nobody waits for the answer");
    }

    /// Returns the roles of the messages.
    pub(crate) fn roles(&self) -> Vec<&str> {
        self.body["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect()
    }
}

impl Answer {
    /// Sends a piece of text.
    pub(crate) async fn text(&self, text: &str) {
        self.chunk(&json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})).await;
    }

    /// Sends a tool call, its arguments in two parts.
    pub(crate) async fn tool_call(&self, id: &str, name: &str) {
        let part = |part: Value| json!({"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]});
        self.chunk(&part(json!({"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": "{"}}))).await;
        self.chunk(&part(json!({"index": 0, "function": {"arguments": "}"}}))).await;
        self.end("tool_calls").await;
    }

    /// Ends the answer well.
    pub(crate) async fn finish(self) {
        self.end("stop").await;
    }

    /// Cuts the connection.
    pub(crate) async fn cut(self) {
        self.pieces.send(Err(std::io::Error::other("cut"))).await.unwrap();
    }

    /// Waits until the caller has gone away.
    pub(crate) async fn abandoned(&self) {
        self.pieces.closed().await;
    }

    async fn end(&self, reason: &str) {
        self.chunk(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})).await;
        self.chunk(&json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}})).await;
        self.pieces.send(Ok(Bytes::from_static(b"data: [DONE]\n\n"))).await.unwrap();
    }

    async fn chunk(&self, chunk: &Value) {
        self.pieces.send(Ok(Bytes::from(format!("data: {chunk}\n\n")))).await.unwrap();
    }
}
