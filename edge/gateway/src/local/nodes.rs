//! `node.pair.remove`: the edge owns the devices that nodes are.

use verso_proto::edge::v1::{NodePairRemoveRequest, NodePairRemoveResponse};
use verso_proto::node::v1::ForgetRequest;
use verso_protocol::ErrorShape;
use verso_protocol::close::Close;

use super::Local;
use crate::error::wire;

/// The role of a node's connections and tokens.
const NODE: &str = "node";

pub(super) fn register(local: &mut Local) {
    local.on::<NodePairRemoveRequest, _, _>(|asking, request| async move {
        let gateway = &asking.gateway;
        let node_id = request.node_id.trim().to_owned();
        // The device first: a node that is only forgotten would come back.
        let was_paired = gateway.devices.remove_role(&node_id, NODE).await?;
        let forgotten = gateway.services.call(ForgetRequest { node_id: node_id.clone() }).await;
        gateway.connections.close_device(&node_id, NODE, &Close::DEVICE_REMOVED);
        let was_known = forgotten.map_err(|status| wire(&status, "node"))?.known;
        if was_paired || was_known { Ok(NodePairRemoveResponse { node_id }) } else { Err(ErrorShape::invalid("unknown nodeId")) }
    });
}
