//! The service as gRPC: parse, call, wrap; never a decision.

mod automation;
mod cron;
mod http;
mod inbound;
mod newer;
mod reports;
mod skills;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_kit::{principal, resume};
use verso_proto::agent::v1::agent_server::{Agent, AgentServer};
use verso_proto::agent::v1::automation_server::AutomationServer;
use verso_proto::agent::v1::cron_server::CronServer;
use verso_proto::agent::v1::model_access_server::ModelAccessServer;
use verso_proto::agent::v1::previews_server::PreviewsServer;
use verso_proto::agent::v1::tts_server::TtsServer;
use verso_proto::agent::v1::usage_reports_server::UsageReportsServer;
use verso_proto::agent::v1::{
    AgentsListRequest, AgentsListResponse, ChatAbortRequest, ChatAbortResponse, ChatHistoryRequest, ChatHistoryResponse, ChatInjectRequest,
    ChatInjectResponse, ChatSendRequest, ChatSendResponse, ChatStartupRequest, CompleteRequest, CompleteResponse, Event,
    HealthSummaryRequest, HealthSummaryResponse, IdentityGetRequest, IdentityGetResponse, ModelsListRequest, ModelsListResponse,
    RunRequest, RunResponse, SessionsCompactRequest, SessionsCompactResponse, SessionsDeleteRequest, SessionsDeleteResponse,
    SessionsDescribeRequest, SessionsDescribeResponse, SessionsListRequest, SessionsListResponse, SessionsPatchRequest,
    SessionsPatchResponse, SessionsPreviewRequest, SessionsPreviewResponse, SessionsResetRequest, SessionsResetResponse,
    SessionsResolveRequest, SessionsResolveResponse, StatusSummaryRequest, StatusSummaryResponse, SubscribeRequest, WaitRequest,
    WaitResponse, complete_response,
};

use crate::agents::{self, Piece};
use crate::error::Error;
use crate::models::access;
use crate::runs::{Caller, Runs};
use crate::{Present, Service, chat, sessions, summary};

/// The role and the scope that come with the owner's authority.
const OPERATOR: &str = "operator";
const ADMIN: &str = "operator.admin";

/// The scope of those who may allow programs to be run.
const APPROVALS: &str = "operator.approvals";

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// Returns what is to be served.
    pub fn routes(&self) -> Routes {
        let Present { runs, heartbeats, cron, .. } = self.present();
        let server = AgentServer::new(Adapter { runs: runs.clone() });
        let limit = verso_kit::peer::MESSAGE_BYTES_MAX;
        let reports = Arc::new(reports::Adapter { runs: runs.clone() });
        Routes::new(server.max_decoding_message_size(limit).max_encoding_message_size(limit))
            .add_service(skills::server(&runs))
            .add_service(http::server(&runs))
            .add_service(newer::server(&runs))
            .add_service(ModelAccessServer::from_arc(Arc::clone(&reports)))
            .add_service(PreviewsServer::from_arc(Arc::clone(&reports)))
            .add_service(UsageReportsServer::from_arc(Arc::clone(&reports)))
            .add_service(TtsServer::from_arc(reports))
            .add_service(AutomationServer::new(automation::Adapter { heartbeats }))
            .add_service(CronServer::new(cron::Adapter { cron: (*cron).clone() }))
            .add_service(inbound::server(&runs))
    }
}

struct Adapter {
    runs: Runs,
}

#[tonic::async_trait]
impl Agent for Adapter {
    type RunStream = Answers<RunResponse>;
    type CompleteStream = Answers<CompleteResponse>;
    type SubscribeStream = Answers<Event>;

