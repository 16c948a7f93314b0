//! `POST /tools/invoke`: one tool of an agent, called directly.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Router};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use verso_proto::Json;
use verso_proto::agent::v1::{InvokeToolRequest, InvokeToolResponse};

use super::Asked;
use super::auth::{Api, admit};
use super::body::read_object;
use super::errors::{JSON, Refusal};
use super::session::{first, is_reserved};
use crate::gateway::Gateway;

/// The largest body, in bytes.
const BODY_BYTES_MAX: usize = 2 << 20;

/// The session that stands for the agent's main one.
const MAIN: &str = "main";

/// The longest key of a caller that becomes a part of a call's name, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// Headers that a caller may name an agent's session by.
const SESSION_KEY: [&str; 2] = ["x-verso-session-key", "x-openclaw-session-key"];

/// The section `gateway.tools`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    /// Tools that are allowed although they are not by default.
    allow: Vec<String>,
    /// Tools that are not.
    deny: Vec<String>,
    /// `hardened`, or `compat` for the older, wider set. Default: `hardened`.
    http: Option<String>,
}

/// The members of a request, for those who write one.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "described, not read: a wrong member has words of its own")]
pub(super) struct InvokeBody {
    /// The tool's name.
    tool: String,
    /// Becomes `args.action` for tools that take one.
    action: Option<String>,
    #[schema(value_type = Option<Object>)]
    args: Option<Value>,
    session_key: Option<String>,
    agent_id: Option<String>,
    idempotency_key: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Outcome {
    ok: bool,
    /// What the tool has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolProblem)]
#[serde(rename_all = "camelCase")]
struct Problem {
    r#type: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    requires_approval: Option<bool>,
}

pub(super) fn routes() -> Router<Arc<Gateway>> {
    Router::new().route("/tools/invoke", any(invoke))
}

/// Calls one tool. What policy keeps from the caller is as if it were not there.
#[utoipa::path(
    post, path = "/tools/invoke", tag = "Verso", request_body = InvokeBody, security(("token" = [])),
    responses(
        (status = 200, description = "What the tool has answered.", body = Outcome),
        (status = "4XX", description = "The call is refused.", body = Object),
        (status = "5XX", description = "The tool failed.", body = Object),
    )
)]
pub(super) async fn invoke(State(gateway): State<Arc<Gateway>>, Extension(asked): Extension<Asked>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if let Err(refusal) = admit(&gateway, &asked, &head, &Method::POST, Api::Always).await {
        return refusal.into_response();
    }
    let fields = match read_object(&head, body, BODY_BYTES_MAX).await {
        Ok(fields) => fields,
        Err(refusal) => return refusal.into_response(),
    };
    let wish = match wish(&gateway, &head, &fields) {
        Ok(wish) => wish,
        Err(message) => return failed(StatusCode::BAD_REQUEST, "invalid_request", message),
    };
    match gateway.services.call(wish).await {
        Ok(answered) => answer(answered),
        Err(status) => match Refusal::from_status(&status) {
            Refusal::Invalid(message) => failed(StatusCode::BAD_REQUEST, "invalid_request", message.into_owned()),
            refusal => refusal.into_response(),
        },
    }
}

fn wish(gateway: &Gateway, head: &Parts, fields: &Map<String, Value>) -> Result<InvokeToolRequest, String> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    // Newer clients say `name`, and mean it.
    let tool = text("name").or_else(|| text("tool")).ok_or("tools.invoke requires name")?;
    let key = text("sessionKey").or_else(|| first(&head.headers, SESSION_KEY)).filter(|key| *key != MAIN).unwrap_or_default();
    if is_reserved(key) {
        return Err("sessionKey cannot use reserved internal session namespaces.".to_owned());
    }
    let options: Options = gateway.running_config().section("gateway.tools").unwrap_or_default();
    let arguments = fields.get("args").filter(|args| args.is_object()).cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let call = match text("idempotencyKey") {
        Some(own) if own.len() > KEY_BYTES_MAX => return Err(format!("idempotencyKey is longer than {KEY_BYTES_MAX} bytes")),
        Some(own) => own.to_owned(),
        None => uuid::Uuid::new_v4().to_string(),
    };
    Ok(InvokeToolRequest {
        tool: tool.to_owned(),
        action: text("action").map(str::to_owned),
        arguments: Some(Json { text: arguments.to_string() }),
        session_key: key.to_owned(),
        agent_id: text("agentId").map(str::to_owned),
        call_id: format!("http-{call}"),
        compat: options.http.as_deref() == Some("compat"),
        denied: options.deny,
        allowed: options.allow,
    })
}

fn answer(answered: InvokeToolResponse) -> Response {
    let message = answered.error.unwrap_or_default();
    match answered.status.as_str() {
        "ok" => {
            let result = answered.result.and_then(|json| serde_json::from_str(&json.text).ok());
            respond(StatusCode::OK, &Outcome { ok: true, result, error: None })
        }
        "not_found" => failed(StatusCode::NOT_FOUND, "not_found", message),
        "tool_error" => failed(StatusCode::BAD_REQUEST, "tool_error", message),
        "blocked" => {
            let error = Problem { r#type: "tool_call_blocked", message, requires_approval: Some(false) };
            respond(StatusCode::FORBIDDEN, &Outcome { ok: false, result: None, error: Some(error) })
        }
        _ => {
            tracing::warn!(error = message, "a tool that was called over HTTP failed");
            failed(StatusCode::INTERNAL_SERVER_ERROR, "tool_error", "tool execution failed".to_owned())
        }
    }
}

fn failed(status: StatusCode, r#type: &'static str, message: String) -> Response {
    respond(status, &Outcome { ok: false, result: None, error: Some(Problem { r#type, message, requires_approval: None }) })
}

fn respond(status: StatusCode, outcome: &Outcome) -> Response {
    let body = serde_json::to_string(outcome).expect("strings and JSON can be written as JSON");
    (status, [(CONTENT_TYPE, JSON)], body).into_response()
}
