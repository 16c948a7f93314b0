//! The service under test, and what tests say to it.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use verso_agent::Service;
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::config::{Env, File};
use verso_kit::principal::Vouched;
use verso_kit::service::Context;
use verso_proto::agent::v1::agent_client::AgentClient;
use verso_proto::agent::v1::event::Event as Kind;
use verso_proto::agent::v1::{
    AgentEvent, ChatAbortRequest, ChatEvent, ChatHistoryRequest, ChatHistoryResponse, ChatSendRequest, ChatSendResponse, Event, RunRequest,
    RunResponse, SubscribeRequest,
};
use verso_proto::wire::v1::{From as Position, Principal};

use crate::provider::Provider;

/// One incarnation of the service.
pub(crate) struct Agent {
    pub(crate) client: AgentClient<Channel>,
    /// To the same service, for its other clients.
    pub(crate) channel: Channel,
    pub(crate) service: Service,
    pub(crate) incarnation: String,
}

/// Returns a configuration whose model is the scripted server's.
pub(crate) fn config(provider: &Provider) -> Value {
    json!({
        "agents": {
            "defaults": {"model": {"primary": "mock/mock-1"}, "maxConcurrent": 64, "userTimezone": "UTC"},
            "list": [{"id": "main", "default": true}, {"id": "second"}],
        },
        "models": {"providers": {"mock": {
            "baseUrl": provider.base_url, "apiKey": "mock-key", "api": "openai-completions",
            "models": [{"id": "mock-1", "contextWindow": 128_000, "maxTokens": 4_096}],
        }}},
    })
}

impl Agent {
    /// Opens the service on `folder` as the incarnation number `epoch`.
    pub(crate) async fn open(folder: &Path, config: Value, epoch: u64) -> Self {
        Self::open_at(folder, config, epoch, Clock::system()).await
    }

    /// The same, at a time that the test chooses.
    pub(crate) async fn open_at(folder: &Path, config: Value, epoch: u64, clock: Clock) -> Self {
        let context = Context {
            clock,
            config: Arc::new(File::from_value(config)),
            env: Env::from_pairs([("VERSO_LOCAL_MODELS", "off")]),
            epoch,
            ..Context::for_test("agent", folder)
        };
        let service = Service::open(&context, CancellationToken::new()).await.unwrap();
        let channel = verso_kit::grpc::in_memory(service.routes());
        Self { client: AgentClient::new(channel.clone()), channel, service, incarnation: context.incarnation }
    }

    /// Hears every event from now on; with the incarnation that was heard before, also those that were missed.
    pub(crate) async fn listen(&self, before: Option<&str>) -> Events {
        let from = before.map(|epoch| Position { epoch: epoch.to_owned(), seq: 0 });
        let mut stream = self.client.clone().subscribe(SubscribeRequest { from }).await.unwrap().into_inner();
        let greeting = stream.message().await.unwrap().unwrap();
        assert!(greeting.event.is_none());
        Events { stream }
    }

    pub(crate) async fn run(&self, request: RunRequest) -> Result<Answers, Status> {
        Ok(Answers { stream: self.client.clone().run(as_owner(request)).await?.into_inner() })
    }

    /// Repeats a call of which `delivered` answers have arrived.
    pub(crate) async fn run_again(&self, request: RunRequest, delivered: usize) -> Result<Answers, Status> {
        let mut request = as_owner(request);
        request.metadata_mut().insert("verso-delivered", delivered.into());
        Ok(Answers { stream: self.client.clone().run(request).await?.into_inner() })
    }

    pub(crate) async fn send(&self, session: &str, message: &str, run_id: &str) -> Result<ChatSendResponse, Status> {
        self.send_with(chat(session, message, run_id)).await
    }

    pub(crate) async fn send_with(&self, request: ChatSendRequest) -> Result<ChatSendResponse, Status> {
        self.client.clone().chat_send(as_owner(request)).await.map(tonic::Response::into_inner)
    }

    /// Sends what somebody says who may write and nothing else.
    pub(crate) async fn send_as_guest(&self, request: ChatSendRequest) -> Result<ChatSendResponse, Status> {
        let request = spoken_by("operator.write", request);
        self.client.clone().chat_send(request).await.map(tonic::Response::into_inner)
    }

    /// Stops everything in a session, and returns what was stopped.
    pub(crate) async fn abort(&self, session: &str, run_id: Option<&str>) -> Result<Vec<String>, Status> {
        let request =
            ChatAbortRequest { session_key: session.to_owned(), run_id: run_id.map(str::to_owned), ..ChatAbortRequest::default() };
        let answer = self.client.clone().chat_abort(request).await?.into_inner();
        assert!(answer.ok && answer.aborted != answer.run_ids.is_empty());
        Ok(answer.run_ids)
    }

