//! The keys of the linked device, in a database of the account's own.
//!
//! Everything is an entry of a kind, by a name: the library asks for nothing more, and one table has one layout to keep.

mod device;
mod protocol;
mod secrets;
mod signal;
mod sync;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use whatsapp_rust::wacore::store::error::{Result, StoreError};

/// The layout of the database.
const VERSION: i64 = 1;

/// How long a write waits for another process's, such as that of an account that is just ending.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// How much of the database is kept in memory, in KiB.
const CACHE_KIB: i64 = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Identity,
    Session,
    PreKey,
    SignedPreKey,
    SenderKey,
    SyncKey,
    SyncVersion,
    SyncMac,
    SenderKeyDevice,
    LidNumber,
    NumberLid,
    BaseKey,
    Devices,
    Group,
    Token,
    Sent,
    Pending,
    Secret,
    Device,
    /// A poll of this account, to understand its votes by.
    Poll,
    /// Who wrote a message, to be quoted and marked by.
    Author,
    Latest,
}

impl Kind {
    /// Returns the word that stands for it on the disk. It never changes.
    fn word(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Session => "session",
            Self::PreKey => "pre-key",
            Self::SignedPreKey => "signed-pre-key",
            Self::SenderKey => "sender-key",
            Self::SyncKey => "sync-key",
            Self::SyncVersion => "sync-version",
            Self::SyncMac => "sync-mac",
            Self::SenderKeyDevice => "sender-key-device",
            Self::LidNumber => "lid-number",
            Self::NumberLid => "number-lid",
            Self::BaseKey => "base-key",
            Self::Devices => "devices",
            Self::Group => "group",
            Self::Token => "token",
            Self::Sent => "sent",
            Self::Pending => "pending",
            Self::Secret => "secret",
            Self::Device => "device",
            Self::Poll => "poll",
            Self::Author => "author",
            Self::Latest => "latest",
        }
    }
}

/// The database. Clones share it. Its work blocks, so it runs beside the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the database at `path`. Its owner alone can read it.
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        blocking(move || {
            // SQLite would create it readable for others; its other files take the mode of this one.
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
            let connection = Connection::open(&path).map_err(failed)?;
            prepare(&connection).map_err(failed)?;
            let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
            if version != VERSION {
                return Err(StoreError::Validation(format!("{} has the layout {version}, and this build knows {VERSION}", path.display())));
            }
            Ok(Self { connection: Arc::new(Mutex::new(connection)) })
        })
        .await
    }

    /// Runs one transaction.
    pub(crate) async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Entries<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        let connection = Arc::clone(&self.connection);
        blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            let result = work(&Entries(&transaction))?;
            transaction.commit().map_err(failed)?;
            Ok(result)
        })
        .await
    }

    /// Reads without writing.
    pub(crate) async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Entries<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        let connection = Arc::clone(&self.connection);
        blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction().map_err(failed)?;
            work(&Entries(&transaction))
        })
        .await
    }

    pub(crate) async fn get(&self, kind: Kind, name: impl Into<Vec<u8>>) -> Result<Option<Vec<u8>>> {
        let name = name.into();
        self.read(move |entries| entries.get(kind, &name)).await
    }

    pub(crate) async fn put(&self, kind: Kind, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<()> {
        self.put_all(kind, vec![(name.into(), value.into())]).await
    }

    pub(crate) async fn put_all(&self, kind: Kind, all: Vec<(Vec<u8>, Vec<u8>)>) -> Result<()> {
        self.write(move |entries| all.iter().try_for_each(|(name, value)| entries.put(kind, name, value, 0))).await
    }

    pub(crate) async fn delete(&self, kind: Kind, name: impl Into<Vec<u8>>) -> Result<()> {
        let name = name.into();
        self.write(move |entries| entries.delete(kind, &name)).await
    }

    pub(crate) async fn get_json<T: DeserializeOwned>(&self, kind: Kind, name: impl Into<Vec<u8>>) -> Result<Option<T>> {
        self.get(kind, name).await?.map(|value| from_json(&value)).transpose()
    }

    pub(crate) async fn put_json<T: Serialize + Sync>(&self, kind: Kind, name: impl Into<Vec<u8>>, value: &T) -> Result<()> {
        self.put(kind, name, to_json(value)?).await
    }

    /// Deletes the entries of a kind whose time has come. Returns how many.
    pub(crate) async fn delete_before(&self, kind: Kind, at: i64) -> Result<u32> {
        self.write(move |entries| entries.delete_before(kind, at)).await
    }
}

