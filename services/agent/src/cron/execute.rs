//! One run of a job, from its written start to its written end.

use verso_proto::agent::v1::{CronEvent, CronJob, CronPayload, CronRunEntry, Payload};

use super::schedule::Schedule;
use super::{Cron, Result, jobs};
use crate::delivery::{self, Delivery, Wanted};
use crate::heartbeat::{Beaten, Cause};
use crate::keys::{AgentId, SessionKey};
use crate::messages;
use crate::reply;
use crate::runs::{Request, Submission, Submitted};
use crate::store::{JobEnd, JobRun, SessionHints, SystemEvent};
use crate::system_events;

/// How much of a result the main session hears, in characters.
const SUMMARY_CHARS_MAX: usize = 2_000;

/// How much of a result the main session hears that wants all of it, in characters, unless the job says otherwise.
const FULL_CHARS_MAX: i64 = 8_000;

/// How long a job that must run a heartbeat now waits for the agent, in attempts of a quarter of a second: two minutes.
const BUSY_ATTEMPTS_MAX: u32 = 480;

/// Between two of these attempts.
const BUSY_PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// After how many milliseconds a job that runs once is tried again, by the number of failures in a row.
const RETRY_MS: [i64; 5] = [30_000, 60_000, 300_000, 900_000, 3_600_000];

/// How a run went.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    status: &'static str,
    error: Option<String>,
    summary: Option<String>,
    session_key: Option<String>,
    /// What the main session hears of it.
    event: Option<SystemEvent>,
}

impl Outcome {
    fn ok(summary: Option<String>) -> Self {
        Self { status: "ok", summary, ..Self::default() }
    }

    /// A run that failed.
    pub(super) fn error(reason: impl Into<String>) -> Self {
        Self { status: "error", error: Some(reason.into()), ..Self::default() }
    }

    fn skipped(reason: impl Into<String>) -> Self {
        Self { status: "skipped", error: Some(reason.into()), ..Self::default() }
    }
}

/// Carries a run out and writes its end down.
pub(super) async fn carry_out(cron: &Cron, run: &JobRun) {
    // The semaphore is never closed.
    let _place = cron.shared.places.acquire().await;
    let payload = run.job.payload.clone().unwrap_or_default();
    let outcome = if run.job.session_target == "main" { report(cron, run, &payload).await } else { turn(cron, run, payload).await };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        // The next incarnation takes it up.
        Err(error) if error.passes() => return,
        Err(error) => Outcome::error(error.to_string()),
    };
    if let Err(error) = finish(cron, run, outcome).await {
        tracing::error!(
            job = run.job.id,
            run = run.run_id,
            error = &error as &dyn std::error::Error,
            "the end of a job could not be saved"
        );
    }
    cron.shared.changed.notify_one();
}

fn agent(cron: &Cron, job: &CronJob) -> AgentId {
    let roster = &cron.parts().roster;
    job.agent_id.as_deref().map_or_else(|| roster.naming.default_agent.clone(), AgentId::normalize)
}

/// Puts the job's text before the main session.
async fn report(cron: &Cron, run: &JobRun, payload: &CronPayload) -> Result<Outcome> {
    let parts = cron.parts();
    let (agent, text) = (agent(cron, &run.job), payload.text.as_deref().unwrap_or_default());
    let Some(event) = system_events::event(parts, &parts.roster.naming.main(&agent), text) else {
        return Ok(Outcome::skipped("main job requires non-empty systemEvent text"));
    };
    if !run.dispatched {
        parts.store.cron_dispatch(&run.run_id, event).await?;
    }
    let summary = Some(text.to_owned());
    if run.job.wake_mode != "now" {
        cron.heartbeats.want(&agent);
        return Ok(Outcome::ok(summary));
    }
    for _ in 0..BUSY_ATTEMPTS_MAX {
        match cron.heartbeats.beat(&agent, Cause::Wake).await {
            Beaten::Ran => return Ok(Outcome::ok(summary)),
            Beaten::Skipped(reason) => return Ok(Outcome { summary, ..Outcome::skipped(reason) }),
            Beaten::Failed(reason) => return Ok(Outcome { summary, ..Outcome::error(reason) }),
            Beaten::Busy => tokio::time::sleep(BUSY_PAUSE).await,
        }
    }
    Ok(Outcome { summary, ..Outcome::skipped("timeout waiting for main lane to become idle") })
}

