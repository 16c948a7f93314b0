//! The rpc adapter.

mod exec;
mod links;
mod shapes;

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::{Stream, StreamExt as _};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Status};
use tracing::debug;
use verso_kit::CancellationToken;
use verso_kit::config::{self, File};
use verso_kit::error::status;
use verso_kit::events::Hub;
use verso_kit::grpc::{Reply, reply};
use verso_kit::peer::{MESSAGE_BYTES_MAX, Peer};
use verso_kit::principal::principal;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::node::v1::exec_server::ExecServer;
use verso_proto::node::v1::links_server::LinksServer;
use verso_proto::node::v1::node_server::{Node, NodeServer};
use verso_proto::node::v1::{
    AnnounceRequest, AnnounceResponse, DescribeRequest, DescribeResponse, Event, ExecApprovalRequestRequest, ExecApprovalRequestResponse,
    ExecApprovalResolveRequest, ExecApprovalResolveResponse, ExecApprovalsGetRequest, ExecApprovalsSetRequest, ExecApprovalsSnapshot,
    InvokeRequest, InvokeResponse, InvokeResultRequest, InvokeResultResponse, ListRequest, ListResponse, NodeEventRequest,
    NodeEventResponse, NodeInfo, PairApproveRequest, PairApproveResponse, PairListRequest, PairListResponse, PairRejectRequest,
    PairRejectResponse, PairRequestRequest, PairRequestResponse, PairVerifyRequest, PairVerifyResponse, RenameRequest, RenameResponse,
    SubscribeRequest, TalkMode, TalkModeRequest, VoiceWakeChanged, VoiceWakeGetRequest, VoiceWakeGetResponse, VoiceWakeSetRequest,
    VoiceWakeSetResponse,
};
use verso_proto::wire::v1::Audience;

use crate::approvals::{Approvals, Times};
use crate::browser;
use crate::commands::{self, is_mobile};
use crate::error::Error;
use crate::exec_file::ExecFile;
use crate::forwarding::{self, Forwarder};
use crate::invokes::{Invokes, told};
use crate::metrics::{self, Depths};
use crate::node_events::{Effect, Listener};
use crate::pairings::Pairings;
use crate::registry::Registry;
use crate::store::Store;
use crate::told::Told;
use crate::voice::VoiceWake;
pub(crate) use shapes::visible;

/// Loads what is known and builds the service.
pub async fn routes(context: &Context, shutdown: &CancellationToken) -> Result<Routes, Error> {
    Ok(start(context, &Tasks::new(shutdown.clone())).await?.0)
}

/// The same, and what passes questions on to chats.
pub(crate) async fn start(context: &Context, tasks: &Tasks) -> Result<(Routes, Forwarder), Error> {
    let (store, paired) = Store::open(context.folder()?.join("nodes.json"), context.epoch).await?;
    let policy = context.config.section::<commands::Config>("gateway.nodes")?.build();
    let hub = Hub::start(&context.incarnation, tasks);
    let registry = Arc::new(Registry::open(context.clock.clone(), store.clone(), paired).await?);
    let approvals = Arc::new(Approvals::new(context.clock.clone(), hub.clone()));
    let (forwarding, followed) = watch::channel(context.config.section("approvals.exec")?);
    let forwarder = Forwarder::new(followed, hub.clone(), context.peer("channel"), context.peer("agent"));
    let service = Arc::new(Service {
        pairings: Pairings::open(&store, context.clock.clone(), hub.clone()).await?,
        voice: VoiceWake::open(&store).await?,
        exec_file: ExecFile::new(&store),
        invokes: Invokes::new(policy, hub.clone(), Arc::clone(&registry), Arc::clone(&approvals)),
        registry,
        approvals,
        told: Told::new(context.clock.clone()),
        browser: RwLock::new(context.config.section("gateway.nodes.browser")?),
        forwarding,
        agent: context.peer("agent"),
        hub,
        shutdown: tasks.shutdown().clone(),
    });
    context.reload.on_change_of(&service, Service::take_over);
    let counted = Arc::downgrade(&service);
    metrics::start(move || Some(counted.upgrade()?.depths()));
    let routes = Routes::new(NodeServer::from_arc(Arc::clone(&service)).max_decoding_message_size(MESSAGE_BYTES_MAX));
    let routes = routes.add_service(LinksServer::from_arc(Arc::clone(&service)).max_decoding_message_size(MESSAGE_BYTES_MAX));
    Ok((routes.add_service(ExecServer::from_arc(service).max_decoding_message_size(MESSAGE_BYTES_MAX)), forwarder))
}

