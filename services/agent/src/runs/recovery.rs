//! Runs that an earlier incarnation has left behind: begun again if that does no harm, closed with an error if it might.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;
use verso_kit::trace::{self, TraceContext};
use verso_proto::wire::v1::Party;

use super::drive::{self, Accession};
use super::run::{Request, Run, failure_response};
use super::{Emitter, Runs, spans};
use crate::error::Error;
use crate::keys::AgentId;
use crate::lanes::WAITING_MAX;
use crate::store::{Finish, RunRecord, RunState};

/// A run that is older is not begun again, in milliseconds: nobody waits for it any more, and a late answer confuses.
const RESUMED_AGE_MS_MAX: i64 = 10 * 60 * 1_000;

/// How often a run is begun, the first time included.
const ATTEMPTS_MAX: i64 = 2;

/// How long a run waits for somebody who could hear its events.
const LISTENER_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client reads about a run that is not begun again.
const INTERRUPTED: &str = "agent service restarted while this run was in progress; send the message again";

/// What is to be done with a run that was left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Resume,
    Close,
}

impl Runs {
    /// Takes over what an earlier incarnation has left behind. Returns before any of it goes on.
    pub(crate) async fn recover(&self) -> Result<(), Error> {
        let now_ms = self.parts.clock.now_ms();
        for record in self.parts.store.unfinished().await? {
            let request = record.request.as_deref().and_then(|text| serde_json::from_str::<Request>(text).ok());
            let place = match fate(&record, now_ms) {
                Fate::Resume => self.parts.lanes.join(&record.key, WAITING_MAX).ok(),
                Fate::Close => None,
            };
            match (request, place) {
                (Some(request), Some(place)) => self.resume(&record, request, Accession::Waiting(place)),
                (request, _) => self.close(record, request.and_then(|request| request.party), now_ms).await?,
            }
        }
        Ok(())
    }

    fn resume(&self, record: &RunRecord, request: Request, accession: Accession) {
        tracing::info!(run = record.run_id, session = %record.key, attempt = record.attempt + 1, "run is taken up again");
        let agent = AgentId::normalize(&record.agent_id);
        let span = spans::run(record.key.as_str(), &agent, &request);
        let context = TraceContext::generate().enter(&span);
        if let Some(interrupted) = request.traceparent.as_deref().and_then(TraceContext::parse) {
            interrupted.link(&span);
        }
        let emitter = self.emitter(record, request.party.clone(), context);
        let run = Run::recovered(record, agent, emitter);
        let run = Arc::new(run.asks(request, self.next_ordinal()));
        self.insert(&run);
        let runs = self.clone();
        let work = async move {
            runs.listener().await;
            drive::carry_out(&runs, &run, accession).await;
        };
        self.tasks.spawn("resumed run", trace::scope(context, work).instrument(span));
    }

    async fn close(&self, record: RunRecord, party: Option<Party>, now_ms: i64) -> Result<(), Error> {
        tracing::warn!(run = record.run_id, session = %record.key, attempt = record.attempt, "run was interrupted and is closed");
        let emitter = self.emitter(&record, party, TraceContext::generate());
        let response = failure_response(&record.run_id, INTERRUPTED, None);
        let finish = Finish::bare(record.run_id, record.key, record.session_id, (RunState::Error, response), now_ms);
        self.parts.store.finish(Arc::new(finish)).await?;
        let runs = self.clone();
        self.tasks.spawn("interrupted run", async move {
            runs.listener().await;
            emitter.failed(INTERRUPTED, now_ms);
        });
        Ok(())
    }

    fn emitter(&self, record: &RunRecord, party: Option<Party>, context: TraceContext) -> Emitter {
        let source = super::Source {
            run_id: record.run_id.clone(),
            key: record.key.clone(),
            agent: AgentId::normalize(&record.agent_id),
            traceparent: context.to_string(),
            quiet: record.run_id.starts_with("heartbeat-"),
            party,
        };
        Emitter::new(self.parts.hub.clone(), self.parts.clock.clone(), source, record.attempt + 1)
    }

    /// Waits until somebody could hear an event, but not for ever.
    async fn listener(&self) {
        let shutdown = self.tasks.shutdown().cancelled();
        tokio::select! {
            // Nobody is there: the events are kept for those who come.
            _ = tokio::time::timeout(LISTENER_TIMEOUT, self.parts.hub.subscribed()) => {}
            () = shutdown => {}
        }
    }
}

fn fate(record: &RunRecord, now_ms: i64) -> Fate {
    let young = now_ms - record.accepted_at_ms <= RESUMED_AGE_MS_MAX;
    let harmless = record.tool_calls == 0 && record.attempt < ATTEMPTS_MAX;
    let untouched = record.state == RunState::Accepted;
    if young && (untouched || harmless) { Fate::Resume } else { Fate::Close }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SessionKey;

    #[test]
    fn begins_again_only_what_is_harmless_and_recent() {
        let record = |state, attempt, tool_calls| RunRecord {
            run_id: "r".to_owned(),
            key: SessionKey::stored("agent:main:main"),
            agent_id: "main".to_owned(),
            session_id: "s".to_owned(),
            state,
            request: None,
            response: None,
            attempt,
            tool_calls,
            user_position: None,
            accepted_at_ms: 1_000,
            started_at_ms: None,
            ended_at_ms: None,
        };
        for (state, attempt, tool_calls, age_ms, expected) in [
            (RunState::Accepted, 0, 0, 0, Fate::Resume),
            (RunState::Running, 1, 0, RESUMED_AGE_MS_MAX, Fate::Resume),
            (RunState::Running, 1, 0, RESUMED_AGE_MS_MAX + 1, Fate::Close),
            (RunState::Running, 1, 1, 0, Fate::Close),
            (RunState::Running, 2, 0, 0, Fate::Close),
        ] {
            let found = fate(&record(state, attempt, tool_calls), 1_000 + age_ms);
            assert_eq!(found, expected, "{state:?} {attempt} {tool_calls} {age_ms}");
        }
    }
}
