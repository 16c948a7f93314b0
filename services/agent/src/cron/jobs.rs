//! Jobs as people make and change them.

use jiff::tz::TimeZone;
use verso_proto::agent::v1::{CronAddRequest, CronJob, CronJobState, CronPatch, CronPayload};

use super::Error;
use super::schedule::{self, Schedule};

/// Makes a job. `now_ms` is when.
pub(super) fn make(request: CronAddRequest, now_ms: i64, host: &TimeZone) -> Result<CronJob, Error> {
    let job = CronJob {
        id: uuid::Uuid::new_v4().to_string(),
        agent_id: request.agent_id.and_then(|id| id.value),
        name: request.name.trim().to_owned(),
        description: request.description.filter(|text| !text.trim().is_empty()),
        enabled: request.enabled.unwrap_or(true),
        delete_after_run: request.delete_after_run,
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
        schedule: request.schedule.map(schedule::complete),
        session_target: request.session_target,
        wake_mode: request.wake_mode,
        payload: request.payload,
        isolation: request.isolation,
        state: Some(CronJobState::default()),
    };
    checked(job, now_ms, host)
}

/// Changes a job: what the patch leaves out stays.
pub(super) fn change(mut job: CronJob, patch: CronPatch, now_ms: i64, host: &TimeZone) -> Result<CronJob, Error> {
    job.name = patch.name.map_or(job.name, |name| name.trim().to_owned());
    job.description = patch.description.or(job.description);
    job.enabled = patch.enabled.unwrap_or(job.enabled);
    job.delete_after_run = patch.delete_after_run.or(job.delete_after_run);
    job.schedule = patch.schedule.map(schedule::complete).or(job.schedule);
    job.session_target = patch.session_target.unwrap_or(job.session_target);
    job.wake_mode = patch.wake_mode.unwrap_or(job.wake_mode);
    job.isolation = patch.isolation.or(job.isolation);
    if let Some(agent) = patch.agent_id {
        job.agent_id = agent.value;
    }
    if let Some(payload) = patch.payload {
        job.payload = Some(merged(job.payload.unwrap_or_default(), payload));
    }
    job.updated_at_ms = now_ms;
    checked(job, now_ms, host)
}

/// A payload of the same kind is changed member by member, one of another kind takes its place.
fn merged(old: CronPayload, new: CronPayload) -> CronPayload {
    if old.kind != new.kind {
        return new;
    }
    CronPayload {
        kind: new.kind,
        text: new.text.or(old.text),
        message: new.message.or(old.message),
        model: new.model.or(old.model),
        thinking: new.thinking.or(old.thinking),
        timeout_seconds: new.timeout_seconds.or(old.timeout_seconds),
        deliver: new.deliver.or(old.deliver),
        channel: new.channel.or(old.channel),
        to: new.to.or(old.to),
        best_effort_deliver: new.best_effort_deliver.or(old.best_effort_deliver),
    }
}

/// Takes a job that another gateway has kept. What it was doing there is over.
pub(super) fn adopt(mut job: CronJob, now_ms: i64, host: &TimeZone) -> Result<CronJob, Error> {
    job.schedule = job.schedule.map(schedule::complete);
    job.state.get_or_insert_default().running_at_ms = None;
    checked(job, now_ms, host)
}

/// Refuses a job that makes no sense, and says when it runs next.
fn checked(mut job: CronJob, now_ms: i64, host: &TimeZone) -> Result<CronJob, Error> {
    let payload = job.payload.as_ref().ok_or(Error::Missing { path: "", member: "payload" })?;
    match (payload.kind.as_str(), &payload.text, &payload.message) {
        ("systemEvent", None, _) => return Err(Error::Missing { path: "/payload", member: "text" }),
        ("agentTurn", _, None) => return Err(Error::Missing { path: "/payload", member: "message" }),
        _ => {}
    }
    match (job.session_target.as_str(), payload.kind.as_str()) {
        ("main", "systemEvent") | ("isolated", "agentTurn") => {}
        ("main", _) => return Err(Error::MainNeedsEvent),
        _ => return Err(Error::IsolatedNeedsTurn),
    }
    let raw = job.schedule.as_ref().ok_or(Error::Missing { path: "", member: "schedule" })?;
    let schedule = Schedule::parse(raw, host)?;
    let next = due(&job, &schedule, now_ms);
    job.state.get_or_insert_default().next_run_at_ms = next;
    Ok(job)
}

