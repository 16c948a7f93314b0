//! `/metrics`: what all processes count, for whoever knows the gateway's secret.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Router};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, Method};
use serde::Deserialize;
use verso_kit::metrics::Exposition;

use super::Asked;
use super::auth::authorize;
use super::errors::{ErrorBody, Refusal};
use crate::gateway::Gateway;
use crate::metrics;

pub(super) fn routes() -> Router<Arc<Gateway>> {
    // The second is where the reference has them.
    Router::new().route("/metrics", any(prometheus)).route("/api/diagnostics/prometheus", any(prometheus))
}

/// `diagnostics.prometheus`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Section {
    /// Whether the metrics are served. Default true.
    enabled: Option<bool>,
}

/// A section that cannot be read serves nothing.
fn is_served(gateway: &Gateway) -> bool {
    let section = gateway.running_config().section::<Section>("diagnostics.prometheus");
    section.is_ok_and(|section| section.enabled.unwrap_or(true))
}

/// Everything that is counted, as Prometheus reads it.
#[utoipa::path(
    get, path = "/metrics", tag = "Verso", security(("token" = [])),
    responses(
        (status = 200, description = "The metrics.", body = String, content_type = "text/plain"),
        (status = "4XX", description = "The request is refused.", body = ErrorBody),
    )
)]
pub(super) async fn prometheus(
    State(gateway): State<Arc<Gateway>>,
    Extension(asked): Extension<Asked>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if !is_served(&gateway) {
        return Refusal::NotFound.into_response();
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return Refusal::WrongMethod("GET, HEAD").into_response();
    }
    if let Err(refusal) = authorize(&gateway, &asked, &headers).await {
        return refusal.into_response();
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let exposition = if accept.contains("application/openmetrics-text") { Exposition::OpenMetrics } else { Exposition::Text };
    let text = metrics::exposition(&gateway, exposition).await;
    ([(CONTENT_TYPE, exposition.media_type()), (CACHE_CONTROL, "no-store")], text).into_response()
}
