//! The frame of every request that an agent answers: let in, named, in its caller's trace, and its name in the answer.

use std::future::Future;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::HeaderValue;
use http::request::Parts;
use http::{HeaderMap, Method};
use tracing::field::Empty;
use tracing::{Instrument as _, debug_span};
use verso_kit::trace::{self, TraceContext};

use super::auth::{Api, admit};
use super::errors::Refusal;
use super::{Asked, REQUEST_ID};
use crate::gateway::Gateway;

/// One request that has been let in.
pub(super) struct Turn {
    pub(super) gateway: Arc<Gateway>,
    /// Names the response, the run, and the request in logs.
    pub(super) id: String,
    pub(super) trace: TraceContext,
}

/// How an API calls its responses, and its requests in logs.
pub(super) struct Names {
    pub(super) prefix: &'static str,
    pub(super) method: &'static str,
}

impl Turn {
    /// Lets a request of an API in and has `answer` answer it.
    pub(super) async fn take<F, A>(
        gateway: Arc<Gateway>,
        asked: &Asked,
        request: axum::extract::Request,
        (api, names): (Api, Names),
        answer: F,
    ) -> Response
    where
        F: FnOnce(Self, Parts, Body) -> A,
        A: Future<Output = Result<Response, Refusal>>,
    {
        let (head, body) = request.into_parts();
        if let Err(refusal) = admit(&gateway, asked, &head, &Method::POST, api).await {
            return refusal.into_response();
        }
        let id = format!("{}_{}", names.prefix, uuid::Uuid::new_v4());
        let span = debug_span!(
            "request",
            otel.name = format!("{} {}", head.method, head.uri.path()),
            otel.kind = "server",
            http.request.method = head.method.as_str(),
            http.route = head.uri.path(),
            verso.api = names.method,
            http.response.status_code = Empty
        );
        let trace = incoming_trace(&head.headers).enter(&span);
        let turn = Self { gateway, id: id.clone(), trace };
        let answered = trace::scope(trace, answer(turn, head, body)).instrument(span.clone()).await;
        let mut response = answered.unwrap_or_else(Refusal::into_response);
        span.record("http.response.status_code", response.status().as_u16());
        if let Ok(id) = HeaderValue::try_from(id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }
}

/// Returns the trace that the caller works in, or a new one.
fn incoming_trace(headers: &HeaderMap) -> TraceContext {
    let sent = headers.get(trace::HEADER).and_then(|value| value.to_str().ok());
    sent.and_then(TraceContext::parse).unwrap_or_else(TraceContext::generate)
}
