//! The same facts in the shapes of different messages.

use std::collections::HashSet;

use verso_proto::node::v1::{DescribeResponse, ExecApprovalGetResponse, ExecApprovalRequestRequest, ExecQuestion, NodeInfo, PairedNode};

use crate::approvals::{DECISIONS, Times};
use crate::error::Error;
use crate::run_permit::Asked;

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
        client_id: node.client_id,
        client_mode: node.client_mode,
        session_host: node.session_host,
        node_plugin_tools: node.node_plugin_tools,
        approval_state: node.approval_state,
        last_connected_at_ms: node.last_connected_at_ms,
        last_seen_at_ms: node.last_seen_at_ms,
        last_seen_reason: node.last_seen_reason,
        approved_at_ms: node.approved_at_ms,
        host_stats: node.host_stats,
    }
}

/// What is to be run, and what a permission would be bound to.
pub(super) fn asked(asked: ExecApprovalRequestRequest) -> Result<Asked, Error> {
    let words = asked.command_argv.join(" ");
    let command = if asked.command.trim().is_empty() { words } else { asked.command };
    if command.trim().is_empty() {
        return Err(Error::NoCommand);
    }
    let question = ExecQuestion {
        command,
        command_argv: asked.command_argv,
        cwd: asked.cwd,
        host: asked.host,
        security: asked.security,
        ask: asked.ask,
        agent_id: asked.agent_id,
        resolved_path: asked.resolved_path,
        session_key: asked.session_key,
        env_keys: asked.env.keys().cloned().collect(),
        node_id: asked.node_id,
        warning_text: asked.warning_text,
    };
    Ok(Asked { question, env: asked.env, by_node: None })
}

/// One question, as people are asked it.
pub(super) fn shown(id: String, question: ExecQuestion, times: Times) -> ExecApprovalGetResponse {
    ExecApprovalGetResponse {
        id,
        command_text: visible(&question.command),
        command_preview: None,
        allowed_decisions: DECISIONS.map(str::to_owned).to_vec(),
        host: question.host.clone(),
        node_id: question.node_id.clone(),
        agent_id: question.agent_id.clone(),
        request: Some(question),
        created_at_ms: times.created_at_ms,
        expires_at_ms: times.expires_at_ms,
    }
}

/// The whole text, with what a terminal would act upon written out: nothing of a command is hidden from who decides on it.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && letter != '\n' || is_invisible(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Letters that change how others are read, or that cannot be seen.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
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
        approved_at_ms: node.approved_at_ms,
    }));
    paired
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_38_a_question_hides_nothing_of_its_command() {
        assert_eq!(visible("ls -l"), "ls -l");
        assert_eq!(visible("rm -rf /\u{1b}[2K\rls"), "rm -rf /\\u{1b}[2K\\u{d}ls");
        assert_eq!(visible("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
        let long = "x".repeat(100_000);
        assert_eq!(visible(&long), long, "nothing is cut off");
    }
}
