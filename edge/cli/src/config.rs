//! The configuration file as the command line sees it: read once, checked, and never a reason to guess.

mod check;
mod near;
mod sections;

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use verso_kit::config::{Env, Error, File};

use crate::environment;
use crate::instance::Instance;

pub(crate) use sections::{Gateway, Mode, canvas_port, enabled};

/// The configuration at the moment when it was read.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Empty when the file cannot be used.
    pub(crate) file: File,
    /// The environment, with the variables that the file sets.
    pub(crate) env: Env,
    /// What is wrong with the file.
    pub(crate) problems: Vec<Problem>,
    /// Keys of older versions.
    pub(crate) legacy: Vec<Problem>,
    /// A variable that the file refers to and that is not set here. It may well be where the gateway runs.
    pub(crate) missing: Option<Problem>,
    /// The names of the variables that the file refers to.
    pub(crate) variables: Vec<String>,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Problem {
    /// The dotted path of the key; `<root>` for the whole file.
    pub(crate) path: String,
    /// What is wrong with it.
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), message: message.into() }
    }
}

impl Snapshot {
    /// Reads and checks the file. A file that does not exist is an empty configuration, and valid.
    pub(crate) fn read(instance: &Instance) -> Self {
        let raw = fs::read_to_string(&instance.config_path).ok().and_then(|text| json5::from_str::<Value>(&text).ok()).unwrap_or_default();
        let env = environment::with_missing(instance.env.clone(), variables_set_by(&raw));
        let mut variables = Vec::new();
        collect_references(&raw, &mut variables);
        match File::load(&instance.config_path, &env) {
            Ok(file) => {
                let checked = with_variables(&file, &env, &variables);
                let missing = file.check_variables().err().map(|error| unusable(&error));
                let problems = check::problems(&checked, &env);
                let legacy = check::legacy(file.value());
                Self { file, env, problems, legacy, missing, variables }
            }
            Err(error) => {
                let problems = vec![unusable(&error)];
                Self { file: File::empty(), env, problems, legacy: Vec::new(), missing: None, variables }
            }
        }
    }

    /// A file that exists and sets nothing.
    #[cfg(test)]
    pub(crate) fn of(value: Value, env: Env, variables: Vec<String>) -> Self {
        Self { file: File::from_value(value), env, problems: Vec::new(), legacy: Vec::new(), missing: None, variables }
    }

    /// The names of the variables that the edge's part of the file refers to.
    pub(crate) fn edge_variables(&self) -> BTreeSet<String> {
        let mut names = Vec::new();
        collect_references(self.file.value().get("gateway").unwrap_or(&Value::Null), &mut names);
        names.into_iter().collect()
    }

    /// Whether the file can be used as it is.
    pub(crate) fn is_valid(&self) -> bool {
        self.problems.is_empty() && self.legacy.is_empty()
    }

    /// Explains to the operator why it cannot.
    pub(crate) fn complaint(&self, instance: &Instance) -> String {
        let listed = |problem: &Problem| format!("  - {}: {}", problem.path, problem.message);
        let mut lines = vec!["Config invalid".to_owned(), format!("File: {}", instance.config_path.display())];
        let problems: Vec<String> = self.problems.iter().chain(&self.missing).map(listed).collect();
        if !problems.is_empty() {
            lines.push("Problem:".to_owned());
            lines.extend(problems);
        }
        if !self.legacy.is_empty() {
            lines.push("Legacy config keys detected:".to_owned());
            lines.extend(self.legacy.iter().map(listed));
        }
        lines.push(format!("\nEdit the file, then check it with: {}", instance.command("gateway status")));
        lines.join("\n")
    }
}

/// The same file where every variable is set: what else is wrong with it does not depend on who looks.
fn with_variables(file: &File, env: &Env, variables: &[String]) -> File {
    let unset = variables.iter().filter(|name| env.get(name).is_none()).map(|name| (name.clone(), "unset"));
    let env = env.clone().with(unset);
    File::parse(file.path(), &file.value().to_string(), &env).unwrap_or_else(|_| file.clone())
}

fn unusable(error: &Error) -> Problem {
    match error {
        Error::Read { source, .. } => Problem::new("<root>", format!("could not read the file: {source}")),
        Error::Syntax { reason, .. } => Problem::new("<root>", format!("JSON5 parse failed: {reason}")),
        Error::Value { key, reason } => Problem::new(key, reason.clone()),
    }
}

/// The section `env`: `vars` first, then its own strings.
fn variables_set_by(raw: &Value) -> Vec<(String, String)> {
    let Some(section) = raw.get("env").and_then(Value::as_object) else { return Vec::new() };
    let vars = section.get("vars").and_then(Value::as_object).into_iter().flatten();
    vars.chain(section).filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// Finds the names in `${NAME}`.
fn collect_references(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            for part in text.split("${").skip(1) {
                if let Some((name, _)) = part.split_once('}')
                    && !names.iter().any(|known| known == name)
                {
                    names.push(name.to_owned());
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, names)),
        Value::Object(members) => members.values().for_each(|member| collect_references(member, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vars_win_over_the_strings_beside_them() {
        let env = environment::with_missing(
            Env::from_pairs([("C", "process")]),
            variables_set_by(&json!({"env": {"A": "x", "vars": {"A": "1", "B": "2", "C": "3"}, "shellEnv": {}}})),
        );
        assert_eq!((env.get("A"), env.get("B"), env.get("C")), (Some("1"), Some("2"), Some("process")));
    }

    #[test]
    fn finds_every_reference_once() {
        let mut names = Vec::new();
        collect_references(&json!({"a": ["${A} ${B_2}", {"b": "x${A}"}], "c": "$A"}), &mut names);
        assert_eq!(names, ["A", "B_2"]);
    }
}