#[derive(Debug)]
struct Service {
    registry: Arc<Registry>,
    pairings: Pairings,
    voice: VoiceWake,
    exec_file: ExecFile,
    approvals: Arc<Approvals>,
    invokes: Invokes,
    told: Told,
    browser: RwLock<browser::Config>,
    forwarding: watch::Sender<forwarding::Config>,
    agent: Peer,
    hub: Hub<Event>,
    shutdown: CancellationToken,
}

impl Service {
    /// Puts another configuration in force.
    fn take_over(&self, file: &File) -> Result<(), config::Error> {
        let policy = file.section::<commands::Config>("gateway.nodes")?.build();
        let browser = file.section("gateway.nodes.browser")?;
        let forwarding = file.section("approvals.exec")?;
        self.invokes.set_policy(policy);
        *self.browser.write().unwrap_or_else(PoisonError::into_inner) = browser;
        self.forwarding.send_replace(forwarding);
        Ok(())
    }

    /// Counts what waits and who is there.
    fn depths(&self) -> Depths {
        let nodes = self.registry.list();
        Depths {
            connected: nodes.iter().filter(|node| node.connected).count(),
            known: nodes.len(),
            pairings: self.pairings.list().0.len(),
            approvals: self.approvals.list().len(),
            invokes: self.invokes.pending(),
            subscribers: self.hub.subscribers(),
        }
    }

    /// Turns an error into a status. A process that was replaced has nothing left to do.
    fn failed(&self, error: Error) -> Status {
        if matches!(error, Error::Replaced) {
            self.shutdown.cancel();
        }
        status(error)
    }

    /// Every node as others see it.
    fn nodes(&self) -> Vec<NodeInfo> {
        let mut nodes = self.registry.list();
        for node in &mut nodes {
            self.told.add_to(node);
        }
        nodes
    }

    /// Has a node carry out a command for whoever makes `request`.
    async fn carry_out<T>(&self, request: &Request<T>, invocation: InvokeRequest) -> Result<InvokeResponse, Status> {
        let by = principal(request);
        self.invokes.invoke(by.as_deref(), invocation).await.map_err(status)
    }

    /// Renames a node wherever it is known.
    async fn renamed(&self, node_id: &str, name: &str) -> Result<(), Error> {
        if name.is_empty() {
            return Err(Error::EmptyName);
        }
        let as_device = self.registry.rename(node_id, name).await?;
        let by_name = self.pairings.rename(node_id, name).await?;
        if as_device || by_name { Ok(()) } else { Err(Error::UnknownNode) }
    }
}

/// The decision of an open question; before that, if asked for, that the question is open.
fn decided(
    approvals: Arc<Approvals>,
    id: String,
    times: Times,
    two_phase: bool,
) -> impl Stream<Item = Result<ExecApprovalRequestResponse, Status>> + Send {
    let Times { created_at_ms, expires_at_ms } = times;
    let open = ExecApprovalRequestResponse { id, decision: None, created_at_ms, expires_at_ms, status: None };
    let accepted = two_phase.then(|| Ok(ExecApprovalRequestResponse { status: Some("accepted".to_owned()), ..open.clone() }));
    let last = async move {
        let (decision, _) = approvals.wait(&open.id).await.map_err(status)?;
        Ok(ExecApprovalRequestResponse { decision, ..open })
    };
    futures_util::stream::iter(accepted).chain(futures_util::stream::once(last))
}

