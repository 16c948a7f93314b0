//! The Bot API of Telegram as far as a gateway uses it: long polling with offsets, messages, and refusals that a test asks for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// The only token that is accepted.
pub const TOKEN: &str = "12345:made-up-token";

/// How long a question for updates is kept at most: shorter than the real one, so that tests end quickly.
const POLL_MAX: Duration = Duration::from_secs(2);

/// A running Bot API; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct BotApi {
    address: SocketAddr,
    state: Arc<Mutex<Known>>,
    arrived: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    updates: Vec<Value>,
    last_update: i64,
    sent: Vec<Value>,
    refusals: Vec<Value>,
    asked: Vec<(String, Value)>,
    files: HashMap<String, Vec<u8>>,
}

impl BotApi {
    /// Starts a Bot API on a free port.
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let api = Self { address, state: Arc::default(), arrived: Arc::default() };
        let router = Router::new().route("/{bot}/{method}", any(answer)).route("/file/{bot}/{file}", any(file)).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    /// The section `channels` of a gateway whose bot talks to it, with more settings of the bot.
    pub fn channels(&self, more: &Value) -> Value {
        let mut bot = json!({"botToken": TOKEN, "apiRoot": format!("http://{}", self.address)});
        if let (Some(bot), Some(more)) = (bot.as_object_mut(), more.as_object()) {
            bot.extend(more.clone());
        }
        json!({"channels": {"telegram": bot}})
    }

    /// Somebody writes to the bot in a private chat.
    pub fn write(&self, person: i64, text: &str) {
        self.update(&json!({"chat": {"id": person, "type": "private"}, "from": {"id": person, "first_name": "Ann"}, "text": text}));
    }

    /// A message arrives.
    pub fn update(&self, message: &Value) {
        let mut state = self.known();
        state.last_update += 1;
        let id = state.last_update;
        let mut message = message.clone();
        if let Some(message) = message.as_object_mut() {
            message.insert("message_id".to_owned(), json!(id));
            message.insert("date".to_owned(), json!(1_790_000_000 + id));
        }
        state.updates.push(json!({"update_id": id, "message": message}));
        drop(state);
        self.arrived.notify_waiters();
    }

    /// The next `sendMessage` is refused so.
    pub fn refuse(&self, refusal: Value) {
        self.known().refusals.push(refusal);
    }

    /// The root that a bot is configured with.
    pub fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The chats of all messages that were sent, in order.
    pub fn chats(&self) -> Vec<i64> {
        self.known().sent.iter().filter_map(|message| message["chat_id"].as_str()?.parse().ok()).collect()
    }

    /// What was asked for by other methods than those of messages, in order.
    pub fn asked(&self, method: &str) -> Vec<Value> {
        self.known().asked.iter().filter(|(asked, _)| asked == method).map(|(_, body)| body.clone()).collect()
    }

    /// Something happens that is no message of a chat.
    pub fn happen(&self, update: &Value) {
        let mut state = self.known();
        state.last_update += 1;
        let id = state.last_update;
        let mut update = update.clone();
        if let Some(update) = update.as_object_mut() {
            update.insert("update_id".to_owned(), json!(id));
        }
        state.updates.push(update);
        drop(state);
        self.arrived.notify_waiters();
    }

    /// A file that can be fetched by its id.
    pub fn hold(&self, file_id: &str, bytes: &[u8]) {
        self.known().files.insert(file_id.to_owned(), bytes.to_vec());
    }

    /// What was sent to a chat, in order.
    pub fn sent_to(&self, chat: i64) -> Vec<Value> {
        let sent = self.known().sent.clone();
        sent.into_iter().filter(|message| message["chat_id"] == json!(chat.to_string())).collect()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.state.lock().expect("no test panics while it holds the lock")
    }

    /// Returns the updates from `offset` on; those before it are forgotten.
    async fn poll(&self, offset: i64) -> Value {
        let deadline = tokio::time::Instant::now() + POLL_MAX;
        loop {
            let arrived = self.arrived.notified();
            let updates = {
                let mut state = self.known();
                state.updates.retain(|update| update["update_id"].as_i64() >= Some(offset));
                state.updates.clone()
            };
            if !updates.is_empty() || tokio::time::timeout_at(deadline, arrived).await.is_err() {
                return json!(updates);
            }
        }
    }

    fn send(&self, message: Value) -> Result<Value, Value> {
        let mut state = self.known();
        if !state.refusals.is_empty() {
            return Err(state.refusals.remove(0));
        }
        state.sent.push(message);
        Ok(json!({"message_id": 1_000 + state.sent.len()}))
    }
}

async fn answer(State(api): State<BotApi>, Path((bot, method)): Path<(String, String)>, request: Request) -> Response {
    let bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
    // A form with a file is kept as it came.
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
    if bot != format!("bot{TOKEN}") {
        return refusal(&json!({"error_code": 401, "description": "Unauthorized"}));
    }
    let result = match method.as_str() {
        "getMe" => Ok(json!({"id": 99, "is_bot": true, "first_name": "Verso", "username": "verso_bot"})),
        "getUpdates" => Ok(api.poll(body["offset"].as_i64().unwrap_or(0)).await),
        "sendMessage" => api.send(body),
        "getFile" => Ok(json!({"file_id": body["file_id"], "file_path": body["file_id"]})),
        "sendPoll" => {
            api.known().asked.push((method, body));
            Ok(json!({"message_id": 900, "poll": {"id": "poll-1"}}))
        }
        "sendPhoto" | "sendDocument" => {
            api.known().asked.push((method, body));
            Ok(json!({"message_id": 901}))
        }
        "editMessageText" => {
            api.known().asked.push((method, body.clone()));
            Ok(json!({"message_id": body["message_id"]}))
        }
        "deleteWebhook" | "sendChatAction" | "answerCallbackQuery" | "setMyCommands" | "setMessageReaction" | "deleteMessage" => {
            api.known().asked.push((method, body));
            Ok(json!(true))
        }
        _ => Err(json!({"error_code": 404, "description": "Not Found: method not found"})),
    };
    match result {
        Ok(result) => reply(StatusCode::OK, &json!({"ok": true, "result": result})),
        Err(refused) => refusal(&refused),
    }
}

async fn file(State(api): State<BotApi>, Path((_, file)): Path<(String, String)>) -> Response {
    let bytes = api.known().files.get(&file).cloned();
    bytes.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

fn refusal(refused: &Value) -> Response {
    let status = refused["error_code"].as_u64().and_then(|code| u16::try_from(code).ok()).and_then(|code| StatusCode::from_u16(code).ok());
    let mut body = refused.clone();
    if let Some(body) = body.as_object_mut() {
        body.insert("ok".to_owned(), json!(false));
    }
    reply(status.unwrap_or(StatusCode::BAD_REQUEST), &body)
}

fn reply(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
