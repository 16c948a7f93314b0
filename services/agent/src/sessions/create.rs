//! Making a session, talking into it, and stopping it, by its key.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use verso_proto::agent::v1::{
    ChatSendRequest, SessionsAbortRequest, SessionsAbortResponse, SessionsCreateRequest, SessionsCreateResponse, SessionsSendRequest,
    SessionsSendResponse,
};

use super::entry::entry;
use super::{Error, events, label, levels, session};
use crate::chat;
use crate::keys::{AgentId, SessionKey};
use crate::runs::{Caller, Runs, StopReason};
use crate::store::{Changed, Setting};

/// Makes a session, and begins a run in it if there is a message.
pub(crate) async fn create(runs: &Runs, request: SessionsCreateRequest, caller: Caller) -> Result<SessionsCreateResponse, crate::Error> {
    const METHOD: &str = "sessions.create";
    let key_id = request.idempotency_key.as_deref().map_or_else(Uuid::new_v4, keyed);
    let raw = if let Some(key) = &request.key {
        key.clone()
    } else {
        let named = runs.parts.roster.named(METHOD, request.agent_id.as_deref())?;
        let agent = named.unwrap_or_else(|| runs.parts.roster.naming.default_agent.clone());
        format!("agent:{agent}:dashboard:{key_id}")
    };
    let (agent, key) = session(runs, METHOD, request.agent_id.as_deref(), &raw)?;
    let changes = settings(runs, &request, &agent).await?;
    let known = runs.parts.store.session(&key).await?.is_some();
    let record = match runs.parts.store.patch(&key, &agent, changes, runs.parts.clock.now_ms()).await? {
        Changed::Done(record) => *record,
        Changed::LabelInUse(label) => return Err(Error::LabelInUse(label).into()),
        Changed::ParentKnown | Changed::OtherId => return Err(Error::ParentChanged.into()),
    };
    if !known {
        events::changed(runs, &key, &agent, events::What::reason("create")).await;
    }
    let message = request.message.or(request.task).filter(|message| !message.trim().is_empty() || !request.attachments.is_empty());
    let mut response = SessionsCreateResponse {
        ok: true,
        key: key.to_string(),
        session_id: record.session_id.clone(),
        entry: Some(entry(record)),
        run_started: false,
        run_id: None,
    };
    if let Some(message) = message {
        let send = ChatSendRequest {
            session_key: key.to_string(),
            message,
            attachments: request.attachments,
            timeout_ms: request.timeout_ms,
            idempotency_key: request.idempotency_key.unwrap_or_else(|| key_id.to_string()),
            ..ChatSendRequest::default()
        };
        let answer = chat::send(runs, send, caller).await?;
        response.run_started = answer.run_id.is_some();
        response.run_id = answer.run_id;
    }
    Ok(response)
}

/// The same idempotency key always gives the same session: a repeat needs no record of its own.
fn keyed(key: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(key)[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

async fn settings(runs: &Runs, request: &SessionsCreateRequest, agent: &AgentId) -> Result<Vec<(Setting, Option<String>)>, crate::Error> {
    let mut changes = Vec::new();
    let mut set = |setting: Setting, value: Option<String>| {
        if value.is_some() {
            changes.push((setting, value));
        }
    };
    set(Setting::Label, request.label.as_deref().map(label).transpose()?);
    set(Setting::DisplayName, request.display_name.clone().filter(|name| !name.trim().is_empty()));
    set(Setting::Category, request.category.clone().filter(|category| !category.is_empty()));
    let mut model = runs.parts.catalog.known(runs.parts.roster.get(agent).model.as_deref());
    if let Some(name) = &request.model {
        model = runs.parts.catalog.choose(&runs.parts.clients, Some(name), None).await?;
        set(Setting::ProviderOverride, Some(model.provider.clone()));
        set(Setting::ModelOverride, Some(model.id.clone()));
    }
    if let Some(raw) = &request.thinking_level {
        set(Setting::ThinkingLevel, Some(levels::thinking(raw, &model.full_name())?));
    }
    if let Some(parent) = &request.parent_session_key {
        let (_, parent) = session(runs, "sessions.create", None, parent)?;
        set(Setting::SpawnedBy, Some(parent.to_string()));
    }
    Ok(changes)
}

/// Sends a message into a session that exists.
pub(crate) async fn send(runs: &Runs, request: SessionsSendRequest, caller: Caller) -> Result<SessionsSendResponse, crate::Error> {
    let key = existing(runs, "sessions.send", request.agent_id.as_deref(), &request.key).await?;
    let send = ChatSendRequest {
        session_key: key.to_string(),
        message: request.message,
        thinking: request.thinking,
        attachments: request.attachments,
        timeout_ms: request.timeout_ms,
        idempotency_key: request.idempotency_key.unwrap_or_else(|| Uuid::new_v4().to_string()),
        ..ChatSendRequest::default()
    };
    let answer = chat::send(runs, send, caller).await?;
    Ok(SessionsSendResponse {
        ok: true,
        key: key.to_string(),
        run_id: answer.run_id,
        status: answer.status,
        summary: answer.summary,
        aborted: answer.aborted,
    })
}

/// Stops a run by its id, or what a session is doing.
pub(crate) async fn abort(runs: &Runs, request: &SessionsAbortRequest) -> Result<SessionsAbortResponse, crate::Error> {
    const METHOD: &str = "sessions.abort";
    let stopped = match (&request.key, &request.run_id) {
        (None, None) => return Err(Error::NothingToAbort.into()),
        (None, Some(run_id)) => match runs.find(run_id) {
            Some(run) => runs.stop_run(&run.key, run_id, StopReason::Rpc)?,
            None => Vec::new(),
        },
        (Some(raw), run_id) => {
            let (_, key) = session(runs, METHOD, request.agent_id.as_deref(), raw)?;
            if let Some(run_id) = run_id {
                runs.stop_run(&key, run_id, StopReason::Rpc)?
            } else {
                let stopped = runs.stop_session(&key, StopReason::Rpc);
                crate::commands::stop_all(runs, &key).await?;
                stopped
            }
        }
    };
    let status = if stopped.is_empty() { "no-active-run" } else { "aborted" };
    Ok(SessionsAbortResponse { ok: true, aborted_run_id: stopped.into_iter().next(), status: status.to_owned() })
}

async fn existing(runs: &Runs, method: &'static str, agent: Option<&str>, raw: &str) -> Result<SessionKey, crate::Error> {
    let (_, key) = session(runs, method, agent, raw)?;
    let known = runs.parts.store.session(&key).await?.is_some();
    if known { Ok(key) } else { Err(Error::NotFound(raw.to_owned()).into()) }
}
