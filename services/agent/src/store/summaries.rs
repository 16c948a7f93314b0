//! Summaries of the older parts of transcripts. A transcript's lines stay; what a model is shown begins behind them.

use rusqlite::{Connection, OptionalExtension as _, params};
use verso_proto::agent::v1::ChatMessage;

use super::transcript::{PageRequest, newest_before, next_position};
use super::{Result, Store, sessions};
use crate::keys::SessionKey;

/// What stands for the older part of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Where the rest begins.
    pub(crate) first_kept: i64,
    pub(crate) text: String,
    pub(crate) at_ms: i64,
    /// What the conversation took of the window, if that is known.
    pub(crate) tokens_before: Option<i64>,
}

/// What a model may be shown of a transcript.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) summary: Option<Summary>,
    /// The oldest first.
    pub(crate) messages: Vec<ChatMessage>,
    /// Where the first of them stands.
    pub(crate) first: i64,
}

/// What has been said in a session so far.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) session_id: String,
    /// Where the next message will stand.
    pub(crate) position: i64,
    pub(crate) context: Context,
}

impl Store {
    /// Reads what has been said in a session so far; none if there is no such session.
    pub(crate) async fn past(&self, key: &SessionKey, request: PageRequest) -> Result<Option<Past>> {
        let key = key.clone();
        self.read(move |connection| {
            let Some(session) = sessions::load(connection, &key)? else { return Ok(None) };
            let session_id = session.session_id;
            let position = next_position(connection, &session_id)?;
            let context = context(connection, &session_id, position, request)?;
            Ok(Some(Past { session_id, position, context }))
        })
        .await
    }

    /// Reads what a model may be shown: the newest messages before `position`, behind the summary of what was before them.
    pub(crate) async fn context(&self, session_id: &str, position: i64, request: PageRequest) -> Result<Context> {
        let session_id = session_id.to_owned();
        self.read(move |connection| context(connection, &session_id, position, request)).await
    }

    /// Keeps a summary. How full the model's window is, is unknown from then on.
    pub(crate) async fn summarise(&self, key: &SessionKey, session_id: &str, summary: Summary) -> Result<()> {
        let (key, session_id) = (key.clone(), session_id.to_owned());
        self.write(move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO summaries (session_id, first_kept, at_ms, tokens_before, text) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![session_id, summary.first_kept, summary.at_ms, summary.tokens_before, summary.text],
            )?;
            connection.execute(
                "UPDATE sessions SET compactions = compactions + 1, input_tokens = NULL, output_tokens = NULL, total_tokens = NULL
                 WHERE key = ?1 AND session_id = ?2",
                params![key.as_str(), session_id],
            )?;
            Ok(())
        })
        .await
    }
}

fn context(connection: &Connection, session_id: &str, position: i64, request: PageRequest) -> Result<Context> {
    let summary = load(connection, session_id)?.filter(|summary| summary.first_kept < position);
    let from = summary.as_ref().map_or(i64::MIN, |summary| summary.first_kept);
    let (placed, _) = newest_before(connection, session_id, position, request)?;
    let placed: Vec<_> = placed.into_iter().filter(|placed| placed.position >= from).collect();
    let first = placed.first().map_or(position, |placed| placed.position);
    Ok(Context { summary, messages: placed.into_iter().map(|placed| placed.message).collect(), first })
}

/// Reads the summary of a transcript, if it was shortened.
pub(super) fn load(connection: &Connection, session_id: &str) -> Result<Option<Summary>> {
    let mut statement = connection.prepare_cached("SELECT first_kept, text, at_ms, tokens_before FROM summaries WHERE session_id = ?1")?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Summary { first_kept: row.get(0)?, text: row.get(1)?, at_ms: row.get(2)?, tokens_before: row.get(3)? })
    };
    Ok(statement.query_row([session_id], read).optional()?)
}