/// The entries, within a transaction.
#[derive(Debug)]
pub(crate) struct Entries<'a>(&'a Transaction<'a>);

impl Entries<'_> {
    pub(crate) fn get(&self, kind: Kind, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT value FROM entries WHERE kind = ? AND name = ?";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        statement.query_row(params![kind.word(), name], |row| row.get(0)).optional().map_err(failed)
    }

    /// The same with its number: a time in seconds, or whatever the kind says.
    pub(crate) fn get_with_number(&self, kind: Kind, name: &[u8]) -> Result<Option<(Vec<u8>, i64)>> {
        let sql = "SELECT value, number FROM entries WHERE kind = ? AND name = ?";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        statement.query_row(params![kind.word(), name], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(failed)
    }

    pub(crate) fn put(&self, kind: Kind, name: &[u8], value: &[u8], number: i64) -> Result<()> {
        let sql = "INSERT INTO entries (kind, name, value, number) VALUES (?, ?, ?, ?) \
                   ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value, number = excluded.number";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        statement.execute(params![kind.word(), name, value, number]).map_err(failed).map(drop)
    }

    /// Changes the number of an entry that is there.
    pub(crate) fn set_number(&self, kind: Kind, name: &[u8], number: i64) -> Result<()> {
        let mut statement = self.0.prepare_cached("UPDATE entries SET number = ? WHERE kind = ? AND name = ?").map_err(failed)?;
        statement.execute(params![number, kind.word(), name]).map_err(failed).map(drop)
    }

    pub(crate) fn delete(&self, kind: Kind, name: &[u8]) -> Result<()> {
        let mut statement = self.0.prepare_cached("DELETE FROM entries WHERE kind = ? AND name = ?").map_err(failed)?;
        statement.execute(params![kind.word(), name]).map_err(failed).map(drop)
    }

    /// Returns the entries of a kind whose names begin with `start`, in the order of their names.
    pub(crate) fn beginning_with(&self, kind: Kind, start: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let sql = "SELECT name, value FROM entries WHERE kind = ? AND name >= ? ORDER BY name";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let rows = statement.query_map(params![kind.word(), start], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?))).map_err(failed)?;
        let mut found = Vec::new();
        for row in rows {
            let (name, value) = row.map_err(failed)?;
            if !name.starts_with(start) {
                break;
            }
            found.push((name, value));
        }
        Ok(found)
    }

    /// Deletes the entries of a kind whose numbers are below `number` and not 0.
    pub(crate) fn delete_before(&self, kind: Kind, number: i64) -> Result<u32> {
        let sql = "DELETE FROM entries WHERE kind = ? AND number < ? AND number <> 0";
        let deleted = self.0.execute(sql, params![kind.word(), number]).map_err(failed)?;
        Ok(u32::try_from(deleted).unwrap_or(u32::MAX))
    }

    /// Deletes all but the `most` entries of a kind with the largest numbers.
    pub(crate) fn keep_newest(&self, kind: Kind, most: i64) -> Result<()> {
        let sql = "DELETE FROM entries WHERE kind = ?1 AND number < \
                   (SELECT number FROM entries WHERE kind = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)";
        self.0.execute(sql, params![kind.word(), most]).map_err(failed).map(drop)
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A key that was used must never be used again, also after the machine has failed.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let fresh: bool = connection.query_row("SELECT count(*) = 0 FROM sqlite_master", [], |row| row.get(0))?;
    if fresh {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS entries (
                 kind TEXT NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (kind, name)
             ) STRICT, WITHOUT ROWID;
             CREATE INDEX IF NOT EXISTS entries_by_number ON entries (kind, number);
             PRAGMA user_version = {VERSION};
             COMMIT;"
        ))?;
    }
    Ok(())
}

/// Makes one name of several parts; none of them holds a zero.
pub(crate) fn name(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| StoreError::Serialization(Box::new(error)))
}

pub(crate) fn from_json<T: DeserializeOwned>(value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| StoreError::Serialization(Box::new(error)))
}

fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Database(Box::new(error))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}
