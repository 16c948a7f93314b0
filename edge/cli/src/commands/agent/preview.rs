//! `verso agent --dry-run`: what would be sent to the model.

use std::time::Duration;

use serde_json::{Value, json};
use verso_proto::agent::v1::{AgentPreviewResponse, PreviewSizes};

use super::super::Session;
use crate::args::Agent;
use crate::client::{Connection, Mode, print_transport_error};
use crate::output;

/// How long the gateway may take to put it together.
const PATIENCE: Duration = Duration::from_secs(40);

pub(super) async fn run(session: &Session, arguments: &Agent) -> anyhow::Result<()> {
    let asked = ask(session, arguments).await.inspect_err(|error| drop(print_transport_error(error, arguments.json)));
    let payload = asked?;
    if arguments.json {
        return Ok(output::document(&payload)?);
    }
    Ok(output::line(shown(&serde_json::from_value(payload)?))?)
}

async fn ask(session: &Session, arguments: &Agent) -> anyhow::Result<Value> {
    let mut params = json!({"message": arguments.message});
    let optional = [("agentId", &arguments.agent), ("sessionKey", &arguments.session_key), ("thinking", &arguments.thinking)];
    for (name, value) in optional {
        if let Some(value) = value {
            params[name] = json!(value);
        }
    }
    let mut connection = Connection::open(session, &arguments.target, PATIENCE, Mode::Cli).await?;
    connection.call("agent.preview", params, PATIENCE).await
}

fn shown(preview: &AgentPreviewResponse) -> String {
    let sizes = preview.sizes.clone().unwrap_or_default();
    let mut parts = vec![facts(preview, &sizes)];
    parts.push(format!("--- system prompt\n{}", preview.system_prompt.trim_end()));
    let tools: Vec<String> =
        preview.tools.iter().map(|tool| format!("{:<28} {:>6} bytes  {}", tool.name, tool.bytes, tool.description)).collect();
    parts.push(format!("--- tools ({})\n{}", preview.tools.len(), tools.join("\n")));
    let said: Vec<String> = preview
        .messages
        .iter()
        .map(|message| {
            let words: Vec<&str> = message.content.iter().filter_map(|block| block.text.as_deref()).collect();
            format!("[{}] {}", message.role, words.join("\n"))
        })
        .collect();
    parts.push(format!("--- messages ({})\n{}", preview.messages.len(), said.join("\n")));
    parts.join("\n\n")
}

fn facts(preview: &AgentPreviewResponse, sizes: &PreviewSizes) -> String {
    let used = sizes.system_prompt_tokens + sizes.tools_tokens + sizes.messages_tokens;
    let files: Vec<String> = sizes
        .files
        .iter()
        .map(|file| if file.present { format!("{} {}", file.name, file.chars) } else { format!("{} missing", file.name) })
        .collect();
    let mut lines = vec![
        "Nothing was sent.".to_owned(),
        format!("Agent:    {} in {}", preview.agent_id, preview.session_key),
        format!("Model:    {}/{} ({}), thinking {}", preview.provider, preview.model, preview.api, preview.thinking),
    ];
    if !preview.fallbacks.is_empty() {
        lines.push(format!("Else:     {}", preview.fallbacks.join(", ")));
    }
    if let Some(request) = &preview.request {
        lines.push(format!(
            "Request:  {} {}, {} bytes; headers {}",
            request.method,
            request.url,
            sizes.body_bytes,
            request.headers.join(", ")
        ));
    }
    lines.push(format!(
        "Tokens:   about {used} of {} (system prompt {}, tools {}, messages {})",
        sizes.context_window, sizes.system_prompt_tokens, sizes.tools_tokens, sizes.messages_tokens
    ));
    if !files.is_empty() {
        lines.push(format!("Files:    {}", files.join(", ")));
    }
    if let Some(problem) = &preview.problem {
        lines.push(format!("Problem:  {problem}"));
    }
    lines.join("\n")
}
