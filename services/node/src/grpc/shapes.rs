//! The same facts in the shapes of different messages.

use std::collections::HashSet;

use verso_proto::node::v1::{DescribeResponse, ExecApprovalRequestRequest, ExecQuestion, NodeInfo, PairedNode};

pub(super) fn described(node: NodeInfo, ts_ms: i64) -> DescribeResponse {
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

/// What is to be run, as others are asked.
pub(super) fn question(asked: ExecApprovalRequestRequest) -> ExecQuestion {
    ExecQuestion {
        command: asked.command,
        cwd: asked.cwd,
        host: asked.host,
        security: asked.security,
        ask: asked.ask,
        agent_id: asked.agent_id,
        resolved_path: asked.resolved_path,
        session_key: asked.session_key,
    }
}

/// Adds the nodes that were paired as devices to those that were paired by name.
pub(super) fn with_devices(mut paired: Vec<PairedNode>, devices: Vec<NodeInfo>) -> Vec<PairedNode> {
    let known: HashSet<_> = paired.iter().map(|node| node.node_id.clone()).collect();
    paired.extend(devices.into_iter().filter(|node| node.paired && !known.contains(&node.node_id)).map(|node| PairedNode {
        node_id: node.node_id,
        token: None,
        display_name: node.display_name,
        platform: node.platform,
        version: node.version,
        core_version: node.core_version,
        ui_version: node.ui_version,
        device_family: node.device_family,
        model_identifier: node.model_identifier,
        caps: node.caps,
        commands: node.commands,
        permissions: node.permissions,
        remote_ip: node.remote_ip,
        created_at_ms: None,
        approved_at_ms: None,
    }));
    paired
}
