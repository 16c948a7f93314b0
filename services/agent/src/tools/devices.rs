//! What the tools that reach devices share: finding one by its name, and reading what it says.

use serde_json::Value;
use verso_kit::peer::{Caller, Peer};
use verso_proto::node::v1::{InvokeRequest, InvokeResponse, ListRequest, ListResponse, NodeInfo};
use verso_tools::tool::Refused;

/// Lists the devices.
pub(super) async fn list(node: &Peer) -> Result<ListResponse, Refused> {
    let list = node.call(ListRequest {}, &Caller::default()).await;
    list.map_err(|error| Refused::failed("the devices cannot be listed", error.message()))
}

/// Finds a device by its id, or else by its name.
pub(super) fn find<'a>(nodes: &[&'a NodeInfo], name: &str) -> Option<&'a NodeInfo> {
    let by_id = nodes.iter().find(|node| node.node_id.eq_ignore_ascii_case(name));
    let named = |node: &&&NodeInfo| node.display_name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name));
    by_id.or_else(|| nodes.iter().find(named)).copied()
}

/// Returns the id of a device that is named by its id or its name.
pub(super) async fn id(node: &Peer, name: &str) -> Result<String, Refused> {
    let nodes = list(node).await?.nodes;
    let found = find(&nodes.iter().collect::<Vec<_>>(), name).map(|node| node.node_id.clone());
    found.ok_or_else(|| Refused::Arguments(format!("there is no device \"{name}\"")))
}

/// Has a device carry out a command.
pub(super) async fn invoke(node: &Peer, request: InvokeRequest) -> Result<InvokeResponse, Refused> {
    node.call(request, &Caller::default()).await.map_err(|error| Refused::Failed(error.message().to_owned()))
}

/// Returns what a device says, as JSON.
pub(super) fn payload(answer: InvokeResponse) -> serde_json::Result<Value> {
    let text = answer.payload.map(|payload| payload.text).or(answer.payload_json).unwrap_or_default();
    serde_json::from_str(&text)
}
