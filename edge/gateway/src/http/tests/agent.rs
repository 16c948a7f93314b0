//! An agent service that says what a test tells it to.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use verso_kit::peer::MESSAGE_BYTES_MAX;
use verso_kit::tasks::Tasks;
use verso_kit::trace;
use verso_proto::agent::v1::agent_server::{Agent, AgentServer};
use verso_proto::agent::v1::complete_response::Item;
use verso_proto::agent::v1::{
    AgentInfo, AgentsListRequest, AgentsListResponse, ChatAbortRequest, ChatAbortResponse, ChatHistoryRequest, ChatHistoryResponse,
    ChatInjectRequest, ChatInjectResponse, ChatSendRequest, ChatSendResponse, ChatStartupRequest, CompleteEnd, CompleteRequest,
    CompleteResponse, Event, HealthSummaryRequest, HealthSummaryResponse, IdentityGetRequest, IdentityGetResponse, ModelsListRequest,
    ModelsListResponse, RunRequest, RunResponse, SessionsCompactRequest, SessionsCompactResponse, SessionsDeleteRequest,
    SessionsDeleteResponse, SessionsDescribeRequest, SessionsDescribeResponse, SessionsListRequest, SessionsListResponse,
    SessionsPatchRequest, SessionsPatchResponse, SessionsPreviewRequest, SessionsPreviewResponse, SessionsResetRequest,
    SessionsResetResponse, SessionsResolveRequest, SessionsResolveResponse, StatusSummaryRequest, StatusSummaryResponse, SubscribeRequest,
    WaitRequest, WaitResponse,
};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Reply<T> = Result<Response<T>, Status>;

/// What the service does next in an answer.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Say(&'static str),
    End(CompleteEnd),
    /// The connection breaks.
    Break,
    /// The service refuses.
    Refuse(Status),
    /// Nothing more happens.
    Hang,
}

/// A call of `Complete`.
#[derive(Debug, Clone)]
pub(super) struct Called {
    pub(super) request: CompleteRequest,
    pub(super) traceparent: String,
}

/// The service; clones share what it knows.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeAgent {
    scripts: Arc<Mutex<VecDeque<Vec<Step>>>>,
    called: Arc<Mutex<Vec<Called>>>,
    /// Notified whenever an answer is dropped.
    dropped: Arc<Notify>,
}

