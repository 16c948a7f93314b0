//! One tool, called by somebody who is no model: an HTTP caller, or the owner by a command.

use serde_json::{Map, Value, json};
use verso_kit::CancellationToken;
use verso_proto::Json;
use verso_proto::agent::v1::{InvokeToolRequest, InvokeToolResponse};
use verso_tools::policy::http_permits;
use verso_tools::tool::{Answer, Block, Progress, Refused, Scene};

use super::{ExecWishes, Turn};
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::runs::Runs;

/// Calls a tool in a session, within its policy. What is filtered out and what never was look the same.
pub(crate) async fn invoke(runs: &Runs, request: InvokeToolRequest) -> Result<InvokeToolResponse, Error> {
    const METHOD: &str = "tools.invoke";
    let parts = &runs.parts;
    let named = parts.roster.named(METHOD, request.agent_id.as_deref())?;
    let asked = Some(request.session_key.as_str()).filter(|key| !key.trim().is_empty());
    let (agent, key) = parts.roster.session(METHOD, named.as_ref(), asked)?;
    if !http_permits(&request.tool, request.compat, &request.denied, &request.allowed) {
        return Ok(missing(&request.tool));
    }
    let text = request.arguments.map(|json| json.text).unwrap_or_default();
    let asked = Single {
        tool: request.tool.clone(),
        arguments: serde_json::from_str(&text).unwrap_or_default(),
        action: request.action,
        call_id: request.call_id,
        exec: ExecWishes::default(),
    };
    Ok(match single(runs, (&agent, &key), asked).await? {
        None => missing(&request.tool),
        Some(Ok(answer)) => InvokeToolResponse { status: "ok".to_owned(), result: Some(result(&answer)), error: None },
        Some(Err(Refused::Forbidden(reason))) => failed("blocked", reason),
        Some(Err(Refused::Arguments(reason))) => failed("tool_error", reason),
        Some(Err(Refused::Failed(reason))) => failed("failed", reason),
    })
}

/// One call that no model makes.
#[derive(Debug)]
pub(crate) struct Single {
    pub(crate) tool: String,
    pub(crate) arguments: Map<String, Value>,
    /// For tools that take one.
    pub(crate) action: Option<String>,
    pub(crate) call_id: String,
    pub(crate) exec: ExecWishes,
}

/// Calls a tool as a turn of the session would; none if such a turn has no tool of that name.
pub(crate) async fn single(
    runs: &Runs,
    (agent, key): (&AgentId, &SessionKey),
    asked: Single,
) -> Result<Option<Result<Answer, Refused>>, Error> {
    let parts = &runs.parts;
    let profile = parts.roster.get(agent);
    let models = parts.catalog.chain(&parts.clients, None, &profile).await?;
    let skills = crate::skills::of_agent(parts, &profile).await?;
    let session = parts.store.session(key).await?;
    let account = session.as_ref().and_then(crate::store::SessionRecord::last_account);
    let turn = Turn { runs, key, profile: &profile, models: &models, skills: &skills, origin: None, account, exec: asked.exec };
    let equipment = parts.toolbox.equip(&turn, &parts.skills).await;
    if !equipment.set.has(&asked.tool) {
        return Ok(None);
    }
    let mut arguments = asked.arguments;
    if let Some(action) = asked.action
        && equipment.set.takes(&asked.tool, "action")
    {
        arguments.entry("action").or_insert(Value::String(action));
    }
    let cancelled = CancellationToken::new();
    // A caller who hangs up ends the call.
    let _leash = cancelled.clone().drop_guard();
    let scene = Scene {
        agent: agent.to_string(),
        session: key.to_string(),
        run: asked.call_id.clone(),
        call: asked.call_id,
        workspace: profile.workspace.clone(),
        variables: equipment.variables.clone(),
        cancelled,
        progress: Progress::silent(),
    };
    Ok(Some(equipment.set.attempt(&asked.tool, &Value::Object(arguments).to_string(), &scene).await))
}

fn missing(tool: &str) -> InvokeToolResponse {
    failed("not_found", format!("Tool not available: {tool}"))
}

fn failed(status: &str, error: String) -> InvokeToolResponse {
    InvokeToolResponse { status: status.to_owned(), result: None, error: Some(error) }
}

fn result(answer: &Answer) -> Json {
    let block = |block: &Block| match block {
        Block::Text(text) => json!({"type": "text", "text": text}),
        Block::Image { data, mime_type } => json!({"type": "image", "data": data, "mimeType": mime_type}),
    };
    let mut result = json!({"content": answer.blocks.iter().map(block).collect::<Vec<_>>(), "details": answer.details});
    if answer.is_error {
        result["isError"] = json!(true);
    }
    Json { text: result.to_string() }
}
