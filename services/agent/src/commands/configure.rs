//! Commands about the configuration. Its only writer is the edge, which also knows what of it is open to a chat.

use std::time::Duration;

use serde_json::{Value, json};
use verso_kit::peer::Caller;
use verso_proto::upkeep::v1::{ChangeRequest, LookRequest};

use super::Who;
use super::hear::{Afterwards, Answer};
use crate::runs::Runs;

/// How long a change waits that ends this process, so that its announcement is on its way.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest part of the configuration that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 3_000;

/// What there is to say.
const OPTIONS: &str = "Options: /config show, get <key>, set <key> <value> or unset <key>.";

/// Shows the configuration without its secrets, or changes a key.
pub(super) async fn config(runs: &Runs, who: &Who, arguments: &str) -> Answer {
    let (word, rest) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
    let rest = rest.trim();
    let (path, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let word = word.to_lowercase();
    if matches!(word.as_str(), "set" | "unset")
        && let Some(key) = writes_off(runs.parts.file.value(), who)
    {
        return format!("⚠️ {key} is off.").into();
    }
    match word.as_str() {
        "show" | "get" | "" => shown(runs, rest).into(),
        "set" if !path.is_empty() && !text.trim().is_empty() => {
            // What is no JSON5 is a word.
            let value = verso_kit::config::parse(text.trim()).unwrap_or_else(|_| json!(text.trim()));
            propose(runs, patch(path, value), &format!("{path} is set.")).await
        }
        "unset" if !path.is_empty() => propose(runs, patch(path, Value::Null), &format!("{path} is not set any more.")).await,
        _ => OPTIONS.to_owned().into(),
    }
}

/// Says who may write, as far as the configuration says it, or changes that.
pub(super) async fn allowlist(runs: &Runs, who: &Who, arguments: &str) -> Answer {
    let mut words = arguments.split_whitespace();
    let (word, id) = (words.next().unwrap_or("list").to_lowercase(), words.next());
    match (word.as_str(), id, words.next()) {
        ("list", None, None) => listed(runs, who).into(),
        ("add" | "remove", Some(id), None) => change_list(runs, who, (word == "add", id)).await,
        _ => "Options: /allowlist list, add <id> or remove <id>.".to_owned().into(),
    }
}

async fn change_list(runs: &Runs, who: &Who, (adds, id): (bool, &str)) -> Answer {
    let file = runs.parts.file.value();
    let Some(channel) = &who.channel else {
        return "Say it in a chat of the network that is meant, or use `verso config set channels.<network>.allowFrom`.".to_owned().into();
    };
    if let Some(key) = writes_off(file, who) {
        return format!("⚠️ {key} is off.").into();
    }
    // Whom the list names has the owner's authority, unless the owners are named elsewhere.
    if adds && !runs.parts.commands.section().names_owners() {
        let words = "⚠️ Whoever is in allowFrom owns this gateway, because commands.ownerAllowFrom names nobody. \
                     Name the owners there first, or let people in by a code: `verso pairing approve`.";
        return words.to_owned().into();
    }
    let is = |entry: &Value| entry.as_str().map_or_else(|| entry.to_string(), str::to_owned) == id;
    // As the file has it now: of this section, this service hears nothing.
    let path = format!("channels.{channel}.allowFrom");
    let found = runs.parts.toolbox.edge().call(LookRequest { path: path.clone() }, &Caller::default()).await;
    let found = found.ok().and_then(|found| serde_json::from_str(&found.config?.text).ok()).unwrap_or_default();
    let mut list: Vec<Value> = if let Value::Array(list) = found { list } else { Vec::new() };
    let known = list.iter().any(is);
    if known == adds {
        return format!("{id} is {} the list already.", if adds { "on" } else { "not on" }).into();
    }
    if adds {
        list.push(json!(id));
    } else {
        list.retain(|entry| !is(entry));
    }
    let done = format!("{id} is {} {path}.", if adds { "on" } else { "no longer on" });
    propose(runs, patch(&path, Value::Array(list)), &done).await
}

/// Returns the key that keeps the configuration from being changed out of a chat: the account's own word counts before its network's.
pub(super) fn writes_off(file: &Value, who: &Who) -> Option<String> {
    let channel = who.channel.as_deref()?;
    // Sections are found as the agents' tools find them: whatever case they are written in.
    let sections = file.get("channels")?.as_object()?;
    let (name, section) = sections.iter().find(|(name, _)| name.eq_ignore_ascii_case(channel))?;
    let of_account = who.account.as_ref().and_then(|account| {
        let writes = section.get("accounts")?.get(account)?.get("configWrites")?.as_bool()?;
        Some((writes, format!("channels.{name}.accounts.{account}.configWrites")))
    });
    let of_network = || Some((section.get("configWrites")?.as_bool()?, format!("channels.{name}.configWrites")));
    of_account.or_else(of_network).filter(|(writes, _)| !writes).map(|(_, key)| key)
}

fn listed(runs: &Runs, who: &Who) -> String {
    let channels = &runs.parts.file.value()["channels"];
    let mut lines = Vec::new();
    for (name, section) in channels.as_object().into_iter().flatten() {
        if who.channel.as_ref().is_some_and(|channel| channel != name) {
            continue;
        }
        for key in ["allowFrom", "groupAllowFrom"] {
            let list = section[key].as_array().map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            lines.extend(list.map(|list| format!("{name}.{key}: {list}")));
        }
    }
    if lines.is_empty() {
        lines.push("The configuration names nobody.".to_owned());
    }
    lines.push("Who was let in by a code, `verso pairing list` shows.".to_owned());
    lines.join("\n")
}

fn shown(runs: &Runs, path: &str) -> String {
    let value = runs.parts.file.value();
    let shown = verso_config::Redactor::of([value]).value(value);
    let part = path.split('.').filter(|key| !key.is_empty()).try_fold(&shown, |value, key| value.get(key));
    let Some(part) = part else { return format!("{path} is not set.") };
    let mut text = serde_json::to_string_pretty(part).unwrap_or_default();
    crate::messages::cut(&mut text, SHOWN_CHARS_MAX);
    format!("{}\n```json\n{text}\n```", if path.is_empty() { "The configuration" } else { path })
}

/// Returns a merge patch that sets one key.
pub(super) fn patch(path: &str, value: Value) -> String {
    path.rsplit('.').fold(value, |value, key| json!({key: value})).to_string()
}

/// Makes a change, or says why not. One that ends this process is made after the answer.
async fn propose(runs: &Runs, patch: String, done: &str) -> Answer {
    let edge = runs.parts.toolbox.edge();
    let ask = ChangeRequest { patch, base_hash: String::new(), check_only: true, by_owner: true };
    let checked = match edge.call(ask.clone(), &Caller::default()).await {
        Ok(checked) if checked.paths.is_empty() => return "That is so already.".to_owned().into(),
        Ok(checked) => checked,
        Err(status) => return format!("⚠️ {}", status.message()).into(),
    };
    let change = ChangeRequest { base_hash: checked.hash, check_only: false, ..ask };
    if checked.restarted.iter().any(|service| service == "agent") {
        let text = format!("{done} The agents' process is started again for it.");
        return Answer { text, afterwards: Some(Afterwards::Configure(change)) };
    }
    match edge.call(change, &Caller::default()).await {
        Ok(_) => done.to_owned().into(),
        Err(status) => format!("⚠️ {}", status.message()).into(),
    }
}

/// Makes a change in a moment.
pub(super) fn configure(runs: &Runs, change: ChangeRequest) {
    let edge = runs.parts.toolbox.edge().clone();
    runs.spawn("configuration", async move {
        tokio::time::sleep(PAUSE).await;
        if let Err(status) = edge.call(change, &Caller::default()).await {
            tracing::warn!(error = status.message(), "what the owner asked for in a chat was not changed");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_becomes_a_patch() {
        assert_eq!(patch("a.b.c", json!(1)), r#"{"a":{"b":{"c":1}}}"#);
        assert_eq!(patch("ui", Value::Null), r#"{"ui":null}"#);
    }

    #[test]
    fn an_accounts_word_about_writing_comes_before_its_networks() {
        let file = json!({"channels": {
            "telegram": {"configWrites": false, "accounts": {"open": {"configWrites": true}, "silent": {}}},
            "irc": {"accounts": {"shut": {"configWrites": false}}},
        }});
        let off = |channel: Option<&str>, account: &str| {
            let who = Who { channel: channel.map(str::to_owned), account: Some(account.to_owned()), ..Who::default() };
            writes_off(&file, &who).unwrap_or_default()
        };
        assert_eq!(off(Some("telegram"), "default"), "channels.telegram.configWrites");
        assert_eq!(off(Some("telegram"), "silent"), "channels.telegram.configWrites");
        assert_eq!(off(Some("irc"), "shut"), "channels.irc.accounts.shut.configWrites");
        for (channel, account) in [(Some("telegram"), "open"), (Some("irc"), "default"), (Some("discord"), "default"), (None, "default")] {
            assert_eq!(off(channel, account), "", "{channel:?} {account}");
        }
    }
}
