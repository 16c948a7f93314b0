//! Before a conversation is summarised, its agent is asked once to write down what is worth keeping: a turn that nobody sees.

use super::run::{HeartbeatTurn, Request, Run};
use super::{Runs, Submission};
use crate::compaction;
use crate::error::Error;
use crate::store::{Finish, RunState, SessionHints, Setting};

/// Asks for it if this turn has come close enough to the end of the window.
pub(super) fn after(runs: &Runs, run: &Run, finish: &Finish) {
    let filling = finish.tokens.total.zip(finish.tokens.context).is_some_and(|(used, window)| used >= window / 2);
    // What wakes by itself, and what others have started, is not anybody's conversation.
    if finish.state != RunState::Ok || !filling || run.request.heartbeat.is_some() || run.key.is_subagent() {
        return;
    }
    let (runs, key, agent) = (runs.clone(), run.key.clone(), run.agent.clone());
    let tasks = runs.clone();
    tasks.spawn("memory of a conversation", async move {
        let asked = async {
            let parts = &runs.parts;
            let Some(session) = parts.store.session(&key).await? else { return Ok::<_, Error>(()) };
            let own = parts.roster.get(&agent).model;
            let model = parts.catalog.known(session.model_override().or(own).as_deref());
            let Some(message) = parts.compaction.flush(&session, &model, &compaction::date(parts)) else { return Ok(()) };
            let now_ms = parts.clock.now_ms();
            parts.store.patch(&key, &agent, vec![(Setting::FlushedAt, Some(session.compactions.to_string()))], now_ms).await?;
            let unseen = HeartbeatTurn { ack_chars_max: 0, updated_at_ms: Some(session.updated_at_ms) };
            let request = Request { message, heartbeat: Some(unseen), ..Request::default() };
            let run_id = format!("heartbeat-memory-{}", uuid::Uuid::new_v4());
            runs.submit(Submission { run_id, key, agent, hints: SessionHints::default(), request }).await.map(drop)
        };
        if let Err(error) = asked.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "what is worth keeping was not written down");
        }
    });
}
