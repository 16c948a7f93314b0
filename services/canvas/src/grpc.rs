//! The rpc adapter, and the start of what it reports on.

use std::net::{Ipv4Addr, TcpListener};

use tonic::Request;
use tonic::service::Routes;
use tracing::{error, info, warn};
use verso_kit::grpc::{Reply, reply};
use verso_kit::service::Context;
use verso_kit::tasks::Tasks;
use verso_proto::canvas::v1::canvas_server::{Canvas, CanvasServer};
use verso_proto::canvas::v1::{StatusRequest, StatusResponse};

use crate::config::Config;
use crate::error::Error;
use crate::listener::Listener;
use crate::root::Root;
use crate::site::Site;
use crate::starter;

/// Starts serving the canvas, if it is switched on, and builds the service. What runs belongs to `tasks`.
pub async fn routes(context: &Context, tasks: &Tasks) -> Result<Routes, Error> {
    let config = Config::read(context)?;
    let site = Site::new(Root::new(config.root.clone()), config.access);
    let port = if config.enabled { start(context, &config, &site, tasks).await? } else { None };
    let service = Service { enabled: config.enabled, port, site };
    Ok(Routes::new(CanvasServer::new(service)))
}

/// Serves the site on every socket and returns the port.
async fn start(context: &Context, config: &Config, site: &Site, tasks: &Tasks) -> Result<Option<u16>, Error> {
    if config.live_reload {
        warn!("live reload is not available in this build yet");
    }
    let root = config.root.clone();
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || starter::prepare(&root)).await {
        // The folder may still come: until then there is nothing to be found in it.
        error!(root = %config.root.display(), error = &error as &dyn std::error::Error, "canvas folder unusable");
    }
    let listeners = sockets(context, config)?;
    let port = listeners.first().and_then(|listener| listener.local_addr().ok()).map(|address| address.port());
    for listener in listeners {
        tasks.spawn("canvas listener", Listener::adopt(listener, site.clone(), tasks.clone()).map_err(Error::Adopt)?.run());
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

#[derive(Debug)]
struct Service {
    enabled: bool,
    port: Option<u16>,
    site: Site,
}

#[tonic::async_trait]
impl Canvas for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Reply<StatusResponse> {
        reply(StatusResponse {
            enabled: self.enabled,
            port: self.port.map(i32::from),
            root: self.site.root().path().display().to_string(),
            requests: self.site.answered(),
        })
    }
}
