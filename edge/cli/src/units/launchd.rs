//! launchd's property lists. The library quotes.

use std::io::Cursor;

use plist::{Dictionary, Value};

use super::{Definition, Injection, Parsed, Scope};

/// How long launchd waits before it kills, in seconds.
const EXIT_TIMEOUT_S: i64 = 20;

/// Writes the property list.
pub(super) fn render(definition: &Definition, scope: Scope) -> Result<String, Injection> {
    let text = |text: &str| Value::String(text.to_owned());
    let command = std::iter::once(definition.executable.display().to_string()).chain(definition.arguments.iter().cloned());
    let log = |name: &str| text(&definition.log_dir.join(name).display().to_string());
    let mut root = Dictionary::new();
    root.insert("Label".to_owned(), text(&definition.label));
    root.insert("Comment".to_owned(), text(&definition.description));
    root.insert("RunAtLoad".to_owned(), Value::Boolean(true));
    root.insert("KeepAlive".to_owned(), Value::Boolean(true));
    root.insert("ProgramArguments".to_owned(), Value::Array(command.map(Value::String).collect()));
    root.insert("WorkingDirectory".to_owned(), text(&definition.working_dir.display().to_string()));
    root.insert("StandardOutPath".to_owned(), log("gateway.log"));
    root.insert("StandardErrorPath".to_owned(), log("gateway.err.log"));
    root.insert("ExitTimeOut".to_owned(), Value::Integer(EXIT_TIMEOUT_S.into()));
    if let (Scope::System, Some(user)) = (scope, &definition.user) {
        root.insert("UserName".to_owned(), text(user));
    }
    let variables = definition.environment.iter().map(|(name, value)| (name.clone(), text(value)));
    root.insert("EnvironmentVariables".to_owned(), Value::Dictionary(variables.collect()));
    let mut bytes = Vec::new();
    let written = Value::Dictionary(root).to_writer_xml(&mut bytes).ok().and_then(|()| String::from_utf8(bytes).ok());
    written.map(|text| text + "\n").ok_or(Injection { what: "the definition".to_owned() })
}

/// Reads a property list; an unreadable one says nothing.
pub(super) fn parse(text: &str) -> Parsed {
    let Ok(Value::Dictionary(root)) = Value::from_reader(Cursor::new(text)) else { return Parsed::default() };
    let texts = |value: &Value| value.as_string().map(str::to_owned);
    let mut parsed = Parsed {
        arguments: root.get("ProgramArguments").and_then(Value::as_array).into_iter().flatten().filter_map(texts).collect(),
        working_dir: root.get("WorkingDirectory").and_then(texts),
        ..Parsed::default()
    };
    for (name, value) in root.get("EnvironmentVariables").and_then(Value::as_dictionary).into_iter().flatten() {
        parsed.environment.extend(texts(value).map(|value| (name.clone(), value)));
    }
    for name in ["RunAtLoad", "KeepAlive"] {
        let on = root.get(name).and_then(Value::as_boolean).unwrap_or_default();
        parsed.settings.insert(name.to_owned(), on.to_string());
    }
    parsed
}
