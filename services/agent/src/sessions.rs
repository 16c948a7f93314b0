//! Sessions: their list, and what can be done to one of them.

mod entry;
mod error;
mod find;
pub(crate) mod levels;
mod lifecycle;
mod patch;

pub(crate) use error::Error;
pub(crate) use find::{describe, preview, resolve};
pub(crate) use lifecycle::{compact, delete, reset};
pub(crate) use patch::{label, patch};

use verso_proto::agent::v1::{SessionDefaults, SessionRow, SessionsListRequest, SessionsListResponse};

use crate::keys::{AgentId, SessionKey};
use crate::messages::shorten;
use crate::runs::Runs;
use crate::store::{Filter, Listed, SessionRecord};

/// Sessions that are listed at most, and unless the caller says how many.
const SESSIONS_MAX: usize = 10_000;

/// The longest title, in characters.
const TITLE_CHARS_MAX: usize = 60;

/// The longest preview of a message, in characters.
const PREVIEW_CHARS_MAX: usize = 240;

/// Lists sessions, the newest first.
pub(crate) async fn list(runs: &Runs, request: SessionsListRequest) -> Result<SessionsListResponse, crate::Error> {
    let now_ms = runs.parts.clock.now_ms();
    let count = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok());
    let unless = |included: Option<bool>, key: &'static str| (!included.unwrap_or(false)).then_some(key);
    // With one session for everybody, that one is never left out.
    let global = unless(request.include_global, "global").filter(|_| !runs.parts.roster.naming.global);
    let filter = Filter {
        agent_id: request.agent_id.as_deref().map(|agent| AgentId::normalize(agent).to_string()),
        label: request.label.map(|label| label.trim().to_owned()),
        spawned_by: request.spawned_by,
        search: request.search.map(|search| search.trim().to_owned()).filter(|search| !search.is_empty()),
        updated_since_ms: request.active_minutes.map(|minutes| now_ms.saturating_sub(minutes.saturating_mul(60_000))),
        without: global.into_iter().chain(unless(request.include_unknown, "unknown")).collect(),
        titles: request.include_derived_titles.unwrap_or(false),
        last_messages: request.include_last_message.unwrap_or(false),
        limit: count(request.limit).unwrap_or(SESSIONS_MAX).min(SESSIONS_MAX),
        offset: count(request.offset).unwrap_or(0),
        ..Filter::default()
    };
    let sessions: Vec<SessionRow> = runs.parts.store.sessions(filter).await?.into_iter().map(listed_row).collect();
    let model = runs.parts.catalog.current();
    Ok(SessionsListResponse {
        ts_ms: now_ms,
        path: runs.parts.store_path(),
        count: i64::try_from(sessions.len()).unwrap_or(i64::MAX),
        defaults: Some(SessionDefaults {
            model_provider: Some(model.provider.clone()),
            model: Some(model.id.clone()),
            context_tokens: i64::try_from(model.context_window).ok(),
        }),
        sessions,
    })
}

fn listed_row(listed: Listed) -> SessionRow {
    SessionRow {
        derived_title: listed.first_user_text.map(|text| shorten(&text, TITLE_CHARS_MAX)),
        last_message_preview: listed.last_text.map(|text| shorten(&text, PREVIEW_CHARS_MAX)),
        ..row(listed.session)
    }
}

/// Returns whom and what a request of `method` means.
fn session(runs: &Runs, method: &'static str, agent: Option<&str>, key: &str) -> Result<(AgentId, SessionKey), crate::Error> {
    let named = runs.parts.roster.named(method, agent)?;
    runs.parts.roster.session(method, named.as_ref(), Some(key))
}

/// Returns a session as clients see it.
pub(crate) fn row(session: SessionRecord) -> SessionRow {
    SessionRow {
        kind: session.key.kind().to_owned(),
        channel: session.channel.or_else(|| session.key.channel().map(str::to_owned)),
        key: session.key.to_string(),
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
        derived_title: None,
        last_message_preview: None,
        reasoning_level: session.settings.reasoning_level,
        elevated_level: session.settings.elevated_level,
        send_policy: session.settings.send_policy,
        response_usage: session.settings.response_usage,
    }
}
