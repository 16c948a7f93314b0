//! What the chat asks the gateway, and what comes of it.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;
use verso_client::{Options, Reconnecting, Updates};
use verso_kit::CancellationToken;
use verso_kit::tasks::Tasks;

use super::chat::{Action, Chat};
use super::picker::Kind;

/// Answers that wait to be shown.
const OUTCOMES_WAITING_MAX: usize = 64;

/// The connection of the chat.
pub(super) struct Remote {
    client: Arc<Reconnecting>,
    pub(super) updates: Updates,
    pub(super) outcomes: mpsc::Receiver<Outcome>,
    sender: mpsc::Sender<Outcome>,
    tasks: Tasks,
    stop: CancellationToken,
}

/// What came of a question.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) question: Question,
    /// The answer, or why there is none.
    pub(super) answer: Result<Value, String>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    History { session: String },
    Said { run: String },
    Aborted,
    Listed(Kind),
    Changed(String),
    Reset,
    Status,
}

impl Remote {
    pub(super) fn start(options: Options) -> Self {
        let client = Arc::new(Reconnecting::start(options));
        let updates = client.updates();
        let (sender, outcomes) = mpsc::channel(OUTCOMES_WAITING_MAX);
        let stop = CancellationToken::new();
        Self { client, updates, outcomes, sender, tasks: Tasks::new(stop.clone()), stop }
    }

    /// Ends the connection.
    pub(super) async fn close(self) {
        self.stop.cancel();
        self.tasks.clone().join().await;
        if let Some(client) = Arc::into_inner(self.client) {
            client.close().await;
        }
    }

    /// Asks in the background; the answer comes as an outcome.
    pub(super) fn act(&self, chat: &Chat, action: Action) {
        let session = chat.session.clone();
        let (question, method, params) = match action {
            Action::History => {
                let params = json!({"sessionKey": session, "limit": chat.start.history_limit});
                (Question::History { session }, "chat.history", params)
            }
            Action::Say { text, run } => {
                let mut params = json!({"sessionKey": session, "message": text, "deliver": chat.start.deliver, "idempotencyKey": run});
                if let Some(thinking) = &chat.start.thinking {
                    params["thinking"] = json!(thinking);
                }
                (Question::Said { run }, "chat.send", params)
            }
            Action::Abort => (Question::Aborted, "chat.abort", json!({"sessionKey": session})),
            Action::List(kind) => {
                let params = if kind == Kind::Session { json!({"limit": 200, "includeGlobal": true}) } else { json!({}) };
                (Question::Listed(kind), kind.method(), params)
            }
            Action::Patch { member, value } => {
                let change = Question::Changed(format!("{member}: {value}"));
                (change, "sessions.patch", json!({"key": session, member: value}))
            }
            Action::Reset => (Question::Reset, "sessions.reset", json!({"key": session})),
            Action::Status => (Question::Status, "status", json!({})),
            Action::Quit => return,
        };
        let (client, sender) = (Arc::clone(&self.client), self.sender.clone());
        let stop = self.stop.clone();
        self.tasks.spawn("chat call", async move {
            let answer = tokio::select! {
                answer = client.call(method, params) => answer.map_err(|error| error.message),
                () = stop.cancelled() => return,
            };
            // Whoever has left needs no answer.
            drop(sender.send(Outcome { question, answer }).await);
        });
    }
}

/// A new name for a run.
pub(super) fn run_id() -> String {
    Uuid::new_v4().to_string()
}
