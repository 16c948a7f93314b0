//! Commands that set one thing.

use verso_proto::agent::v1::SessionsPatchRequest;
use verso_proto::wire::v1::NullableString;

use super::Who;
use super::hear::{Afterwards, Answer, Place};
use crate::error::Error;
use crate::runs::Runs;
use crate::sessions;
use crate::store::Setting;

/// What is told of tokens below an answer, or what was used.
pub(super) async fn usage(runs: &Runs, place: &Place, who: &Who, arguments: &str) -> Result<String, Error> {
    let session = runs.parts.store.session(&place.key).await?;
    let wanted = arguments.to_lowercase();
    if wanted.is_empty() || wanted == "cost" {
        let used = runs.parts.store.used_by(&place.key).await?;
        let mut lines = vec!["Used in this session:".to_owned()];
        for used in &used {
            let price = runs.parts.catalog.price(&used.provider, &used.model);
            let cost = price.map(|price| price.of(used.input, used.output, used.cache_read, used.cache_write));
            let cost = cost.map(|cost| format!(" · ${cost:.4}")).unwrap_or_default();
            let Used { provider, model, calls, input, output } = Used::of(used);
            lines.push(format!("{provider}/{model}: {calls} calls · {input} in / {output} out{cost}"));
        }
        if used.is_empty() {
            lines.push("nothing".to_owned());
        }
        let level = session.and_then(|session| session.settings.response_usage).unwrap_or_else(|| "off".to_owned());
        lines.push(format!("Below answers: {level} (options: off, tokens, full)"));
        return Ok(lines.join("\n"));
    }
    if !matches!(wanted.as_str(), "off" | "on" | "tokens" | "full") {
        return Ok("Options: /usage off, tokens, full or cost.".to_owned());
    }
    if !who.manages {
        return Ok("Only who may change sessions can change this.".to_owned());
    }
    let level = if wanted == "on" { "tokens".to_owned() } else { wanted };
    let patch = SessionsPatchRequest {
        key: place.key.to_string(),
        response_usage: Some(NullableString { value: Some(level.clone()) }),
        ..SessionsPatchRequest::default()
    };
    sessions::patch(runs, patch).await?;
    Ok(format!("Below answers: {level}"))
}

/// What is said of one model's use.
struct Used<'a> {
    provider: &'a str,
    model: &'a str,
    calls: i64,
    input: i64,
    output: i64,
}

impl<'a> Used<'a> {
    fn of(used: &'a crate::store::Used) -> Self {
        Self { provider: &used.provider, model: &used.model, calls: used.calls, input: used.input, output: used.output }
    }
}

/// Whether the session takes messages. A session that takes none answers none either: it is closed after the answer.
pub(super) fn send(arguments: &str) -> Answer {
    let (value, text) = match arguments.to_lowercase().as_str() {
        "on" | "allow" => (Some("allow"), "The session takes messages."),
        "off" | "deny" => (Some("deny"), "The session takes no messages from now on. Only sessions.patch opens it again."),
        "inherit" | "default" => (None, "Whether the session takes messages is as configured."),
        _ => return "Options: /send on, off or inherit.".to_owned().into(),
    };
    let afterwards = Some(Afterwards::Set(vec![(Setting::SendPolicy, value.map(str::to_owned))]));
    Answer { text: text.to_owned(), afterwards }
}

/// When the agent answers in a group.
pub(super) async fn activation(runs: &Runs, place: &Place, arguments: &str) -> Result<String, Error> {
    let wanted = arguments.to_lowercase();
    if !matches!(wanted.as_str(), "mention" | "always") {
        return Ok("Options: /activation mention or always.".to_owned());
    }
    if !matches!(place.key.kind(), "group") {
        return Ok("This is about groups; in a direct chat every message is answered.".to_owned());
    }
    super::set::change(runs, place, vec![(Setting::GroupActivation, Some(wanted.clone()))]).await?;
    let what = if wanted == "always" { "Every message of this group is answered" } else { "Messages that mention the agent are answered" };
    Ok(format!("{what}, if its network's section lets their senders in."))
}
