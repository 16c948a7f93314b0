//! The life of one run: written down, waiting for its turn, carried out, concluded.

use std::sync::Arc;
use std::time::Duration;

use verso_proto::agent::v1::{ChatMessage, RunResponse, Usage};

use super::emitter::StopReason;
use super::queue::{self, Gathered};
use super::run::{Claim, Ended, Facts, Phase, Request, Run, failure_response, success_response};
use super::turn::ahead::Reading;
use super::turn::news::News;
use super::turn::{self, Reply};
use super::{QueueMode, Runs, footer, keepsake, save, spans};
use crate::delivery::{self, Delivery};
use crate::error::Error;
use crate::lanes::{Place, Turn};
use crate::messages::{self, Author, Named as _};
use crate::metrics;
use crate::models::Model;
use crate::sessions::{self, events::What};
use crate::store::{self, Accepted, Arrival, Finish, Head, Opening, RunState, SessionHints, TokenCounts};

/// How long a run takes that says it has no limit.
const UNLIMITED: Duration = Duration::from_hours(30 * 24);

/// The level at which a session is told of every tool call.
const VERBOSE: &str = "on";

/// What clients read of a run that took too long.
const TIMEOUT: &str = "timeout";

/// A run in the journal, on its way to its turn.
pub(super) enum Accession {
    /// It has its turn, its beginning is written down, and what it needs from the disk is on its way.
    Begun(Turn, Box<Head>, Reading),
    Waiting(Place),
}

/// A run on its way into the journal.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) hints: SessionHints,
    pub(super) place: Place,
    /// Set when it need not wait.
    pub(super) turn: Option<Turn>,
}

/// How a run went.
enum Outcome {
    Replied(Box<Reply>),
    Failed(turn::Error),
    Stopped,
    TimedOut(Duration),
}

/// Writes a run down, and begins it in the same write if it need not wait.
pub(super) async fn arrive(runs: Runs, run: Arc<Run>, arriving: Arriving) {
    let Arriving { hints, place, turn } = arriving;
    let request = Arc::clone(&run.request);
    let reading = turn.is_some().then(|| Reading::begin(&runs, &run));
    let written = match serde_json::to_string(&*request) {
        Ok(text) => {
            let opening = turn.is_some().then(|| opening(&run, None));
            let (run_id, key, agent) = (run.id.clone(), run.key.clone(), run.agent.clone());
            let policy = Arc::clone(&runs.parts.send_policy);
            let arrival = Arrival { run_id, key, agent, request: text, hints, policy, at_ms: run.accepted_at_ms, opening };
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
            let accession = match (turn, head, reading) {
                (Some(turn), Some(head), Some(reading)) => Accession::Begun(turn, head, reading),
                _ => Accession::Waiting(place),
            };
            crowd(&runs, &run, &request).await;
            carry_out(&runs, &run, accession).await;
            return;
        }
        Ok(Accepted::Known(record)) => Phase::Known(Arc::new(Ended::from_record(&record))),
        Ok(Accepted::Denied) => Phase::Denied,
        Err(error) => Phase::Refused(error),
    };
    runs.remove(&run);
    run.set_phase(phase);
}

/// Does to the other messages of the session what a new one does to them.
async fn crowd(runs: &Runs, run: &Run, request: &Request) {
    if request.queue.is_some_and(|queue| queue.mode == QueueMode::Interrupt) {
        runs.stop_others(run, StopReason::Interrupted);
    }
    if let Err(error) = queue::make_room(runs, run, request).await {
        tracing::warn!(run = run.id, error = &error as &dyn std::error::Error, "the oldest waiting message could not be dropped");
    }
}

