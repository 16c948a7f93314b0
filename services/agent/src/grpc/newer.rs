//! What newer clients ask of sessions, as gRPC.

use tonic::Request;
use verso_kit::grpc::{Reply, reply};
use verso_kit::peer::MESSAGE_BYTES_MAX;
use verso_proto::agent::v1::sessions_server::{Sessions, SessionsServer};
use verso_proto::agent::v1::{
    ChatMessageGetRequest, ChatMessageGetResponse, ChatMetadataRequest, ChatMetadataResponse, ChatPlace, CommandsListRequest,
    CommandsListResponse, ModelsListRequest, ProgressCardGetRequest, ProgressCardGetResponse, SessionsAbortRequest, SessionsAbortResponse,
    SessionsBranchesListRequest, SessionsBranchesListResponse, SessionsCompanionStateRequest, SessionsCompanionStateResponse,
    SessionsCreateRequest, SessionsCreateResponse, SessionsLocateRequest, SessionsLocateResponse, SessionsObserverVisibilityRequest,
    SessionsObserverVisibilityResponse, SessionsSendRequest, SessionsSendResponse, TalkCatalogRequest, TalkCatalogResponse, TalkProviders,
    TalkService, TaskSuggestionsListRequest, TaskSuggestionsListResponse, TasksListRequest, TasksListResponse,
};

use super::{caller, refusal};
use crate::models::access;
use crate::runs::Runs;
use crate::{agents, chat, commands, sessions};

/// Returns the part of the service that newer clients ask.
pub(super) fn server(runs: &Runs) -> SessionsServer<Adapter> {
    SessionsServer::new(Adapter { runs: runs.clone() })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub(super) struct Adapter {
    runs: Runs,
}

#[tonic::async_trait]
impl Sessions for Adapter {
    async fn sessions_create(&self, request: Request<SessionsCreateRequest>) -> Reply<SessionsCreateResponse> {
        let caller = caller(&request);
        reply(sessions::create(&self.runs, request.into_inner(), caller).await.map_err(refusal)?)
    }

    async fn sessions_send(&self, request: Request<SessionsSendRequest>) -> Reply<SessionsSendResponse> {
        let caller = caller(&request);
        reply(sessions::send(&self.runs, request.into_inner(), caller).await.map_err(refusal)?)
    }

    async fn sessions_abort(&self, request: Request<SessionsAbortRequest>) -> Reply<SessionsAbortResponse> {
        reply(sessions::abort(&self.runs, request.get_ref()).await.map_err(refusal)?)
    }

    async fn chat_message_get(&self, request: Request<ChatMessageGetRequest>) -> Reply<ChatMessageGetResponse> {
        reply(chat::message(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn chat_metadata(&self, request: Request<ChatMetadataRequest>) -> Reply<ChatMetadataResponse> {
        let ChatMetadataRequest { agent_id, session_key, .. } = request.into_inner();
        agents::known(&self.runs, "chat.metadata", agent_id.as_deref()).map_err(refusal)?;
        let asked = ModelsListRequest { agent_id, session_key, ..ModelsListRequest::default() };
        let models = access::list(&self.runs, &asked).await.map_err(refusal)?.models;
        reply(ChatMetadataResponse { models, commands: commands::offered(&self.runs.parts.commands, true), swarm_enabled: false })
    }

    async fn commands_list(&self, request: Request<CommandsListRequest>) -> Reply<CommandsListResponse> {
        let request = request.get_ref();
        agents::known(&self.runs, "commands.list", request.agent_id.as_deref()).map_err(refusal)?;
        // All commands are words in a message; no client has them built in.
        let asked = request.scope.as_deref() != Some("native");
        let commands = if asked { commands::offered(&self.runs.parts.commands, request.include_args.unwrap_or(true)) } else { Vec::new() };
        reply(CommandsListResponse { commands })
    }

    async fn sessions_observer_visibility(
        &self,
        _request: Request<SessionsObserverVisibilityRequest>,
    ) -> Reply<SessionsObserverVisibilityResponse> {
        reply(SessionsObserverVisibilityResponse { ok: true })
    }

    async fn sessions_branches_list(&self, request: Request<SessionsBranchesListRequest>) -> Reply<SessionsBranchesListResponse> {
        reply(chat::branches(&self.runs, request.into_inner()).await.map_err(refusal)?)
    }

    async fn sessions_companion_state(&self, _request: Request<SessionsCompanionStateRequest>) -> Reply<SessionsCompanionStateResponse> {
        reply(SessionsCompanionStateResponse::default())
    }

    async fn progress_card_get(&self, _request: Request<ProgressCardGetRequest>) -> Reply<ProgressCardGetResponse> {
        reply(ProgressCardGetResponse::default())
    }

    async fn tasks_list(&self, _request: Request<TasksListRequest>) -> Reply<TasksListResponse> {
        reply(TasksListResponse::default())
    }

    async fn task_suggestions_list(&self, _request: Request<TaskSuggestionsListRequest>) -> Reply<TaskSuggestionsListResponse> {
        reply(TaskSuggestionsListResponse::default())
    }

    async fn talk_catalog(&self, _request: Request<TalkCatalogRequest>) -> Reply<TalkCatalogResponse> {
        reply(TalkCatalogResponse {
            speech: Some(TalkProviders::default()),
            transcription: Some(TalkService::default()),
            realtime: Some(TalkService::default()),
            ..TalkCatalogResponse::default()
        })
    }

    async fn sessions_locate(&self, request: Request<SessionsLocateRequest>) -> Reply<SessionsLocateResponse> {
        let SessionsLocateRequest { key, agent_id } = request.into_inner();
        let (agent, key) = sessions::session(&self.runs, "sessions.messages.subscribe", agent_id.as_deref(), &key).map_err(refusal)?;
        let known = self.runs.parts.store.session(&key).await.map_err(|error| refusal(error.into()))?;
        let last_place = known.and_then(|session| session.last_route).map(|route| ChatPlace {
            channel: route.channel,
            to: route.to,
            account_id: route.account,
            thread_id: route.thread,
        });
        reply(SessionsLocateResponse { key: key.to_string(), agent_id: agent.to_string(), last_place })
    }
}
