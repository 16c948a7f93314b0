//! One tool, called by somebody who is no model: an HTTP caller.

use serde_json::{Map, Value, json};
use verso_kit::CancellationToken;
use verso_proto::Json;
use verso_proto::agent::v1::{InvokeToolRequest, InvokeToolResponse};
use verso_tools::policy::http_permits;
use verso_tools::tool::{Answer, Block, Progress, Refused, Scene};

use super::Turn;
use crate::error::Error;
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
    let profile = parts.roster.get(&agent);
    let models = parts.catalog.chain(&parts.clients, None, &profile).await?;
    let skills = crate::skills::load(parts, &profile.workspace).await?;
    let turn =
        Turn { runs, key: &key, profile: &profile, models: &models, skills: &skills, origin: None, exec: super::ExecWishes::default() };
    let equipment = parts.toolbox.equip(&turn, &parts.skills).await;
    if !equipment.set.has(&request.tool) {
        return Ok(missing(&request.tool));
    }
    let text = request.arguments.map(|json| json.text).unwrap_or_default();
    let mut arguments: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    if let Some(action) = request.action
        && equipment.set.takes(&request.tool, "action")
    {
        arguments.entry("action").or_insert(Value::String(action));
    }
    let cancelled = CancellationToken::new();
    // A caller who hangs up ends the call.
    let _leash = cancelled.clone().drop_guard();
    let scene = Scene {
        agent: agent.to_string(),
        session: key.to_string(),
        run: request.call_id.clone(),
        call: request.call_id,
        workspace: profile.workspace.clone(),
        variables: equipment.variables.clone(),
        cancelled,
        progress: Progress::silent(),
    };
    let attempted = equipment.set.attempt(&request.tool, &Value::Object(arguments).to_string(), &scene).await;
    Ok(match attempted {
        Ok(answer) => InvokeToolResponse { status: "ok".to_owned(), result: Some(result(&answer)), error: None },
        Err(Refused::Forbidden(reason)) => failed("blocked", reason),
        Err(Refused::Arguments(reason)) => failed("tool_error", reason),
        Err(Refused::Failed(reason)) => failed("failed", reason),
    })
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
