//! What those hear who follow the list of sessions, or one of them.

use verso_proto::agent::v1::{ChatMessage, SessionMessageEvent, SessionRow, SessionsChangedEvent};
use verso_proto::wire::v1::{Audience, EventMeta};

use super::row::row;
use super::topics;
use crate::keys::{AgentId, SessionKey};
use crate::messages;
use crate::runs::{Run, Runs};
use crate::store::{Finish, Finished, Head, LastRun, Listed, RunState};

/// What has happened to a session.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct What<'a> {
    reason: Option<&'a str>,
    phase: Option<&'a str>,
    run_id: Option<&'a str>,
}

impl<'a> What<'a> {
    /// Somebody did something to it.
    pub(crate) fn reason(reason: &'a str) -> Self {
        Self { reason: Some(reason), ..Self::default() }
    }
}

/// A message that is in a transcript now.
struct Added<'a> {
    session_id: &'a str,
    position: i64,
    message: ChatMessage,
    run_id: Option<&'a str>,
}

/// Says that a session is not as it was.
pub(crate) async fn changed(runs: &Runs, key: &SessionKey, agent: &AgentId, what: What<'_>) {
    let row = current(runs, key).await;
    emit_changed(runs, key, agent, what, row);
}

/// Says that a run has begun, and with which message.
pub(crate) fn run_began(runs: &Runs, run: &Run, head: &Head, user: Option<ChatMessage>) {
    let last_run = LastRun {
        run_id: run.id.clone(),
        state: RunState::Running,
        error: None,
        accepted_at_ms: run.accepted_at_ms,
        started_at_ms: run.started_at_ms.get().copied(),
        ended_at_ms: None,
    };
    let listed = Listed { session: head.session.clone(), last_run: Some(last_run), first_user_text: None, last_text: None };
    let row = Some(row(runs, listed));
    if let Some(message) = user {
        let added = Added { session_id: &head.session.session_id, position: head.position, message, run_id: None };
        emit_message(runs, &run.key, &run.agent, added, row.clone());
    }
    let what = What { reason: Some("send"), phase: Some("start"), run_id: Some(&run.id) };
    emit_changed(runs, &run.key, &run.agent, what, row);
}

/// Says that a run has ended, and what it has added to the transcript; nothing, if its end could not be written down.
pub(crate) fn run_ended(runs: &Runs, run: &Run, finish: &Finish, finished: Option<Finished>) {
    let (first, session) = finished.map(|finished| (finished.first, finished.session)).unzip();
    let row = session.flatten().map(|listed| row(runs, listed));
    for (position, message) in first.into_iter().flat_map(|first| (first..).zip(&finish.messages)) {
        let added = Added { session_id: &finish.session_id, position, message: message.clone(), run_id: Some(&run.id) };
        emit_message(runs, &run.key, &run.agent, added, row.clone());
    }
    let what = What { reason: Some("agent.input.settled"), phase: Some("end"), run_id: Some(&run.id) };
    emit_changed(runs, &run.key, &run.agent, what, row);
}

/// Says that somebody has put a message into a transcript.
pub(crate) async fn message_added(
    runs: &Runs,
    key: &SessionKey,
    agent: &AgentId,
    (session_id, position): (&str, i64),
    message: ChatMessage,
) {
    let row = current(runs, key).await;
    emit_message(runs, key, agent, Added { session_id, position, message, run_id: None }, row.clone());
    emit_changed(runs, key, agent, What::reason("inject"), row);
}

/// A session that cannot be read is left out: whoever hears of the change can ask for it.
async fn current(runs: &Runs, key: &SessionKey) -> Option<SessionRow> {
    runs.parts.store.listed(key.as_str()).await.ok().flatten().map(|listed| row(runs, listed))
}

fn emit_changed(runs: &Runs, key: &SessionKey, agent: &AgentId, what: What<'_>, row: Option<SessionRow>) {
    let event = SessionsChangedEvent {
        session_key: key.to_string(),
        agent_id: agent.to_string(),
        reason: what.reason.map(str::to_owned),
        phase: what.phase.map(str::to_owned),
        run_id: what.run_id.map(str::to_owned),
        ts_ms: runs.parts.clock.now_ms(),
        row: row.clone().map(beside),
        session: row,
    };
    runs.parts.hub.emit_with(event, |meta| for_followers(meta, key, vec![topics::SESSIONS.to_owned()]));
}

fn emit_message(runs: &Runs, key: &SessionKey, agent: &AgentId, added: Added<'_>, row: Option<SessionRow>) {
    let placed = crate::store::Placed { position: added.position, message: messages::without_pictures(added.message) };
    let event = SessionMessageEvent {
        session_key: key.to_string(),
        agent_id: agent.to_string(),
        message: Some(messages::with_place(added.session_id, placed)),
        message_id: messages::id(added.session_id, added.position),
        message_seq: added.position + 1,
        run_id: added.run_id.map(str::to_owned),
        row: row.clone().map(beside),
        session: row,
    };
    let topics = vec![topics::SESSIONS.to_owned(), topics::session(key)];
    runs.parts.hub.emit_with(event, |meta| for_followers(meta, key, topics));
}

fn for_followers(meta: &mut EventMeta, key: &SessionKey, topics: Vec<String>) {
    key.as_str().clone_into(&mut meta.session_key);
    meta.audience = Some(Audience { topics, ..Audience::default() });
}

/// What the event says itself is not said twice.
fn beside(row: SessionRow) -> SessionRow {
    SessionRow { agent_id: None, ..row }
}
