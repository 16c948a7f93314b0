//! Voices: the words that wake a listening device.

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::error::Error;
use crate::store::Store;

/// How many words there may be.
const TRIGGERS_MAX: usize = 32;

/// How long a word may be, in characters.
const TRIGGER_CHARS_MAX: usize = 64;

/// What counts until somebody says otherwise.
const USUAL: [&str; 3] = ["openclaw", "claude", "computer"];

/// The words, on disk.
#[derive(Debug)]
pub(crate) struct VoiceWake(Document<Words>);

/// What the file holds; nothing stands for the usual words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Words {
    triggers: Vec<String>,
}

impl VoiceWake {
    pub(crate) async fn open(store: &Store) -> Result<Self, Error> {
        Document::open(store, "voicewake.json").await.map(Self)
    }

    /// Returns the words that count.
    pub(crate) fn get(&self) -> Vec<String> {
        let triggers = self.0.read(|words| words.triggers.clone());
        if triggers.is_empty() { USUAL.map(str::to_owned).to_vec() } else { triggers }
    }

    /// Replaces the words and returns those that count now. Blank ones are left out, and what is above the limits is cut off.
    pub(crate) async fn set(&self, triggers: &[String]) -> Result<Vec<String>, Error> {
        let triggers = triggers.iter().map(|word| word.trim()).filter(|word| !word.is_empty());
        let triggers = triggers.take(TRIGGERS_MAX).map(|word| word.chars().take(TRIGGER_CHARS_MAX).collect()).collect();
        self.0
            .change(|words| {
                words.triggers = triggers;
                Ok(())
            })
            .await?;
        Ok(self.get())
    }
}
