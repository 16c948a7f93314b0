//! The table of transcript entries. A read costs what it returns, however long the transcript is.

use rusqlite::{Connection, OptionalExtension as _, Statement, params};
use verso_proto::agent::v1::ChatMessage;

use super::sessions::{self, SessionRecord};
use super::{Result, Store};
use crate::keys::SessionKey;
use crate::messages;

/// What one read takes from the disk at most, pictures included, in bytes.
const RAW_BYTES_MAX: usize = 64 << 20;

/// Which part of a transcript to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRequest {
    /// Messages at most.
    pub(crate) messages_max: usize,
    /// Their size as JSON at most, in bytes, without pictures; the oldest are left out first.
    pub(crate) bytes_max: usize,
    /// The newest messages to leave out.
    pub(crate) offset: usize,
}

/// A part of a transcript.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    /// None: there is no such session.
    pub(crate) session: Option<SessionRecord>,
    /// The oldest first, without their pictures.
    pub(crate) messages: Vec<ChatMessage>,
    /// Whether there are older ones.
    pub(crate) has_more: bool,
    /// How many the transcript has.
    pub(crate) total: i64,
}

/// A message and where it stands in its transcript, counted from 0.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) position: i64,
    pub(crate) message: ChatMessage,
}

impl Store {
    /// Reads the newest messages of a session.
    pub(crate) async fn history(&self, key: &SessionKey, request: PageRequest) -> Result<Page> {
        let key = key.clone();
        self.read(move |connection| {
            let Some(session) = sessions::load(connection, &key)? else { return Ok(Page::default()) };
            let newest = next_position(connection, &session.session_id)?;
            let before = newest - i64::try_from(request.offset).unwrap_or(i64::MAX);
            let (placed, has_more) = newest_before(connection, &session.session_id, before, request)?;
            let oldest = connection.prepare_cached("SELECT min(position) FROM entries WHERE session_id = ?1")?;
            let oldest: Option<i64> = { oldest }.query_row([&session.session_id], |row| row.get(0))?;
            let total = oldest.map_or(0, |oldest| newest - oldest);
            let messages = placed.into_iter().map(|placed| messages::with_place(&session.session_id, placed)).collect();
            Ok(Page { session: Some(session), messages, has_more, total })
        })
        .await
    }

    /// Reads one message of a session's transcript, pictures and all.
    pub(crate) async fn message(&self, session_id: &str, position: i64) -> Result<Option<ChatMessage>> {
        let session_id = session_id.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT message FROM entries WHERE session_id = ?1 AND position = ?2")?;
            let text: Option<String> = statement.query_row(params![session_id, position], |row| row.get(0)).optional()?;
            Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
        })
        .await
    }

    /// Appends a message to the transcript of a session that exists. Returns its id and the position, if it does.
    pub(crate) async fn inject(&self, key: &SessionKey, message: ChatMessage, at_ms: i64) -> Result<Option<(String, i64)>> {
        let key = key.clone();
        self.write(move |connection| {
            let Some(session) = sessions::load(connection, &key)? else { return Ok(None) };
            let position = append(connection, &session.session_id, None, &[message], at_ms)?;
            sessions::turn_ended(connection, &key, session.aborted_last_run, &sessions::TokenCounts::default(), at_ms)?;
            Ok(Some((session.session_id, position)))
        })
        .await
    }
}

/// Appends messages and returns the position of the first.
pub(super) fn append(connection: &Connection, session_id: &str, run_id: Option<&str>, messages: &[ChatMessage], at_ms: i64) -> Result<i64> {
    let first = next_position(connection, session_id)?;
    let mut statement =
        connection.prepare_cached("INSERT INTO entries (session_id, position, run_id, at_ms, message) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (position, message) in (first..).zip(messages) {
        statement.execute(params![session_id, position, run_id, at_ms, serde_json::to_string(message)?])?;
    }
    Ok(first)
}

/// Returns the message at a position.
pub(super) fn at(connection: &Connection, session_id: &str, position: i64) -> Result<Option<ChatMessage>> {
    let mut statement = connection.prepare_cached("SELECT message FROM entries WHERE session_id = ?1 AND position = ?2")?;
    let text: Option<String> = statement.query_row(params![session_id, position], |row| row.get(0)).optional()?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

pub(super) fn next_position(connection: &Connection, session_id: &str) -> Result<i64> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(position), -1) + 1 FROM entries WHERE session_id = ?1")?;
    Ok(statement.query_row([session_id], |row| row.get(0))?)
}

const NEWEST_BEFORE: &str = "SELECT message, position FROM entries WHERE session_id = ?1 AND position < ?2 ORDER BY position DESC";

/// Reads backwards from `before`, and returns the oldest first.
pub(super) fn newest_before(connection: &Connection, session_id: &str, before: i64, request: PageRequest) -> Result<(Vec<Placed>, bool)> {
    take(&mut *connection.prepare_cached(NEWEST_BEFORE)?, session_id, before, request)
}

fn take(statement: &mut Statement<'_>, session_id: &str, before: i64, request: PageRequest) -> Result<(Vec<Placed>, bool)> {
    let mut rows = statement.query(params![session_id, before])?;
    let (mut found, mut bytes, mut raw_bytes, mut has_more) = (Vec::new(), 0_usize, 0_usize, false);
    while let Some(row) = rows.next()? {
        if found.len() >= request.messages_max {
            has_more = true;
            break;
        }
        let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        let message: ChatMessage = serde_json::from_str(text)?;
        raw_bytes = raw_bytes.saturating_add(text.len());
        bytes = bytes.saturating_add(text.len() - messages::picture_bytes(&message));
        // One message is returned whatever its size: otherwise nobody could ever read it.
        if (bytes > request.bytes_max || raw_bytes > RAW_BYTES_MAX) && !found.is_empty() {
            has_more = true;
            break;
        }
        found.push(Placed { position: row.get(1)?, message: messages::without_pictures(message) });
    }
    found.reverse();
    Ok((found, has_more))
}

#[cfg(test)]
pub(super) mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// Returns how many steps SQLite's machine took to read the newest `messages_max` messages.
    pub(in crate::store) fn steps(connection: &Connection, session_id: &str, messages_max: usize) -> i32 {
        let mut statement = connection.prepare(NEWEST_BEFORE).unwrap();
        let request = PageRequest { messages_max, bytes_max: usize::MAX, offset: 0 };
        let (messages, _) = take(&mut statement, session_id, i64::MAX, request).unwrap();
        assert_eq!(messages.len(), messages_max);
        statement.get_status(StatementStatus::VmStep)
    }
}
