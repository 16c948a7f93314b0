//! `sessions.subscribe`, `sessions.messages.subscribe` and `events.resume`: what a connection follows, and what it missed.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;
use verso_proto::Json;
use verso_proto::agent::v1::{SessionsListRequest, SessionsLocateRequest};
use verso_proto::edge::v1::{
    ApprovalReplay, EventsResumeRequest, EventsResumeResponse, SessionsMessagesSubscribeRequest, SessionsMessagesSubscribeResponse,
    SessionsMessagesUnsubscribeRequest, SessionsMessagesUnsubscribeResponse, SessionsSubscribeRequest, SessionsSubscribeResponse,
    SessionsUnsubscribeRequest, SessionsUnsubscribeResponse,
};
use verso_proto::methods::{Call as _, EventKind};
use verso_proto::node::v1::ChatFollowed;
use verso_protocol::{Adapter, ErrorShape, validation};

use super::Local;
use crate::dispatch::Asking;
use crate::error::{fault, wire};
use crate::following;
use crate::gateway::Gateway;
use crate::journal::Resume;

/// How long the agent service may take to say which session a node means.
const LOCATE_WAIT: Duration = Duration::from_secs(2);

impl From<EventsResumeRequest> for Resume {
    fn from(request: EventsResumeRequest) -> Self {
        Self { seq: u64::try_from(request.seq).unwrap_or(0), conn_id: request.conn_id }
    }
}

pub(super) fn register(local: &mut Local) {
    local.on::<SessionsSubscribeRequest, _, _>(|asking, request| async move {
        let params = request.list.map_or_else(|| "{}".to_owned(), |list| list.text);
        asking.gateway.connections.follow(&asking.outlet, following::SESSIONS.to_owned(), "")?;
        let list = if is_empty(&params)? { None } else { Some(Json { text: list(&asking, &params).await? }) };
        Ok(SessionsSubscribeResponse { subscribed: true, list })
    });
    local.on::<SessionsUnsubscribeRequest, _, _>(|asking, _| async move {
        asking.gateway.connections.unfollow(&asking.outlet, following::SESSIONS);
        Ok(SessionsUnsubscribeResponse { subscribed: false })
    });
    local.on::<SessionsMessagesSubscribeRequest, _, _>(|asking, request| async move {
        let key = locate(&asking.gateway, &request.key, request.agent_id).await?;
        asking.gateway.connections.follow(&asking.outlet, following::session(&key), &request.key)?;
        let replay = request.include_approvals.unwrap_or(false).then(|| ApprovalReplay {
            session_key: key.clone(),
            updated_at_ms: asking.gateway.context.clock.now_ms(),
            approvals: Vec::new(),
            truncated: false,
        });
        Ok(SessionsMessagesSubscribeResponse { subscribed: true, key, approval_replay: replay })
    });
    local.on::<SessionsMessagesUnsubscribeRequest, _, _>(|asking, request| async move {
        let key = locate(&asking.gateway, &request.key, request.agent_id).await?;
        asking.gateway.connections.unfollow(&asking.outlet, &following::session(&key));
        Ok(SessionsMessagesUnsubscribeResponse { subscribed: false, key })
    });
    local.on::<EventsResumeRequest, _, _>(|asking, request| async move {
        let Asking { gateway, outlet } = asking;
        Ok(match gateway.connections.resume(&outlet, &request.into(), &gateway.limits) {
            Ok(replayed) => EventsResumeResponse { resumed: true, replayed: i64::try_from(replayed).unwrap_or(i64::MAX), reason: None },
            Err(reason) => EventsResumeResponse { resumed: false, replayed: 0, reason: Some(reason.as_str().to_owned()) },
        })
    });
}

/// Hears what a service says to the edge alone.
pub(crate) async fn heard(gateway: &Arc<Gateway>, kind: &'static EventKind, payload: &str) {
    let followed: ChatFollowed = match serde_json::from_str(payload) {
        Ok(followed) => followed,
        Err(error) => return warn!(event = kind.name, error = &error as &dyn std::error::Error, "an unreadable event"),
    };
    let Some(outlet) = gateway.connections.get(&followed.conn_id) else { return };
    let located = tokio::time::timeout(LOCATE_WAIT, locate(gateway, &followed.session_key, None)).await;
    let Ok(Ok(key)) = located else {
        return warn!(conn = followed.conn_id, "a node follows a session that could not be found out");
    };
    let topic = following::chat(&key);
    if !followed.follows {
        gateway.connections.unfollow(&outlet, &topic);
    } else if let Err(error) = gateway.connections.follow(&outlet, topic, &followed.session_key) {
        warn!(conn = followed.conn_id, error = &error as &dyn std::error::Error, "a node follows too much");
    }
}

/// Brings a session's key into its canonical form.
async fn locate(gateway: &Gateway, key: &str, agent_id: Option<String>) -> Result<String, ErrorShape> {
    let request = SessionsLocateRequest { key: key.to_owned(), agent_id };
    Ok(gateway.services.call(request).await.map_err(|status| wire(&status, "agent"))?.key)
}

/// Checks the members of `sessions.list` by its own rules.
fn is_empty(params: &str) -> Result<bool, ErrorShape> {
    let params: &serde_json::value::RawValue =
        serde_json::from_str(params).map_err(|error| ErrorShape::invalid(validation::unreadable("sessions.subscribe", &error)))?;
    // The words are the same for every version here: only newer clients know the method.
    validation::check(verso_protocol::Version::V4, SessionsListRequest::METHOD, Some(params))
        .map_err(|message| ErrorShape::invalid(message.replacen("sessions.list", "sessions.subscribe", 1)))?;
    Ok(verso_protocol::Object::parse(params.get()).is_none_or(|object| object.iter().next().is_none()))
}

/// Answers `sessions.list` as the connection would hear it.
async fn list(asking: &Asking, params: &str) -> Result<String, ErrorShape> {
    const NAME: &str = SessionsListRequest::METHOD.name;
    let adapter = Adapter::new(asking.outlet.peer.version);
    let asked: &serde_json::value::RawValue = serde_json::from_str(params).map_err(|error| fault(&error))?;
    let completed = adapter.request(NAME, Some(asked));
    let request: SessionsListRequest = serde_json::from_str(completed.as_deref().unwrap_or(asked).get())
        .map_err(|error| ErrorShape::invalid(validation::unreadable(NAME, &error)))?;
    let list = asking.gateway.services.call(request).await.map_err(|status| wire(&status, "agent"))?;
    let payload = serde_json::to_string(&list).map_err(|error| fault(&error))?;
    Ok(adapter.response(NAME, &payload).into_owned())
}