#[tonic::async_trait]
impl Node for Service {
    type ExecApprovalRequestStream = Pin<Box<dyn Stream<Item = Result<ExecApprovalRequestResponse, Status>> + Send>>;
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Reply<ListResponse> {
        reply(ListResponse { ts_ms: self.registry.now_ms(), nodes: self.nodes() })
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Reply<DescribeResponse> {
        let mut node = self.registry.get(&request.into_inner().node_id).map_err(status)?;
        self.told.add_to(&mut node);
        reply(shapes::described(node, self.registry.now_ms()))
    }

    async fn announce(&self, request: Request<AnnounceRequest>) -> Reply<AnnounceResponse> {
        let AnnounceRequest { conn_id, node } = request.into_inner();
        let mut node = node.unwrap_or_default();
        self.invokes.policy().restrict(&mut node);
        let connected = node.connected;
        let noted = node.clone();
        self.registry.announce(conn_id.clone(), node).await.map_err(|error| self.failed(error))?;
        self.told.linked(&noted);
        if connected {
            let audience = Audience { conn_ids: vec![conn_id], ..Audience::default() };
            self.hub.emit_with(VoiceWakeChanged { triggers: self.voice.get() }, |meta| meta.audience = Some(audience));
        } else {
            self.invokes.left(&conn_id);
        }
        reply(AnnounceResponse {})
    }

    async fn rename(&self, request: Request<RenameRequest>) -> Reply<RenameResponse> {
        let RenameRequest { node_id, display_name } = request.into_inner();
        let (node_id, display_name) = (node_id.trim().to_owned(), display_name.trim().to_owned());
        self.renamed(&node_id, &display_name).await.map_err(|error| self.failed(error))?;
        reply(RenameResponse { node_id, display_name })
    }

    async fn pair_request(&self, request: Request<PairRequestRequest>) -> Reply<PairRequestResponse> {
        let (pending, created) = self.pairings.request(request.into_inner()).await.map_err(|error| self.failed(error))?;
        reply(PairRequestResponse { status: "pending".to_owned(), request: Some(pending), created })
    }

    async fn pair_list(&self, _: Request<PairListRequest>) -> Reply<PairListResponse> {
        let (pending, paired) = self.pairings.list();
        reply(PairListResponse { pending, paired: shapes::with_devices(paired, self.registry.list()) })
    }

    async fn pair_approve(&self, request: Request<PairApproveRequest>) -> Reply<PairApproveResponse> {
        let PairApproveRequest { request_id } = request.into_inner();
        let node = self.pairings.approve(&request_id).await.map_err(|error| self.failed(error))?;
        reply(PairApproveResponse { request_id, node: Some(node) })
    }

    async fn pair_reject(&self, request: Request<PairRejectRequest>) -> Reply<PairRejectResponse> {
        let PairRejectRequest { request_id } = request.into_inner();
        let node_id = self.pairings.reject(&request_id).await.map_err(|error| self.failed(error))?;
        reply(PairRejectResponse { request_id, node_id })
    }

    async fn pair_verify(&self, request: Request<PairVerifyRequest>) -> Reply<PairVerifyResponse> {
        let PairVerifyRequest { node_id, token } = request.into_inner();
        let node = self.pairings.verify(&node_id, &token);
        reply(PairVerifyResponse { ok: node.is_some(), node })
    }

    async fn invoke(&self, request: Request<InvokeRequest>) -> Reply<InvokeResponse> {
        let invocation = request.get_ref().clone();
        reply(self.carry_out(&request, invocation).await?)
    }

    async fn invoke_result(&self, request: Request<InvokeResultRequest>) -> Reply<InvokeResultResponse> {
        let caller = principal(&request).and_then(|principal| principal.device_id.clone());
        let heard = self.invokes.result(caller.as_deref(), request.into_inner()).map_err(status)?;
        reply(InvokeResultResponse { ok: true, ignored: (!heard).then_some(true) })
    }

    async fn node_event(&self, request: Request<NodeEventRequest>) -> Reply<NodeEventResponse> {
        let Some(from) = principal(&request) else { return Err(Status::unauthenticated("an event comes from a node")) };
        let NodeEventRequest { event, payload, payload_json } = request.into_inner();
        let listener =
            Listener { agent: &self.agent, approvals: &self.approvals, invokes: &self.invokes, told: &self.told, hub: &self.hub };
        let effect = listener.take(&from, &event, told(payload, payload_json)).await;
        debug!(node = from.device_id, event, effect = ?effect, "node event");
        let (handled, reason) = match effect {
            Effect::Handled => (true, None),
            Effect::Named(id) => (true, Some(id)),
            Effect::Ignored(reason) => (false, Some(reason)),
        };
        reply(NodeEventResponse { ok: true, event: Some(event), handled: Some(handled), reason })
    }

    async fn exec_approvals_get(&self, _: Request<ExecApprovalsGetRequest>) -> Reply<ExecApprovalsSnapshot> {
        reply(self.exec_file.get().await.map_err(|error| self.failed(error))?)
    }

    async fn exec_approvals_set(&self, request: Request<ExecApprovalsSetRequest>) -> Reply<ExecApprovalsSnapshot> {
        let ExecApprovalsSetRequest { file, base_hash } = request.into_inner();
        reply(self.exec_file.set(file.unwrap_or_default(), base_hash).await.map_err(|error| self.failed(error))?)
    }

    async fn exec_approval_request(&self, request: Request<ExecApprovalRequestRequest>) -> Reply<Self::ExecApprovalRequestStream> {
        let mut wanted = request.into_inner();
        let (id, timeout_ms, two_phase) = (wanted.id.take(), wanted.timeout_ms, wanted.two_phase == Some(true));
        let asked = shapes::asked(wanted).map_err(status)?;
        let (id, times) = self.approvals.ask(id, asked, timeout_ms).map_err(status)?;
        reply(Box::pin(decided(Arc::clone(&self.approvals), id, times, two_phase)))
    }

    async fn exec_approval_resolve(&self, request: Request<ExecApprovalResolveRequest>) -> Reply<ExecApprovalResolveResponse> {
        let by = principal(&request).map(|principal| principal.display_name.clone().unwrap_or_else(|| principal.client_id.clone()));
        let ExecApprovalResolveRequest { id, decision } = request.into_inner();
        let asked_by = self.approvals.resolve(&id, &decision, by.clone()).map_err(status)?;
        // A node that asked may have a new connection by now.
        if let Some((conn_id, _)) = asked_by.and_then(|node_id| self.registry.link(&node_id)) {
            let audience = Audience { conn_ids: vec![conn_id], ..Audience::default() };
            self.hub.emit_with(self.approvals.resolution(&id, &decision, by), |meta| meta.audience = Some(audience));
        }
        reply(ExecApprovalResolveResponse { ok: true })
    }

    async fn voice_wake_get(&self, _: Request<VoiceWakeGetRequest>) -> Reply<VoiceWakeGetResponse> {
        reply(VoiceWakeGetResponse { triggers: self.voice.get() })
    }

    async fn voice_wake_set(&self, request: Request<VoiceWakeSetRequest>) -> Reply<VoiceWakeSetResponse> {
        let triggers = self.voice.set(&request.into_inner().triggers).await.map_err(|error| self.failed(error))?;
        self.hub.emit(VoiceWakeChanged { triggers: triggers.clone() });
        reply(VoiceWakeSetResponse { triggers })
    }

    async fn set_talk_mode(&self, request: Request<TalkModeRequest>) -> Reply<TalkMode> {
        let in_a_page =
            principal(&request).is_some_and(|principal| principal.client_mode == "webchat" || principal.client_id == "webchat-ui");
        if in_a_page && !self.registry.any_connected(is_mobile) {
            return Err(status(Error::TalkDisabled));
        }
        let TalkModeRequest { enabled, phase } = request.into_inner();
        let mode = TalkMode { enabled, phase, ts_ms: self.registry.now_ms() };
        self.hub.emit(mode.clone());
        reply(mode)
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Reply<Self::SubscribeStream> {
        let events = self.hub.subscribe(request.into_inner().from);
        reply(Box::pin(events.take_until(self.shutdown.clone().cancelled_owned())))
    }
}
