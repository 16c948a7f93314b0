//! A file as it was when it was read: what it says, what it comes to, and what is wrong with it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use verso_kit::config::{Env, Error, File, parse};

use crate::check::{Problem, check, warnings};
use crate::legacy::legacy;

/// A file as it was when it was read.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Where the file is, or would be.
    pub path: PathBuf,
    /// The text of the main file; none when there is no file.
    pub raw: Option<String>,
    /// What the main file means by itself; empty when it does not parse.
    pub parsed: Value,
    /// The whole configuration; empty when it cannot be read.
    pub file: File,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// What is not wrong, but will not do what it says.
    pub warnings: Vec<Problem>,
    /// Keys of older versions.
    pub legacy: Vec<Problem>,
    /// A variable that the file refers to and that is not set here. It may be set where the gateway runs.
    pub missing: Option<Problem>,
}

impl Snapshot {
    /// Reads and checks the file. A file that does not exist is an empty configuration, and valid.
    pub fn read(path: &Path, env: &Env) -> Self {
        let raw = match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Self::broken(path, None, vec![Problem::new("<root>", format!("could not read the file: {error}"))], env);
            }
        };
        match raw {
            Some(text) => Self::of_text(path, text, env),
            None => Self { raw: None, ..Self::broken(path, None, Vec::new(), env) },
        }
    }

    /// The same for a text that would stand at `path`.
    pub fn of_text(path: &Path, text: String, env: &Env) -> Self {
        let parsed = parse(&text).unwrap_or_else(|_| Value::Object(Map::new()));
        match File::parse(path, &text, env) {
            Ok(file) => Self {
                problems: check(file.value()),
                warnings: warnings(file.value()),
                legacy: legacy(file.value()),
                missing: file.check_variables().err().map(|error| problem(&error)),
                path: path.to_owned(),
                raw: Some(text),
                parsed,
                file,
            },
            Err(error) => Self { parsed, ..Self::broken(path, Some(text), vec![problem(&error)], env) },
        }
    }

    fn broken(path: &Path, raw: Option<String>, problems: Vec<Problem>, env: &Env) -> Self {
        let file = File::from_value(Value::Object(Map::new())).with_path(path.to_owned()).with_env(env.clone());
        let parsed = Value::Object(Map::new());
        Self { path: path.to_owned(), raw, parsed, file, problems, warnings: Vec::new(), legacy: Vec::new(), missing: None }
    }

    /// Whether the file can be used as it is, where its variables are set.
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty() && self.legacy.is_empty()
    }

    /// Names everything that the configuration consists of: hexadecimal SHA-256.
    pub fn revision(&self) -> String {
        revision(self.file.value())
    }

    /// Returns the names of the variables that the file refers to.
    pub fn variables(&self) -> Vec<String> {
        let mut names = Vec::new();
        references(self.file.value(), &mut names);
        names
    }
}

/// Hexadecimal SHA-256 of a configuration whose included files are in their places.
pub(crate) fn revision(value: &Value) -> String {
    hex::encode(Sha256::digest(value.to_string()))
}

/// Words why a file cannot be used.
pub(crate) fn problem(error: &Error) -> Problem {
    match error {
        Error::Read { source, .. } => Problem::new("<root>", format!("could not read the file: {source}")),
        Error::Syntax { reason, .. } => Problem::new("<root>", format!("JSON5 parse failed: {reason}")),
        Error::Include(reason) => Problem::new("<root>", reason.clone()),
        Error::Value { key, reason } => Problem::new(key.clone(), reason.clone()),
    }
}

/// Finds the names in `${NAME}`.
pub(crate) fn references(value: &Value, names: &mut Vec<String>) {
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
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        Value::Object(members) => members.values().for_each(|member| references(member, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_does_not_parse_is_kept_and_explained() {
        let snapshot = Snapshot::of_text(Path::new("/nonexistent/v.json"), "{gateway: {auth: {token: 's3cret'".to_owned(), &Env::default());
        assert!(!snapshot.is_valid() && snapshot.raw.is_some());
        let words = snapshot.problems[0].to_string();
        assert!(words.starts_with("<root>: JSON5 parse failed: ") && !words.contains("s3cret"), "{words}");
    }

    #[test]
    fn finds_every_reference_once() {
        let text = "{a: ['${A} ${B_2}', {b: 'x${A}'}], c: '$A'}";
        let snapshot = Snapshot::of_text(Path::new("/nonexistent/v.json"), text.to_owned(), &Env::default());
        assert_eq!(snapshot.variables(), ["A", "B_2"]);
        assert_eq!(snapshot.missing.unwrap().path, "a[0]");
    }
}
