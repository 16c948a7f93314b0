//! Directives without other words: what they set on the session, and what is answered.

use verso_proto::agent::v1::SessionsPatchRequest;
use verso_proto::wire::v1::NullableString;

use super::Who;
use super::directives::{Asked, Directives, ExecAsked, QueueAsked};
use super::hear::Place;
use crate::error::Error;
use crate::models::Model;
use crate::runs::Runs;
use crate::sessions::{self, events, levels};
use crate::store::{SessionRecord, Setting};

/// Whether nothing is to be changed.
pub(super) fn only_asks(found: &Directives) -> bool {
    let asks = |asked: &Option<Asked>| asked.as_ref().is_none_or(|asked| asked.raw.is_none());
    let model = found.model.as_ref().is_none_or(|asked| asked.raw.as_deref().is_none_or(|raw| matches!(raw, "list" | "status")));
    let queue = found.queue.as_ref().is_none_or(|asked| *asked == QueueAsked::default());
    let exec = found.exec.as_ref().is_none_or(|asked| *asked == ExecAsked::default());
    asks(&found.think) && asks(&found.verbose) && asks(&found.reasoning) && asks(&found.elevated) && model && queue && exec
}

/// Sets what is asked for, all of it or nothing, and says how things are now.
pub(super) async fn keep(runs: &Runs, place: &Place, who: &Who, found: Directives) -> Result<String, Error> {
    let mut patch = SessionsPatchRequest { key: place.key.to_string(), ..SessionsPatchRequest::default() };
    let to = |value: Option<String>| value.map(|value| NullableString { value: Some(value) });
    let raw = |asked: &Option<Asked>| asked.as_ref().and_then(|asked| asked.raw.clone());
    patch.thinking_level = to(raw(&found.think));
    patch.verbose_level = to(raw(&found.verbose));
    patch.reasoning_level = to(raw(&found.reasoning));
    patch.elevated_level = to(raw(&found.elevated));
    if patch.elevated_level.is_some() && !may_elevate(runs, place, who) {
        return Ok("Programs may not leave the sandbox for you here: see tools.elevated in the configuration.".to_owned());
    }
    if let Some(exec) = &found.exec {
        patch.exec_host = to(exec.host.clone());
        patch.exec_security = to(exec.security.clone());
        patch.exec_ask = to(exec.ask.clone());
        patch.exec_node = to(exec.node.clone());
    }
    let mut list = None;
    match raw(&found.model).as_deref() {
        Some("list") => list = Some(models(runs)),
        None | Some("status") => {}
        Some(name) => match named_model(runs, name).await {
            Ok(name) => patch.model = to(Some(name)),
            Err(why) => return Ok(why),
        },
    }
    if let Err(error) = sessions::patch(runs, patch).await {
        return told(error);
    }
    if let Some(asked) = &found.queue {
        change(runs, place, queue(asked)).await?;
    }
    let session = runs.parts.store.session(&place.key).await?;
    let mut lines = lines(runs, place, &found, session.as_ref()).await?;
    lines.extend(list);
    Ok(lines.join("\n"))
}

/// What the writer can mend is an answer; what he cannot is an error.
fn told(error: Error) -> Result<String, Error> {
    match error {
        Error::Session(error) => Ok(format!("⚠️ {error}")),
        Error::ModelNotAllowed(_) | Error::InvalidLabel(_) => Ok(format!("⚠️ {error}")),
        error => Err(error),
    }
}

