//! What commands keep in memory, over every change of the configuration: gone when this process ends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use verso_config::merge_patch;
use verso_kit::config::File;
use verso_kit::reload::Reload;

use crate::keys::SessionKey;

/// Programs in the background that are known without their id.
const BACKGROUND_MAX: usize = 64;

/// What commands keep.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The file that the service began with.
    first: Arc<File>,
    reload: Reload,
    /// What `/debug` lays over the file, as a merge patch.
    overrides: tokio::sync::Mutex<Value>,
    /// The programs that `/bash` has left in the background, the newest last.
    background: Mutex<VecDeque<(SessionKey, String)>>,
}

impl Kept {
    pub(crate) fn new(first: Arc<File>, reload: Reload) -> Self {
        Self { first, reload, overrides: tokio::sync::Mutex::new(nothing()), background: Mutex::default() }
    }

    /// Returns what is laid over the file.
    pub(super) async fn overrides(&self) -> Value {
        self.overrides.lock().await.clone()
    }

    /// Has something else laid over the file. `check` is given the configuration before and after, and may say no.
    pub(super) async fn lay_over(
        &self,
        change: impl FnOnce(&mut Value),
        check: impl FnOnce(&Value, &Value) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut overrides = self.overrides.lock().await;
        let mut wanted = overrides.clone();
        change(&mut wanted);
        let file = self.reload.file().unwrap_or_else(|| Arc::clone(&self.first));
        check(laid(&file, &overrides).value(), laid(&file, &wanted).value())?;
        let over = wanted.clone();
        self.reload.lay_over(&self.first, move |file| laid(file, &over)).await?;
        *overrides = wanted;
        Ok(())
    }

    /// Remembers a program that a command in this session has left in the background.
    pub(super) fn left_running(&self, session: &SessionKey, id: &str) {
        let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        background.push_back((session.clone(), id.to_owned()));
        let over = background.len().saturating_sub(BACKGROUND_MAX);
        background.drain(..over);
    }

    /// Returns the newest of them.
    pub(super) fn newest_running(&self, session: &SessionKey) -> Option<String> {
        let background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        background.iter().rev().find(|(key, _)| key == session).map(|(_, id)| id.clone())
    }
}

/// No overrides.
pub(super) fn nothing() -> Value {
    Value::Object(Map::new())
}

fn laid(file: &File, over: &Value) -> File {
    let mut value = file.value().clone();
    merge_patch(&mut value, over);
    file.clone().with_value(value)
}
