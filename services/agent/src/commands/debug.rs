//! The command `/debug`: settings that hold until this process ends. They are laid over the file, which stays as it is.

use serde_json::{Value, json};
use verso_config::{Action, Plan, Problem, ReloadMode, changed_paths, check};
use verso_kit::peer::Caller;
use verso_proto::upkeep::v1::ChangeRequest;

use super::Who;
use super::configure::{patch, writes_off};
use super::kept::nothing;
use crate::runs::Runs;

/// What there is to say.
const OPTIONS: &str = "Options: /debug show, set <key>=<value>, unset <key> or reset.";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish<'a> {
    Show,
    Set(&'a str, &'a str),
    Unset(&'a str),
    Reset,
    Unclear,
}

fn read(arguments: &str) -> Wish<'_> {
    let (word, rest) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
    let rest = rest.trim();
    match word.to_lowercase().as_str() {
        "show" | "" if rest.is_empty() => Wish::Show,
        "reset" if rest.is_empty() => Wish::Reset,
        "unset" if is_key(rest) => Wish::Unset(rest),
        "set" => {
            let end = rest.find(|letter: char| letter == '=' || letter.is_whitespace()).unwrap_or(rest.len());
            let (key, value) = rest.split_at(end);
            let value = value.trim_start();
            let value = value.strip_prefix('=').unwrap_or(value).trim();
            if is_key(key) && !value.is_empty() { Wish::Set(key, value) } else { Wish::Unclear }
        }
        _ => Wish::Unclear,
    }
}

fn is_key(text: &str) -> bool {
    !text.contains(char::is_whitespace) && text.split('.').all(|name| !name.is_empty())
}

/// Shows or changes what is laid over the file.
pub(super) async fn debug(runs: &Runs, who: &Who, arguments: &str) -> String {
    match read(arguments) {
        Wish::Show => show(&runs.parts.kept.overrides().await),
        // What is not written from a chat is not tried out from there either: it could be the key that says so.
        Wish::Set(key, text) => match writes_off(runs.parts.file.value(), who) {
            Some(off) => format!("⚠️ {off} is off."),
            None => set(runs, key, text).await,
        },
        Wish::Unset(key) => {
            let change = |overrides: &mut Value| {
                let path: Vec<&str> = key.split('.').collect();
                remove(overrides, &path);
            };
            told(lay_over(runs, change).await, &format!("{key} is as in the file again."))
        }
        Wish::Reset => told(lay_over(runs, |overrides| *overrides = nothing()).await, "Everything is as in the file again."),
        Wish::Unclear => OPTIONS.to_owned(),
    }
}

fn show(overrides: &Value) -> String {
    if *overrides == nothing() {
        return "Nothing is laid over the file.".to_owned();
    }
    let shown = verso_config::Redactor::of([overrides]).value(overrides);
    format!("Until a restart:\n```json\n{}\n```", serde_json::to_string_pretty(&shown).unwrap_or_default())
}

async fn set(runs: &Runs, key: &str, text: &str) -> String {
    // What is no JSON5 is a word.
    let value = verso_kit::config::parse(text).unwrap_or_else(|_| json!(text));
    let patch = patch(key, value);
    // The edge knows what is closed to chats, whether it is written down or not.
    let ask = ChangeRequest { patch: patch.clone(), base_hash: String::new(), check_only: true, by_owner: true };
    if let Err(status) = runs.parts.toolbox.edge().call(ask, &Caller::default()).await {
        return format!("⚠️ {}", status.message());
    }
    let added = verso_kit::config::parse(&patch).unwrap_or_default();
    let done = format!("{key} is set until a restart.");
    told(lay_over(runs, |overrides| add(overrides, added)).await, &done)
}

fn told(outcome: Result<Vec<&'static str>, String>, done: &str) -> String {
    match outcome {
        Ok(others) if others.is_empty() => done.to_owned(),
        Ok(others) => format!("{done} That is for the agents; {} goes on by the file.", others.join(" and ")),
        Err(why) => format!("⚠️ {why}"),
    }
}

