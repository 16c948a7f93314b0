//! The command `/bash`: one program, within the rules of the tool `exec` and the approvals that it asks for.

use serde_json::{Map, json};
use verso_tools::tool::{Block, Refused};

use super::Who;
use super::hear::Place;
use super::set::may_elevate;
use crate::error::Error;
use crate::runs::Runs;
use crate::tools::{ExecWishes, Single, single};

/// How long a program is waited for, in milliseconds, unless configured.
const FOREGROUND_MS: u64 = 2_000;

/// Runs a program for the owner.
pub(super) async fn bash(runs: &Runs, place: &Place, who: &Who, command: &str) -> Result<String, Error> {
    if command.is_empty() {
        return Ok("Options: /bash <command>.".to_owned());
    }
    if !may_elevate(runs, who) {
        return Ok("Programs may not be run for you here: see tools.elevated in the configuration.".to_owned());
    }
    // No turn may have made it yet.
    if let Err(error) = tokio::fs::create_dir_all(&runs.parts.roster.get(&place.agent).workspace).await {
        return Ok(format!("⚠️ The agent's folder cannot be made: {error}"));
    }
    let wait_ms = runs.parts.commands.section().bash_foreground_ms.unwrap_or(FOREGROUND_MS);
    let asked = Single {
        tool: "exec".to_owned(),
        arguments: Map::from_iter([("command".to_owned(), json!(command)), ("yieldMs".to_owned(), json!(wait_ms))]),
        action: None,
        call_id: format!("bash-{}", uuid::Uuid::new_v4()),
        exec: ExecWishes { host: Some("gateway".to_owned()), by_owner: true, ..ExecWishes::default() },
    };
    Ok(match single(runs, (&place.agent, &place.key), asked).await? {
        Some(Ok(answer)) => {
            let text = |block: &Block| if let Block::Text(text) = block { Some(text.clone()) } else { None };
            format!("```\n{}\n```", answer.blocks.iter().filter_map(text).collect::<Vec<_>>().join("\n"))
        }
        Some(Err(Refused::Forbidden(reason) | Refused::Arguments(reason) | Refused::Failed(reason))) => format!("⚠️ {reason}"),
        None => "⚠️ The tool exec is taken away from this session.".to_owned(),
    })
}
