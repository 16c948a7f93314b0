//! The configuration file and the environment: the one place that reads either.

mod env;
mod secret;
mod variables;

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use env::Env;
pub use secret::Secret;

/// A larger file is not a configuration, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

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

    /// Parses `text` as if it had been read from `path`.
    pub fn parse(path: &Path, text: &str, env: &Env) -> Result<Self, Error> {
        let value: Value = json5::from_str(text).map_err(|error| Error::Syntax { path: path.to_owned(), reason: error.to_string() })?;
        if !value.is_object() {
            return Err(Error::Value { key: "<root>".to_owned(), reason: "must be an object".to_owned() });
        }
        Ok(Self { path: path.to_owned(), exists: true, value, env: env.clone() })
    }

    /// A configuration in which every key has its default.
    pub fn empty() -> Self {
        Self { path: PathBuf::new(), exists: false, value: Value::Object(Map::new()), env: Env::default() }
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

    /// Returns the whole configuration, as it was written.
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
    fn a_file_that_does_not_exist_is_empty() {
        let file = File::load(Path::new("/nonexistent/verso.json"), &Env::default()).unwrap();
        assert!(!file.exists());
    }
}
