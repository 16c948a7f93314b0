//! Liveness, readiness and start-up probes. They need no secret and tell strangers nothing but their status.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::StatusCode;
use serde_json::{Value, json};

use super::Asked;
use crate::gateway::Gateway;

/// Services without which no work should be sent here. The others only narrow what works.
const ESSENTIAL: [&str; 1] = ["agent"];

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/healthz", get(live))
        .route("/health", get(live))
        .route("/readyz", get(ready))
        .route("/ready", get(ready))
        .route("/startupz", get(started))
        .route("/startup", get(started))
}

async fn live() -> Response {
    answer(StatusCode::OK, &json!({"ok": true, "status": "live"}))
}

async fn ready(State(gateway): State<Arc<Gateway>>, Extension(asked): Extension<Asked>) -> Response {
    let health = gateway.health.latest();
    let mut failing = health.response.unavailable.clone();
    if health.json.is_empty() {
        failing.extend(ESSENTIAL.map(str::to_owned));
    }
    let ready = !gateway.is_draining() && !failing.iter().any(|service| ESSENTIAL.contains(&service.as_str()));
    let mut body = json!({"ready": ready});
    if asked.facts.local {
        body["failing"] = json!(failing);
        body["uptimeMs"] = json!(gateway.uptime_ms());
    }
    answer(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

async fn started(State(gateway): State<Arc<Gateway>>, Extension(asked): Extension<Asked>) -> Response {
    if gateway.is_draining() {
        return answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"ok": false, "status": "draining"}));
    }
    let mut body = json!({"ok": true, "status": "started"});
    if asked.facts.local {
        body["version"] = json!(crate::VERSION);
        body["uptimeMs"] = json!(gateway.uptime_ms());
    }
    answer(StatusCode::OK, &body)
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(http::header::CONTENT_TYPE, "application/json"), (http::header::CACHE_CONTROL, "no-store")], body.to_string())
        .into_response()
}
