//! The HTTP side of the port: probes, and the APIs that other software speaks.

mod auth;
mod body;
pub(crate) mod canvas;
mod chat;
mod errors;
mod metrics;
mod models;
mod probes;

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use http::header::{HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};

use crate::gateway::Gateway;
use crate::request_facts::Facts;

/// What every response tells browsers: to guess no types, to name no page, and which devices a page may ask for.
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

/// Builds the routes.
pub(crate) fn router(gateway: &Arc<Gateway>) -> Router {
    Router::new()
        .merge(probes::routes())
        .merge(metrics::routes())
        .merge(models::routes())
        .merge(chat::routes())
        .merge(canvas::routes())
        .fallback(async || errors::Refusal::NotFound)
        .layer(map_response(harden))
        .with_state(Arc::clone(gateway))
}

async fn harden(mut response: Response) -> Response {
    response.headers_mut().extend(HARDENING);
    response
}

#[cfg(test)]
mod tests;