/// Carries a run out once it is its turn.
pub(super) async fn carry_out(runs: &Runs, run: &Arc<Run>, accession: Accession) {
    let shutdown = runs.tasks.shutdown();
    let request = &*run.request;
    let begun = tokio::select! {
        biased;
        // Whoever has taken it on ends it.
        () = run.absorbed() => return,
        () = run.stopped() => Ok(None),
        () = shutdown.cancelled() => return leave(runs, run),
        begun = begin(runs, run, request, accession) => begun.map(Some),
    };
    let (turn, head, outcome) = match begun {
        Ok(None) => (None, None, Outcome::Stopped),
        Ok(Some((turn, head, reading))) => {
            let limit = request.timeout_ms.map_or(runs.parts.run_timeout, |ms| if ms == 0 { UNLIMITED } else { Duration::from_millis(ms) });
            let news = News::of(runs, run, &head);
            let outcome = tokio::select! {
                biased;
                () = run.stopped() => Outcome::Stopped,
                () = shutdown.cancelled() => return leave(runs, run),
                result = turn::converse(runs, run, request, &head, (reading, news)) => match result {
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

/// Returns how a turn begins: with its own message, or with several.
fn opening(run: &Run, gathered: Option<&Gathered>) -> Opening {
    let request = &run.request;
    let (text, pictures) = gathered.map_or((&request.message, &request.images), |gathered| (&gathered.text, &gathered.pictures));
    let others = gathered.map(|gathered| gathered.others.as_slice()).unwrap_or_default();
    Opening {
        user: Some(messages::user(text, pictures, run.accepted_at_ms).named(&run.id)),
        reset: request.reset,
        hears_of_dropped: request.queue.map(|_| request.authority()),
        within: others.iter().map(|other| (other.id.clone(), answered_elsewhere(other))).collect(),
    }
}

/// Returns the answer of a run whose message another one answers.
fn answered_elsewhere(run: &Run) -> RunResponse {
    success_response(&run.id, &[], nobodys_facts(false))
}

/// Returns the answer of a run that is given up before its turn.
pub(super) fn given_up(run: &Run, reason: StopReason) -> RunResponse {
    let summary = Some(reason.as_str().to_owned());
    RunResponse { summary, ..success_response(&run.id, &[], nobodys_facts(true)) }
}

/// What is known of a turn that no model had.
fn nobodys_facts(aborted: bool) -> Facts {
    Facts {
        duration_ms: 0,
        session_id: String::new(),
        provider: messages::OURSELVES.to_owned(),
        model: "queue".to_owned(),
        usage: None,
        aborted,
        pending: Vec::new(),
        error: None,
    }
}

/// Ends a run whose message is answered with another's, in memory; the journal knows already.
fn end_within(runs: &Runs, run: &Run, session_id: &str, ended: Ended) {
    if run.emitter.settle() {
        run.emitter.started(session_id, false, ended.at_ms);
        match ended.error() {
            Some(error) => run.emitter.failed(error, ended.at_ms),
            None => run.emitter.ended(ended.at_ms),
        }
    }
    runs.remove(run);
    run.set_phase(Phase::Ended(Arc::new(ended)));
}

/// Ends a run that has made room, in memory; the journal knows already.
pub(super) fn end_dropped(runs: &Runs, run: &Run, response: RunResponse) {
    run.stop(StopReason::Dropped);
    runs.remove(run);
    run.set_phase(Phase::Ended(Arc::new(over(RunState::Aborted, response, runs.parts.clock.now_ms()))));
}

fn over(state: RunState, response: RunResponse, at_ms: i64) -> Ended {
    Ended { state, response, started_at_ms: None, at_ms, cut_short: false, failure: None, answerer: None }
}

async fn begin(runs: &Runs, run: &Arc<Run>, request: &Request, accession: Accession) -> Result<(Turn, Box<Head>, Option<Reading>), Error> {
    let (turn, head, reading) = match accession {
        Accession::Begun(turn, head, reading) => (turn, head, Some(reading)),
        Accession::Waiting(place) => {
            let mut turn = place.turn().await?;
            if !run.claim(Claim::Itself) {
                // Whoever waits for this one hears of it.
                std::future::pending::<()>().await;
            }
            let gathered = queue::gather(runs, run, request, &mut turn).await?;
            let began = match gathered {
                None => runs.parts.store.begin(&run.id, opening(run, None), runs.parts.clock.now_ms()).await?,
                Some(gathered) => begin_together(runs, run, gathered).await?,
            };
            (turn, Box::new(began), None)
        }
    };
    let started_at_ms = *run.started_at_ms.get_or_init(|| head.started_at_ms);
    let verbose = request.inline.verbose.as_deref().or(head.session.verbose_level.as_deref());
    let verbose = verbose.unwrap_or(&runs.parts.verbose_default) == VERBOSE;
    run.emitter.started(&head.session.session_id, verbose, started_at_ms);
    metrics::run_began(run, started_at_ms);
    Ok((turn, head, reading))
}

/// Begins a turn that answers several messages. A stop in between must not leave the others without an end, so it is a task of its own.
async fn begin_together(runs: &Runs, run: &Arc<Run>, gathered: Gathered) -> Result<Head, Error> {
    let (sender, begun) = tokio::sync::oneshot::channel();
    let (beginning, leader) = (runs.clone(), Arc::clone(run));
    runs.spawn("turn for several messages", async move {
        let now_ms = beginning.parts.clock.now_ms();
        let outcome = beginning.parts.store.begin(&leader.id, opening(&leader, Some(&gathered)), now_ms).await;
        for other in &gathered.others {
            match &outcome {
                Ok(head) => end_within(&beginning, other, &head.session.session_id, over(RunState::Ok, answered_elsewhere(other), now_ms)),
                // They are in the journal as they were: the next incarnation answers them.
                Err(_) => leave(&beginning, other),
            }
        }
        // Nobody listens to a run that was stopped.
        drop(sender.send(outcome));
    });
    Ok(begun.await.map_err(|_| Error::Restarting)??)
}

/// Leaves the run as it is in the journal: the next incarnation goes on with it.
pub(super) fn leave(runs: &Runs, run: &Run) {
    for other in run.within() {
        leave(runs, &other);
    }
    runs.remove(run);
    run.set_phase(Phase::Left);
}

/// Writes the end down, and only then tells everybody. From then on nothing is waited for: whoever says more at once meets a session that is free.
async fn conclude(runs: &Runs, run: &Run, head: Option<&Head>, outcome: Outcome) {
    // What was stopped stays stopped, even if the answer came at the same moment.
    let outcome = match outcome {
        Outcome::Replied(_) | Outcome::Failed(_) if !run.emitter.settle() => Outcome::Stopped,
        Outcome::TimedOut(_) if !run.emitter.aborted(StopReason::Timeout) => Outcome::Stopped,
        other => other,
    };
    let now_ms = runs.parts.clock.now_ms();
    let model = answerer(runs, &outcome);
    let finish = Arc::new(finish(run, &model, head, &outcome, now_ms));
    let error = finish.response.summary.clone().filter(|_| finish.state == RunState::Error);
    let (mut state, mut response) = (finish.state, finish.response.clone());
    keepsake::after(runs, run, &finish);
    let Some(saved) = save::end(runs, &finish).await else { return leave(runs, run) };
    if let (Ok(Some(_)), Some(delivery)) = (&saved, &finish.delivery) {
        delivery::carry_out(runs, delivery.clone());
    }
    let unsaved = match &saved {
        // Somebody else goes on with this run, and says how it ends.
        Err(store::Error::Fenced) => return leave(runs, run),
        Err(error) => {
            tracing::error!(run = run.id, error = error as &dyn std::error::Error, "the end of a run could not be saved");
            Some(format!("the reply could not be saved: {error}"))
        }
        Ok(finished) => {
            if finished.is_none() {
                tracing::error!(run = run.id, "a run had ended before");
            }
            None
        }
    };
    let mut within = finish.within.clone();
    if let Some(unsaved) = &unsaved {
        (state, response) = (RunState::Error, failure_response(&run.id, unsaved, None));
        for (id, answer) in &mut within {
            *answer = failure_response(id, unsaved, None);
        }
        save::close_later(runs, &finish, (response.clone(), within.clone()));
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
    let ended = Ended { state, response, started_at_ms, at_ms: now_ms, cut_short, failure, answerer: run.answerer() };
    metrics::run_ended(run, &model, &ended);
    spans::run_ended(&model, &ended);
    run.set_phase(Phase::Ended(Arc::new(ended)));
    for (other, (_, answer)) in run.within().iter().zip(within) {
        end_within(runs, other, &finish.session_id, over(state, answer, now_ms));
    }
    sessions::events::run_ended(runs, run, &finish, saved.ok().flatten());
}

/// Returns the model that has answered or should have.
fn answerer(runs: &Runs, outcome: &Outcome) -> Arc<Model> {
    match outcome {
        Outcome::Replied(reply) => Arc::clone(&reply.model),
        Outcome::Failed(turn::Error::Provider(unanswered)) => Arc::clone(&unanswered.model),
        _ => runs.parts.catalog.current(),
    }
}

fn finish(run: &Run, model: &Model, head: Option<&Head>, outcome: &Outcome, now_ms: i64) -> Finish {
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
            let mut response = success_response(&run.id, &added, facts);
            if let (Some(result), Some(head)) = (&mut response.result, head) {
                footer::add(&mut result.payloads, &run.request, &head.session, &added, reply.usage);
            }
            (RunState::Ok, response)
        }
        Outcome::Failed(error) => {
            added.extend(partial(run, model, "error", now_ms));
            let facts = match error {
                turn::Error::Provider(unanswered) => Some(Facts { error: Some(unanswered.failure.kind.reason()), ..facts(None, false) }),
                _ => None,
            };
            (RunState::Error, failure_response(&run.id, &error.to_string(), facts))
        }
        Outcome::Stopped => {
            added.extend(partial(run, model, "aborted", now_ms));
            (RunState::Aborted, success_response(&run.id, &added, facts(None, true)))
        }
        Outcome::TimedOut(limit) => {
            added.extend(partial(run, model, "aborted", now_ms));
            let error = format!("the run was stopped because it took longer than {} s", limit.as_secs_f64());
            let response = failure_response(&run.id, &error, None);
            (RunState::Error, RunResponse { error_kind: Some(TIMEOUT.to_owned()), ..response })
        }
    };
    // Without a beginning there is no transcript to add to.
    let messages = if head.is_some() { added } else { Vec::new() };
    let unchanged_since_ms = run.unchanged_since_ms(&messages).filter(|_| state == RunState::Ok);
    let within = run.within();
    let answer = |other: &Arc<Run>| match state {
        RunState::Error => failure_response(&other.id, response.summary.as_deref().unwrap_or_default(), None),
        _ => answered_elsewhere(other),
    };
    let within = within.iter().map(|other| (other.id.clone(), answer(other))).collect();
    let (run_id, key) = (run.id.clone(), run.key.clone());
    let payloads = response.result.as_ref().map(|result| result.payloads.clone()).unwrap_or_default();
    let deliver = run.request.deliver.clone().filter(|_| state != RunState::Aborted);
    let delivery = deliver.and_then(|route| Delivery::new(&run.id, (&run.agent, &run.key), route, payloads, now_ms));
    Finish { run_id, key, session_id, state, response, messages, within, delivery, tokens, at_ms: now_ms, unchanged_since_ms }
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
