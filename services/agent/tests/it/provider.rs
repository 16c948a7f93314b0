//! A model server whose answers the test writes, piece by piece.

use std::sync::Arc;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
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
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) headers: HeaderMap,
    answer: oneshot::Sender<Response>,
}

/// A streamed answer under way.
pub(crate) struct Answer {
    dialect: Dialect,
    pieces: mpsc::Sender<Result<Bytes, std::io::Error>>,
}

/// What is spoken on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Completions,
    Responses,
    Anthropic,
    Google,
    Ollama,
    Bedrock,
}

impl Dialect {
    pub(crate) const ALL: [Self; 6] = [Self::Completions, Self::Responses, Self::Anthropic, Self::Google, Self::Ollama, Self::Bedrock];

    /// What configurations call it.
    pub(crate) fn api(self) -> &'static str {
        match self {
            Self::Completions => "openai-completions",
            Self::Responses => "openai-responses",
            Self::Anthropic => "anthropic-messages",
            Self::Google => "google-generative-ai",
            Self::Ollama => "ollama",
            Self::Bedrock => "bedrock-converse-stream",
        }
    }

    fn of(path: &str) -> Self {
        match path {
            "/v1/responses" => Self::Responses,
            "/v1/messages" => Self::Anthropic,
            "/api/chat" => Self::Ollama,
            path if path.ends_with(":streamGenerateContent") => Self::Google,
            path if path.ends_with("/converse-stream") => Self::Bedrock,
            _ => Self::Completions,
        }
    }

    fn text(self, text: &str) -> Value {
        match self {
            Self::Completions => json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}),
            Self::Responses => json!({"type": "response.output_text.delta", "output_index": 0, "delta": text}),
            Self::Anthropic => json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            Self::Google => json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]}),
            Self::Ollama => json!({"message": {"role": "assistant", "content": text}, "done": false}),
            Self::Bedrock => json!({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": text}}}),
        }
    }

    /// A call, its arguments in the last part.
    fn tool_call(self, id: &str, name: &str, arguments: &Value) -> Vec<Value> {
        let written = arguments.to_string();
        match self {
            Self::Completions => {
                let part = |part: Value| json!({"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]});
                vec![
                    part(json!({"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": &written[..1]}})),
                    part(json!({"index": 0, "function": {"arguments": &written[1..]}})),
                ]
            }
            Self::Responses => {
                let item = json!({"type": "function_call", "id": "fc", "call_id": id, "name": name, "arguments": ""});
                vec![
                    json!({"type": "response.output_item.added", "output_index": 1, "item": item}),
                    json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": written}),
                ]
            }
            Self::Anthropic => {
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                vec![
                    json!({"type": "content_block_start", "index": 1, "content_block": block}),
                    json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": written}}),
                ]
            }
            Self::Google => {
                let call = json!({"functionCall": {"id": id, "name": name, "args": arguments}});
                vec![json!({"candidates": [{"content": {"parts": [call]}}]})]
            }
            Self::Ollama => {
                let call = json!({"function": {"name": name, "arguments": arguments}});
                vec![json!({"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": false})]
            }
            Self::Bedrock => {
                let call = json!({"toolUse": {"toolUseId": id, "name": name}});
                vec![
                    json!({"contentBlockStart": {"contentBlockIndex": 1, "start": call}}),
                    json!({"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"toolUse": {"input": written}}}}),
                    json!({"contentBlockStop": {"contentBlockIndex": 1}}),
                ]
            }
        }
    }

    /// The end of an answer, and what it has used: ten tokens in, five out.
    fn end(self, called: bool) -> Vec<Value> {
        match self {
            Self::Completions => {
                let reason = if called { "tool_calls" } else { "stop" };
                vec![
                    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}),
                    json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}),
                ]
            }
            Self::Responses => {
                let usage = json!({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15});
                vec![json!({"type": "response.completed", "response": {"status": "completed", "usage": usage}})]
            }
            Self::Anthropic => {
                let reason = if called { "tool_use" } else { "end_turn" };
                let usage = json!({"input_tokens": 10, "output_tokens": 5});
                vec![json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}), json!({"type": "message_stop"})]
            }
            Self::Google => {
                let usage = json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15});
                vec![json!({"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage})]
            }
            Self::Ollama => vec![json!({"done": true, "done_reason": "stop", "prompt_eval_count": 10, "eval_count": 5})],
            Self::Bedrock => {
                let usage = json!({"inputTokens": 10, "outputTokens": 5, "totalTokens": 15});
                vec![
                    json!({"messageStop": {"stopReason": if called { "tool_use" } else { "end_turn" }}}),
                    json!({"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}}),
                ]
            }
        }
    }
}

type Calls = Arc<Mutex<mpsc::UnboundedSender<ModelCall>>>;

impl Provider {
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (sender, calls) = mpsc::unbounded_channel();
        let routes = Router::new().fallback(receive).with_state(Arc::new(Mutex::new(sender)));
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

async fn receive(State(calls): State<Calls>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let (answer, response) = oneshot::channel();
    let body = serde_json::from_slice(&body).unwrap();
    calls.lock().await.send(ModelCall { path: uri.path().to_owned(), body, headers, answer }).unwrap();
    response.await.unwrap_or_else(|_| Response::new(Body::empty()))
}

impl ModelCall {
    /// Begins a streamed answer.
    pub(crate) fn stream(self) -> Answer {
        self.begin().expect("somebody waits for the answer")
    }

    /// Answers with words, if anybody waits for them.
    pub(crate) async fn offer(self, text: &str) {
        let Some(answer) = self.begin() else { return };
        for part in std::iter::once(answer.dialect.text(text)).chain(answer.dialect.end(false)) {
            let line = Bytes::from(format!("data: {part}\n\n"));
            if answer.pieces.send(Ok(line)).await.is_err() {
                return;
            }
        }
    }

    /// Begins a streamed answer; none if nobody waits for it.
    fn begin(self) -> Option<Answer> {
        let (pieces, receiver) = mpsc::channel(64);
        let body =
            Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }));
        let dialect = Dialect::of(&self.path);
        let kind = match dialect {
            Dialect::Ollama => "application/x-ndjson",
            Dialect::Bedrock => "application/vnd.amazon.eventstream",
            _ => "text/event-stream",
        };
        let response = Response::builder().header("content-type", kind).body(body).unwrap();
        self.answer.send(response).is_ok().then_some(Answer { dialect, pieces })
    }

    /// Answers with words.
    pub(crate) async fn say(self, text: &str) {
        let answer = self.stream();
        answer.text(text).await;
        answer.finish().await;
    }

    /// Answers with an error that has words.
    pub(crate) fn refuse_with(self, status: u16, words: &str) {
        let body = json!({"error": {"message": words}}).to_string();
        let response = Response::builder().status(status).header("content-type", "application/json").body(Body::from(body)).unwrap();
        assert!(self.answer.send(response).is_ok(), "nobody waits for the answer");
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

    /// Returns the model that is asked.
    pub(crate) fn model(&self) -> &str {
        let in_path = self.path.strip_prefix("/v1/models/").and_then(|rest| rest.split_once(':')).map(|(model, _)| model);
        let in_path = in_path.or_else(|| self.path.strip_prefix("/v1/model/")?.strip_suffix("/converse-stream"));
        in_path.or(self.body["model"].as_str()).unwrap()
    }

    /// Returns the roles of the messages.
    pub(crate) fn roles(&self) -> Vec<&str> {
        self.body["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect()
    }
}

impl Answer {
    /// Sends a piece of text.
    pub(crate) async fn text(&self, text: &str) {
        self.chunk(&self.dialect.text(text)).await;
    }

    /// Sends a tool call in parts, and ends the answer.
    pub(crate) async fn tool_call(&self, id: &str, name: &str) {
        self.tool_call_with(id, name, &json!({})).await;
    }

    /// The same, with arguments.
    pub(crate) async fn tool_call_with(&self, id: &str, name: &str, arguments: &Value) {
        for part in self.dialect.tool_call(id, name, arguments) {
            self.chunk(&part).await;
        }
        self.end(true).await;
    }

    /// Calls several tools at once: id, name and arguments of each.
    pub(crate) async fn tool_calls(&self, calls: &[(&str, &str, Value)]) {
        for (index, (id, name, arguments)) in calls.iter().enumerate() {
            let function = json!({"name": name, "arguments": arguments.to_string()});
            let part = json!({"index": index, "id": id, "type": "function", "function": function});
            self.chunk(&json!({"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]})).await;
        }
        self.end(true).await;
    }

    /// Ends the answer well.
    pub(crate) async fn finish(self) {
        self.end(false).await;
    }

    /// Cuts the connection.
    pub(crate) async fn cut(self) {
        self.pieces.send(Err(std::io::Error::other("cut"))).await.unwrap();
    }

    /// Sends what no dialect knows.
    pub(crate) async fn garbage(&self) {
        let garbage: &[u8] = if self.dialect == Dialect::Bedrock { &[0xFF; 64] } else { b"data: {\"choices\": [\n\n" };
        self.pieces.send(Ok(Bytes::from_static(garbage))).await.unwrap();
    }

    /// Waits until the caller has gone away.
    pub(crate) async fn abandoned(&self) {
        self.pieces.closed().await;
    }

    async fn end(&self, called: bool) {
        for part in self.dialect.end(called) {
            self.chunk(&part).await;
        }
        // Not every dialect has this; whoever does not know it has hung up.
        if !matches!(self.dialect, Dialect::Ollama | Dialect::Bedrock) {
            drop(self.pieces.send(Ok(Bytes::from_static(b"data: [DONE]\n\n"))).await);
        }
    }

    async fn chunk(&self, chunk: &Value) {
        let bytes = match self.dialect {
            Dialect::Ollama => Bytes::from(format!("{chunk}\n")),
            Dialect::Bedrock => frame(chunk),
            _ => Bytes::from(format!("data: {chunk}\n\n")),
        };
        self.pieces.send(Ok(bytes)).await.unwrap();
    }
}

/// The one member of an object as a frame that is named after it.
fn frame(chunk: &Value) -> Bytes {
    let (name, payload) = chunk.as_object().and_then(|object| object.iter().next()).unwrap();
    let header = |name: &'static str, value: String| Header::new(name, HeaderValue::String(value.into()));
    let message = Message::new(payload.to_string())
        .add_header(header(":message-type", "event".to_owned()))
        .add_header(header(":event-type", name.clone()))
        .add_header(header(":content-type", "application/json".to_owned()));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes.into()
}
