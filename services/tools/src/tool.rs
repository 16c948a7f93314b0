//! What a tool is: a name, a schema, and a call that ends with its run.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use verso_kit::CancellationToken;

/// What a model is told of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// What it is called by.
    pub name: String,
    /// What it does.
    pub description: String,
    /// What its arguments are.
    pub parameters: Schema,
}

/// A JSON Schema, and its text once somebody has asked for that: a model is told of every tool in every turn.
#[derive(Debug, Clone)]
pub struct Schema {
    value: Value,
    text: OnceLock<Box<RawValue>>,
}

impl Schema {
    /// Returns it as JSON.
    pub fn text(&self) -> &RawValue {
        // A value always has a text.
        self.text.get_or_init(|| serde_json::value::to_raw_value(&self.value).unwrap_or_default())
    }
}

impl From<Value> for Schema {
    fn from(value: Value) -> Self {
        Self { value, text: OnceLock::new() }
    }
}

impl Deref for Schema {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

impl Spec {
    /// Describes a tool whose arguments are `properties`, of which `required` must be there.
    #[allow(clippy::needless_pass_by_value, reason = "made for json!")]
    pub fn new(name: &str, description: &str, properties: Value, required: &[&str]) -> Self {
        let parameters = json!({"type": "object", "properties": properties, "required": required});
        Self { name: name.to_owned(), description: description.to_owned(), parameters: parameters.into() }
    }
}

/// In which turn a tool is called.
#[derive(Clone)]
pub struct Scene {
    /// Whose turn it is.
    pub agent: String,
    /// In which session.
    pub session: String,
    /// The run's id.
    pub run: String,
    /// The call's id, as the model named it.
    pub call: String,
    /// The agent's own folder.
    pub workspace: PathBuf,
    /// Variables that usable skills bring to programs.
    pub variables: Vec<(String, String)>,
    /// Is triggered when the run ends before the call.
    pub cancelled: CancellationToken,
    /// Tells whoever follows the run how far the call is.
    pub progress: Progress,
}

impl fmt::Debug for Scene {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scene")
            .field("session", &self.session)
            .field("run", &self.run)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// Tells how far a call is. Clones tell the same listener.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Progress")
    }
}

impl Progress {
    /// Tells `listener`.
    pub fn new(listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Says `text`: what there is so far.
    pub fn say(&self, text: &str) {
        (self.0)(text);
    }
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// Words.
    Text(String),
    /// A picture.
    Image {
        /// Base64.
        data: String,
        /// Such as `image/png`.
        mime_type: String,
    },
}

/// What a tool has answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// For the model.
    pub blocks: Vec<Block>,
    /// For clients.
    pub details: Value,
    /// Whether the tool did not do what it was asked to.
    pub is_error: bool,
}

impl Answer {
    /// An answer in words.
    pub fn text(text: impl Into<String>) -> Self {
        Self { blocks: vec![Block::Text(text.into())], details: json!({}), is_error: false }
    }

    /// An answer that is JSON, for the model and for clients.
    pub fn json(value: Value) -> Self {
        let text = serde_json::to_string_pretty(&value).unwrap_or_else(|_| value.to_string());
        Self { blocks: vec![Block::Text(text)], details: value, is_error: false }
    }

    /// An answer that says what went wrong.
    pub fn refusal(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { details: json!({"status": "error", "error": reason}), blocks: vec![Block::Text(reason)], is_error: true }
    }

    /// The same answer with other facts for clients.
    #[must_use]
    pub fn with_details(self, details: Value) -> Self {
        Self { details, ..self }
    }

    /// Returns its words.
    pub fn words(&self) -> String {
        let texts = self.blocks.iter().filter_map(|block| if let Block::Text(text) = block { Some(text.as_str()) } else { None });
        texts.collect::<Vec<_>>().join("\n")
    }
}

/// Why a tool did not do what it was asked to. The words are for the model, which may try again.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The arguments are not what the tool takes.
    #[error("{0}")]
    Arguments(String),
    /// It may not be done.
    #[error("{0}")]
    Forbidden(String),
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
}

impl Refused {
    /// Says what could not be done, and why.
    pub fn failed(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Failed(format!("{what}: {why}"))
    }
}

/// Something that a model can do.
pub trait Tool: fmt::Debug + Send + Sync {
    /// Returns what a model is told of it.
    fn spec(&self) -> Arc<Spec>;

    /// Whether calls of it may run beside others: it changes nothing.
    fn parallel(&self) -> bool {
        false
    }

    /// Does it.
    fn call<'a>(&'a self, scene: &'a Scene, arguments: Value) -> BoxFuture<'a, Result<Answer, Refused>>;
}

/// Reads a tool's arguments.
pub fn arguments<T: DeserializeOwned>(value: Value) -> Result<T, Refused> {
    serde_json::from_value(value).map_err(|error| Refused::Arguments(format!("the arguments do not fit: {error}")))
}

/// Does what may take a while without holding up the runtime.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refused> + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Refused::failed("the tool broke", error)))
}