/// Changes what is laid over the file, and returns which other services would follow the file in it.
async fn lay_over(runs: &Runs, change: impl FnOnce(&mut Value)) -> Result<Vec<&'static str>, String> {
    let mut others = Vec::new();
    let follow = |before: &Value, after: &Value| {
        others = followers(&changed_paths(before, after))?;
        let known = check(before);
        let new = |problem: &&Problem| !known.contains(problem);
        match check(after).iter().find(new) {
            Some(problem) => Err(format!("{}: {}", problem.path, problem.message)),
            None => Ok(()),
        }
    };
    runs.parts.kept.lay_over(change, follow).await?;
    Ok(others)
}

/// Returns who else follows these keys; an error if no agent follows one while it runs.
fn followers(paths: &[String]) -> Result<Vec<&'static str>, String> {
    if paths.is_empty() {
        return Err("That is so already.".to_owned());
    }
    let mut all = Vec::new();
    for path in paths {
        let plan = Plan::of(std::slice::from_ref(path), ReloadMode::Hybrid);
        if plan.services.get("agent") != Some(&Action::Hot) {
            return Err(format!("no agent follows {path} while it runs: use /config set"));
        }
        all.extend(plan.services.into_keys().filter(|name| *name != "agent"));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Adds a patch to a patch: what the later one removes stays removed.
fn add(overrides: &mut Value, added: Value) {
    match (overrides, added) {
        (Value::Object(members), Value::Object(added)) => {
            for (name, value) in added {
                add(members.entry(name).or_insert(Value::Null), value);
            }
        }
        (overrides, added) => *overrides = added,
    }
}

/// Takes a key out of a patch, and what is empty without it.
fn remove(overrides: &mut Value, path: &[&str]) {
    let (Some((name, below)), Some(members)) = (path.split_first(), overrides.as_object_mut()) else { return };
    let Some(member) = members.get_mut(*name) else { return };
    remove(member, below);
    if below.is_empty() || member.as_object().is_some_and(serde_json::Map::is_empty) {
        members.remove(*name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_asked_for() {
        for (arguments, expected) in [
            ("", Wish::Show),
            ("show", Wish::Show),
            ("SHOW", Wish::Show),
            ("show all", Wish::Unclear),
            ("set a.b=1", Wish::Set("a.b", "1")),
            ("set a.b 1", Wish::Set("a.b", "1")),
            ("Set  a.b = {c: 'd=e'}", Wish::Set("a.b", "{c: 'd=e'}")),
            ("set a.b two words", Wish::Set("a.b", "two words")),
            ("set a.b", Wish::Unclear),
            ("set a.b=", Wish::Unclear),
            ("set =1", Wish::Unclear),
            ("set a..b=1", Wish::Unclear),
            ("unset a.b", Wish::Unset("a.b")),
            ("unset", Wish::Unclear),
            ("unset a b", Wish::Unclear),
            ("reset", Wish::Reset),
            ("reset a", Wish::Unclear),
            ("forget", Wish::Unclear),
        ] {
            assert_eq!(read(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn patches_are_added_and_taken_back() {
        let mut overrides = nothing();
        for (key, value) in [("a.b", json!(1)), ("a.c", json!({"d": 1})), ("a.c.e", Value::Null), ("f", json!("g"))] {
            add(&mut overrides, serde_json::from_str(&patch(key, value)).unwrap());
        }
        assert_eq!(overrides, json!({"a": {"b": 1, "c": {"d": 1, "e": null}}, "f": "g"}));
        for (key, left) in [
            ("a.x", json!({"a": {"b": 1, "c": {"d": 1, "e": null}}, "f": "g"})),
            ("a.c", json!({"a": {"b": 1}, "f": "g"})),
            ("f.g", json!({"a": {"b": 1}, "f": "g"})),
            ("a.b", json!({"f": "g"})),
            ("f", json!({})),
        ] {
            remove(&mut overrides, &key.split('.').collect::<Vec<_>>());
            assert_eq!(overrides, left, "{key}");
        }
    }

    #[test]
    fn only_what_agents_follow_is_laid_over() {
        let of = |path: &str| followers(&[path.to_owned()]);
        assert_eq!(of("agents.defaults.thinkingDefault"), Ok(vec![]));
        assert_eq!(of("messages.queue.mode"), Ok(vec!["channel"]));
        for path in ["channels.telegram.allowFrom", "ui.seamColor", "diagnostics.otel", "invented"] {
            assert!(of(path).is_err_and(|why| why.contains(path)), "{path}");
        }
    }
}
