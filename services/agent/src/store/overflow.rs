//! What is told of messages that were dropped because too many waited, by the authority with which they were said: a stranger's words do not
//! slip into the owner's turn.

use rusqlite::{Connection, OptionalExtension as _, params};
use verso_proto::agent::v1::ChatMessage;

use super::Result;
use crate::keys::SessionKey;
use crate::messages;
use crate::runs;

/// Keeps a line about a dropped message: the newest `lines_max` of them.
pub(super) fn remember(connection: &Connection, key: &SessionKey, authority: &str, line: &str, lines_max: usize) -> Result<()> {
    let (dropped, mut lines) = load(connection, key, authority)?.unwrap_or_default();
    lines.push(line.to_owned());
    let surplus = lines.len().saturating_sub(lines_max);
    lines.drain(..surplus);
    connection
        .prepare_cached("INSERT OR REPLACE INTO dropped_messages (session_key, authority, dropped, lines) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![key.as_str(), authority, dropped + 1, serde_json::to_string(&lines)?])?;
    Ok(())
}

/// Puts what is to be told above a message, once.
pub(super) fn tell(connection: &Connection, key: &SessionKey, authority: &str, message: ChatMessage) -> Result<ChatMessage> {
    let Some((dropped, lines)) = load(connection, key, authority)? else { return Ok(message) };
    connection
        .prepare_cached("DELETE FROM dropped_messages WHERE session_key = ?1 AND authority = ?2")?
        .execute(params![key.as_str(), authority])?;
    let text = runs::tell_of_dropped(dropped, &lines, &messages::text_of(&message));
    Ok(messages::with_text(message, text))
}

fn load(connection: &Connection, key: &SessionKey, authority: &str) -> Result<Option<(i64, Vec<String>)>> {
    let mut statement =
        connection.prepare_cached("SELECT dropped, lines FROM dropped_messages WHERE session_key = ?1 AND authority = ?2")?;
    let found: Option<(i64, String)> =
        statement.query_row(params![key.as_str(), authority], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(found.map(|(dropped, lines)| serde_json::from_str(&lines).map(|lines| (dropped, lines))).transpose()?)
}
