//! What callers of webhooks read.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, COOKIE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use verso_proto::agent::v1::HookCompletion;

use super::action::{Action, Origin};
use crate::gateway::Gateway;
use crate::http::errors::{JSON, Refusal};

/// How long all runs of one call may take to be accepted.
const FAN_OUT: Duration = Duration::from_secs(8);

/// An answer.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = HookOutcome)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Outcome {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dispatched: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[expect(clippy::struct_field_names, reason = "the wire's name")]
    #[serde(skip_serializing_if = "Option::is_none")]
    event_outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion: Option<Completion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How a turn has ended that its caller waited for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HookCompletion)]
#[serde(rename_all = "camelCase")]
struct Completion {
    status: String,
    reply_disposition: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_attempted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_error: Option<String>,
}

impl Outcome {
    pub(super) fn error(words: impl Into<String>) -> Self {
        Self { error: Some(words.into()), ..Self::default() }
    }

    pub(super) fn woken(mode: &'static str, event_outcome: &'static str) -> Self {
        Self { ok: true, mode: Some(mode), event_outcome: Some(event_outcome), ..Self::default() }
    }

    pub(super) fn accepted(run_id: String) -> Self {
        Self { ok: true, run_id: Some(run_id), ..Self::default() }
    }

    pub(super) fn completed(run_id: String, completion: HookCompletion) -> Self {
        let completion = Completion {
            status: completion.status,
            reply_disposition: completion.reply_disposition,
            error: completion.error,
            delivered: completion.delivered,
            delivery_attempted: completion.delivery_attempted,
            delivery_error: completion.delivery_error,
        };
        Self { completion: Some(completion), ..Self::accepted(run_id) }
    }
}

/// Returns an answer as JSON.
pub(super) fn say(status: StatusCode, outcome: &Outcome) -> Response {
    let body = serde_json::to_string(outcome).expect("strings and numbers can be written as JSON");
    (status, [(CONTENT_TYPE, JSON)], body).into_response()
}

/// The sender must change the call.
pub(super) fn invalid(words: &str) -> Response {
    say(StatusCode::BAD_REQUEST, &Outcome::error(words))
}

/// A body that was not taken.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let words = match refusal {
        Refusal::TooLarge => "payload too large".to_owned(),
        Refusal::BodyTimeout => "request body timeout".to_owned(),
        other => other.message(),
    };
    let mut response = say(refusal.status(), &Outcome::error(words));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What the agent service, or the way to it, answered instead.
pub(super) fn from_status(status: &tonic::Status) -> Response {
    let refusal = Refusal::from_status(status);
    let mut response = say(refusal.status(), &Outcome::error(refusal.message()));
    if refusal.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Begins several turns, and says how many were begun.
pub(super) async fn fan_out(gateway: &Arc<Gateway>, origin: &Origin<'_>, actions: &[Action]) -> Response {
    let begun = actions.iter().map(|action| {
        timeout(FAN_OUT, async move {
            match action {
                Action::Agent(action) => action.run(gateway, origin).await.map(|answered| Some(answered.run_id)).ok(),
                Action::Wake { .. } => action.carry_out(gateway, origin).await.status().is_success().then_some(None),
            }
        })
    });
    let begun = join_all(begun).await;
    let (pending, failed) = (begun.iter().filter(|one| one.is_err()).count(), begun.iter().filter(|one| matches!(one, Ok(None))).count());
    let run_ids: Vec<String> = begun.into_iter().filter_map(|one| one.ok().flatten().flatten()).collect();
    let dispatched = actions.len() - pending - failed;
    if dispatched == actions.len() {
        let run_id = run_ids.first().cloned();
        return say(
            StatusCode::OK,
            &Outcome { ok: true, run_id, run_ids: Some(run_ids), dispatched: Some(dispatched), ..Outcome::default() },
        );
    }
    let words = format!("hook fan-out incomplete: {dispatched}/{} dispatched, {failed} failed, {pending} pending", actions.len());
    say(StatusCode::SERVICE_UNAVAILABLE, &Outcome { run_ids: Some(run_ids), ..Outcome::error(words) })
}

/// Whether a header holds a secret that nobody else is to see.
pub(super) fn is_secret(name: &HeaderName) -> bool {
    *name == AUTHORIZATION || *name == COOKIE || name.as_str() == "x-openclaw-token" || name.as_str() == "x-verso-token"
}

/// Writes a time as `2026-01-02T03:04:05.006Z`.
pub(super) fn timestamp(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn writes_times_as_programs_read_them() {
        assert_eq!(timestamp(1_767_323_045_006), "2026-01-02T03:04:05.006Z");
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
    }
}