/// Runs a turn in the job's own session, which begins afresh.
async fn turn(cron: &Cron, run: &JobRun, payload: CronPayload) -> Result<Outcome> {
    let (parts, agent) = (cron.parts(), agent(cron, &run.job));
    let key = parts.roster.naming.resolve(&format!("agent:{agent}:cron:{}", run.job.id), &agent)?;
    let message = payload.message.as_deref().unwrap_or_default();
    let request = Request {
        message: format!("[cron:{} {}] {message}", run.job.id, run.job.name),
        model: payload.model.clone(),
        thinking: payload.thinking.clone(),
        timeout_ms: payload.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(|seconds| seconds.saturating_mul(1_000)),
        reset: true,
        ..Request::default()
    };
    let hints = SessionHints { display_name: Some(format!("Cron: {}", run.job.name)), ..SessionHints::default() };
    let submission = Submission { run_id: run.run_id.clone(), key: key.clone(), agent: agent.clone(), hints, request };
    let ended = match cron.heartbeats.runs.submit(submission).await? {
        Submitted::New(run) | Submitted::InFlight(run) => run.ended().await?,
        Submitted::Ended(ended) => ended,
    };
    let payloads = ended.response.result.as_ref().map(|result| result.payloads.clone()).unwrap_or_default();
    let texts = payloads.iter().map(|payload| payload.text.as_str());
    let said = texts.filter(|text| !text.trim().is_empty()).collect::<Vec<_>>().join("\n\n");
    let mut outcome = match ended.error() {
        Some(error) => Outcome::error(error),
        None => delivered(cron, run, (&agent, &key), &said, payloads).await,
    };
    outcome.event = aftermath(cron, &run.job, &agent, &outcome, &said);
    outcome.session_key = Some(key.to_string());
    if outcome.event.is_some() && run.job.wake_mode == "now" {
        cron.heartbeats.want(&agent);
    }
    Ok(outcome)
}

/// Delivers what a turn has said to whom the job names, and says what became of it. The run's name makes a repeat harmless.
async fn delivered(cron: &Cron, run: &JobRun, (agent, key): (&AgentId, &SessionKey), said: &str, payloads: Vec<Payload>) -> Outcome {
    let payload = run.job.payload.clone().unwrap_or_default();
    let ok = Outcome::ok(Some(messages::shorten(said, SUMMARY_CHARS_MAX)).filter(|summary| !summary.is_empty()));
    let wanted = payload.deliver == Some(true) || (payload.to.is_some() && payload.deliver != Some(false));
    if !wanted || (reply::visible(said).is_empty() && payloads.iter().all(|payload| payload.media_url.is_none())) {
        return ok;
    }
    let wish = Wanted { channel: payload.channel.clone(), to: payload.to.clone(), ..Wanted::default() };
    let runs = &cron.heartbeats.runs;
    let sent = match delivery::route(runs, agent, key, wish).await {
        Ok(route) => match Delivery::new(&run.run_id, (agent, key), route, payloads, run.started_at_ms) {
            Some(delivery) => delivery::send(&runs.parts, &delivery).await,
            None => Ok(()),
        },
        Err(error) => Err(error.to_string()),
    };
    let Err(reason) = sent else { return ok };
    let failed = if payload.best_effort_deliver == Some(true) { Outcome::skipped(reason) } else { Outcome::error(reason) };
    Outcome { summary: ok.summary, ..failed }
}

