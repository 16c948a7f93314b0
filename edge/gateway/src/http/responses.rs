//! `POST /v1/responses`: one agent turn for software that speaks the newer of the two OpenAI APIs.

mod items;
mod remembered;
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
use tracing::{info, warn};
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
use remembered::Place;
pub(crate) use remembered::Remembered;
use reply::{Head, Resource};
pub(super) use request::ResponsesBody;
use request::ResponsesRequest;
use stream::Relay;

/// The largest body unless configured, in bytes.
const BODY_BYTES_MAX: usize = 20 << 20;

/// `gateway.http.endpoints.responses`, beside whether it is served.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Options {
    /// Whether members that nobody here knows are refused.
    strict: bool,
    max_body_bytes: Option<usize>,
    max_url_parts: Option<usize>,
    images: Section,
    files: Section,
}

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new().route("/v1/responses", any(respond))
}

/// Answers with the agent's next response, whole or as server-sent events.
#[utoipa::path(
    post, path = "/v1/responses", tag = "OpenAI", request_body = ResponsesBody, security(("token" = [])),
    responses(
        (status = 200, description = "The response; with `stream`, server-sent events.", content(
            (Resource = "application/json"), (String = "text/event-stream"))),
        (status = "4XX", description = "The request is refused.", body = ErrorBody),
        (status = "5XX", description = "The response failed.", body = ErrorBody),
    )
)]
pub(super) async fn respond(
    State(gateway): State<Arc<Gateway>>,
    Extension(asked): Extension<Asked>,
    request: axum::extract::Request,
) -> Response {
    let names = Names { prefix: "resp", method: "POST /v1/responses" };
    Turn::take(gateway, &asked, request, (Api::Responses, names), answer).await
}

async fn answer(turn: Turn, head: Parts, body: Body) -> Result<Response, Refusal> {
    // What cannot be read counts as the stricter choice.
    let options: Options = turn.gateway.running_config().section("gateway.http.endpoints.responses").unwrap_or_else(|error| {
        warn!(error = &error as &dyn std::error::Error, "the responses API's options cannot be read; the strictest are used");
        Options { strict: true, ..Options::default() }
    });
    let policy = Policy::responses(&options.images, &options.files, options.max_url_parts);
    let bytes_max = options.max_body_bytes.unwrap_or_else(|| BODY_BYTES_MAX.max(policy.part_bytes_max().saturating_mul(2)));
    let fields = read_object(&head, body, bytes_max).await?;
    let asked = ResponsesRequest::parse(&fields, options.strict)?;
    let wanted = Wanted::read(&head.headers, asked.agent.as_ref())?;
    let agent_id = find_agent(&turn.gateway, wanted.agent.as_deref()).await?;
    let loaded = media::load(&turn.gateway, asked.prompt.media, &policy).await.map_err(|error| {
        info!(error = &error as &dyn std::error::Error, "a part of a request is refused");
        Refusal::invalid(error.to_string())
    })?;
    let session_key = session_key(&turn.gateway, &wanted, &agent_id, asked.user.as_deref(), asked.previous.as_deref());
    let place = Place { session_key: session_key.clone(), agent_id: agent_id.clone(), named_key: wanted.key.clone() };
    let request = CompleteRequest {
        session_key,
        agent_id,
        message: asked.prompt.message,
        extra_system_prompt: Loaded::system(loaded.documents, asked.prompt.system),
        idempotency_key: turn.id.clone(),
        attachments: loaded.pictures,
        model: wanted.model,
        sampling: asked.sampling,
        tool_choice: asked.tools.choice(),
        tools: asked.tools.tools,
        ..CompleteRequest::default()
    };
    let created_at = turn.gateway.context.clock.now_ms() / 1_000;
    let head = Head { created_at, id: turn.id, model: asked.model, previous: asked.previous };
    let gateway = Arc::clone(&turn.gateway);
    let run = Run::open(turn.gateway, request, turn.trace).await?;
    let ending = Ending { gateway, place, must: asked.tools.must };
    if !asked.stream {
        return whole(head, run, &ending).await;
    }
    Ok(Relay::new(head, run, ending).into_response())
}

/// A response that goes on from an earlier one is in the same session, if everything else is the same.
fn session_key(gateway: &Gateway, wanted: &Wanted, agent_id: &str, user: Option<&str>, previous: Option<&str>) -> String {
    let known = previous.and_then(|id| gateway.remembered.get(id));
    if let Some(place) = known.filter(|place| place.agent_id == agent_id && place.named_key == wanted.key) {
        return place.session_key;
    }
    if let Some(previous) = previous {
        info!(response = previous, "the previous response is not known, or was another agent's; the request stands alone");
    }
    wanted.session_key("openresponses", agent_id, user)
}

/// What is checked and kept when a run ends.
struct Ending {
    gateway: Arc<Gateway>,
    place: Place,
    must: Must,
}

impl Ending {
    /// Keeps where a response stands, so that another can go on from it.
    fn remember(&self, id: &str) {
        self.gateway.remembered.insert(id, self.place.clone());
    }
}

/// Waits for the end of the run and answers at once. A failure has its own status, and the whole resource.
async fn whole(head: Head, mut run: Run, ending: &Ending) -> Result<Response, Refusal> {
    loop {
        let Item::End(end) = run.next().await? else { continue };
        let read = ending.must.check(&end).and_then(|()| Resource::ended(&head, end));
        return Ok(match read {
            Ok(resource) => {
                ending.remember(&head.id);
                json(&resource)
            }
            Err(refusal) => {
                let mut response = json(&Resource::failed(&head, &refusal));
                *response.status_mut() = refusal.status();
                response
            }
        });
    }
}
