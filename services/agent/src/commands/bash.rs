//! The command `/bash`: one program, within the rules of the tool `exec` and the approvals that it asks for, and what became of it.

use serde_json::{Map, Value, json};
use verso_tools::tool::{Block, Refused};

use super::Who;
use super::hear::Place;
use super::set::may_elevate;
use crate::error::Error;
use crate::runs::Runs;
use crate::tools::{ExecWishes, Single, single};

/// How long a program is waited for, in milliseconds, unless configured.
const FOREGROUND_MS: u64 = 2_000;

/// The longest that it is waited for.
const FOREGROUND_MS_MAX: u64 = 30_000;

/// Characters of output that are shown of a program in the background: the newest.
const SHOWN_CHARS: usize = 2_000;

/// What there is to say.
const OPTIONS: &str = "Options: /bash <command>, poll [id] or stop [id]; also as ! <command>, !poll and !stop.";

/// Words that are no program.
pub(super) const WORDS: [&str; 2] = ["poll", "stop"];

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish<'a> {
    Options,
    Run(&'a str),
    Poll(Option<&'a str>),
    Stop(Option<&'a str>),
}

fn read(arguments: &str) -> Wish<'_> {
    let mut words = arguments.split_whitespace();
    let (word, id, more) = (words.next(), words.next(), words.next());
    match word.map(str::to_lowercase).as_deref() {
        None => Wish::Options,
        Some("help") if id.is_none() => Wish::Options,
        // With more words it is a program that happens to be called so.
        Some("poll") if more.is_none() => Wish::Poll(id),
        Some("stop") if more.is_none() => Wish::Stop(id),
        Some(_) => Wish::Run(arguments),
    }
}

/// Runs a program for the owner, shows what one in the background has printed, or ends it.
pub(super) async fn bash(runs: &Runs, place: &Place, who: &Who, arguments: &str) -> Result<String, Error> {
    let known = |id: Option<&str>| id.map(str::to_owned).or_else(|| runs.parts.kept.newest_running(&place.key));
    match read(arguments) {
        Wish::Options => Ok(OPTIONS.to_owned()),
        _ if !may_elevate(runs, place, who) => {
            Ok("Programs may not be run for you here: see tools.elevated in the configuration.".to_owned())
        }
        Wish::Run(command) => run(runs, place, command).await,
        Wish::Poll(id) => match known(id) {
            Some(id) => Ok(tail(runs, place, &id).await?.text),
            None => Ok(NOTHING.to_owned()),
        },
        Wish::Stop(id) => match known(id) {
            Some(id) => stop(runs, place, &id).await,
            None => Ok(NOTHING.to_owned()),
        },
    }
}

/// What is said where nothing was left running.
const NOTHING: &str = "No program of this conversation was left in the background. With its id, another one is found.";

async fn run(runs: &Runs, place: &Place, command: &str) -> Result<String, Error> {
    // No turn may have made it yet.
    if let Err(error) = tokio::fs::create_dir_all(&runs.parts.roster.get(&place.agent).workspace).await {
        return Ok(format!("⚠️ The agent's folder cannot be made: {error}"));
    }
    let wait_ms = runs.parts.commands.section().bash_foreground_ms.unwrap_or(FOREGROUND_MS).min(FOREGROUND_MS_MAX);
    let told = call(runs, place, ("exec", json!({"command": command, "yieldMs": wait_ms}))).await?;
    Ok(match told.details["sessionId"].as_str().filter(|_| told.goes_on()) {
        Some(id) => {
            runs.parts.kept.left_running(&place.key, id);
            format!("{}\n{id} goes on in the background: !poll shows what it prints, !stop ends it.", told.text)
        }
        None => told.text,
    })
}

/// Returns the newest output of a program, and whether it goes on.
async fn tail(runs: &Runs, place: &Place, id: &str) -> Result<Told, Error> {
    call(runs, place, ("process", json!({"action": "log", "sessionId": id, "limit": SHOWN_CHARS}))).await
}

async fn stop(runs: &Runs, place: &Place, id: &str) -> Result<String, Error> {
    let told = tail(runs, place, id).await?;
    if !told.goes_on() {
        return Ok(told.text);
    }
    Ok(call(runs, place, ("process", json!({"action": "kill", "sessionId": id}))).await?.text)
}

/// What a tool has told.
struct Told {
    text: String,
    details: Value,
}

impl Told {
    fn goes_on(&self) -> bool {
        self.details["status"] == "running"
    }
}

async fn call(runs: &Runs, place: &Place, (tool, arguments): (&str, Value)) -> Result<Told, Error> {
    let asked = Single {
        tool: tool.to_owned(),
        arguments: if let Value::Object(arguments) = arguments { arguments } else { Map::new() },
        action: None,
        call_id: format!("bash-{}", uuid::Uuid::new_v4()),
        exec: ExecWishes { host: Some("gateway".to_owned()), by_owner: true, ..ExecWishes::default() },
    };
    let said = |text: String| Told { text, details: Value::Null };
    Ok(match single(runs, (&place.agent, &place.key), asked).await? {
        Some(Ok(answer)) => {
            let text = |block: &Block| if let Block::Text(text) = block { Some(text.clone()) } else { None };
            let text = format!("```\n{}\n```", answer.blocks.iter().filter_map(text).collect::<Vec<_>>().join("\n"));
            Told { text, details: answer.details }
        }
        Some(Err(Refused::Forbidden(reason) | Refused::Arguments(reason) | Refused::Failed(reason))) => said(format!("⚠️ {reason}")),
        None => said(format!("⚠️ The tool {tool} is taken away from this session.")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_asked_for() {
        for (arguments, expected) in [
            ("", Wish::Options),
            ("help", Wish::Options),
            ("ls -l", Wish::Run("ls -l")),
            ("poll", Wish::Poll(None)),
            ("Poll 1f", Wish::Poll(Some("1f"))),
            ("stop", Wish::Stop(None)),
            ("STOP 1f", Wish::Stop(Some("1f"))),
            ("stop the world", Wish::Run("stop the world")),
            ("pollute", Wish::Run("pollute")),
            ("help me", Wish::Run("help me")),
        ] {
            assert_eq!(read(arguments), expected, "{arguments:?}");
        }
    }
}
