//! A session as clients see it in lists.

use verso_proto::agent::v1::{SessionDefaults, SessionRow, ThinkingLevel};

use super::levels;
use crate::keys::{self, AgentId, SessionKey};
use crate::messages::shorten;
use crate::runs::Runs;
use crate::store::{Listed, RunState};

/// The longest title, in characters.
const TITLE_CHARS_MAX: usize = 60;

/// The longest preview of a message, in characters.
const PREVIEW_CHARS_MAX: usize = 240;

/// Whoever may read one session may read all of them.
const VISIBILITY: &str = "shared";
const SHARING_ROLE: &str = "admin";

/// Returns a session as clients see it.
pub(crate) fn row(runs: &Runs, listed: Listed) -> SessionRow {
    let Listed { session, last_run, first_user_text, last_text } = listed;
    let agent = AgentId::normalize(&session.agent_id);
    let active = runs.active_in(&session.key);
    let classification = classification(runs, &session.key, &agent);
    let model = session.model_override().or_else(|| runs.parts.roster.get(&agent).model);
    let levels = levels::offered(&runs.parts.catalog.known(model.as_deref()).full_name());
    let run = last_run.as_ref();
    let status = match run.map(|run| run.state) {
        _ if !active.is_empty() => Some("running"),
        Some(RunState::Accepted | RunState::Running) => Some("running"),
        Some(RunState::Error) => Some("failed"),
        Some(RunState::Ok | RunState::Aborted) => Some("done"),
        None => None,
    };
    SessionRow {
        kind: session.key.kind().to_owned(),
        channel: session.channel.or_else(|| session.key.channel().map(str::to_owned)),
        label: session.label,
        display_name: session.display_name,
        updated_at_ms: Some(session.updated_at_ms),
        session_id: Some(session.session_id),
        system_sent: Some(session.system_sent),
        aborted_last_run: Some(session.aborted_last_run),
        thinking_level: session.thinking_level,
        verbose_level: session.verbose_level,
        input_tokens: session.tokens.input,
        output_tokens: session.tokens.output,
        total_tokens: session.tokens.total,
        model_provider: session.tokens.provider,
        model: session.tokens.model,
        context_tokens: session.tokens.context,
        derived_title: first_user_text.map(|text| shorten(&text, TITLE_CHARS_MAX)),
        last_message_preview: last_text.map(|text| shorten(&text, PREVIEW_CHARS_MAX)),
        reasoning_level: session.settings.reasoning_level,
        elevated_level: session.settings.elevated_level,
        send_policy: session.settings.send_policy,
        response_usage: session.settings.response_usage,
        agent_id: Some(session.agent_id),
        is_main: Some(classification == "main"),
        is_background: Some(matches!(classification, "subagent" | "cron")),
        classification: Some(classification.to_owned()),
        chat_type: Some(if session.key.kind() == "group" { "group" } else { "direct" }.to_owned()),
        archived: Some(session.marks.archived_at_ms.is_some()),
        pinned: Some(session.marks.pinned_at_ms.is_some()),
        unread: Some(session.marks.unread),
        icon: session.marks.icon,
        color: session.marks.color,
        category: session.marks.category,
        created_at_ms: Some(session.created_at_ms),
        last_interaction_at_ms: run.map(|run| run.accepted_at_ms),
        status: status.map(str::to_owned),
        started_at_ms: run.and_then(|run| run.started_at_ms),
        ended_at_ms: run.and_then(|run| run.ended_at_ms),
        runtime_ms: run.and_then(|run| Some(run.ended_at_ms? - run.started_at_ms?)),
        last_run_id: run.map(|run| run.run_id.clone()),
        last_run_error: run.and_then(|run| run.error.clone()),
        has_active_run: Some(!active.is_empty()),
        active_run_ids: active,
        thinking_options: levels.iter().map(|level| (*level).to_owned()).collect(),
        thinking_levels: levels.into_iter().map(offered).collect(),
        thinking_default: Some(runs.parts.thinking_default.clone()),
        total_tokens_fresh: Some(session.tokens.total.is_some()),
        visibility: Some(VISIBILITY.to_owned()),
        sharing_role: Some(SHARING_ROLE.to_owned()),
        snapshot_at_ms: Some(runs.parts.clock.now_ms()),
        spawned_by: session.settings.spawned_by,
        key: session.key.to_string(),
    }
}

/// Returns what a new session begins with.
pub(crate) fn defaults(runs: &Runs) -> SessionDefaults {
    let model = runs.parts.catalog.current();
    let levels = levels::offered(&model.full_name());
    SessionDefaults {
        model_provider: Some(model.provider.clone()),
        model: Some(model.id.clone()),
        context_tokens: i64::try_from(model.context_window).ok(),
        thinking_options: levels.iter().map(|level| (*level).to_owned()).collect(),
        thinking_levels: levels.into_iter().map(offered).collect(),
        thinking_default: Some(runs.parts.thinking_default.clone()),
        model_selection_target: Some("session".to_owned()),
    }
}

fn offered(level: &str) -> ThinkingLevel {
    ThinkingLevel { id: level.to_owned(), label: level.to_owned() }
}

fn classification(runs: &Runs, key: &SessionKey, agent: &AgentId) -> &'static str {
    let rest = keys::parse(key.as_str()).map_or("", |(_, rest)| rest);
    match key.kind() {
        "direct" if *key == runs.parts.roster.naming.main(agent) => "main",
        "direct" => ["explicit", "subagent", "cron"]
            .into_iter()
            .find(|kind| rest.strip_prefix(kind).is_some_and(|rest| rest.starts_with(':')))
            .unwrap_or("direct"),
        kind => kind,
    }
}
