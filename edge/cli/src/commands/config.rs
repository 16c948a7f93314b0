//! `verso config`: the file itself, so it works while the gateway does not.

use serde_json::{Value, json};
use verso_config::{Action, Error, KeyPath, Plan, Redactor, Settings, Store, Written, changed_paths};
use verso_kit::config::parse;
use verso_supervisor::Holder;

use super::Session;
use crate::args::Config;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output::{self, Table, Tone};

pub(super) fn run(session: &Session, command: &Config) -> anyhow::Result<()> {
    let store = Store::new(&session.instance.config_path, &session.instance.env);
    match command {
        Config::Get { path, json, reveal } => get(session, path, *json, *reveal),
        Config::Set { path, value, json } => {
            let key = read_path(path)?;
            let value = match (parse(value), json) {
                (Ok(value), _) => value,
                (Err(reason), true) => return Err(Failure::new(format!("the value is not JSON5: {reason}")).into()),
                (Err(_), false) => Value::String(value.clone()),
            };
            refuse_included(session, &key)?;
            let written = store.change(|_| Ok(()), |document| Ok(document.set(&key, &value)?.text().to_owned()));
            report(session, &written.map_err(refused)?, &format!("Updated {key}."), *json)
        }
        Config::Patch { patch, json } => {
            let patch = parse(patch).map_err(|reason| Failure::new(format!("the patch is not JSON5: {reason}")))?;
            if !patch.is_object() {
                return Err(Failure::new("the patch must be an object, such as {gateway: {port: 18999}}").into());
            }
            let written = store.change(|_| Ok(()), |document| Ok(document.merge(&patch, &[])?.text().to_owned()));
            report(session, &written.map_err(refused)?, "Patched the file.", *json)
        }
        Config::Unset { path, json } => {
            let key = read_path(path)?;
            refuse_included(session, &key)?;
            let written = store.change(|_| Ok(()), |document| Ok(document.unset(&key)?.text().to_owned()));
            report(session, &written.map_err(refused)?, &format!("Removed {key}."), *json)
        }
        Config::Validate { json } => validate(session, *json),
        Config::Path { json } => {
            let path = &session.instance.config_path;
            if *json {
                return Ok(output::document(&json!({"path": path, "exists": path.exists()}))?);
            }
            Ok(output::line(path.display())?)
        }
        Config::Schema { markdown: true } => Ok(output::part(&verso_config::reference())?),
        Config::Schema { markdown: false } => Ok(output::document(&verso_config::schema())?),
        Config::Generations { json } => generations(session, &store, *json),
        Config::Rollback { to, json } => {
            let (number, written) = store.roll_back(*to).map_err(refused)?;
            report(session, &written, &format!("Went back to generation {number}."), *json)
        }
    }
}

fn get(session: &Session, path: &str, as_json: bool, reveal: bool) -> anyhow::Result<()> {
    let key = read_path(path)?;
    let source = session.snapshot.file.value();
    let redactor = Redactor::of([source]);
    let shown = if reveal { source.clone() } else { redactor.value(source) };
    let value = key.find(&shown).ok_or_else(|| Failure::new(format!("Config path not found: {key}")))?;
    match value {
        _ if as_json => output::document(value)?,
        Value::String(text) => output::line(text)?,
        Value::Object(_) | Value::Array(_) => output::document(value)?,
        scalar => output::line(scalar)?,
    }
    Ok(())
}

fn validate(session: &Session, as_json: bool) -> anyhow::Result<()> {
    let snapshot = &session.snapshot;
    let valid = snapshot.is_valid();
    let without_effect = verso_config::without_effect(snapshot.file.value());
    if as_json {
        let warnings = verso_config::warnings(snapshot.file.value());
        output::document(&json!({
            "valid": valid, "path": session.instance.config_path, "issues": snapshot.problems, "legacyIssues": snapshot.legacy,
            "warnings": warnings, "missing": snapshot.missing, "withoutEffect": without_effect,
        }))?;
    } else if valid {
        output::line(format!("Config OK: {}", session.instance.short(&session.instance.config_path)))?;
        let waiting = verso_config::warnings(snapshot.file.value()).into_iter().chain(snapshot.missing.clone());
        waiting.for_each(|problem| output::notice(format!("Warning: {problem}")));
        if !without_effect.is_empty() {
            output::notice(format!("Accepted from older files, without effect: {}", without_effect.join(", ")));
        }
    } else {
        output::notice(snapshot.complaint(&session.instance));
    }
    if valid { Ok(()) } else { Err(Failure::silent().into()) }
}

