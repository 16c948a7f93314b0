//! `/v1/models`: agents, under the names that a request's `model` may have. Models of providers are not listed.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Router};
use http::Method;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;
use verso_proto::agent::v1::{AgentsListRequest, AgentsListResponse};

use super::Asked;
use super::auth::{Api, admit};
use super::errors::{ErrorBody, Refusal, json};
use crate::gateway::Gateway;

/// The families of names, in the order in which they are listed. Clients know the first.
const FAMILIES: [&str; 2] = ["openclaw", "verso"];

/// What follows a family's name for the default agent.
const DEFAULT: &str = "default";

/// The longest agent id, in characters.
const AGENT_ID_CHARS_MAX: usize = 64;

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new().route("/v1/models", any(list)).route("/v1/models/", any(unnamed)).route("/v1/models/{*id}", any(retrieve))
}

/// Lists agents, under the names that a request's `model` may have.
#[utoipa::path(
    get, path = "/v1/models", tag = "OpenAI", security(("token" = [])),
    responses(
        (status = 200, description = "The agents.", body = List),
        (status = "4XX", description = "The request is refused.", body = ErrorBody),
        (status = "5XX", description = "The agents are not known at the moment.", body = ErrorBody),
    )
)]
pub(super) async fn list(State(gateway): State<Arc<Gateway>>, Extension(asked): Extension<Asked>, request: Request) -> Response {
    match listed(&gateway, &asked, &request.into_parts().0).await {
        Ok(agents) => json(&List { object: "list", data: names(&agents).map(Model::new).collect() }),
        Err(refusal) => refusal.into_response(),
    }
}

async fn unnamed(State(gateway): State<Arc<Gateway>>, Extension(asked): Extension<Asked>, request: Request) -> Response {
    let admitted = admit(&gateway, &asked, &request.into_parts().0, &Method::GET, Api::Either).await;
    admitted.err().unwrap_or(Refusal::invalid("Missing model id.")).into_response()
}

/// Describes one agent.
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "OpenAI", security(("token" = [])), params(("id" = String, Path, description = "The name.")),
    responses(
        (status = 200, description = "The agent.", body = Model),
        (status = "4XX", description = "There is none of that name.", body = ErrorBody),
        (status = "5XX", description = "The agents are not known at the moment.", body = ErrorBody),
    )
)]
pub(super) async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    Extension(asked): Extension<Asked>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let agents = match listed(&gateway, &asked, &request.into_parts().0).await {
        Ok(agents) => agents,
        Err(refusal) => return refusal.into_response(),
    };
    let Some((Path(id), wanted)) = id.ok().and_then(|id| ModelName::parse(&id).map(|wanted| (id, wanted))) else {
        return Refusal::invalid("Invalid model id.").into_response();
    };
    let exists = match &wanted {
        ModelName::Default => true,
        ModelName::Agent(agent) => agents.agents.iter().any(|info| info.id == *agent),
    };
    if exists { json(&Model::new(id)) } else { Refusal::Missing(format!("Model '{id}' not found.")).into_response() }
}

async fn listed(gateway: &Gateway, asked: &Asked, head: &Parts) -> Result<AgentsListResponse, Refusal> {
    admit(gateway, asked, head, &Method::GET, Api::Either).await?;
    gateway.services.call(AgentsListRequest {}).await.map_err(|status| Refusal::from_status(&status))
}

/// Returns the name of every agent, and of the default one, in every family.
fn names(agents: &AgentsListResponse) -> impl Iterator<Item = String> {
    FAMILIES.iter().flat_map(|family| {
        let named = std::iter::once(DEFAULT).chain(agents.agents.iter().map(|info| info.id.as_str()));
        std::iter::once((*family).to_owned()).chain(named.map(move |name| format!("{family}/{name}")))
    })
}

/// Returns the agent that is wanted, or the default one.
pub(super) async fn find_agent(gateway: &Gateway, wanted: Option<&str>) -> Result<String, Refusal> {
    let known = gateway.health.latest();
    let known = &known.response;
    if let Some(id) = pick(&known.default_agent_id, known.agents.iter().map(|agent| agent.agent_id.as_str()), wanted) {
        return Ok(id);
    }
    // The summary may be older than the agent.
    let listed = gateway.services.call(AgentsListRequest {}).await.map_err(|status| Refusal::from_status(&status))?;
    let found = pick(&listed.default_id, listed.agents.iter().map(|agent| agent.id.as_str()), wanted);
    found.ok_or_else(|| Refusal::invalid(format!("Unknown agent '{}'.", wanted.unwrap_or(DEFAULT))))
}

