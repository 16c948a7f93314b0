//! Reading a transcript: the newest part of it, or one message.

use jiff::Timestamp;
use verso_proto::agent::v1::{
    ChatHistoryRequest, ChatHistoryResponse, ChatMessage, ChatMessageGetRequest, ChatMessageGetResponse, ChatStartupRequest, PendingInput,
    PendingInputs, SessionBranch, SessionsBranchesListRequest, SessionsBranchesListResponse,
};

use super::session;
use crate::error::Error;
use crate::messages;
use crate::runs::Runs;
use crate::sessions;
use crate::store::PageRequest;

/// Messages that `chat.history` returns that does not say how many.
const MESSAGES_DEFAULT: usize = 200;

/// The largest answer of `chat.history`, in bytes of JSON.
const BYTES_MAX: usize = 6 << 20;

/// The longest headline of a branch, in characters.
const HEADLINE_CHARS_MAX: usize = 120;

/// Returns the newest messages of a session, to a caller of `method`.
pub(crate) async fn history(runs: &Runs, method: &'static str, request: ChatHistoryRequest) -> Result<ChatHistoryResponse, Error> {
    let (_, key) = session(runs, method, request.agent_id.as_deref(), &request.session_key)?;
    let count = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok());
    let cursor = request.cursor.as_deref().and_then(|cursor| cursor.parse().ok());
    let page = PageRequest {
        messages_max: count(request.limit).unwrap_or(MESSAGES_DEFAULT),
        bytes_max: count(request.max_bytes).unwrap_or(BYTES_MAX).min(BYTES_MAX),
        offset: count(request.offset).or(cursor).unwrap_or(0),
    };
    let offset = page.offset;
    let page = runs.parts.store.history(&key, page).await?;
    let mut messages = page.messages;
    if let Some(chars_max) = count(request.max_chars) {
        for message in &mut messages {
            cut(message, chars_max);
        }
    }
    let shown = i64::try_from(offset.saturating_add(messages.len())).unwrap_or(i64::MAX);
    let thinking_level = page.session.as_ref().and_then(|session| session.thinking_level.clone());
    let waiting = runs.waiting_in(&key);
    Ok(ChatHistoryResponse {
        session_key: request.session_key,
        session_id: page.session.as_ref().map(|session| session.session_id.clone()),
        messages,
        thinking_level: Some(thinking_level.unwrap_or_else(|| runs.parts.thinking_default.clone())),
        has_more: Some(page.has_more),
        session_info: runs.parts.store.listed(key.as_str()).await?.map(|listed| sessions::row(runs, listed)),
        total_messages: Some(page.total),
        next_offset: page.has_more.then_some(shown),
        pending_inputs: Some(PendingInputs {
            total: i64::try_from(waiting.len()).unwrap_or(i64::MAX),
            items: waiting
                .into_iter()
                .map(|(id, accepted_at_ms)| PendingInput { id, accepted_at_ms, state: "queued".to_owned() })
                .collect(),
        }),
        defaults: Some(sessions::defaults(runs)),
        verbose_level: page.session.and_then(|session| session.verbose_level),
    })
}

/// Returns what [`history`] does, under the name by which some clients ask for it.
pub(crate) async fn startup(runs: &Runs, request: ChatStartupRequest) -> Result<ChatHistoryResponse, Error> {
    let ChatStartupRequest {
        session_key,
        limit,
        agent_id,
        max_bytes,
        max_chars,
        offset,
        session_id,
        cursor,
        message_id,
        pending_before,
        input_run_ids,
    } = request;
    let request = ChatHistoryRequest {
        session_key,
        limit,
        agent_id,
        max_bytes,
        max_chars,
        offset,
        session_id,
        cursor,
        message_id,
        pending_before,
        input_run_ids,
    };
    history(runs, "chat.startup", request).await
}

/// Returns one message, whole.
pub(crate) async fn message(runs: &Runs, request: ChatMessageGetRequest) -> Result<ChatMessageGetResponse, Error> {
    let (_, key) = session(runs, "chat.message.get", request.agent_id.as_deref(), &request.session_key)?;
    let mut response = ChatMessageGetResponse { session_key: request.session_key, ..ChatMessageGetResponse::default() };
    let missing = |response, reason: &str| ChatMessageGetResponse { unavailable_reason: Some(reason.to_owned()), ..response };
    let Some(record) = runs.parts.store.session(&key).await? else { return Ok(missing(response, "not_found")) };
    response.session_id = Some(record.session_id.clone());
    let Some(position) = messages::position(&record.session_id, &request.message_id) else { return Ok(missing(response, "not_found")) };
    let Some(message) = runs.parts.store.message(&record.session_id, position).await? else { return Ok(missing(response, "not_found")) };
    let mut message = messages::with_place(&record.session_id, crate::store::Placed { position, message });
    if let Some(chars_max) = request.max_chars.and_then(|chars| usize::try_from(chars).ok()) {
        cut(&mut message, chars_max);
    }
    Ok(ChatMessageGetResponse { ok: true, message: Some(message), ..response })
}

/// Returns the one branch that a transcript has; none if nothing was said.
pub(crate) async fn branches(runs: &Runs, request: SessionsBranchesListRequest) -> Result<SessionsBranchesListResponse, Error> {
    let (_, key) = session(runs, "sessions.branches.list", request.agent_id.as_deref(), &request.session_key)?;
    let page = runs.parts.store.history(&key, PageRequest { messages_max: 1, bytes_max: BYTES_MAX, offset: 0 }).await?;
    let branch = |message: ChatMessage| SessionBranch {
        headline: messages::shorten(&messages::text_of(&message), HEADLINE_CHARS_MAX),
        message_count: page.total,
        updated_at: Timestamp::from_millisecond(message.timestamp_ms.unwrap_or_default()).unwrap_or_default().to_string(),
        active: true,
        leaf_entry_id: message.place.map(|place| place.id).unwrap_or_default(),
    };
    Ok(SessionsBranchesListResponse { branches: page.messages.into_iter().map(branch).collect() })
}

fn cut(message: &mut ChatMessage, chars_max: usize) {
    message.content.iter_mut().filter_map(|block| block.text.as_mut()).for_each(|text| messages::cut(text, chars_max));
}