async fn lines(runs: &Runs, place: &Place, found: &Directives, session: Option<&SessionRecord>) -> Result<Vec<String>, Error> {
    let parts = &runs.parts;
    let settings = session.map(|session| session.settings.clone()).unwrap_or_default();
    let mut lines = Vec::new();
    if found.think.is_some() {
        let level = session.and_then(|session| session.thinking_level.clone()).unwrap_or_else(|| parts.thinking_default.clone());
        let options = levels::offered(&current_model(runs, place).await?).join(", ");
        lines.push(format!("Thinking: {level} (options: {options})"));
    }
    if found.verbose.is_some() {
        let level = session.and_then(|session| session.verbose_level.clone()).unwrap_or_else(|| parts.verbose_default.clone());
        lines.push(format!("Tool calls are shown: {level} (options: on, full, off)"));
    }
    let or = |value: Option<String>, usual: &str| value.unwrap_or_else(|| usual.to_owned());
    if found.reasoning.is_some() {
        lines.push(format!("Thoughts are shown: {} (options: on, stream, off)", or(settings.reasoning_level, levels::OFF)));
    }
    if found.elevated.is_some() {
        lines.push(format!("Outside the sandbox: {} (options: on, ask, full, off)", or(settings.elevated_level, levels::OFF)));
    }
    if found.exec.is_some() {
        let configured = "as configured";
        lines.push(format!(
            "Programs: host={} security={} ask={} node={}",
            or(settings.exec_host, configured),
            or(settings.exec_security, configured),
            or(settings.exec_ask, configured),
            or(settings.exec_node, "none")
        ));
    }
    if found.model.is_some() {
        lines.push(format!("Model: {} (/models lists them)", current_model(runs, place).await?));
    }
    if found.queue.is_some() {
        let wishes = session.map(|session| session.queue).unwrap_or_default();
        let channel = session.and_then(|session| session.channel.as_deref());
        let queue = parts.queue.resolve(crate::runs::QueueWishes::default(), wishes, channel);
        let (mode, drops) = (queue.mode.as_str(), queue.drops.as_str());
        lines.push(format!("Queue: {mode} · debounce {} ms · cap {} · drop {drops}", queue.debounce_ms, queue.cap));
    }
    Ok(lines)
}

fn queue(asked: &QueueAsked) -> Vec<(Setting, Option<String>)> {
    use Setting::{QueueCap, QueueDebounce, QueueDrop, QueueMode};
    let wishes = asked.wishes;
    let all = [
        (QueueMode, wishes.mode.map(|mode| mode.as_str().to_owned())),
        (QueueDebounce, wishes.debounce_ms.map(|ms| ms.to_string())),
        (QueueCap, wishes.cap.map(|cap| cap.to_string())),
        (QueueDrop, wishes.drops.map(|drops| drops.as_str().to_owned())),
    ];
    all.into_iter().filter(|(_, value)| value.is_some() || asked.clear).collect()
}

/// Changes settings of the session, and tells those who follow it.
pub(super) async fn change(runs: &Runs, place: &Place, changes: Vec<(Setting, Option<String>)>) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    // None of these can clash with another session's.
    runs.parts.store.patch(&place.key, &place.agent, changes, runs.parts.clock.now_ms()).await?;
    events::changed(runs, &place.key, &place.agent, events::What::reason("patch")).await;
    Ok(())
}

/// Has the session be answered by a model from now on.
pub(super) async fn model(runs: &Runs, place: &Place, name: &str) -> Result<(), Error> {
    let model = Some(NullableString { value: Some(name.to_owned()) });
    sessions::patch(runs, SessionsPatchRequest { key: place.key.to_string(), model, ..SessionsPatchRequest::default() }).await?;
    Ok(())
}

/// Returns the model that somebody means: by its number in the list, or by its name. What is wrong is said in words.
pub(super) async fn named_model(runs: &Runs, name: &str) -> Result<String, String> {
    if let Some((_, profile)) = name.split_once('@') {
        return Err(format!(
            "⚠️ A session cannot be tied to the credential \"{profile}\": their order is that of auth.order in the configuration."
        ));
    }
    if let Ok(number) = name.trim_start_matches('#').parse::<usize>() {
        let models = runs.parts.catalog.list();
        let chosen = number.checked_sub(1).and_then(|place| models.get(place));
        return chosen.map(Model::full_name).ok_or_else(|| format!("⚠️ There is no model {number}: /models lists them."));
    }
    let found = runs.parts.catalog.choose(&runs.parts.clients, Some(name), None).await;
    found.map(|model| model.full_name()).map_err(|error| format!("⚠️ {error} (/models lists them)"))
}

/// Returns the name of the model that answers in the session.
pub(super) async fn current_model(runs: &Runs, place: &Place) -> Result<String, Error> {
    let asked = runs.parts.store.session(&place.key).await?.and_then(|session| session.model_override());
    let own = runs.parts.roster.get(&place.agent).model;
    Ok(runs.parts.catalog.choose(&runs.parts.clients, asked.as_deref(), own.as_deref()).await?.full_name())
}

/// Lists the models, numbered.
pub(super) fn models(runs: &Runs) -> String {
    let models = runs.parts.catalog.list();
    let lines = (1..).zip(&models).map(|(number, model)| format!("{number}. {}", model.full_name()));
    std::iter::once("Models (choose with /model <number>):".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

/// Whether programs of the agent may leave the sandbox for somebody.
pub(super) fn may_elevate(runs: &Runs, place: &Place, who: &Who) -> bool {
    who.owns && runs.parts.toolbox.may_elevate(&place.agent, who.channel.as_deref().zip(who.sender.as_deref()))
}
