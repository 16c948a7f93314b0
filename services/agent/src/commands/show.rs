//! Commands that only look.

use super::Who;
use super::hear::Place;
use crate::error::Error;
use crate::prompt;
use crate::prompt::shelf::Shelf;
use crate::runs::{QueueWishes, Runs};
use crate::store::PageRequest;
use crate::tools::{ExecWishes, Turn};

pub(super) async fn status(runs: &Runs, place: &Place) -> Result<String, Error> {
    let parts = &runs.parts;
    let own = parts.roster.get(&place.agent).model;
    let session = parts.store.session(&place.key).await?;
    let asked = session.as_ref().and_then(crate::store::SessionRecord::model_override);
    let model = parts.catalog.choose(&parts.clients, asked.as_deref(), own.as_deref()).await?;
    let text = parts.status_text(&place.key, &model).await?;
    let level = session.as_ref().and_then(|session| session.thinking_level.clone()).unwrap_or_else(|| parts.thinking_default.clone());
    let wishes = session.as_ref().map(|session| session.queue).unwrap_or_default();
    let channel = session.as_ref().and_then(|session| session.channel.as_deref());
    let queue = parts.queue.resolve(QueueWishes::default(), wishes, channel);
    let compactions = session.map_or(0, |session| session.compactions);
    Ok(format!("{text}\nThinking: {level} · queue: {} · summarised: {compactions} times", queue.mode.as_str()))
}

pub(super) fn whoami(place: &Place, who: &Who) -> String {
    let mut lines = vec![format!("You are talking to agent {} in session {}.", place.agent, place.key)];
    lines.extend(who.channel.as_ref().map(|channel| format!("Channel: {channel}")));
    lines.extend(who.sender.as_ref().map(|sender| format!("Your id there: {sender}")));
    lines.extend(who.name.as_ref().map(|name| format!("Name: {name}")));
    lines.push(format!("Owner: {}", if who.owns { "yes" } else { "no" }));
    lines.join("\n")
}

/// Says what the model is shown besides the conversation, and how much that is.
pub(super) async fn context(runs: &Runs, place: &Place, arguments: &str) -> Result<String, Error> {
    let parts = &runs.parts;
    let profile = parts.roster.get(&place.agent);
    let session = parts.store.session(&place.key).await?;
    let asked = session.as_ref().and_then(crate::store::SessionRecord::model_override);
    let models = parts.catalog.chain(&parts.clients, asked.as_deref(), &profile).await?;
    let Shelf { files, skills } = Shelf::read(parts, &profile, &place.key).await;
    let found = skills?;
    let (exec, account) = (ExecWishes::default(), session.as_ref().and_then(crate::store::SessionRecord::last_account));
    let turn = Turn { runs, key: &place.key, profile: &profile, models: &models, skills: &found, origin: None, account, exec };
    let equipment = parts.toolbox.equip(&turn, &parts.skills).await;
    let files: Vec<(String, usize)> =
        files.iter().filter_map(|file| Some((file.name.to_owned(), file.text.as_ref()?.chars().count()))).collect();
    let tools: Vec<(String, usize)> = equipment
        .specs
        .iter()
        .map(|spec| (spec.name.clone(), spec.description.chars().count() + spec.parameters.to_string().chars().count()))
        .collect();
    let skills: Vec<(String, usize)> = found
        .iter()
        .filter(|skill| skill.offered())
        .map(|skill| (skill.manifest.name.clone(), skill.manifest.description.chars().count()))
        .collect();
    let page = PageRequest { messages_max: 1, bytes_max: usize::MAX, offset: 0 };
    let messages = parts.store.history(&place.key, page).await?.total;
    let tokens = session.as_ref().and_then(|session| session.tokens.total).unwrap_or(0);
    if arguments.eq_ignore_ascii_case("json") {
        let list = |items: &[(String, usize)]| {
            items.iter().map(|(name, chars)| serde_json::json!({"name": name, "chars": chars})).collect::<Vec<_>>()
        };
        let json = serde_json::json!({
            "model": models[0].full_name(), "contextWindow": models[0].context_window, "tokens": tokens, "messages": messages,
            "files": list(&files), "tools": list(&tools), "skills": list(&skills),
        });
        return Ok(json.to_string());
    }
    let detail = arguments.eq_ignore_ascii_case("detail");
    let mut lines = vec![
        format!("Model: {} · window {} tokens · last prompt {tokens} tokens", models[0].full_name(), models[0].context_window),
        format!("Conversation: {messages} messages (at most {} are shown)", prompt::HISTORY_MESSAGES_MAX),
    ];
    for (title, items) in [("Files", files), ("Tools", tools), ("Skills", skills)] {
        let chars: usize = items.iter().map(|(_, chars)| chars).sum();
        lines.push(format!("{title}: {} · {chars} characters", items.len()));
        if detail || title == "Files" {
            lines.extend(items.iter().map(|(name, chars)| format!("  {name}: {chars}")));
        }
    }
    Ok(lines.join("\n"))
}