    async fn run(&self, request: Request<RunRequest>) -> Reply<Self::RunStream> {
        let (caller, delivered) = (caller(&request), resume::delivered(&request));
        let answers = agents::run(&self.runs, request.into_inner(), caller, delivered).await.map_err(refusal)?;
        Ok(Response::new(answers.map(|answer| answer.map_err(refusal)).boxed()))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Reply<WaitResponse> {
        reply(agents::wait(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn identity_get(&self, request: Request<IdentityGetRequest>) -> Reply<IdentityGetResponse> {
        reply(agents::identity(&self.runs, request.get_ref()).map_err(refusal)?)
    }

    async fn agents_list(&self, _request: Request<AgentsListRequest>) -> Reply<AgentsListResponse> {
        reply(agents::list(&self.runs))
    }

    async fn models_list(&self, request: Request<ModelsListRequest>) -> Reply<ModelsListResponse> {
        reply(access::list(&self.runs, request.get_ref()).await.map_err(refusal)?)
    }

    async fn sessions_list(&self, request: Request<SessionsListRequest>) -> Reply<SessionsListResponse> {
        reply(sessions::list(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn sessions_patch(&self, request: Request<SessionsPatchRequest>) -> Reply<SessionsPatchResponse> {
        reply(sessions::patch(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn sessions_resolve(&self, request: Request<SessionsResolveRequest>) -> Reply<SessionsResolveResponse> {
        reply(sessions::resolve(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn sessions_preview(&self, request: Request<SessionsPreviewRequest>) -> Reply<SessionsPreviewResponse> {
        reply(sessions::preview(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn sessions_describe(&self, request: Request<SessionsDescribeRequest>) -> Reply<SessionsDescribeResponse> {
        reply(sessions::describe(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn sessions_reset(&self, request: Request<SessionsResetRequest>) -> Reply<SessionsResetResponse> {
        reply(sessions::reset(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn sessions_delete(&self, request: Request<SessionsDeleteRequest>) -> Reply<SessionsDeleteResponse> {
        reply(sessions::delete(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn sessions_compact(&self, request: Request<SessionsCompactRequest>) -> Reply<SessionsCompactResponse> {
        let caller = caller(&request);
        reply(sessions::compact(&self.runs, request.into_inner(), caller).await.map_err(refusal)?)
    }

    async fn chat_send(&self, request: Request<ChatSendRequest>) -> Reply<ChatSendResponse> {
        let caller = caller(&request);
        reply(chat::send(&self.runs, request.into_inner(), caller).await.map_err(refusal)?)
    }

    async fn chat_history(&self, request: Request<ChatHistoryRequest>) -> Reply<ChatHistoryResponse> {
        reply(chat::history(&self.runs, "chat.history", request.into_inner()).await.map_err(refusal)?)
    }

    async fn chat_startup(&self, request: Request<ChatStartupRequest>) -> Reply<ChatHistoryResponse> {
        reply(chat::startup(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn chat_abort(&self, request: Request<ChatAbortRequest>) -> Reply<ChatAbortResponse> {
        reply(chat::abort(&self.runs, request.get_ref()).await.map_err(refusal)?)
    }

    async fn chat_inject(&self, request: Request<ChatInjectRequest>) -> Reply<ChatInjectResponse> {
        reply(chat::inject(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Reply<Self::CompleteStream> {
        let pieces = agents::complete(&self.runs, request.into_inner()).await.map_err(refusal)?;
        let item = |piece| match piece {
            Piece::Delta(text) => complete_response::Item::Delta(text),
            Piece::End(end) => complete_response::Item::End(end),
        };
        let answers = pieces.map(move |piece| piece.map(|piece| CompleteResponse { item: Some(item(piece)) }).map_err(refusal));
        Ok(Response::new(answers.boxed()))
    }

    async fn health_summary(&self, _request: Request<HealthSummaryRequest>) -> Reply<HealthSummaryResponse> {
        reply(summary::health(&self.runs).await.map_err(refusal)?)
    }

    async fn status_summary(&self, _request: Request<StatusSummaryRequest>) -> Reply<StatusSummaryResponse> {
        reply(summary::status(&self.runs).await.map_err(refusal)?)
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Reply<Self::SubscribeStream> {
        let events = self.runs.parts.hub.subscribe(request.into_inner().from);
        // An event stream never ends by itself, and a stop should not wait for it.
        Ok(Response::new(events.take_until(self.runs.shutdown().cancelled_owned()).boxed()))
    }
}

/// Turns an error into a status. What another incarnation can do looks like a broken connection: whoever may repeat the call does so.
fn refusal(error: Error) -> Status {
    if error.passes() { Status::unavailable(error.to_string()) } else { status(error) }
}

/// Returns who asks.
fn caller<T>(request: &Request<T>) -> Caller {
    let Some(principal) = principal::principal(request) else { return Caller::default() };
    let name = principal.display_name.as_ref().unwrap_or(&principal.client_id);
    // The edge vouches for the scopes; a text never makes its sender somebody else.
    let holds = |wanted: &str| principal.role == OPERATOR && principal.scopes.iter().any(|scope| scope == wanted);
    Caller {
        name: Some(name.clone()).filter(|name| !name.trim().is_empty()),
        owner: holds(ADMIN),
        approves: holds(APPROVALS),
        conn_id: Some(principal.conn_id.clone()).filter(|conn_id| !conn_id.is_empty()),
        protocol: principal.protocol,
    }
}
