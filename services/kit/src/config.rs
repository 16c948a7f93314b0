//! The configuration file and the environment: the one place that reads either.

mod env;
mod include;
mod protected;
mod secret;
mod variables;

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use env::Env;
pub use protected::{is_protected, variables_set_by};
pub use secret::Secret;

/// A larger file is not a configuration, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// Nothing sensible is nested deeper, and a parser would run out of stack.
const NESTING_MAX: usize = 128;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there but cannot be read.
    #[error("could not read the configuration at {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not JSON5.
    #[error("{path} is not valid JSON5: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line and column.
        reason: String,
    },
    /// An included file cannot be used.
    #[error("{0}")]
    Include(String),
    /// A value is not what its key takes.
    #[error("{key}: {reason}")]
    Value {
        /// The dotted path of the key; `<root>` for the whole file.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A configuration file, parsed. `${VAR}` is replaced when a section is read: a service needs only the variables of its own sections.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    exists: bool,
    value: Value,
    env: Env,
    files: Vec<PathBuf>,
}

impl File {
    /// Reads the file at `path`. A file that does not exist is an empty configuration.
    pub fn load(path: &Path, env: &Env) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let size_bytes = match fs::metadata(path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { path: path.to_owned(), ..Self::empty() }),
            Err(error) => return Err(read(error)),
        };
        if size_bytes > FILE_BYTES_MAX {
            return Err(read(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {FILE_BYTES_MAX} bytes"))));
        }
        let text = fs::read_to_string(path).map_err(read)?;
        Self::parse(path, &text, env)
    }

    /// The same configuration, said to be the file at `path`.
    #[must_use]
    pub fn with_path(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// The same file with another content, such as what was laid over it.
    #[must_use]
    pub fn with_value(self, value: Value) -> Self {
        Self { value, ..self }
    }

    /// The same configuration with other variables.
    #[must_use]
    pub fn with_env(self, env: Env) -> Self {
        Self { env: env.with_missing(variables_set_by(&self.value)), ..self }
    }

    /// Parses `text` as if it had been read from `path`; files that it includes are read. Variables that it sets and `env` lacks count.
    pub fn parse(path: &Path, text: &str, env: &Env) -> Result<Self, Error> {
        let value = parse(text).map_err(|reason| Error::Syntax { path: path.to_owned(), reason })?;
        let roots: Vec<PathBuf> = env.get("VERSO_INCLUDE_ROOTS").map(|roots| std::env::split_paths(roots).collect()).unwrap_or_default();
        let (value, files) = include::resolve(path, value, &roots)?;
        if !value.is_object() {
            return Err(Error::Value { key: "<root>".to_owned(), reason: "must be an object".to_owned() });
        }
        let env = env.clone().with_missing(variables_set_by(&value));
        Ok(Self { path: path.to_owned(), exists: true, value, env, files })
    }

    /// A configuration in which every key has its default.
    pub fn empty() -> Self {
        Self { path: PathBuf::new(), exists: false, value: Value::Object(Map::new()), env: Env::default(), files: Vec::new() }
    }

    /// A configuration that was never a file.
    pub fn from_value(value: Value) -> Self {
        Self { value, ..Self::empty() }
    }

    /// Reads the part at `key`, a dotted path such as `gateway.auth`. A missing part is the default.
    pub fn section<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, Error> {
        let Some(value) = key.split('.').try_fold(&self.value, |value, name| value.get(name)) else { return Ok(T::default()) };
        let mut value = value.clone();
        variables::replace(&mut value, &self.env, key)?;
        serde_path_to_error::deserialize(&value).map_err(|error| {
            let inner = error.path().to_string();
            let key = if inner == "." { key.to_owned() } else { format!("{key}.{inner}") };
            Error::Value { key, reason: error.into_inner().to_string() }
        })
    }

    /// Says which variable of the whole file is not set.
    pub fn check_variables(&self) -> Result<(), Error> {
        variables::replace(&mut self.value.clone(), &self.env, "")
    }

    /// Returns the whole configuration with every variable replaced; a variable that is not set fails.
    pub fn resolved(&self) -> Result<Value, Error> {
        let mut value = self.value.clone();
        variables::replace(&mut value, &self.env, "")?;
        Ok(value)
    }

    /// Returns every file that the configuration was read from, the main one first.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns the environment, with what the file adds to it.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Returns the whole configuration, as it was written, with included files in their places.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns where the file is, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file.
    pub fn exists(&self) -> bool {
        self.exists
    }
}

/// Parses JSON5. The error says what is wrong and where, and repeats nothing of the text.
pub fn parse(text: &str) -> Result<Value, String> {
    if nesting(text) > NESTING_MAX {
        return Err(format!("nested deeper than {NESTING_MAX} levels"));
    }
    json5::from_str(text).map_err(|error| error.to_string())
}

/// How deep the brackets outside strings and comments go.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ']' | '}' => depth = depth.saturating_sub(1),
            '"' | '\'' => {
                while let Some(inner) = letters.next() {
                    match inner {
                        '\\' => drop(letters.next()),
                        inner if inner == letter => break,
                        _ => {}
                    }
                }
            }
            '/' if letters.peek() == Some(&'/') => drop(letters.by_ref().find(|letter| *letter == '\n')),
            '/' if letters.peek() == Some(&'*') => {
                let mut star = false;
                letters.next();
                for letter in letters.by_ref() {
                    if std::mem::replace(&mut star, letter == '*') && letter == '/' {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
    struct Auth {
        mode: Option<String>,
        token: Option<Secret<String>>,
    }

    fn parse(text: &str) -> Result<File, Error> {
        File::parse(Path::new("verso.json"), text, &Env::from_pairs([("SECRET", "s3cret")]))
    }

    #[test]
    fn reads_json5_and_replaces_variables() {
        let file = parse("{gateway: {auth: {mode: 'token', token: 'x-${SECRET}', /* why */},}}").unwrap();
        let auth: Auth = file.section("gateway.auth").unwrap();
        assert_eq!(auth.token.unwrap().expose(), "x-s3cret");
    }

    #[test]
    fn a_missing_section_is_the_default() {
        assert_eq!(parse("{}").unwrap().section::<Auth>("gateway.auth").unwrap(), Auth::default());
    }

    #[test]
    fn names_the_path_of_a_bad_value() {
        let error = parse("{gateway: {auth: {mode: 7}}}").unwrap().section::<Auth>("gateway.auth").unwrap_err();
        assert_eq!(error.to_string(), "gateway.auth.mode: invalid type: integer `7`, expected a string");
    }

    #[test]
    fn names_the_place_of_a_syntax_error() {
        let error = parse("{\n  gateway: {,}\n}").unwrap_err().to_string();
        assert!(error.starts_with("verso.json is not valid JSON5: ") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn refuses_a_missing_variable() {
        let file = parse("{gateway: {auth: {token: '${SECRET}'}}, a: {b: ['${NOPE}']}}").unwrap();
        assert_eq!(file.check_variables().unwrap_err().to_string(), "a.b[0]: environment variable NOPE is not set");
        assert_eq!(file.section::<Value>("a").unwrap_err().to_string(), "a.b[0]: environment variable NOPE is not set");
        assert!(file.section::<Auth>("gateway.auth").is_ok(), "another section's variable does not matter");
    }

    #[test]
    fn refuses_what_would_exhaust_the_stack() {
        let deep = format!("{{a: {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(super::parse(&deep).unwrap_err(), "nested deeper than 128 levels");
        assert!(super::parse(&format!("{{a: '{}', /* [[[ */ b: \"\\\"[\"}} // {{", "[".repeat(500))).is_ok());
    }

    #[test]
    fn what_the_file_sets_counts_unless_it_is_set_already() {
        let file = parse("{env: {vars: {MINE: 'm', SECRET: 'other', PATH: '/evil'}}, a: '${MINE} ${SECRET}'}").unwrap();
        assert_eq!(file.resolved().unwrap()["a"], "m s3cret");
        assert_eq!(file.env().get("PATH"), None);
    }

    #[test]
    fn a_file_that_does_not_exist_is_empty() {
        let file = File::load(Path::new("/nonexistent/verso.json"), &Env::default()).unwrap();
        assert!(!file.exists());
    }
}