    pub(crate) async fn history(&self, session: &str, limit: Option<i64>) -> ChatHistoryResponse {
        let request = ChatHistoryRequest { session_key: session.to_owned(), limit, ..ChatHistoryRequest::default() };
        self.client.clone().chat_history(request).await.unwrap().into_inner()
    }

    /// Returns `role: text` of every message in a session.
    pub(crate) async fn transcript(&self, session: &str) -> Vec<String> {
        let line = |message: &verso_proto::agent::v1::ChatMessage| {
            let texts: Vec<&str> = message.content.iter().filter_map(|block| block.text.as_deref()).collect();
            format!("{}: {}", message.role, texts.join(""))
        };
        self.history(session, None).await.messages.iter().map(line).collect()
    }
}

/// Makes a request of somebody with the owner's authority, as the edge does.
pub(crate) fn as_owner<T>(request: T) -> Request<T> {
    spoken_by("operator.admin", request)
}

fn spoken_by<T>(scope: &str, request: T) -> Request<T> {
    let principal = Principal { role: "operator".to_owned(), scopes: vec![scope.to_owned()], ..Principal::default() };
    let mut request = Request::new(request);
    Vouched::new(principal, None).stamp(&mut request);
    request
}

pub(crate) fn turn(session: &str, message: &str, run_id: &str) -> RunRequest {
    RunRequest {
        message: message.to_owned(),
        session_key: Some(session.to_owned()),
        idempotency_key: run_id.to_owned(),
        ..RunRequest::default()
    }
}

pub(crate) fn chat(session: &str, message: &str, run_id: &str) -> ChatSendRequest {
    ChatSendRequest {
        session_key: session.to_owned(),
        message: message.to_owned(),
        idempotency_key: run_id.to_owned(),
        ..ChatSendRequest::default()
    }
}

/// The answers of an `agent` call.
pub(crate) struct Answers {
    stream: Streaming<RunResponse>,
}

impl Answers {
    pub(crate) async fn next(&mut self) -> Option<RunResponse> {
        self.stream.message().await.unwrap()
    }

    /// Returns the statuses of all that is still to come, and the last of them.
    pub(crate) async fn rest(mut self) -> (Vec<String>, RunResponse) {
        let (mut statuses, mut last) = (Vec::new(), RunResponse::default());
        while let Some(answer) = self.next().await {
            statuses.push(answer.status.clone());
            last = answer;
        }
        (statuses, last)
    }
}

/// The service's events.
pub(crate) struct Events {
    stream: Streaming<Event>,
}

impl Events {
    pub(crate) async fn next(&mut self) -> Kind {
        self.next_or_end().await.unwrap()
    }

    /// Returns the next event; none when the service has ended.
    pub(crate) async fn next_or_end(&mut self) -> Option<Kind> {
        Some(self.stream.message().await.unwrap()?.event.unwrap())
    }

    /// Returns the next events of a run, up to the `chat` event that ends it, in short form.
    pub(crate) async fn until_end(&mut self, run_id: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let event = self.next().await;
            let (of, line, over) = match &event {
                Kind::Agent(event) => (&event.run_id, agent_line(event), false),
                Kind::Chat(event) => (&event.run_id, chat_line(event), event.state != "delta"),
                _ => continue,
            };
            if of == run_id {
                lines.push(line);
                if over {
                    return lines;
                }
            }
        }
    }

    /// Waits for what a run says next.
    pub(crate) async fn said(&mut self, run_id: &str) -> AgentEvent {
        loop {
            if let Kind::Agent(event) = self.next().await
                && event.run_id == run_id
                && event.stream == "assistant"
            {
                return *event;
            }
        }
    }

    /// Waits for the `chat` event that ends a run.
    pub(crate) async fn chat_end(&mut self, run_id: &str) -> ChatEvent {
        loop {
            if let Kind::Chat(event) = self.next().await
                && event.run_id == run_id
                && event.state != "delta"
            {
                return *event;
            }
        }
    }
}

fn agent_line(event: &AgentEvent) -> String {
    let data = event.data.clone().unwrap_or_default();
    let what = [data.phase, data.name, data.text, data.error].into_iter().flatten().collect::<Vec<_>>().join(" ");
    format!("{} {} {what}", event.seq, event.stream)
}

fn chat_line(event: &ChatEvent) -> String {
    let said = event.message.as_ref().and_then(|message| message.content.first()).and_then(|block| block.text.clone());
    let what = [said, event.error_message.clone(), event.stop_reason.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    format!("{} chat {} {what}", event.seq, event.state)
}
