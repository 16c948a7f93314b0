//! The HTTP side of the port: probes, and the APIs that other software speaks.

mod auth;
mod body;
pub(crate) mod canvas;
mod chat;
mod client_tools;
mod control_ui;
mod embeddings;
mod errors;
mod hooks;
mod media;
mod metrics;
mod models;
mod observe;
mod openapi;
mod probes;
mod prompt;
mod relay;
mod responses;
mod run;
mod session;
mod tools;
mod turn;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{from_fn, map_response_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use http::header::{HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::gateway::Gateway;
use crate::request_facts::Facts;
use errors::Refusal;
pub(crate) use hooks::Hooks;
pub(crate) use responses::Remembered;
pub(crate) use run::api_caller;

/// The header by which clients name a request when they report a fault.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What every response tells browsers unless it has words of its own: to guess no types, to name no page, and which devices a page may
/// ask for.
const HARDENING: [(HeaderName, HeaderValue); 3] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("permissions-policy"), HeaderValue::from_static("camera=(), microphone=(self), geolocation=()")),
];

/// What is known of a request besides its head and body; every handler finds it in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) facts: Facts,
}

/// Builds the routes. What is none of them is a webhook's or the browser client's, whose base paths are configured.
pub(crate) fn router(gateway: &Arc<Gateway>) -> Router {
    Router::new()
        .merge(probes::routes())
        .merge(metrics::routes())
        .merge(models::routes())
        .merge(embeddings::routes())
        .merge(tools::routes())
        .merge(responses::routes())
        .merge(chat::routes())
        .merge(canvas::routes())
        .merge(openapi::routes())
        .fallback(elsewhere)
        // Event streams, pictures and what is small are left as they are.
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(broken))
        .layer(map_response_with_state(Arc::clone(gateway), harden))
        .layer(from_fn(observe::observe))
        .with_state(Arc::clone(gateway))
}

async fn elsewhere(State(gateway): State<Arc<Gateway>>, Extension(asked): Extension<Asked>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if let Some(found) = hooks::below(&gateway.running_config(), head.uri.path()) {
        return hooks::take(&gateway, &asked, head, body, &found).await;
    }
    if asked.facts.is_unattributed(&gateway.config()) {
        return Refusal::UnknownProxy.into_response();
    }
    control_ui::serve(&gateway, &asked, &head).await
}

async fn harden(State(gateway): State<Arc<Gateway>>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HARDENING {
        headers.entry(name).or_insert(value);
    }
    let strict = gateway.config().http.security_headers.strict_transport_security.as_ref().and_then(Value::as_str).map(str::to_owned);
    if let Some(value) = strict.filter(|value| !value.trim().is_empty()).and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

/// A fault of ours is one request's end, not its connection's.
#[allow(clippy::needless_pass_by_value, reason = "as the layer calls it")]
fn broken(panic: Box<dyn std::any::Any + Send>) -> Response {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(error = words.unwrap_or("panic"), "a request's handler panicked");
    Refusal::internal().into_response()
}

#[cfg(test)]
mod tests;
