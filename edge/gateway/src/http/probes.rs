//! Liveness, readiness and start-up probes. They need no secret and tell strangers nothing but their status.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Asked;
use super::auth::knows_secret;
use super::errors::{JSON, Refusal};
use crate::gateway::Gateway;

/// Services without which no work should be sent here. The others only narrow what works.
const ESSENTIAL: [&str; 1] = ["agent"];

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/healthz", any(live))
        .route("/health", any(live))
        .route("/readyz", any(ready))
        .route("/ready", any(ready))
        .route("/startupz", any(started))
        .route("/startup", any(started))
}

/// Whether the process lives, and how it started.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ProbeStatus)]
#[serde(rename_all = "camelCase")]
struct Status {
    ok: bool,
    #[expect(clippy::struct_field_names, reason = "the wire's name")]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_ms: Option<i64>,
}

/// Whether work may be sent here.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Readiness {
    ready: bool,
    /// What keeps it from being ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing: Option<Vec<String>>,
    /// What is away without keeping it from being ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressed: Option<Vec<String>>,
    /// Services that are near or above what they may use, and what it is; they work nevertheless.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pressure: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_ms: Option<i64>,
}

/// Says that the process lives.
#[utoipa::path(get, path = "/healthz", tag = "Probes", responses((status = 200, description = "It lives.", body = Status)))]
pub(super) async fn live(method: Method) -> Response {
    answer(&method, StatusCode::OK, &Status { ok: true, status: "live", ..Status::default() })
}

/// Says whether work may be sent here.
#[utoipa::path(
    get, path = "/readyz", tag = "Probes",
    responses((status = 200, description = "It may.", body = Readiness), (status = 503, description = "Not now.", body = Readiness))
)]
pub(super) async fn ready(
    State(gateway): State<Arc<Gateway>>,
    Extension(asked): Extension<Asked>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let health = gateway.health.latest();
    let (mut failing, suppressed): (Vec<String>, Vec<String>) =
        health.response.unavailable.iter().cloned().partition(|service| ESSENTIAL.contains(&service.as_str()));
    if health.json.is_empty() {
        failing.extend(ESSENTIAL.map(str::to_owned));
    }
    if gateway.is_draining() {
        failing.push("gateway-draining".to_owned());
    }
    let ready = failing.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !may_know_more(&gateway, &asked, &headers) {
        return answer(&method, status, &Readiness { ready, ..Readiness::default() });
    }
    let suppressed = Some(suppressed).filter(|suppressed| !suppressed.is_empty());
    let (pressure, uptime_ms) = (health.response.pressure.clone(), Some(gateway.uptime_ms()));
    answer(&method, status, &Readiness { ready, failing: Some(failing), suppressed, pressure, uptime_ms })
}

/// Says whether the gateway has started.
#[utoipa::path(
    get, path = "/startupz", tag = "Probes",
    responses((status = 200, description = "It has.", body = Status), (status = 503, description = "Not yet, or not for long.", body = Status))
)]
pub(super) async fn started(
    State(gateway): State<Arc<Gateway>>,
    Extension(asked): Extension<Asked>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if gateway.is_draining() {
        return answer(&method, StatusCode::SERVICE_UNAVAILABLE, &Status { ok: false, status: "draining", ..Status::default() });
    }
    let more = may_know_more(&gateway, &asked, &headers);
    let (version, uptime_ms) = (more.then_some(crate::VERSION), more.then(|| gateway.uptime_ms()));
    answer(&method, StatusCode::OK, &Status { ok: true, status: "started", version, uptime_ms })
}

/// Details are for callers on this machine, and for those who know the secret. A wrong one is no failure here: probes are asked often.
fn may_know_more(gateway: &Gateway, asked: &Asked, headers: &HeaderMap) -> bool {
    asked.facts.local || knows_secret(gateway, asked, headers)
}

fn answer(method: &Method, status: StatusCode, body: &impl Serialize) -> Response {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Refusal::WrongMethod("GET, HEAD").into_response();
    }
    let body = serde_json::to_string(body).expect("texts and numbers can be written as JSON");
    (status, [(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-store")], body).into_response()
}
