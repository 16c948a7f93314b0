//! The tables, how they came to be, and how a connection to them is set up.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::{Error, Fence, Result, events};

/// Each step brings the schema one version further; `user_version` counts those that were made. Steps are never changed.
const MIGRATIONS: [&str; 6] = [FIRST, SETTINGS, USAGE, events::TABLES, MARKS, QUEUE];

const FIRST: &str = "
    CREATE TABLE fence (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        epoch INTEGER NOT NULL,
        incarnation TEXT NOT NULL
    ) STRICT;
    INSERT INTO fence VALUES (1, 0, '');

    CREATE TABLE sessions (
        key TEXT PRIMARY KEY,
        agent_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        updated_at_ms INTEGER NOT NULL,
        label TEXT,
        display_name TEXT,
        channel TEXT,
        spawned_by TEXT,
        thinking_level TEXT,
        verbose_level TEXT,
        system_sent INTEGER NOT NULL DEFAULT 0,
        aborted_last_run INTEGER NOT NULL DEFAULT 0,
        input_tokens INTEGER,
        output_tokens INTEGER,
        total_tokens INTEGER,
        context_tokens INTEGER,
        model_provider TEXT,
        model TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_by_update ON sessions (updated_at_ms DESC);
    CREATE INDEX sessions_by_agent ON sessions (agent_id, updated_at_ms DESC);
    CREATE INDEX sessions_by_id ON sessions (session_id);

    CREATE TABLE entries (
        session_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        run_id TEXT,
        at_ms INTEGER NOT NULL,
        message TEXT NOT NULL,
        PRIMARY KEY (session_id, position)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE runs (
        run_id TEXT PRIMARY KEY,
        session_key TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('accepted', 'running', 'ok', 'error', 'aborted')),
        request TEXT,
        response TEXT,
        attempt INTEGER NOT NULL,
        tool_calls INTEGER NOT NULL DEFAULT 0,
        user_position INTEGER,
        accepted_at_ms INTEGER NOT NULL,
        started_at_ms INTEGER,
        ended_at_ms INTEGER,
        epoch INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX runs_unfinished ON runs (accepted_at_ms) WHERE ended_at_ms IS NULL;
    CREATE INDEX runs_by_end ON runs (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
";

/// What a user sets on a session, beyond what the first version knew.
const SETTINGS: &str = "
    ALTER TABLE sessions ADD COLUMN reasoning_level TEXT;
    ALTER TABLE sessions ADD COLUMN response_usage TEXT;
    ALTER TABLE sessions ADD COLUMN elevated_level TEXT;
    ALTER TABLE sessions ADD COLUMN exec_host TEXT;
    ALTER TABLE sessions ADD COLUMN exec_security TEXT;
    ALTER TABLE sessions ADD COLUMN exec_ask TEXT;
    ALTER TABLE sessions ADD COLUMN exec_node TEXT;
    ALTER TABLE sessions ADD COLUMN provider_override TEXT;
    ALTER TABLE sessions ADD COLUMN model_override TEXT;
    ALTER TABLE sessions ADD COLUMN send_policy TEXT CHECK (send_policy IN ('allow', 'deny'));
    ALTER TABLE sessions ADD COLUMN group_activation TEXT;
    CREATE INDEX sessions_by_label ON sessions (label) WHERE label IS NOT NULL;
";

/// What each call of a model has used.
const USAGE: &str = "
    CREATE TABLE usage (
        at_ms INTEGER NOT NULL,
        run_id TEXT NOT NULL,
        session_key TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        input INTEGER NOT NULL,
        output INTEGER NOT NULL,
        cache_read INTEGER NOT NULL,
        cache_write INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX usage_by_time ON usage (at_ms);
";

/// How a user keeps order among sessions, and a way to a session's newest run.
const MARKS: &str = "
    ALTER TABLE sessions ADD COLUMN archived_at_ms INTEGER;
    ALTER TABLE sessions ADD COLUMN pinned_at_ms INTEGER;
    ALTER TABLE sessions ADD COLUMN unread INTEGER;
    ALTER TABLE sessions ADD COLUMN icon TEXT;
    ALTER TABLE sessions ADD COLUMN color TEXT;
    ALTER TABLE sessions ADD COLUMN category TEXT;
    CREATE INDEX runs_by_session ON runs (session_key, accepted_at_ms DESC);
";

/// How a session queues messages, where its last answer went, how often it was summarised, and what is told of dropped messages.
const QUEUE: &str = "
    CREATE TABLE dropped_messages (
        session_key TEXT NOT NULL,
        authority TEXT NOT NULL,
        dropped INTEGER NOT NULL,
        lines TEXT NOT NULL,
        PRIMARY KEY (session_key, authority)
    ) STRICT, WITHOUT ROWID;
    ALTER TABLE sessions ADD COLUMN queue_mode TEXT;
    ALTER TABLE sessions ADD COLUMN queue_debounce_ms INTEGER;
    ALTER TABLE sessions ADD COLUMN queue_cap INTEGER;
    ALTER TABLE sessions ADD COLUMN queue_drop TEXT;
    ALTER TABLE sessions ADD COLUMN last_channel TEXT;
    ALTER TABLE sessions ADD COLUMN last_to TEXT;
    ALTER TABLE sessions ADD COLUMN last_account TEXT;
    ALTER TABLE sessions ADD COLUMN last_thread TEXT;
    ALTER TABLE sessions ADD COLUMN compactions INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN flushed_at_compaction INTEGER;
    ALTER TABLE sessions ADD COLUMN tts_auto TEXT;
    CREATE INDEX usage_by_session ON usage (session_key);
    CREATE INDEX sessions_by_parent ON sessions (spawned_by) WHERE spawned_by IS NOT NULL;
    CREATE TABLE deliveries (
        id TEXT PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        delivery TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE summaries (
        session_id TEXT PRIMARY KEY,
        first_kept INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        tokens_before INTEGER,
        text TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// How long a connection waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Memory for pages of the connection that writes, in KiB.
const WRITER_CACHE_KIB: i64 = 2_048;

/// Memory for pages of each connection that reads, in KiB.
const READER_CACHE_KIB: i64 = 512;

/// Statements that a connection keeps prepared: all that a turn needs.
const STATEMENTS_MAX: usize = 128;

/// A log that grew beyond this is cut back after a checkpoint, in bytes.
const LOG_BYTES_MAX: i64 = 16 << 20;

/// Opens the connection that writes, brings the schema up to date and takes over from earlier incarnations.
pub(super) fn open(path: &Path, fence: &Fence) -> Result<Connection> {
    match std::fs::metadata(path) {
        // One that was made holds at least its header: somebody has cut it off, and what it held must not be forgotten silently.
        Ok(meta) if meta.len() == 0 => return Err(Error::Empty(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(path)?,
        Err(source) => return Err(Error::Create { path: path.to_owned(), source: Arc::new(source) }),
    }
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit reaches the operating system, not the disk: it survives the death of the process, which is what happens, and after
    // a power cut the file is whole although the last moments are missing. An inbound message is safe from that too: the channel
    // service keeps it until the run has ended. Waiting for the disk would cost every turn two waits of up to 20 ms.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    migrate(&mut connection)?;
    take_over(&mut connection, fence)?;
    Ok(connection)
}

/// Makes an empty database, which appears as a whole.
fn create(path: &Path) -> Result<()> {
    let half = path.with_extension("new");
    // Only the owner may read what people say to their agents; SQLite gives its companion files the same mode.
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&half);
    let failed = |source| Error::Create { path: path.to_owned(), source: Arc::new(source) };
    file.map_err(failed)?;
    let connection = Connection::open(&half)?;
    // This writes the first page.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)?;
    std::fs::rename(&half, path).map_err(failed)
}

/// Opens a connection that reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// Refuses to go on when another incarnation has opened the database since.
pub(super) fn check(connection: &Connection, fence: &Fence) -> Result<()> {
    let (epoch, incarnation): (i64, String) =
        connection.prepare_cached("SELECT epoch, incarnation FROM fence")?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if epoch == as_integer(fence.epoch) && incarnation == fence.incarnation { Ok(()) } else { Err(Error::Fenced) }
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len()).ok_or(Error::FromTheFuture { found, known })?;
    for step in &MIGRATIONS[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}

fn take_over(connection: &mut Connection, fence: &Fence) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let changed = transaction
        .execute("UPDATE fence SET epoch = ?1, incarnation = ?2 WHERE epoch <= ?1", params![as_integer(fence.epoch), fence.incarnation])?;
    if changed == 0 {
        return Err(Error::Fenced);
    }
    Ok(transaction.commit()?)
}

/// Integers of the database are signed; no supervisor starts a service that often.
pub(super) fn as_integer(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SessionKey;
    use crate::store::sessions;

    #[test]
    fn a_database_of_the_first_version_keeps_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(FIRST).unwrap();
        old.execute_batch(
            "INSERT INTO sessions (key, agent_id, session_id, created_at_ms, updated_at_ms, label) VALUES ('agent:main:a', 'main', 's', 1, 2, 'l');
             INSERT INTO entries VALUES ('s', 0, NULL, 1, '{}');
             PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        let fence = Fence { epoch: 1, incarnation: "i".to_owned() };
        for _ in 0..2 {
            let connection = open(&path, &fence).unwrap();
            let session = sessions::load(&connection, &SessionKey::stored("agent:main:a")).unwrap().unwrap();
            assert_eq!((session.label.as_deref(), session.settings), (Some("l"), sessions::Settings::default()));
            let entries: i64 = connection.query_row("SELECT count(*) FROM entries", [], |row| row.get(0)).unwrap();
            assert_eq!(entries, 1);
        }
    }
}
