//! The life of one run: written down, waiting for its turn, carried out, concluded.

use std::sync::Arc;
use std::time::Duration;

use verso_proto::agent::v1::{ChatMessage, RunResponse, Usage};

use super::emitter::StopReason;
use super::run::{Ended, Facts, Phase, Request, Run, failure_response, success_response};
use super::turn::{self, Reply};
use super::{Runs, Submission};
use crate::error::Error;
use crate::lanes::{Place, Turn};
use crate::messages::{self, Author};
use crate::models::Model;
use crate::sessions::{self, events::What};
use crate::store::{self, Accepted, Arrival, Finish, Head, Opening, RunState, TokenCounts};

/// How long a run takes that says it has no limit.
const UNLIMITED: Duration = Duration::from_hours(30 * 24);

/// The level at which a session is told of every tool call.
const VERBOSE: &str = "on";

/// What clients read of a run that took too long.
const TIMEOUT: &str = "timeout";

/// A run in the journal, on its way to its turn.
pub(super) enum Accession {
    /// It has its turn, and its beginning is written down.
    Begun(Turn, Box<Head>),
    Waiting(Place),
}

/// How a run went.
enum Outcome {
    Replied(Box<Reply>),
    Failed(turn::Error),
    Stopped,
    TimedOut(Duration),
}

/// Writes a run down, and begins it in the same write if it need not wait.
pub(super) async fn arrive(runs: Runs, run: Arc<Run>, submission: Submission, mut place: Place) {
    let turn = place.try_turn();
    let Submission { run_id, key, agent, hints, request } = submission;
    let written = match serde_json::to_string(&request) {
        Ok(text) => {
            let opening = turn.is_some().then(|| opening(&request, run.accepted_at_ms));
            let arrival = Arrival { run_id, key, agent, request: text, hints, at_ms: run.accepted_at_ms, opening };
            runs.parts.store.accept(arrival).await
        }
        Err(error) => Err(error.into()),
    };
    let phase = match written {
        Ok(Accepted::New(head)) => {
            run.set_phase(Phase::Accepted);
            if head.is_none() {
                sessions::events::changed(&runs, &run.key, &run.agent, What::reason("send")).await;
            }
            let accession = match (turn, head) {
                (Some(turn), Some(head)) => Accession::Begun(turn, head),
                _ => Accession::Waiting(place),
            };
            carry_out(&runs, &run, &request, accession).await;
            return;
        }
        Ok(Accepted::Known(record)) => Phase::Known(Arc::new(Ended::from_record(&record))),
        Ok(Accepted::Denied) => Phase::Denied,
        Err(error) => Phase::Refused(error),
    };
    runs.remove(&run);
    run.set_phase(phase);
}

/// Carries a run out once it is its turn.
pub(super) async fn carry_out(runs: &Runs, run: &Arc<Run>, request: &Request, accession: Accession) {
    let shutdown = runs.tasks.shutdown();
    let begun = tokio::select! {
        biased;
        () = run.stopped() => Ok(None),
        () = shutdown.cancelled() => return leave(runs, run),
        begun = begin(runs, run, request, accession) => begun.map(Some),
    };
    let (turn, head, outcome) = match begun {
        Ok(None) => (None, None, Outcome::Stopped),
        Ok(Some((turn, head))) => {
            let limit = request.timeout_ms.map_or(runs.parts.run_timeout, |ms| if ms == 0 { UNLIMITED } else { Duration::from_millis(ms) });
            let outcome = tokio::select! {
                biased;
                () = run.stopped() => Outcome::Stopped,
                () = shutdown.cancelled() => return leave(runs, run),
                result = turn::converse(runs, run, request, &head) => match result {
                    Ok(reply) => Outcome::Replied(Box::new(reply)),
                    Err(error) => Outcome::Failed(error),
                },
                () = tokio::time::sleep(limit) => Outcome::TimedOut(limit),
            };
            (Some(turn), Some(head), outcome)
        }
        Err(Error::Restarting) => return leave(runs, run),
        Err(Error::Store(error)) => (None, None, Outcome::Failed(turn::Error::Store(error))),
        Err(error) => (None, None, Outcome::Failed(turn::Error::Refused(error))),
    };
    conclude(runs, run, head.as_deref(), outcome).await;
    // The next run of the session begins with this one in its history.
    drop(turn);
}

/// Returns how a turn of `request` begins.
pub(super) fn opening(request: &Request, at_ms: i64) -> Opening {
    Opening { user: Some(messages::user(&request.message, &request.images, at_ms)), reset: request.reset }
}

async fn begin(runs: &Runs, run: &Run, request: &Request, accession: Accession) -> Result<(Turn, Box<Head>), Error> {
    let now_ms = runs.parts.clock.now_ms();
    let (turn, head) = match accession {
        Accession::Begun(turn, head) => (turn, head),
        Accession::Waiting(place) => {
            let turn = place.turn().await?;
            let head = runs.parts.store.begin(&run.id, opening(request, run.accepted_at_ms), now_ms).await?;
            (turn, Box::new(head))
        }
    };
    let started_at_ms = *run.started_at_ms.get_or_init(|| head.started_at_ms);
    let verbose = head.session.verbose_level.as_deref().unwrap_or(&runs.parts.verbose_default) == VERBOSE;
    run.emitter.started(&head.session.session_id, verbose, started_at_ms);
    let user = (!run.recovered).then(|| messages::user(&request.message, &request.images, run.accepted_at_ms));
    sessions::events::run_began(runs, run, &head, user);
    Ok((turn, head))
}

/// Leaves the run as it is in the journal: the next incarnation goes on with it.
fn leave(runs: &Runs, run: &Run) {
    runs.remove(run);
    run.set_phase(Phase::Left);
}