/// Notifies when it is dropped.
struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl FakeAgent {
    /// Serves on the Unix socket at `path`.
    pub(super) fn serve(&self, path: &Path, tasks: &Tasks) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let incoming = UnixListenerStream::new(UnixListener::bind(path).unwrap());
        let service = AgentServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        tasks.spawn("fake agent", async move {
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
    }

    /// Sets what the answers to the next calls are.
    pub(super) fn will(&self, scripts: impl IntoIterator<Item = Vec<Step>>) {
        self.scripts.lock().unwrap().extend(scripts);
    }

    /// Returns what was called so far.
    pub(super) fn called(&self) -> Vec<Called> {
        self.called.lock().unwrap().clone()
    }

    /// Waits until an answer has been dropped.
    pub(super) async fn dropped(&self) {
        self.dropped.notified().await;
    }
}

/// Returns the end of an answer.
pub(super) fn end(text: &str) -> Step {
    Step::End(CompleteEnd { text: text.to_owned(), stop_reason: "stop".to_owned(), ..CompleteEnd::default() })
}

fn absent<T>() -> Reply<T> {
    Err(Status::unimplemented("not in this fake"))
}

#[tonic::async_trait]
impl Agent for FakeAgent {
    type RunStream = Answers<RunResponse>;
    type CompleteStream = Answers<CompleteResponse>;
    type SubscribeStream = Answers<Event>;

    async fn complete(&self, request: Request<CompleteRequest>) -> Reply<Self::CompleteStream> {
        let traceparent = request.metadata().get(trace::HEADER).unwrap().to_str().unwrap().to_owned();
        self.called.lock().unwrap().push(Called { request: request.into_inner(), traceparent });
        let script = self.scripts.lock().unwrap().pop_front().expect("a script for each call");
        if let [Step::Refuse(status)] = script.as_slice() {
            return Err(status.clone());
        }
        let on_drop = OnDrop(Arc::clone(&self.dropped));
        let answers = stream::iter(script).then(move |step| {
            let _held = &on_drop;
            async move {
                let item = match step {
                    Step::Say(text) => Item::Delta(text.to_owned()),
                    Step::End(end) => Item::End(end),
                    Step::Break => return Err(Status::unknown("transport error")),
                    Step::Refuse(status) => return Err(status),
                    Step::Hang => std::future::pending().await,
                };
                Ok(CompleteResponse { item: Some(item) })
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn agents_list(&self, _: Request<AgentsListRequest>) -> Reply<AgentsListResponse> {
        let agents = ["main", "beta"].map(|id| AgentInfo { id: id.to_owned(), ..AgentInfo::default() });
        Ok(Response::new(AgentsListResponse { default_id: "main".to_owned(), agents: agents.into(), ..AgentsListResponse::default() }))
    }

    async fn run(&self, _: Request<RunRequest>) -> Reply<Self::RunStream> {
        absent()
    }
    async fn wait(&self, _: Request<WaitRequest>) -> Reply<WaitResponse> {
        absent()
    }
    async fn identity_get(&self, _: Request<IdentityGetRequest>) -> Reply<IdentityGetResponse> {
        absent()
    }
    async fn models_list(&self, _: Request<ModelsListRequest>) -> Reply<ModelsListResponse> {
        absent()
    }
    async fn sessions_list(&self, _: Request<SessionsListRequest>) -> Reply<SessionsListResponse> {
        absent()
    }
    async fn sessions_patch(&self, _: Request<SessionsPatchRequest>) -> Reply<SessionsPatchResponse> {
        absent()
    }
    async fn sessions_resolve(&self, _: Request<SessionsResolveRequest>) -> Reply<SessionsResolveResponse> {
        absent()
    }
    async fn sessions_preview(&self, _: Request<SessionsPreviewRequest>) -> Reply<SessionsPreviewResponse> {
        absent()
    }
    async fn sessions_describe(&self, _: Request<SessionsDescribeRequest>) -> Reply<SessionsDescribeResponse> {
        absent()
    }
    async fn sessions_reset(&self, _: Request<SessionsResetRequest>) -> Reply<SessionsResetResponse> {
        absent()
    }
    async fn sessions_delete(&self, _: Request<SessionsDeleteRequest>) -> Reply<SessionsDeleteResponse> {
        absent()
    }
    async fn sessions_compact(&self, _: Request<SessionsCompactRequest>) -> Reply<SessionsCompactResponse> {
        absent()
    }
    async fn chat_startup(&self, _: Request<ChatStartupRequest>) -> Reply<ChatHistoryResponse> {
        absent()
    }
    async fn chat_send(&self, _: Request<ChatSendRequest>) -> Reply<ChatSendResponse> {
        absent()
    }
    async fn chat_history(&self, _: Request<ChatHistoryRequest>) -> Reply<ChatHistoryResponse> {
        absent()
    }
    async fn chat_abort(&self, _: Request<ChatAbortRequest>) -> Reply<ChatAbortResponse> {
        absent()
    }
    async fn chat_inject(&self, _: Request<ChatInjectRequest>) -> Reply<ChatInjectResponse> {
        absent()
    }
    async fn health_summary(&self, _: Request<HealthSummaryRequest>) -> Reply<HealthSummaryResponse> {
        absent()
    }
    async fn status_summary(&self, _: Request<StatusSummaryRequest>) -> Reply<StatusSummaryResponse> {
        absent()
    }
    async fn subscribe(&self, _: Request<SubscribeRequest>) -> Reply<Self::SubscribeStream> {
        absent()
    }
}
