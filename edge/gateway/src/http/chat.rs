//! `POST /v1/chat/completions`: one agent turn for software that speaks the OpenAI API.

mod prompt;
mod reply;
mod request;
mod run;
mod session;
mod stream;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Router};
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method};
use serde::Deserialize;
use tracing::{Instrument as _, debug_span, warn};
use verso_kit::trace::{self, TraceContext};
use verso_proto::agent::v1::CompleteRequest;
use verso_proto::agent::v1::complete_response::Item;

use super::Asked;
use super::auth::admit;
use super::body::read_object;
use super::errors::{Refusal, json};
use super::models::find_agent;
use crate::gateway::Gateway;
use reply::Head;
use request::ChatRequest;
use run::Run;
use session::Wanted;
use stream::Relay;

/// The largest body, in bytes.
const BODY_BYTES_MAX: usize = 20 << 20;

/// The header by which clients name a request when they report a fault.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `gateway.http.endpoints.chatCompletions`, beside whether it is served.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Options {
    /// Whether models that do not name an agent are refused instead of meaning the default agent. Default false.
    strict_model: bool,
}

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new().route("/v1/chat/completions", any(complete))
}

async fn complete(State(gateway): State<Arc<Gateway>>, Extension(asked): Extension<Asked>, request: axum::extract::Request) -> Response {
    let (head, body) = request.into_parts();
    if let Err(refusal) = admit(&gateway, &asked, &head, &Method::POST).await {
        return refusal.into_response();
    }
    let id = format!("chatcmpl_{}", uuid::Uuid::new_v4());
    let span = debug_span!("request", method = "POST /v1/chat/completions", conn = id);
    let trace = incoming_trace(&head.headers).enter(&span);
    let turn = Turn { gateway, id: id.clone(), trace };
    let answered = trace::scope(trace, turn.answer(head, body)).instrument(span).await;
    let mut response = answered.unwrap_or_else(Refusal::into_response);
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Returns the trace that the caller works in, or a new one.
fn incoming_trace(headers: &HeaderMap) -> TraceContext {
    let sent = headers.get(trace::HEADER).and_then(|value| value.to_str().ok());
    sent.and_then(TraceContext::parse).unwrap_or_else(TraceContext::generate)
}

/// One request that has been let in.
struct Turn {
    gateway: Arc<Gateway>,
    /// Names the response, the run, and the request in logs.
    id: String,
    trace: TraceContext,
}

impl Turn {
    async fn answer(self, head: Parts, body: axum::body::Body) -> Result<Response, Refusal> {
        let fields = read_object(&head, body, BODY_BYTES_MAX).await?;
        let chat = ChatRequest::parse(&fields)?;
        drop(fields);
        self.check_model(&chat)?;
        let wanted = Wanted::read(&head.headers, chat.agent.as_ref())?;
        let agent_id = find_agent(&self.gateway, wanted.agent.as_deref()).await?;
        let request = CompleteRequest {
            session_key: wanted.session_key(&agent_id, chat.user.as_deref()),
            agent_id,
            message: chat.prompt.message,
            extra_system_prompt: chat.prompt.system,
            idempotency_key: self.id.clone(),
            sampling: chat.sampling,
            ..CompleteRequest::default()
        };
        let head = Head { created: self.gateway.context.clock.now_ms() / 1_000, id: self.id, model: chat.model };
        let run = Run::open(self.gateway, request, self.trace).await?;
        if chat.stream { Ok(Relay::new(head, run, chat.include_usage).into_response()) } else { whole(head, run).await }
    }

    /// Most software cannot be told another model's name, so that a foreign one means the default agent, unless configured otherwise.
    fn check_model(&self, chat: &ChatRequest) -> Result<(), Refusal> {
        if chat.agent.is_some() {
            return Ok(());
        }
        // What cannot be read counts as the stricter choice.
        let options = self.gateway.running_config().section("gateway.http.endpoints.chatCompletions");
        if options.unwrap_or(Options { strict_model: true }).strict_model {
            return Err(Refusal::invalid("Invalid `model`. Use `openclaw` or `openclaw/<agentId>`."));
        }
        warn!(model = ?chat.model, "the model names no agent; the default agent answers");
        Ok(())
    }
}

/// Waits for the end of the run and answers at once.
async fn whole(head: Head, mut run: Run) -> Result<Response, Refusal> {
    loop {
        if let Item::End(end) = run.next().await? {
            return reply::completion(&head, end).map(|completion| json(&completion));
        }
    }
}
