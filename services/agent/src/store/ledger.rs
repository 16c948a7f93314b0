//! What the database holds, in numbers.

use super::{Result, Store};

/// What is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Runs that have not ended.
    pub(crate) unfinished: i64,
    /// What is to be delivered to somebody who did not ask.
    pub(crate) deliveries: i64,
    /// Jobs that are switched on.
    pub(crate) jobs_on: i64,
    /// Jobs that are not.
    pub(crate) jobs_off: i64,
}

impl Store {
    /// Counts what is open.
    pub(crate) async fn ledger(&self) -> Result<Ledger> {
        self.read(|connection| {
            let count = |sql: &str| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
            Ok(Ledger {
                unfinished: count("SELECT COUNT(*) FROM runs WHERE ended_at_ms IS NULL")?,
                deliveries: count("SELECT COUNT(*) FROM deliveries")?,
                jobs_on: count("SELECT COUNT(*) FROM cron_jobs WHERE enabled = 1")?,
                jobs_off: count("SELECT COUNT(*) FROM cron_jobs WHERE enabled = 0")?,
            })
        })
        .await
    }
}
