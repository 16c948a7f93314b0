//! The command `/subagents`: what the session has others do.

use verso_proto::agent::v1::ChatMessage;

use super::Who;
use super::hear::Place;
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::messages;
use crate::runs::{Request, Runs, StopReason, Submission};
use crate::store::{Filter, Listed, PageRequest, SessionHints};

/// Subagents that are listed.
const LISTED_MAX: usize = 50;

/// Messages of a subagent that are shown.
const SHOWN: usize = 20;

/// The longest line of them, in characters.
const LINE_CHARS_MAX: usize = 300;

pub(super) async fn subagents(runs: &Runs, place: &Place, who: &Who, arguments: &str) -> Result<String, Error> {
    let mut words = arguments.splitn(3, char::is_whitespace);
    let (does, which, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().trim(), words.next().unwrap_or_default());
    let children = children(runs, &place.key).await?;
    if matches!(does, "" | "list") {
        return Ok(list(runs, &children));
    }
    if does == "stop" && !who.manages {
        return Ok("Only who may change sessions can stop them.".to_owned());
    }
    if does == "stop" && which == "all" {
        return Ok(format!("Stopped: {}", stop_all(runs, &place.key).await?));
    }
    let Some(child) = find(&children, which) else { return Ok(format!("There is no subagent \"{which}\": /subagents list shows them.")) };
    let key = child.session.key.clone();
    Ok(match does {
        "stop" => format!("Stopped: {}", runs.stop_session(&key, StopReason::Stop).len()),
        "info" => info(runs, child),
        "log" => log(runs, &key).await?,
        "send" if rest.trim().is_empty() => "Say what to send: /subagents send <number> <message>.".to_owned(),
        "send" => send(runs, &key, rest.trim()).await?,
        _ => "Options: /subagents list, info, log, send or stop, with a number.".to_owned(),
    })
}

/// Stops everything that a session has others do, and what those have others do. Returns how many runs.
pub(crate) async fn stop_all(runs: &Runs, key: &SessionKey) -> Result<usize, Error> {
    let (mut stopped, mut parents, mut known) = (0, vec![key.clone()], vec![key.clone()]);
    while let Some(parent) = parents.pop() {
        // Whoever does nothing has nothing to stop; most sessions have no children at all.
        if !runs.any_subagent_active() {
            break;
        }
        for child in children(runs, &parent).await? {
            let key = child.session.key;
            if !known.contains(&key) {
                stopped += runs.stop_session(&key, StopReason::Stop).len();
                known.push(key.clone());
                parents.push(key);
            }
        }
    }
    Ok(stopped)
}

async fn children(runs: &Runs, key: &SessionKey) -> Result<Vec<Listed>, Error> {
    let filter = Filter { spawned_by: Some(key.to_string()), titles: true, limit: LISTED_MAX, ..Filter::default() };
    Ok(runs.parts.store.sessions(filter).await?)
}

fn name(child: &Listed) -> &str {
    child.session.label.as_deref().or(child.first_user_text.as_deref()).unwrap_or_else(|| child.session.key.as_str())
}

fn state(runs: &Runs, child: &Listed) -> &'static str {
    if runs.is_busy(&child.session.key) { "running" } else { "ended" }
}

fn list(runs: &Runs, children: &[Listed]) -> String {
    if children.is_empty() {
        return "This session has no subagents.".to_owned();
    }
    let line = |(number, child): (usize, &Listed)| format!("{number}. {} ({})", messages::shorten(name(child), 80), state(runs, child));
    (1..).zip(children).map(line).collect::<Vec<_>>().join("\n")
}

fn find<'a>(children: &'a [Listed], which: &str) -> Option<&'a Listed> {
    let number = which.trim_start_matches('#').parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let by_name = || children.iter().find(|child| child.session.label.as_deref() == Some(which) || child.session.key.as_str() == which);
    number.and_then(|place| children.get(place)).or_else(by_name)
}

fn info(runs: &Runs, child: &Listed) -> String {
    let session = &child.session;
    let error = child.last_run.as_ref().and_then(|run| run.error.as_deref()).map(|error| format!("\nError: {error}")).unwrap_or_default();
    format!(
        "{}\nSession: {}\nState: {}\nTokens: {} in / {} out{error}",
        name(child),
        session.key,
        state(runs, child),
        session.tokens.input.unwrap_or(0),
        session.tokens.output.unwrap_or(0)
    )
}

async fn log(runs: &Runs, key: &SessionKey) -> Result<String, Error> {
    let page = runs.parts.store.history(key, PageRequest { messages_max: SHOWN, bytes_max: 256 << 10, offset: 0 }).await?;
    let line = |message: &ChatMessage| format!("{}: {}", message.role, messages::shorten(&messages::text_of(message), LINE_CHARS_MAX));
    let lines: Vec<String> = page.messages.iter().map(line).collect();
    Ok(if lines.is_empty() { "Nothing was said yet.".to_owned() } else { lines.join("\n") })
}

async fn send(runs: &Runs, key: &SessionKey, text: &str) -> Result<String, Error> {
    let agent: AgentId = runs.parts.roster.naming.agent_of(key.as_str());
    let request = Request { message: text.to_owned(), ..Request::default() };
    let run_id = uuid::Uuid::new_v4().to_string();
    runs.submit(Submission { run_id, key: key.clone(), agent, hints: SessionHints::default(), request }).await?;
    Ok("Sent.".to_owned())
}