fn generations(session: &Session, store: &Store, as_json: bool) -> anyhow::Result<()> {
    let found = store.generations().map_err(refused)?;
    if as_json {
        return Ok(output::document(&json!({"generations": found}))?);
    }
    let present = store.read().map_err(refused)?.map(|text| verso_config::content_hash(&text));
    let mut table = Table::new(&["Generation", "Written", "Bytes", "Hash"]);
    for generation in found {
        let at = i64::try_from(generation.written_at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let is_present = present.as_ref() == Some(&generation.hash);
        let number = generation.number.to_string();
        table.row([
            if is_present { session.style.paint(Tone::Good, format!("{number} (now)")) } else { number },
            at.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()),
            generation.size_bytes.to_string(),
            generation.hash.chars().take(12).collect(),
        ]);
    }
    Ok(output::line(table)?)
}

/// Says what was done, and honestly what comes of it.
fn report(session: &Session, written: &Written, done: &str, as_json: bool) -> anyhow::Result<()> {
    let path = &session.instance.config_path;
    let value = |text: Option<&str>| text.and_then(|text| parse(text).ok()).unwrap_or_else(|| json!({}));
    let (before, after) = (value(written.before.as_deref()), value(Some(&written.text)));
    let plan = Plan::of(&changed_paths(&before, &after), Settings::of(&after).mode);
    let running = is_running(&session.instance);
    if as_json {
        return Ok(output::document(&json!({
            "ok": true, "path": path, "changed": written.changed, "generation": written.generation, "running": running,
            "restarts": plan.doing(Action::Restart), "reloads": plan.doing(Action::Hot),
            "atNextStart": plan.gateway.iter().chain(&plan.ignored).collect::<Vec<_>>(),
        }))?);
    }
    let effect = match (running, plan.gateway.is_empty() && plan.ignored.is_empty(), plan.is_empty()) {
        _ if !written.changed => "The file says so already.".to_owned(),
        (false, ..) => "The gateway is not running.".to_owned(),
        (true, false, _) => format!("Restart the gateway to apply: {}", session.instance.command("gateway run")),
        (true, true, true) => "The running gateway needs to do nothing.".to_owned(),
        (true, true, false) if plan.doing(Action::Restart).is_empty() => "The running gateway applies it.".to_owned(),
        (true, true, false) => format!("The running gateway restarts: {}.", plan.doing(Action::Restart).join(", ")),
    };
    Ok(output::line(format!("{done} {effect}"))?)
}

fn is_running(instance: &Instance) -> bool {
    Holder::of(&instance.state_dir).is_some()
}

/// A value of an included file is changed there: here it would only cover it.
fn refuse_included(session: &Session, key: &KeyPath) -> Result<(), Failure> {
    let files = session.snapshot.file.files();
    let main = std::fs::read_to_string(&session.instance.config_path).ok().and_then(|text| parse(&text).ok()).unwrap_or_default();
    if files.len() < 2 || key.find(&main).is_some() || key.find(session.snapshot.file.value()).is_none() {
        return Ok(());
    }
    let names = files[1..].iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
    Err(Failure::new(format!("{key} is set in an included file; change it there: {names}")))
}

fn read_path(text: &str) -> Result<KeyPath, Failure> {
    KeyPath::parse(text).ok_or_else(|| Failure::new("the path is empty or a bracket is not closed"))
}

/// Words why the file was not changed.
pub(super) fn refused(error: Error) -> anyhow::Error {
    match error {
        Error::Invalid(problems) => {
            let words = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            Failure::new(format!("Error: Config validation failed: {words}")).into()
        }
        Error::Edit(error) => Failure::new(error.to_string()).into(),
        other => other.into(),
    }
}