fn pick<'a>(default: &str, mut ids: impl Iterator<Item = &'a str>, wanted: Option<&str>) -> Option<String> {
    match wanted {
        Some(wanted) => ids.any(|id| id == wanted).then(|| wanted.to_owned()),
        None => (!default.is_empty()).then(|| default.to_owned()),
    }
}

/// Whom a `model` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModelName {
    /// The default agent.
    Default,
    /// One agent, in lower case.
    Agent(String),
}

impl ModelName {
    /// Reads `openclaw`, `openclaw/<agent>`, `openclaw:<agent>` or `agent:<agent>`, in any case; `verso` stands for `openclaw`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if FAMILIES.contains(&text.as_str()) {
            return Some(Self::Default);
        }
        let (family, agent) = text.split_once(['/', ':'])?;
        let ours = FAMILIES.contains(&family);
        if ours && agent == DEFAULT {
            return Some(Self::Default);
        }
        let known = ours || (family == "agent" && text.as_bytes().get(family.len()) == Some(&b':'));
        (known && is_agent_id(agent)).then(|| Self::Agent(agent.to_owned()))
    }
}

pub(super) fn is_agent_id(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    text.len() <= AGENT_ID_CHARS_MAX && text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(inner)
}

/// Brings an agent id as a header spells it into the form that agents are configured by; none if nothing usable is left.
pub(super) fn normalize_agent_id(raw: &str) -> Option<String> {
    let lower = raw.trim().to_lowercase();
    if is_agent_id(&lower) {
        return Some(lower);
    }
    let mut id = String::new();
    for letter in lower.chars() {
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_' || letter == '-' {
            id.push(letter);
        } else if !id.ends_with('-') {
            id.push('-');
        }
    }
    let id: String = id.trim_matches('-').chars().take(AGENT_ID_CHARS_MAX).collect();
    (!id.is_empty()).then_some(id)
}

#[derive(Serialize, ToSchema)]
#[schema(as = ModelList)]
struct List {
    object: &'static str,
    data: Vec<Model>,
}

#[derive(Serialize, ToSchema)]
struct Model {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    #[schema(value_type = Vec<Object>)]
    permission: [(); 0],
}

impl Model {
    fn new(id: String) -> Self {
        Self { id, object: "model", created: 0, owned_by: "openclaw", permission: [] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_names_of_agents() {
        let agent = |id: &str| Some(ModelName::Agent(id.to_owned()));
        for (text, expected) in [
            ("openclaw", Some(ModelName::Default)),
            ("Verso", Some(ModelName::Default)),
            ("openclaw/default", Some(ModelName::Default)),
            ("verso:default", Some(ModelName::Default)),
            ("openclaw:Beta", agent("beta")),
            ("verso/beta_2-x", agent("beta_2-x")),
            ("agent:main", agent("main")),
            ("agent:default", agent("default")),
            ("agent/main", None),
            ("openclaw/", None),
            ("openclaw/-x", None),
            ("openclaw/a b", None),
            ("openclaw/a/b", None),
            ("gpt-4o", None),
            ("openai/gpt-4o", None),
            ("", None),
        ] {
            assert_eq!(ModelName::parse(text), expected, "{text}");
        }
        assert_eq!(ModelName::parse(&format!("verso/{}", "a".repeat(64))), agent(&"a".repeat(64)));
        assert_eq!(ModelName::parse(&format!("verso/{}", "a".repeat(65))), None);
    }

    #[test]
    fn brings_agent_ids_into_their_one_form() {
        let long = "a".repeat(70);
        for (raw, expected) in [
            (" Main ", Some("main")),
            ("my agent!", Some("my-agent")),
            ("a__b", Some("a__b")),
            ("../x", Some("x")),
            ("é", None),
            ("--", None),
            (long.as_str(), Some(&long[..64])),
        ] {
            assert_eq!(normalize_agent_id(raw).as_deref(), expected, "{raw}");
        }
    }
}
