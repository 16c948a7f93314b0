//! One session as the answers to changes show it.

use verso_proto::agent::v1::SessionEntry;

use crate::store::{SessionRecord, Settings};

/// Returns a session as the store keeps it. What has never happened is left out.
pub(super) fn entry(session: SessionRecord) -> SessionEntry {
    let Settings {
        spawned_by,
        reasoning_level,
        response_usage,
        elevated_level,
        exec_host,
        exec_security,
        exec_ask,
        exec_node,
        provider_override,
        model_override,
        send_policy,
        group_activation,
    } = session.settings;
    SessionEntry {
        session_id: session.session_id,
        updated_at_ms: session.updated_at_ms,
        system_sent: session.system_sent.then_some(true),
        aborted_last_run: session.aborted_last_run.then_some(true),
        label: session.label,
        display_name: session.display_name,
        channel: session.channel,
        spawned_by,
        thinking_level: session.thinking_level,
        verbose_level: session.verbose_level,
        reasoning_level,
        response_usage,
        elevated_level,
        exec_host,
        exec_security,
        exec_ask,
        exec_node,
        provider_override,
        model_override,
        send_policy,
        group_activation,
        input_tokens: session.tokens.input,
        output_tokens: session.tokens.output,
        total_tokens: session.tokens.total,
        context_tokens: session.tokens.context,
        model_provider: session.tokens.provider,
        model: session.tokens.model,
    }
}
