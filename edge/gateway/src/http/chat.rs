//! `POST /v1/chat/completions`: one agent turn for software that speaks the OpenAI API.

mod reply;
mod request;
mod stream;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use http::request::Parts;
use serde::Deserialize;
use tracing::warn;
use verso_proto::agent::v1::CompleteRequest;
use verso_proto::agent::v1::complete_response::Item;

use super::Asked;
use super::auth::Api;
use super::body::read_object;
use super::client_tools::Must;
use super::errors::{ErrorBody, Refusal, json};
use super::media::{self, Loaded, Policy, Section};
use super::models::find_agent;
use super::run::Run;
use super::session::Wanted;
use super::turn::{Names, Turn};
use crate::gateway::Gateway;
pub(super) use reply::Completion;
use reply::Head;
pub(super) use request::{ChatBody, given, whole_number};
use request::{ChatRequest, Extras};
use stream::Relay;

/// The largest body unless configured, in bytes.
const BODY_BYTES_MAX: usize = 20 << 20;

/// `gateway.http.endpoints.chatCompletions`, beside whether it is served.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Options {
    /// Whether models that do not name an agent are refused instead of meaning the default agent. Default false.
    strict_model: bool,
    max_body_bytes: Option<usize>,
    max_image_parts: Option<usize>,
    max_total_image_bytes: Option<usize>,
    images: Section,
}

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new().route("/v1/chat/completions", any(complete))
}

/// Answers a conversation with the agent's next message, whole or as server-sent events.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "OpenAI", request_body = ChatBody, security(("token" = [])),
    responses(
        (status = 200, description = "The answer; with `stream`, server-sent events of chunks.", content(
            (Completion = "application/json"), (String = "text/event-stream"))),
        (status = "4XX", description = "The request is refused.", body = ErrorBody),
        (status = "5XX", description = "The answer failed.", body = ErrorBody),
    )
)]
pub(super) async fn complete(
    State(gateway): State<Arc<Gateway>>,
    Extension(asked): Extension<Asked>,
    request: axum::extract::Request,
) -> Response {
    let names = Names { prefix: "chatcmpl", method: "POST /v1/chat/completions" };
    Turn::take(gateway, &asked, request, (Api::Chat, names), answer).await
}

async fn answer(turn: Turn, head: Parts, body: Body) -> Result<Response, Refusal> {
    // What cannot be read counts as the stricter choice.
    let options: Options = turn.gateway.running_config().section("gateway.http.endpoints.chatCompletions").unwrap_or_else(|error| {
        warn!(error = &error as &dyn std::error::Error, "the chat API's options cannot be read; the strictest are used");
        Options { strict_model: true, ..Options::default() }
    });
    let fields = read_object(&head, body, options.max_body_bytes.unwrap_or(BODY_BYTES_MAX)).await?;
    let chat = ChatRequest::parse(&fields)?;
    drop(fields);
    check_model(&chat, options.strict_model)?;
    let wanted = Wanted::read(&head.headers, chat.agent.as_ref())?;
    let agent_id = find_agent(&turn.gateway, wanted.agent.as_deref()).await?;
    let policy = Policy::chat(&options.images, options.max_image_parts, options.max_total_image_bytes);
    let loaded = media::load(&turn.gateway, chat.prompt.media, &policy).await.map_err(|error| {
        warn!(error = &error as &dyn std::error::Error, "an image of a chat request is refused");
        Refusal::invalid("Invalid image_url content in `messages`.")
    })?;
    let request = CompleteRequest {
        session_key: wanted.session_key("openai", &agent_id, chat.user.as_deref()),
        agent_id,
        message: chat.prompt.message,
        extra_system_prompt: Loaded::system(loaded.documents, chat.prompt.system),
        idempotency_key: turn.id.clone(),
        attachments: loaded.pictures,
        model: wanted.model,
        sampling: chat.sampling,
        tool_choice: chat.tools.choice(),
        tools: chat.tools.tools,
        ..CompleteRequest::default()
    };
    let head = Head { created: turn.gateway.context.clock.now_ms() / 1_000, id: turn.id, model: chat.model };
    let run = Run::open(turn.gateway, request, turn.trace).await?;
    let must = chat.tools.must;
    if !chat.stream {
        return whole(head, run, &must).await;
    }
    Ok(Relay::new(head, run, Extras { include_usage: chat.include_usage, must }).into_response())
}

/// Most software cannot be told another model's name, so that a foreign one means the default agent, unless configured otherwise.
fn check_model(chat: &ChatRequest, strict: bool) -> Result<(), Refusal> {
    if chat.agent.is_some() {
        return Ok(());
    }
    if strict {
        return Err(Refusal::invalid("Invalid `model`. Use `openclaw` or `openclaw/<agentId>`."));
    }
    warn!(model = ?chat.model, "the model names no agent; the default agent answers");
    Ok(())
}

/// Waits for the end of the run and answers at once.
async fn whole(head: Head, mut run: Run, must: &Must) -> Result<Response, Refusal> {
    loop {
        if let Item::End(end) = run.next().await? {
            must.check(&end)?;
            return reply::completion(&head, end).map(|completion| json(&completion));
        }
    }
}
