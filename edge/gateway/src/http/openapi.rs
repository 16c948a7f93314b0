//! `/openapi.json`: the description of the HTTP APIs, made from the handlers and the types that they write.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::errors::{JSON, Refusal};
use super::{chat, embeddings, metrics, models, probes, responses, tools};
use crate::gateway::Gateway;

/// The description.
#[derive(OpenApi)]
#[openapi(
    info(title = "Verso", description = "The HTTP APIs of the gateway."),
    paths(
        probes::live, probes::ready, probes::started, models::list, models::retrieve, chat::complete, responses::respond,
        embeddings::embeddings, tools::invoke, metrics::prometheus,
    ),
    modifiers(&Secret),
)]
struct Description;

/// How callers prove themselves.
struct Secret;

impl Modify for Secret {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        description.components.get_or_insert_default().add_security_scheme("token", bearer);
    }
}

static TEXT: LazyLock<String> = LazyLock::new(|| Description::openapi().to_json().unwrap_or_default());

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new().route("/openapi.json", any(describe))
}

/// Says nothing that the source does not say, and therefore asks for no secret.
async fn describe(method: Method) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return Refusal::WrongMethod("GET, HEAD").into_response();
    }
    ([(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-cache")], TEXT.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_api_is_described_with_its_schema() {
        let description: Value = serde_json::from_str(&TEXT).unwrap();
        for (path, method) in [
            ("/v1/chat/completions", "post"),
            ("/v1/responses", "post"),
            ("/v1/embeddings", "post"),
            ("/v1/models", "get"),
            ("/v1/models/{id}", "get"),
            ("/tools/invoke", "post"),
            ("/healthz", "get"),
            ("/metrics", "get"),
        ] {
            let operation = &description["paths"][path][method];
            assert!(operation["responses"]["200"].is_object(), "{method} {path}: {operation}");
        }
        assert_eq!(description["components"]["securitySchemes"]["token"]["scheme"], "bearer");
        assert!(description["components"]["schemas"]["ErrorBody"].is_object());
    }
}