/// Writes the end down, and only then tells everybody.
async fn conclude(runs: &Runs, run: &Run, head: Option<&Head>, outcome: Outcome) {
    // What was stopped stays stopped, even if the answer came at the same moment.
    let outcome = match outcome {
        Outcome::Replied(_) | Outcome::Failed(_) if !run.emitter.settle() => Outcome::Stopped,
        Outcome::TimedOut(_) if !run.emitter.aborted(StopReason::Timeout) => Outcome::Stopped,
        other => other,
    };
    let now_ms = runs.parts.clock.now_ms();
    let finish = finish(runs, run, head, &outcome, now_ms);
    let error = finish.response.summary.clone().filter(|_| finish.state == RunState::Error);
    let (mut state, mut response) = (finish.state, finish.response.clone());
    let (session_id, added) = (finish.session_id.clone(), finish.messages.clone());
    let saved = runs.parts.store.finish(finish).await;
    let unsaved = match &saved {
        // Somebody else goes on with this run, and says how it ends.
        Err(store::Error::Fenced) => return leave(runs, run),
        Err(error) => {
            tracing::error!(run = run.id, error = error as &dyn std::error::Error, "the end of a run could not be saved");
            Some(format!("the reply could not be saved: {error}"))
        }
        Ok(_) => None,
    };
    if let Some(unsaved) = &unsaved {
        (state, response) = (RunState::Error, failure_response(&run.id, unsaved, None));
    }
    match (&outcome, unsaved.or(error)) {
        (Outcome::Stopped | Outcome::TimedOut(_), _) => {}
        (_, Some(error)) => run.emitter.failed(&error, now_ms),
        (_, None) => run.emitter.ended(now_ms),
    }
    runs.remove(run);
    let started_at_ms = run.started_at_ms.get().copied();
    let cut_short = matches!(&outcome, Outcome::Replied(reply) if reply.cut_short);
    let failure = match outcome {
        Outcome::Failed(turn::Error::Provider(unanswered)) => Some(unanswered.failure),
        _ => None,
    };
    run.set_phase(Phase::Ended(Arc::new(Ended { state, response, started_at_ms, at_ms: now_ms, cut_short, failure })));
    let added = saved.ok().flatten().map_or_else(Vec::new, |first| (first..).zip(added).collect());
    sessions::events::run_ended(runs, run, &session_id, added).await;
}

fn finish(runs: &Runs, run: &Run, head: Option<&Head>, outcome: &Outcome, now_ms: i64) -> Finish {
    let model = match outcome {
        Outcome::Replied(reply) => Some(Arc::clone(&reply.model)),
        Outcome::Failed(turn::Error::Provider(unanswered)) => Some(Arc::clone(&unanswered.model)),
        _ => None,
    }
    .unwrap_or_else(|| runs.parts.catalog.current());
    let session_id = head.map(|head| head.session.session_id.clone()).unwrap_or_default();
    let duration_ms = now_ms - run.started_at_ms.get().copied().unwrap_or(now_ms);
    let facts = |usage: Option<Usage>, aborted| Facts {
        duration_ms,
        session_id: session_id.clone(),
        provider: model.provider.clone(),
        model: model.id.clone(),
        usage,
        aborted,
        pending: Vec::new(),
        error: None,
    };
    let mut added = run.take_added();
    let mut tokens = TokenCounts::default();
    let (state, response) = match outcome {
        Outcome::Replied(reply) => {
            tokens = counts(reply);
            let facts = Facts { pending: reply.pending.clone(), ..facts(reply.usage, false) };
            (RunState::Ok, success_response(&run.id, &added, facts))
        }
        Outcome::Failed(error) => {
            added.extend(partial(run, &model, "error", now_ms));
            let facts = match error {
                turn::Error::Provider(unanswered) => Some(Facts { error: Some(unanswered.failure.kind.reason()), ..facts(None, false) }),
                _ => None,
            };
            (RunState::Error, failure_response(&run.id, &error.to_string(), facts))
        }
        Outcome::Stopped => {
            added.extend(partial(run, &model, "aborted", now_ms));
            (RunState::Aborted, success_response(&run.id, &added, facts(None, true)))
        }
        Outcome::TimedOut(limit) => {
            added.extend(partial(run, &model, "aborted", now_ms));
            let error = format!("the run was stopped because it took longer than {} s", limit.as_secs_f64());
            let response = failure_response(&run.id, &error, None);
            (RunState::Error, RunResponse { error_kind: Some(TIMEOUT.to_owned()), ..response })
        }
    };
    // Without a beginning there is no transcript to add to.
    let messages = if head.is_some() { added } else { Vec::new() };
    let unchanged_since_ms = run.unchanged_since_ms(&messages).filter(|_| state == RunState::Ok);
    let (run_id, key) = (run.id.clone(), run.key.clone());
    Finish { run_id, key, session_id, state, response, messages, tokens, at_ms: now_ms, unchanged_since_ms }
}

/// Returns what was said before the end came.
fn partial(run: &Run, model: &Model, stop_reason: &str, now_ms: i64) -> Option<ChatMessage> {
    let text = run.emitter.current_message();
    let author = Author { api: model.api(), provider: &model.provider, model: &model.id };
    (!text.trim().is_empty()).then(|| messages::assistant(vec![messages::text_block(text)], author, &Usage::default(), stop_reason, now_ms))
}

fn counts(reply: &Reply) -> TokenCounts {
    TokenCounts {
        input: reply.usage.map(|usage| usage.input),
        output: reply.usage.map(|usage| usage.output),
        total: reply.last_usage.map(|usage| usage.input + usage.cache_read + usage.cache_write),
        context: i64::try_from(reply.model.context_window).ok(),
        provider: Some(reply.model.provider.clone()),
        model: Some(reply.model.id.clone()),
    }
}
