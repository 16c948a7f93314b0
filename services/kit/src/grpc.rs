//! The gRPC side of a service: health, reflection, who may call, trace context, graceful stop.

mod carrier;
mod configuration;
mod detour;
pub(crate) mod gate;
mod reflection;
mod telemetry;
mod tracing_layer;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Response, Status};
use tower::Layer;
use tower::layer::util::{Identity, Stack};
use tracing::info;
use verso_proto::supervisor::v1::configuration_server::ConfigurationServer;
use verso_proto::supervisor::v1::telemetry_server::TelemetryServer;
use verso_proto::wire::v1::carrier_server::CarrierServer;

use crate::links::Incoming;
use crate::peer::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::service::{Context, Error};
use detour::{Detour, DetourLayer};
use gate::{Gate, GateLayer, Gated};
use tracing_layer::Traced;
pub use tracing_layer::TracingLayer;

/// What a handler answers.
pub type Reply<T> = Result<Response<T>, Status>;

/// How often an idle connection is probed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long a probe may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls that one connection may have in flight.
const CONCURRENT_STREAMS_MAX: u32 = 4_096;

/// How long calls in flight may go on after the shutdown began.
const DRAIN: Duration = Duration::from_secs(2);

/// Wraps an answer.
pub fn reply<T>(message: T) -> Reply<T> {
    Ok(Response::new(message))
}

/// Serves `routes` on the service's own socket until `shutdown`, or what a reload puts in their place. Health says SERVING from the first moment: call it when the
/// service has recovered.
pub async fn serve(context: &Context, routes: Routes, shutdown: CancellationToken) -> Result<(), Error> {
    let mut incoming = Incoming::adopt(context.sockets.control()?)?;
    if let Some((address, identity)) = context.links.listen() {
        incoming = incoming.and_at(address, identity).await.map_err(|source| Error::Listen { address: address.to_owned(), source })?;
        info!(address, "other services may connect over TLS");
    }
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status(context.name, tonic_health::ServingStatus::Serving).await;
    let configuration = ConfigurationServer::new(configuration::Adapter(context.clone()));
    let gate = Gate::new(context.name, context.credential.as_ref(), context.clock.clone());
    let telemetry = TelemetryServer::new(telemetry::Adapter(context.name));
    let routes = routes.add_service(health_service).add_service(configuration).add_service(telemetry);
    let doors = Doors { gate: GateLayer(Arc::new(gate)), detour: DetourLayer { routes: context.reload.routes() } };
    info!(service = context.name, epoch = context.epoch, "serving");
    let drained = async {
        shutdown.cancelled().await;
        health.set_service_status(context.name, tonic_health::ServingStatus::NotServing).await;
    };
    let serving = router(routes, doors, shutdown.clone()).serve_with_incoming_shutdown(incoming, drained);
    let overdue = async {
        shutdown.cancelled().await;
        // Event streams never end by themselves.
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = serving => result.map_err(Error::Serve),
        () = overdue => Ok(()),
    }
}

/// A server of `routes`, whose calls come by themselves or over one stream.
fn router(routes: Routes, doors: Doors, shutdown: CancellationToken) -> Router<Stack<Doors, Identity>> {
    let carrier = CarrierServer::new(carrier::Adapter { calls: doors.layer(routes.clone().prepare()), shutdown });
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(CONCURRENT_STREAMS_MAX)
        .layer(doors)
        .add_routes(routes.add_service(carrier))
}

/// What every call passes on its way in.
#[derive(Debug, Clone)]
struct Doors {
    gate: GateLayer,
    detour: DetourLayer,
}

impl<S> Layer<S> for Doors {
    type Service = Traced<Gated<Detour<S>>>;

    fn layer(&self, inner: S) -> Self::Service {
        TracingLayer.layer(self.gate.layer(self.detour.layer(inner)))
    }
}

/// Serves `routes` over the connections that `incoming` brings, for a service's own tests.
#[cfg(feature = "testing")]
pub async fn serve_over<S>(
    incoming: impl tokio_stream::Stream<Item = std::io::Result<S>>,
    routes: Routes,
) -> Result<(), tonic::transport::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + tonic::transport::server::Connected + Send + Unpin + 'static,
{
    let gate = GateLayer(Arc::new(Gate::new("test", None, crate::clock::Clock::system())));
    let doors = Doors { gate, detour: DetourLayer { routes: Arc::default() } };
    router(routes, doors, CancellationToken::new()).serve_with_incoming(incoming).await
}

/// Serves `routes` over a pipe within the process, for a service's own tests.
#[cfg(feature = "testing")]
#[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
pub fn in_memory(routes: Routes) -> tonic::transport::Channel {
    let (client, server) = tokio::io::duplex(1 << 20);
    tokio::spawn(serve_over(tokio_stream::once(Ok(server)), routes));
    let mut client = Some(client);
    tonic::transport::Endpoint::from_static("http://verso.local").connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
        let client = client.take().ok_or_else(|| std::io::Error::other("the pipe is closed"));
        async move { client.map(hyper_util::rt::TokioIo::new) }
    }))
}
