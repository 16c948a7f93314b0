//! What the inbox and the outbox hold, in numbers.

use super::{AccountKey, Store};
use crate::error::Error;

/// How many messages are in which state.
#[derive(Debug, Default)]
pub(crate) struct Ledgers {
    pub(crate) inbox: Vec<(AccountKey, String, i64)>,
    pub(crate) outbox: Vec<(AccountKey, String, i64)>,
    /// Since when the oldest message waits that is to go out.
    pub(crate) oldest_waiting_ms: Option<i64>,
}

impl Store {
    /// Counts what both hold.
    pub(crate) async fn ledgers(&self) -> Result<Ledgers, Error> {
        self.with(|connection, _| {
            let count = |table: &str| {
                let sql = format!("SELECT channel, account, state, COUNT(*) FROM {table} GROUP BY channel, account, state");
                let mut query = connection.prepare_cached(&sql)?;
                let rows =
                    query.query_map([], |row| Ok((AccountKey { channel: row.get(0)?, account: row.get(1)? }, row.get(2)?, row.get(3)?)))?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            };
            let oldest = "SELECT MIN(created_at_ms) FROM outbox WHERE state IN ('waiting', 'claimed')";
            Ok(Ledgers {
                inbox: count("inbox")?,
                outbox: count("outbox")?,
                oldest_waiting_ms: connection.prepare_cached(oldest)?.query_row([], |row| row.get(0))?,
            })
        })
        .await
    }
}