/// Returns when a job runs next. One that runs once is due until it has gone well, however late it is.
pub(super) fn due(job: &CronJob, schedule: &Schedule, now_ms: i64) -> Option<i64> {
    let went_well = job.state.as_ref().is_some_and(|state| state.last_status.as_deref() == Some("ok"));
    match schedule {
        _ if !job.enabled => None,
        Schedule::At { at_ms } if went_well => Some(*at_ms).filter(|at_ms| *at_ms > now_ms),
        Schedule::At { at_ms } => Some(*at_ms),
        other => other.next(now_ms),
    }
}

#[cfg(test)]
mod tests {
    use verso_proto::agent::v1::CronSchedule;

    use super::*;

    fn request(target: &str, payload: CronPayload) -> CronAddRequest {
        CronAddRequest {
            name: "job".to_owned(),
            schedule: Some(CronSchedule { kind: "every".to_owned(), every_ms: Some(1_000), ..CronSchedule::default() }),
            session_target: target.to_owned(),
            wake_mode: "now".to_owned(),
            payload: Some(payload),
            ..CronAddRequest::default()
        }
    }

    fn event(text: &str) -> CronPayload {
        CronPayload { kind: "systemEvent".to_owned(), text: Some(text.to_owned()), ..CronPayload::default() }
    }

    fn turn(message: &str) -> CronPayload {
        CronPayload { kind: "agentTurn".to_owned(), message: Some(message.to_owned()), ..CronPayload::default() }
    }

    #[test]
    fn a_target_takes_one_kind_of_payload() {
        let made = |target: &str, payload| make(request(target, payload), 1, &TimeZone::UTC).map_err(|error| error.to_string());
        assert_eq!(made("main", turn("x")).unwrap_err(), r#"Error: main cron jobs require payload.kind="systemEvent""#);
        assert_eq!(made("isolated", event("x")).unwrap_err(), r#"Error: isolated cron jobs require payload.kind="agentTurn""#);
        assert_eq!(made("main", event("x")).unwrap().state.unwrap().next_run_at_ms, Some(1_001));
    }

    #[test]
    fn a_patch_merges_a_payload_of_the_same_kind() {
        let job = make(request("isolated", turn("x")), 1, &TimeZone::UTC).unwrap();
        let payload = CronPayload { kind: "agentTurn".to_owned(), deliver: Some(true), ..CronPayload::default() };
        let patch = CronPatch { payload: Some(payload), enabled: Some(false), ..CronPatch::default() };
        let job = change(job, patch, 2, &TimeZone::UTC).unwrap();
        let payload = job.payload.unwrap();
        assert_eq!((payload.message.as_deref(), payload.deliver), (Some("x"), Some(true)));
        assert_eq!((job.enabled, job.state.unwrap().next_run_at_ms), (false, None));
    }

    #[test]
    fn a_job_that_runs_once_stays_due_until_it_went_well() {
        let mut job = make(request("main", event("x")), 1, &TimeZone::UTC).unwrap();
        let at = Schedule::At { at_ms: 5 };
        assert_eq!(due(&job, &at, 9), Some(5));
        job.state.as_mut().unwrap().last_status = Some("error".to_owned());
        assert_eq!(due(&job, &at, 9), Some(5));
        job.state.as_mut().unwrap().last_status = Some("ok".to_owned());
        assert_eq!(due(&job, &at, 9), None);
    }
}
