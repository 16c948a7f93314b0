//! One heartbeat: whether anything is in the way, the turn, and what becomes of the answer.

use verso_proto::agent::v1::{HeartbeatEvent, Payload};

use super::{Cause, Heartbeats, Plan, nothing_to_look_after};
use crate::delivery::{self, Delivery, Wanted};
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::messages;
use crate::reply::{self, Beat};
use crate::runs::{HeartbeatTurn, Request, Route, Submission, Submitted};
use crate::store::{RunState, SessionHints};

/// The same words are not sent again for so long, in milliseconds.
const REPEAT_MS: i64 = 24 * 60 * 60 * 1_000;

/// How much of the answer the event shows, in characters.
const PREVIEW_CHARS_MAX: usize = 200;

/// What became of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Beaten {
    Ran,
    /// Runs are under way.
    Busy,
    Skipped(&'static str),
    Failed(String),
}

/// Wakes `agent`, and tells everybody how it went.
pub(super) async fn beat(heartbeats: &Heartbeats, agent: &AgentId, cause: Cause) -> Beaten {
    let parts = &heartbeats.runs.parts;
    let Some(plan) = parts.heartbeats.iter().find(|plan| plan.agent == *agent) else { return Beaten::Skipped("disabled") };
    let begun_ms = parts.clock.now_ms();
    match attempt(heartbeats, plan, cause).await {
        Ok(beaten) => beaten,
        Err(error) => {
            let reason = error.to_string();
            let event = HeartbeatEvent { indicator_type: Some("error".to_owned()), ..event(heartbeats, "failed", begun_ms) };
            parts.hub.emit(HeartbeatEvent { reason: Some(reason.clone()), ..event });
            Beaten::Failed(reason)
        }
    }
}

async fn attempt(heartbeats: &Heartbeats, plan: &Plan, cause: Cause) -> Result<Beaten, Error> {
    let parts = &heartbeats.runs.parts;
    if !heartbeats.enabled() || (plan.every.is_none() && cause == Cause::Interval) {
        return Ok(Beaten::Skipped("disabled"));
    }
    let begun_ms = parts.clock.now_ms();
    if !plan.active(begun_ms, &parts.zone) {
        return Ok(Beaten::Skipped("quiet-hours"));
    }
    if parts.lanes.load().0 > 0 {
        return Ok(Beaten::Busy);
    }
    let (_, key) = parts.roster.session("wake", Some(&plan.agent), plan.session.as_deref())?;
    let profile = parts.roster.get(&plan.agent);
    if nothing_to_look_after(&profile.workspace).await && parts.store.queued_events(&key).await?.is_empty() {
        return Ok(skip(heartbeats, "empty-heartbeat-file", begun_ms));
    }
    let own = plan.model.as_deref().or(profile.model.as_deref());
    if parts.catalog.choose(&parts.clients, None, own).await?.offline() {
        return Ok(skip(heartbeats, "no-model", begun_ms));
    }
    let run_id = format!("heartbeat-{}", uuid::Uuid::new_v4());
    let payloads = turn(heartbeats, plan, key.clone(), run_id.clone()).await?;
    parts.store.keep_beat(plan.agent.as_str(), begun_ms, None).await?;
    settle(heartbeats, plan, (&key, &run_id), payloads, begun_ms).await
}

/// Runs the turn, and returns what it says.
async fn turn(heartbeats: &Heartbeats, plan: &Plan, key: SessionKey, run_id: String) -> Result<Vec<Payload>, Error> {
    let parts = &heartbeats.runs.parts;
    let updated_at_ms = parts.store.session(&key).await?.map(|session| session.updated_at_ms);
    let request = Request {
        message: plan.prompt.clone(),
        model: plan.model.clone(),
        heartbeat: Some(HeartbeatTurn { ack_chars_max: plan.ack_chars_max, updated_at_ms }),
        ..Request::default()
    };
    let submission = Submission { run_id, key, agent: plan.agent.clone(), hints: SessionHints::default(), request };
    let ended = match heartbeats.runs.submit(submission).await? {
        Submitted::New(run) | Submitted::InFlight(run) => run.ended().await?,
        Submitted::Ended(ended) => ended,
    };
    if ended.state == RunState::Error {
        return Err(Error::TurnFailed(ended.error().unwrap_or_default().to_owned()));
    }
    Ok(ended.response.result.clone().unwrap_or_default().payloads)
}

