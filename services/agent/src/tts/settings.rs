//! The settings of speech that clients make: the member `tts` of a JSON file. What is not understood stays.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use verso_kit::files;

use super::Error;

/// The file.
#[derive(Debug)]
pub(super) struct Settings {
    path: PathBuf,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

impl Settings {
    /// Knows where the file is.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, changing: tokio::sync::Mutex::default() }
    }

    /// Returns where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a text.
    pub(super) async fn text(&self, name: &str) -> Option<String> {
        self.member(name).await?.as_str().map(str::to_owned)
    }

    /// Returns a switch.
    pub(super) async fn switch(&self, name: &str) -> Option<bool> {
        self.member(name).await?.as_bool()
    }

    async fn member(&self, name: &str) -> Option<Value> {
        let text = tokio::fs::read(&self.path).await.ok()?;
        serde_json::from_slice::<Value>(&text).ok()?.get("tts")?.get(name).cloned()
    }

    /// Changes members. They are on disk when this returns.
    pub(super) async fn set(&self, members: &[(&'static str, Value)]) -> Result<(), Error> {
        let _one_at_a_time = self.changing.lock().await;
        let (path, members) = (self.path.clone(), members.to_vec());
        let written = tokio::task::spawn_blocking(move || change(&path, members)).await.map_err(|_| Error::Panicked)?;
        written.map_err(|source| Error::WriteSettings { path: self.path.clone(), source })
    }
}

fn change(path: &Path, members: Vec<(&'static str, Value)>) -> io::Result<()> {
    let mut file = match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).ok().filter(Value::is_object).unwrap_or_else(|| json!({})),
        Err(error) if error.kind() == io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(error),
    };
    if !file["tts"].is_object() {
        file["tts"] = json!({});
    }
    for (name, value) in members {
        file["tts"][name] = value;
    }
    if let Some(folder) = path.parent() {
        files::create_private_dir(folder)?;
    }
    files::write_atomic(path, format!("{file:#}\n").as_bytes(), 0o600)
}
