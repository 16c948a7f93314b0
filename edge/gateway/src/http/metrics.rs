//! `/metrics`: what the edge counts, for whoever knows the gateway's secret.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, Method};

use super::Asked;
use super::auth::authorize;
use super::errors::Refusal;
use crate::gateway::Gateway;
use crate::metrics::{MEDIA_TYPE, render};

pub(super) fn routes() -> Router<Arc<Gateway>> {
    // The second is where the reference has them.
    Router::new().route("/metrics", any(metrics)).route("/api/diagnostics/prometheus", any(metrics))
}

async fn metrics(
    State(gateway): State<Arc<Gateway>>,
    Extension(asked): Extension<Asked>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if !matches!(method, Method::GET | Method::HEAD) {
        return Err(Refusal::WrongMethod("GET, HEAD"));
    }
    authorize(&gateway, &asked, &headers).await?;
    let text = render(&gateway).map_err(|_| Refusal::internal())?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE), (CACHE_CONTROL, "no-store")], text).into_response())
}
