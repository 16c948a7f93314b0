//! The database: what came in and goes out, who was let in, and who may write.

pub(crate) mod inbox;
mod ledgers;
mod migrations;
pub(crate) mod outbox;
pub(crate) mod pairing;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use crate::error::Error;

/// How long a write waits for another process's, such as that of an incarnation that is being replaced.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// How much of the database is kept in memory, in KiB: what is read often is small.
const CACHE_KIB: i64 = 512;

/// Names an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AccountKey {
    pub(crate) channel: String,
    pub(crate) account: String,
}

/// The database of one incarnation. Clones share it. Its work blocks, so it runs beside the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
    epoch: u64,
}

impl Store {
    /// Opens the database at `path`, brings its layout up to date, and claims it for the incarnation `epoch`: older ones can write no more.
    pub(crate) async fn open(path: PathBuf, epoch: u64) -> Result<Self, Error> {
        blocking(move || {
            let mut connection = connect(&path)?;
            migrations::run(&mut connection, &path, epoch)?;
            Ok(Self { connection: Arc::new(Mutex::new(connection)), epoch })
        })
        .await
    }

    /// Runs one transaction, unless a newer incarnation has claimed the database.
    async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
        self.with(move |connection, epoch| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            check_epoch(&transaction, epoch)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
        .await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, u64) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (connection, epoch) = (Arc::clone(&self.connection), self.epoch);
        blocking(move || work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner), epoch)).await
    }
}

/// Statements that a connection keeps prepared: all that a message needs.
const STATEMENTS_MAX: usize = 128;

fn connect(path: &Path) -> Result<Connection, Error> {
    match std::fs::metadata(path) {
        // One that was made holds at least its header: somebody has cut it off, and what it held must not be forgotten silently.
        Ok(meta) if meta.len() == 0 => return Err(Error::Empty(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(path)?,
        Err(source) => return Err(Error::Create { path: path.to_owned(), source }),
    }
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A message is acknowledged to its network once it is committed: a commit must survive the machine.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// Makes an empty database, which appears as a whole.
fn create(path: &Path) -> Result<(), Error> {
    let half = path.with_extension("new");
    // SQLite would create it readable for others; its other files take the mode of this one.
    let created = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&half);
    let failed = |source| Error::Create { path: path.to_owned(), source };
    created.map_err(failed)?;
    let connection = Connection::open(&half)?;
    // This writes the first page.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)?;
    std::fs::rename(&half, path).map_err(failed)
}

/// Refuses an incarnation that was replaced.
fn check_epoch(transaction: &Transaction<'_>, epoch: u64) -> Result<(), Error> {
    let claimed: Option<i64> = transaction.query_row("SELECT epoch FROM fence", [], |row| row.get(0)).optional()?;
    if claimed.is_some_and(|claimed| claimed > saved(epoch)) { Err(Error::Replaced) } else { Ok(()) }
}

/// The database's integers are signed; no supervisor counts that far.
fn saved(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}