/// Decides what becomes of the answer.
async fn settle(
    heartbeats: &Heartbeats,
    plan: &Plan,
    (key, run_id): (&SessionKey, &str),
    payloads: Vec<Payload>,
    begun_ms: i64,
) -> Result<Beaten, Error> {
    let parts = &heartbeats.runs.parts;
    let quiet =
        |status: &str| HeartbeatEvent { silent: Some(true), indicator_type: Some("ok".to_owned()), ..event(heartbeats, status, begun_ms) };
    let Some(payload) = payloads.into_iter().rev().find(|payload| !payload.text.is_empty() || payload.media_url.is_some()) else {
        parts.hub.emit(quiet("ok-token"));
        return Ok(Beaten::Ran);
    };
    let has_media = payload.media_url.is_some();
    let text = match reply::strip(&payload.text, plan.ack_chars_max) {
        Beat::Acknowledged if !has_media => {
            parts.hub.emit(quiet(if payload.text.trim().is_empty() { "ok-empty" } else { "ok-token" }));
            return Ok(Beaten::Ran);
        }
        Beat::Acknowledged => String::new(),
        Beat::Says(text) => text,
    };
    let alert = HeartbeatEvent {
        preview: Some(messages::shorten(&text, PREVIEW_CHARS_MAX)),
        has_media: Some(has_media),
        indicator_type: Some("alert".to_owned()),
        ..event(heartbeats, "skipped", begun_ms)
    };
    let last = parts.store.last_beat(plan.agent.as_str()).await?.unwrap_or_default();
    let repeated = last.text.as_deref() == Some(text.as_str()) && last.sent_at_ms.is_some_and(|sent_ms| begun_ms - sent_ms < REPEAT_MS);
    if repeated {
        parts.hub.emit(HeartbeatEvent { reason: Some("duplicate".to_owned()), ..alert });
        return Ok(Beaten::Ran);
    }
    let told = tell(heartbeats, plan, (key, run_id), Payload { text: text.clone(), ..payload }, begun_ms).await;
    parts.store.keep_beat(plan.agent.as_str(), begun_ms, Some(text)).await?;
    parts.hub.emit(match told {
        Told::Sent(route) => HeartbeatEvent { status: "sent".to_owned(), channel: Some(route.channel), to: Some(route.to), ..alert },
        // The words stand in the session all the same.
        Told::Nobody => HeartbeatEvent { reason: Some("no-target".to_owned()), to: plan.to.clone(), ..alert },
        Told::Failed(reason) => HeartbeatEvent { status: "failed".to_owned(), reason: Some(reason), to: plan.to.clone(), ..alert },
    });
    Ok(Beaten::Ran)
}

/// Whether somebody on a chat network was told.
enum Told {
    Sent(Route),
    Nobody,
    Failed(String),
}

/// Tells whom the configuration names, or who wrote last.
async fn tell(heartbeats: &Heartbeats, plan: &Plan, (key, run_id): (&SessionKey, &str), payload: Payload, at_ms: i64) -> Told {
    let target = plan.target.as_str();
    if target == "none" {
        return Told::Nobody;
    }
    let wanted = Wanted { channel: Some(target.to_owned()), to: plan.to.clone(), ..Wanted::default() };
    let runs = &heartbeats.runs;
    let Ok(route) = delivery::route(runs, &plan.agent, key, wanted).await else { return Told::Nobody };
    let Some(delivery) = Delivery::new(run_id, (&plan.agent, key), route.clone(), vec![payload], at_ms) else { return Told::Nobody };
    match delivery::send(&runs.parts, &delivery).await {
        Ok(()) => Told::Sent(route),
        Err(reason) => Told::Failed(reason),
    }
}

fn skip(heartbeats: &Heartbeats, reason: &'static str, begun_ms: i64) -> Beaten {
    let parts = &heartbeats.runs.parts;
    parts.hub.emit(HeartbeatEvent { reason: Some(reason.to_owned()), ..event(heartbeats, "skipped", begun_ms) });
    Beaten::Skipped(reason)
}

fn event(heartbeats: &Heartbeats, status: &str, begun_ms: i64) -> HeartbeatEvent {
    let now_ms = heartbeats.runs.parts.clock.now_ms();
    HeartbeatEvent { ts_ms: now_ms, status: status.to_owned(), duration_ms: Some(now_ms - begun_ms), ..HeartbeatEvent::default() }
}
