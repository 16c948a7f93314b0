//! The rpc adapter, and the start of what it reports on.

mod pages;

use std::net::{Ipv4Addr, TcpListener};

use serde_json::Value;
use tonic::Request;
use tonic::service::Routes;
use tracing::{error, info};
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_kit::peer::MESSAGE_BYTES_MAX;
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::Json;
use verso_proto::canvas::v1::canvas_server::{Canvas, CanvasServer};
use verso_proto::canvas::v1::pages_server::PagesServer;
use verso_proto::canvas::v1::{
    A2uiPushJsonlRequest, A2uiPushRequest, A2uiPushResponse, A2uiResetRequest, A2uiResetResponse, A2uiSurfacesRequest,
    A2uiSurfacesResponse, StatusRequest, StatusResponse,
};

use crate::a2ui::{Message, Problem, Store, Surfaces as _, read_jsonl, read_list, read_loosely};
use crate::actions::Sessions;
use crate::config::Config;
use crate::error::{Error, Refused};
use crate::listener::Listener;
use crate::live::Live;
use crate::root::Root;
use crate::site::Site;
use crate::{metrics, reload, starter};

/// Where surfaces are kept, in the service's own folder. Hidden, because that folder may be the one whose files are served.
const SURFACES: &str = ".a2ui";

/// What all ways in share.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) site: Site,
    pub(crate) live: Live,
    pub(crate) sessions: Sessions,
    pub(crate) store: Store,
}

/// Starts serving the canvas, if it is switched on, and builds the service. What runs belongs to `tasks`.
pub async fn routes(context: &Context, tasks: &Tasks) -> Result<Routes, Error> {
    let config = Config::read(context)?;
    let folder = context.state_dir.join(context.name).join(SURFACES);
    let store = tokio::task::spawn_blocking(move || Store::open(folder)).await.map_err(|_| Error::Panicked)?;
    let host = Host {
        site: Site::new(Root::new(config.root.clone()), config.access, config.live_reload),
        live: Live::new(store.clone()),
        sessions: Sessions::new(context.peer("agent")),
        store,
    };
    metrics::start(host.live.clone());
    let port = if config.enabled { start(context, &config, &host, tasks).await? } else { None };
    let service = Service { port, host, config };
    let canvas = CanvasServer::new(service.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok(Routes::new(canvas).add_service(PagesServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX)))
}

/// Serves the host on every socket and returns the port.
async fn start(context: &Context, config: &Config, host: &Host, tasks: &Tasks) -> Result<Option<u16>, Error> {
    let root = config.root.clone();
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || starter::prepare(&root)).await {
        // The folder may still come: until then there is nothing to be found in it.
        error!(root = %config.root.display(), error = &error as &dyn std::error::Error, "canvas folder unusable");
    }
    if config.live_reload {
        tasks.spawn("canvas watcher", reload::follow(config.root.clone(), host.live.clone(), tasks.shutdown().clone()));
    }
    let listeners = sockets(context, config)?;
    let port = listeners.first().and_then(|listener| listener.local_addr().ok()).map(|address| address.port());
    for listener in listeners {
        tasks.spawn("canvas listener", Listener::adopt(listener, host.clone(), tasks.clone()).map_err(Error::Adopt)?.run());
    }
    info!(port, root = %config.root.display(), "canvas served");
    Ok(port)
}

/// Takes the sockets that were handed over. Without a supervisor there are none, and this process binds its own.
fn sockets(context: &Context, config: &Config) -> Result<Vec<TcpListener>, Error> {
    let handed_over = context.sockets.tcp("canvas");
    if !handed_over.is_empty() || context.env.get("VERSO_SUPERVISOR_PID").is_some() {
        return Ok(handed_over);
    }
    let port = config.port;
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| Error::Listen { port, source })?;
    Ok(vec![bound])
}

#[derive(Debug, Clone)]
struct Service {
    port: Option<u16>,
    host: Host,
    config: Config,
}

impl Service {
    fn switched_on(&self) -> Result<(), Refused> {
        if self.config.enabled { Ok(()) } else { Err(Refused::SwitchedOff) }
    }

    /// Applies what was read, or says what is wrong with it; without the check, what can be shown is, and the rest is warned of.
    async fn push(
        &self,
        session: Option<String>,
        read: Result<Vec<Message>, Problem>,
        loosely: impl FnOnce() -> Vec<Message>,
    ) -> Result<A2uiPushResponse, Refused> {
        self.switched_on()?;
        let session_key = self.host.sessions.canonical(session).await?;
        let (messages, warnings) = match read {
            Ok(messages) => (messages, Vec::new()),
            Err(problem) if self.config.validate_a2ui => return Err(problem.into()),
            Err(problem) => (loosely(), problem.to_string().lines().map(str::to_owned).collect()),
        };
        let surfaces = self.host.store.apply(&session_key, &messages).await?;
        let told: Vec<Value> = messages.into_iter().map(|message| message.json).collect();
        self.host.live.pushed(&session_key, &told);
        Ok(A2uiPushResponse { ok: true, session_key, surfaces: surfaces.keys().cloned().collect(), warnings })
    }
}

#[tonic::async_trait]
impl Canvas for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Reply<StatusResponse> {
        reply(StatusResponse {
            enabled: self.config.enabled,
            port: self.port.map(i32::from),
            root: self.host.site.root().path().display().to_string(),
            requests: self.host.site.answered(),
            live_reload: self.config.enabled && self.config.live_reload,
            pages: u32::try_from(self.host.live.pages()).unwrap_or(u32::MAX),
        })
    }

    async fn a2ui_push(&self, request: Request<A2uiPushRequest>) -> Reply<A2uiPushResponse> {
        let A2uiPushRequest { session_key, messages } = request.into_inner();
        let values = || messages.iter().map(|message| serde_json::from_str::<Value>(&message.text));
        let read = read_list(values().map(|value| value.map_err(|error| format!("not JSON: {error}"))));
        reply(self.push(session_key, read, || read_loosely(values().flatten())).await.map_err(status)?)
    }

    async fn a2ui_push_jsonl(&self, request: Request<A2uiPushJsonlRequest>) -> Reply<A2uiPushResponse> {
        let A2uiPushJsonlRequest { session_key, jsonl } = request.into_inner();
        let loosely = || read_loosely(jsonl.lines().flat_map(serde_json::from_str));
        reply(self.push(session_key, read_jsonl(&jsonl), loosely).await.map_err(status)?)
    }

    async fn a2ui_reset(&self, request: Request<A2uiResetRequest>) -> Reply<A2uiResetResponse> {
        let reset = async {
            self.switched_on()?;
            let session_key = self.host.sessions.canonical(request.into_inner().session_key).await?;
            self.host.store.reset(&session_key).await?;
            self.host.live.reset(&session_key);
            Ok(session_key)
        };
        let session_key = reset.await.map_err(status::<Refused>)?;
        reply(A2uiResetResponse { ok: true, session_key })
    }

    async fn a2ui_surfaces(&self, request: Request<A2uiSurfacesRequest>) -> Reply<A2uiSurfacesResponse> {
        let session_key = self.host.sessions.canonical(request.into_inner().session_key).await.map_err(status)?;
        let session = self.host.store.get(&session_key);
        let messages = session.messages().into_iter().map(|message| Json { text: message.to_string() }).collect();
        reply(A2uiSurfacesResponse { session_key, surfaces: session.keys().cloned().collect(), messages })
    }
}
