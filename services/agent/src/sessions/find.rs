//! Finding sessions, and looking into them.

use verso_proto::agent::v1::{
    PreviewItem, SessionPreview, SessionsDescribeRequest, SessionsDescribeResponse, SessionsPreviewRequest, SessionsPreviewResponse,
    SessionsResolveRequest, SessionsResolveResponse,
};

use super::{Error, label, row, session};
use crate::keys::AgentId;
use crate::messages;
use crate::runs::Runs;
use crate::store::{self, Filter, Listed, PageRequest};

/// Sessions that one preview looks into.
const PREVIEW_KEYS_MAX: usize = 64;

/// Messages of each that are shown, at most and unless the caller says how many.
const PREVIEW_ITEMS_MAX: usize = 50;
const PREVIEW_ITEMS_DEFAULT: usize = 12;

/// Characters of each message that are shown, at most and unless the caller says how many.
const PREVIEW_TEXT_CHARS_MAX: usize = 2_000;
const PREVIEW_TEXT_CHARS_DEFAULT: usize = 240;

/// What is read for the preview of one session at most, in bytes.
const PREVIEW_BYTES_MAX: usize = 1 << 20;

/// Sessions that an ambiguous name lists.
const AMBIGUOUS_MAX: usize = 10;

/// Finds the one session that is meant.
pub(crate) async fn resolve(runs: &Runs, request: SessionsResolveRequest) -> Result<SessionsResolveResponse, crate::Error> {
    let named = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let (key, session_id, by_label) = (named(request.key), named(request.session_id), named(request.label));
    let agent_id = request.agent_id.as_deref().map(|agent| AgentId::normalize(agent).to_string());
    let found = match (key, session_id, by_label) {
        (None, None, None) => return Err(Error::NothingNamed.into()),
        (Some(raw), None, None) => {
            let (_, key) = session(runs, "sessions.resolve", request.agent_id.as_deref(), &raw)?;
            runs.parts.store.session(&key).await?.ok_or(Error::NotFound(raw))?.key
        }
        (None, session_id, by_label) if session_id.is_none() || by_label.is_none() => {
            let by_label = by_label.as_deref().map(label).transpose()?;
            let unless = |included: Option<bool>, key: &'static str| (!included.unwrap_or(false)).then_some(key);
            let filter = Filter {
                session_id: session_id.clone(),
                label: by_label.clone(),
                agent_id,
                spawned_by: request.spawned_by,
                without: unless(request.include_global, "global").into_iter().chain(unless(request.include_unknown, "unknown")).collect(),
                limit: AMBIGUOUS_MAX,
                ..Filter::default()
            };
            one(runs.parts.store.sessions(filter).await?, session_id, by_label)?.session.key
        }
        _ => return Err(Error::TooMuchNamed.into()),
    };
    Ok(SessionsResolveResponse { ok: true, key: found.to_string() })
}

fn one(mut found: Vec<Listed>, session_id: Option<String>, label: Option<String>) -> Result<Listed, Error> {
    let (what, value, by_label) = match (session_id, label) {
        (None, label) => ("label", label.unwrap_or_default(), true),
        (Some(session_id), _) => ("sessionId", session_id, false),
    };
    if found.len() > 1 {
        let keys: Vec<&str> = found.iter().map(|listed| listed.session.key.as_str()).collect();
        return Err(Error::Ambiguous { what, value, keys: keys.join(", ") });
    }
    found.pop().ok_or(if by_label { Error::LabelNotFound(value) } else { Error::NotFound(value) })
}

/// Returns one session as the list would.
pub(crate) async fn describe(runs: &Runs, request: SessionsDescribeRequest) -> Result<SessionsDescribeResponse, crate::Error> {
    let (_, key) = session(runs, "sessions.describe", request.agent_id.as_deref(), &request.key)?;
    let filter = Filter {
        key: Some(key.to_string()),
        titles: request.include_derived_titles.unwrap_or(false),
        last_messages: request.include_last_message.unwrap_or(false),
        limit: 1,
        ..Filter::default()
    };
    Ok(SessionsDescribeResponse { session: runs.parts.store.sessions(filter).await?.pop().map(|listed| row(runs, listed)) })
}

/// Returns the last words of several sessions.
pub(crate) async fn preview(runs: &Runs, request: SessionsPreviewRequest) -> Result<SessionsPreviewResponse, crate::Error> {
    let count =
        |value: Option<i64>, default: usize, max: usize| value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default).min(max);
    let items_max = count(request.limit, PREVIEW_ITEMS_DEFAULT, PREVIEW_ITEMS_MAX);
    let chars_max = count(request.max_chars, PREVIEW_TEXT_CHARS_DEFAULT, PREVIEW_TEXT_CHARS_MAX);
    let mut previews = Vec::new();
    for key in request.keys.into_iter().take(PREVIEW_KEYS_MAX) {
        let (status, items) = preview_one(runs, &key, items_max, chars_max).await?;
        previews.push(SessionPreview { key, status: status.to_owned(), items });
    }
    Ok(SessionsPreviewResponse { ts_ms: runs.parts.clock.now_ms(), previews })
}

async fn preview_one(runs: &Runs, key: &str, items_max: usize, chars_max: usize) -> Result<(&'static str, Vec<PreviewItem>), crate::Error> {
    let Ok((_, key)) = session(runs, "sessions.preview", None, key) else { return Ok(("missing", Vec::new())) };
    let page = PageRequest { messages_max: items_max, bytes_max: PREVIEW_BYTES_MAX, offset: 0 };
    let page = match runs.parts.store.history(&key, page).await {
        Ok(page) => page,
        // One unreadable transcript hides no other.
        Err(store::Error::Row(_)) => return Ok(("error", Vec::new())),
        Err(error) => return Err(error.into()),
    };
    if page.session.is_none() {
        return Ok(("missing", Vec::new()));
    }
    let item = |message| {
        let mut text = messages::text_of(&message).trim().to_owned();
        // The sign that something is missing counts as well.
        if text.chars().count() > chars_max {
            messages::cut(&mut text, chars_max.saturating_sub(1));
        }
        PreviewItem { role: role(&message.role).to_owned(), text }
    };
    let items: Vec<PreviewItem> = page.messages.into_iter().map(item).filter(|item| !item.text.is_empty()).collect();
    Ok((if items.is_empty() { "empty" } else { "ok" }, items))
}

fn role(role: &str) -> &'static str {
    match role {
        "user" => "user",
        "assistant" => "assistant",
        "toolResult" => "tool",
        "system" => "system",
        _ => "other",
    }
}
