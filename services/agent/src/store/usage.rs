//! What models have used: a row for each call, written together with the end of its run.

use rusqlite::{Connection, params};
use verso_proto::agent::v1::ChatMessage;

use super::journal::Finish;
use super::{Result, Store};
use crate::keys::SessionKey;

/// The width of a row of a sum, in milliseconds: every time zone's days begin at a multiple of it.
pub(crate) const SLOT_MS: i64 = 15 * 60 * 1_000;

/// What one model has used within a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Used {
    /// The beginning of the slot.
    pub(crate) at_ms: i64,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) calls: i64,
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) cache_read: i64,
    pub(crate) cache_write: i64,
}

impl Store {
    /// Adds up what models have used in a session.
    pub(crate) async fn used_by(&self, key: &SessionKey) -> Result<Vec<Used>> {
        let key = key.clone();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT max(at_ms), provider, model, count(*), sum(input), sum(output), sum(cache_read), sum(cache_write)
                 FROM usage WHERE session_key = ?1 GROUP BY 2, 3 ORDER BY 2, 3",
            )?;
            let rows = statement.query_map([key.as_str()], read)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await
    }

    /// Adds up what models have used since `since_ms`.
    pub(crate) async fn used_since(&self, since_ms: i64) -> Result<Vec<Used>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT at_ms / ?2 * ?2, provider, model, count(*), sum(input), sum(output), sum(cache_read), sum(cache_write)
                 FROM usage WHERE at_ms >= ?1 GROUP BY 1, 2, 3 ORDER BY 1",
            )?;
            let rows = statement.query_map([since_ms, SLOT_MS], read)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Used> {
    Ok(Used {
        at_ms: row.get(0)?,
        provider: row.get(1)?,
        model: row.get(2)?,
        calls: row.get(3)?,
        input: row.get(4)?,
        output: row.get(5)?,
        cache_read: row.get(6)?,
        cache_write: row.get(7)?,
    })
}

/// Writes down what the calls of a run have used. Part of the write that ends it.
pub(super) fn record(connection: &Connection, finish: &Finish) -> Result<()> {
    for message in &finish.messages {
        record_one(connection, finish, message)?;
    }
    Ok(())
}

fn record_one(connection: &Connection, finish: &Finish, message: &ChatMessage) -> Result<()> {
    let (Some(usage), Some(provider), Some(model)) = (&message.usage, &message.provider, &message.model) else { return Ok(()) };
    if usage.total_tokens == 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO usage (at_ms, run_id, session_key, provider, model, input, output, cache_read, cache_write)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            finish.at_ms,
            finish.run_id,
            finish.key.as_str(),
            provider,
            model,
            usage.input,
            usage.output,
            usage.cache_read.unwrap_or(0),
            usage.cache_write.unwrap_or(0)
        ])?;
    Ok(())
}