/// Returns what the main session hears of a turn.
fn aftermath(cron: &Cron, job: &CronJob, agent: &AgentId, outcome: &Outcome, said: &str) -> Option<SystemEvent> {
    let isolation = job.isolation.clone().unwrap_or_default();
    let prefix = isolation.post_to_main_prefix.as_deref().map(str::trim).filter(|prefix| !prefix.is_empty()).unwrap_or("Cron").to_owned();
    let full = isolation.post_to_main_mode.as_deref() == Some("full");
    let chars_max = isolation.post_to_main_max_chars.unwrap_or(FULL_CHARS_MAX);
    let body = match (&outcome.error, full) {
        (Some(error), _) => error.clone(),
        (None, true) => messages::shorten(said, usize::try_from(chars_max).unwrap_or(0)),
        (None, false) => outcome.summary.clone()?,
    };
    let mark = if outcome.status == "error" { " (error)" } else { "" };
    let parts = cron.parts();
    system_events::event(parts, &parts.roster.naming.main(agent), &format!("{prefix}{mark}: {body}"))
}

/// Writes the end of a run down, once, and tells everybody.
pub(super) async fn finish(cron: &Cron, run: &JobRun, outcome: Outcome) -> Result<()> {
    let parts = cron.parts();
    let now_ms = parts.clock.now_ms();
    let record = parts.store.cron_job(&run.job.id).await?;
    let failures = record.as_ref().map_or(0, |record| record.failures);
    let failures = if outcome.status == "ok" { 0 } else { failures + 1 };
    let duration_ms = now_ms - run.started_at_ms;
    let job = record.and_then(|record| after(cron, record.job, &outcome, failures, (run.started_at_ms, now_ms)));
    let next_run_at_ms = job.as_ref().and_then(|job| job.state.as_ref()?.next_run_at_ms);
    let entry = CronRunEntry {
        ts_ms: now_ms,
        job_id: run.job.id.clone(),
        action: "finished".to_owned(),
        status: Some(outcome.status.to_owned()),
        error: outcome.error,
        summary: outcome.summary,
        run_at_ms: Some(run.started_at_ms),
        duration_ms: Some(duration_ms),
        next_run_at_ms,
        run_id: Some(run.run_id.clone()),
        session_key: outcome.session_key,
        job_name: Some(run.job.name.clone()),
    };
    let removed = job.is_none();
    let known = run.job.delete_after_run == Some(true) && removed;
    let end = JobEnd { run_id: run.run_id.clone(), entry: entry.clone(), job, failures, event: outcome.event };
    if !parts.store.cron_finish(end).await? {
        return Ok(());
    }
    let event = CronEvent { job_id: entry.job_id.clone(), action: entry.action, status: entry.status, ..CronEvent::default() };
    parts.hub.emit(CronEvent {
        error: entry.error,
        summary: entry.summary,
        run_at_ms: entry.run_at_ms,
        duration_ms: entry.duration_ms,
        next_run_at_ms,
        ..event
    });
    if known {
        parts.hub.emit(CronEvent { job_id: entry.job_id, action: "removed".to_owned(), ..CronEvent::default() });
    }
    Ok(())
}

/// Returns the job as it is after a run; none if it is to be removed.
fn after(cron: &Cron, mut job: CronJob, outcome: &Outcome, failures: i64, (started_ms, now_ms): (i64, i64)) -> Option<CronJob> {
    let schedule = Schedule::parse(&job.schedule.clone().unwrap_or_default(), &cron.parts().zone).ok();
    let state = job.state.get_or_insert_default();
    state.running_at_ms = None;
    state.last_run_at_ms = Some(started_ms);
    state.last_status = Some(outcome.status.to_owned());
    state.last_error.clone_from(&outcome.error);
    state.last_duration_ms = Some(now_ms - started_ms);
    let once = schedule.as_ref().is_some_and(Schedule::once);
    if once && outcome.status == "ok" {
        if job.delete_after_run == Some(true) {
            return None;
        }
        job.enabled = false;
    }
    let retry_ms = usize::try_from(failures - 1).ok().and_then(|failures| RETRY_MS.get(failures));
    let next = match (once && failures > 0, retry_ms) {
        (true, Some(pause_ms)) if job.enabled => Some(now_ms + pause_ms),
        (true, None) => {
            // It will not go better the next time.
            job.enabled = false;
            None
        }
        _ => schedule.and_then(|schedule| jobs::due(&job, &schedule, now_ms)),
    };
    job.state.get_or_insert_default().next_run_at_ms = next;
    Some(job)
}
