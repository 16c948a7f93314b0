//! Sessions: their list, and what can be done to one of them.

mod create;
mod entry;
mod error;
pub(crate) mod events;
mod find;
pub(crate) mod freshness;
pub(crate) mod levels;
mod lifecycle;
mod patch;
mod row;
pub(crate) mod send_policy;
pub(crate) mod topics;

pub(crate) use create::{abort, create, send};
pub(crate) use error::Error;
pub(crate) use find::{describe, preview, resolve};
pub(crate) use lifecycle::{compact, delete, reset};
pub(crate) use patch::{label, patch};
pub(crate) use row::{defaults, row};

use verso_proto::agent::v1::{SessionRow, SessionsListRequest, SessionsListResponse};

use crate::keys::{AgentId, SessionKey};
use crate::runs::Runs;
use crate::store::Filter;

/// Sessions that are listed at most, and unless the caller says how many.
const SESSIONS_MAX: usize = 10_000;

/// Lists sessions, the newest first.
pub(crate) async fn list(runs: &Runs, request: SessionsListRequest) -> Result<SessionsListResponse, crate::Error> {
    let now_ms = runs.parts.clock.now_ms();
    let limit_applied = request.limit.unwrap_or(0);
    let filter = filter(runs, request, now_ms);
    let offset = filter.offset;
    let (listed, total) = runs.parts.store.sessions_counted(filter).await?;
    let sessions: Vec<SessionRow> = listed.into_iter().map(|listed| row(runs, listed)).collect();
    let next = i64::try_from(offset.saturating_add(sessions.len())).unwrap_or(i64::MAX);
    let has_more = !sessions.is_empty() && next < total;
    Ok(SessionsListResponse {
        ts_ms: now_ms,
        path: runs.parts.store_path(),
        count: i64::try_from(sessions.len()).unwrap_or(i64::MAX),
        defaults: Some(defaults(runs)),
        sessions,
        total_count: Some(total),
        limit_applied: (limit_applied > 0).then_some(limit_applied),
        next_offset: has_more.then_some(next),
        has_more: Some(has_more),
        owners: Vec::new(),
    })
}

fn filter(runs: &Runs, request: SessionsListRequest, now_ms: i64) -> Filter {
    let count = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok());
    let unless = |included: Option<bool>, key: &'static str| (!included.unwrap_or(false)).then_some(key);
    let when = |wanted: Option<bool>, part: &'static str| wanted.unwrap_or(false).then_some(part);
    // With one session for everybody, that one is never left out.
    let global = unless(request.include_global, "global").filter(|_| !runs.parts.roster.naming.global);
    let archived = match request.archived.as_ref().map(|archived| archived.text.as_str()) {
        Some("true") => Some(true),
        Some("\"all\"") => None,
        _ => Some(false),
    };
    let configured = || runs.parts.roster.agents().iter().map(|agent| agent.id.to_string()).collect();
    Filter {
        agent_id: request.agent_id.as_deref().map(|agent| AgentId::normalize(agent).to_string()),
        label: request.label.map(|label| label.trim().to_owned()),
        spawned_by: request.spawned_by,
        search: request.search.map(|search| search.trim().to_owned()).filter(|search| !search.is_empty()),
        updated_since_ms: request.active_minutes.map(|minutes| now_ms.saturating_sub(minutes.saturating_mul(60_000))),
        without: global.into_iter().chain(unless(request.include_unknown, "unknown")).collect(),
        without_part: when(request.exclude_subagents, ":subagent:")
            .into_iter()
            .chain(when(request.exclude_cron, ":cron:"))
            .chain(when(request.exclude_system, ":heartbeat"))
            .collect(),
        agent_ids: request.configured_agents_only.unwrap_or(false).then(configured),
        keys: request.active_only.unwrap_or(false).then(|| runs.active_sessions()),
        archived,
        pinned: request.pinned,
        used: request.require_last_interaction.unwrap_or(false),
        by_interaction: request.sort_by.is_some_and(|order| order != "updatedAt"),
        titles: request.include_derived_titles.unwrap_or(false),
        last_messages: request.include_last_message.unwrap_or(false),
        limit: count(request.limit).unwrap_or(SESSIONS_MAX).min(SESSIONS_MAX),
        offset: count(request.offset).unwrap_or(0),
        ..Filter::default()
    }
}

/// Returns whom and what a request of `method` means.
pub(crate) fn session(runs: &Runs, method: &'static str, agent: Option<&str>, key: &str) -> Result<(AgentId, SessionKey), crate::Error> {
    let named = runs.parts.roster.named(method, agent)?;
    runs.parts.roster.session(method, named.as_ref(), Some(key))
}
