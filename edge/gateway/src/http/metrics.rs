//! `/metrics`: what the edge counts, for whoever knows the gateway's secret.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Router};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, Method};
use tokio::time::timeout;
use verso_proto::supervisor::v1::ServicesListRequest;

use super::Asked;
use super::auth::authorize;
use super::errors::{ErrorBody, Refusal};
use crate::gateway::Gateway;
use crate::metrics::{Exposition, render};

/// How long the supervisor may take to say how its processes fare.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) fn routes() -> Router<Arc<Gateway>> {
    // The second is where the reference has them.
    Router::new().route("/metrics", any(prometheus)).route("/api/diagnostics/prometheus", any(prometheus))
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
    if !matches!(method, Method::GET | Method::HEAD) {
        return Refusal::WrongMethod("GET, HEAD").into_response();
    }
    if let Err(refusal) = authorize(&gateway, &asked, &headers).await {
        return refusal.into_response();
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let exposition = if accept.contains("application/openmetrics-text") { Exposition::OpenMetrics } else { Exposition::Text };
    let asking = gateway.services.call(ServicesListRequest {});
    let services = timeout(PATIENCE, asking).await.ok().and_then(Result::ok).map(|list| list.services).unwrap_or_default();
    match render(&gateway, exposition, &services) {
        Ok(text) => ([(CONTENT_TYPE, exposition.media_type()), (CACHE_CONTROL, "no-store")], text).into_response(),
        Err(_) => Refusal::internal().into_response(),
    }
}
