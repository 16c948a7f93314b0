//! The rpc adapter.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Status};
use verso_kit::CancellationToken;
use verso_kit::error::status;
use verso_kit::events::Hub;
use verso_kit::grpc::{Reply, reply};
use verso_kit::peer::MESSAGE_BYTES_MAX;
use verso_kit::service::Context;
use verso_proto::node::v1::node_server::{Node, NodeServer};
use verso_proto::node::v1::{
    AnnounceRequest, AnnounceResponse, DescribeRequest, DescribeResponse, Event, ListRequest, ListResponse, NodeInfo, SubscribeRequest,
};

use crate::error::Error;
use crate::registry::Registry;
use crate::store::Store;

/// Loads what is known and builds the service.
pub async fn routes(context: &Context, shutdown: &CancellationToken) -> Result<Routes, Error> {
    let (store, paired) = Store::open(context.folder()?.join("nodes.json"), context.epoch).await?;
    let registry = Registry::new(context.clock.clone(), store, paired);
    let service = Service { registry, hub: Hub::new(&context.incarnation), shutdown: shutdown.clone() };
    Ok(Routes::new(NodeServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX)))
}

#[derive(Debug)]
struct Service {
    registry: Registry,
    hub: Hub<Event>,
    shutdown: CancellationToken,
}

impl Service {
    /// Turns an error into a status. A process that was replaced has nothing left to do.
    fn failed(&self, error: Error) -> Status {
        if matches!(error, Error::Replaced) {
            self.shutdown.cancel();
        }
        status(error)
    }
}

#[tonic::async_trait]
impl Node for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Reply<ListResponse> {
        reply(ListResponse { ts_ms: self.registry.now_ms(), nodes: self.registry.list() })
    }

    async fn describe(&self, request: Request<DescribeRequest>) -> Reply<DescribeResponse> {
        let node = self.registry.get(&request.into_inner().node_id).map_err(status)?;
        reply(described(node, self.registry.now_ms()))
    }

    async fn announce(&self, request: Request<AnnounceRequest>) -> Reply<AnnounceResponse> {
        let AnnounceRequest { conn_id, node } = request.into_inner();
        self.registry.announce(conn_id, node.unwrap_or_default()).await.map_err(|error| self.failed(error))?;
        reply(AnnounceResponse {})
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Reply<Self::SubscribeStream> {
        let events = self.hub.subscribe(request.into_inner().from);
        reply(Box::pin(events.take_until(self.shutdown.clone().cancelled_owned())))
    }
}

fn described(node: NodeInfo, ts_ms: i64) -> DescribeResponse {
    DescribeResponse {
        ts_ms,
        node_id: node.node_id,
        display_name: node.display_name,
        platform: node.platform,
        version: node.version,
        core_version: node.core_version,
        ui_version: node.ui_version,
        device_family: node.device_family,
        model_identifier: node.model_identifier,
        remote_ip: node.remote_ip,
        caps: node.caps,
        commands: node.commands,
        path_env: node.path_env,
        permissions: node.permissions,
        connected_at_ms: node.connected_at_ms,
        paired: node.paired,
        connected: node.connected,
    }
}
