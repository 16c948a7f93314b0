//! The layouts of the database, each made from the one before.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{check_epoch, saved};
use crate::error::Error;

/// The layout that this version of the program uses.
const LAST: u32 = 3;

/// Each step leads to the layout that it names, from the one before. A step that was released is never changed.
const STEPS: [(u32, &str); 3] = [
    (
        1,
        "
    CREATE TABLE fence (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        epoch INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE accounts (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        running INTEGER NOT NULL,
        last_error TEXT,
        changed_at_ms INTEGER NOT NULL,
        PRIMARY KEY (channel, account)
    ) STRICT, WITHOUT ROWID;
",
    ),
    (
        2,
        "
    DROP TABLE accounts;
    CREATE TABLE inbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        event TEXT NOT NULL,
        chat TEXT NOT NULL,
        message TEXT,
        state TEXT NOT NULL,
        received_at_ms INTEGER NOT NULL,
        ended_at_ms INTEGER,
        error TEXT,
        UNIQUE (channel, account, event)
    ) STRICT;
    CREATE INDEX inbox_open ON inbox (channel, account, seq) WHERE state = 'open';
    CREATE INDEX inbox_ended ON inbox (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        id TEXT NOT NULL,
        chat TEXT NOT NULL,
        part TEXT,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        created_at_ms INTEGER NOT NULL,
        due_at_ms INTEGER NOT NULL,
        ended_at_ms INTEGER,
        receipt TEXT,
        error TEXT,
        UNIQUE (channel, account, id)
    ) STRICT;
    CREATE INDEX outbox_open ON outbox (channel, account, seq) WHERE state IN ('waiting', 'claimed');
    CREATE INDEX outbox_ended ON outbox (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
    CREATE TABLE positions (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (channel, account)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE pairing (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        sender TEXT NOT NULL,
        code TEXT NOT NULL UNIQUE,
        name TEXT,
        created_at_ms INTEGER NOT NULL,
        seen_at_ms INTEGER NOT NULL,
        PRIMARY KEY (channel, account, sender)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE allowed (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        sender TEXT NOT NULL,
        added_at_ms INTEGER NOT NULL,
        PRIMARY KEY (channel, account, sender)
    ) STRICT, WITHOUT ROWID;
",
    ),
    (
        LAST,
        "
    ALTER TABLE positions ADD COLUMN at_ms INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE inbox ADD COLUMN lead TEXT;
    ALTER TABLE inbox ADD COLUMN preview TEXT;
    CREATE INDEX outbox_chats ON outbox (channel, account, chat, seq) WHERE state IN ('waiting', 'claimed');
    ALTER TABLE outbox ADD COLUMN message_id TEXT;
    ALTER TABLE outbox ADD COLUMN poll_id TEXT;
    CREATE INDEX outbox_messages ON outbox (channel, account, message_id) WHERE message_id IS NOT NULL;
    CREATE INDEX outbox_polls ON outbox (channel, account, poll_id) WHERE poll_id IS NOT NULL;
    DROP INDEX outbox_open;
    CREATE INDEX outbox_due ON outbox (channel, account, due_at_ms, seq) WHERE state = 'waiting';
",
    ),
];

/// Brings the database to the last layout and claims it for `epoch`, in one transaction.
pub(super) fn run(connection: &mut Connection, path: &Path, epoch: u64) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > LAST {
        return Err(Error::Newer { path: path.to_owned(), found, known: LAST });
    }
    for (_, step) in STEPS.iter().filter(|(layout, _)| *layout > found) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", LAST)?;
    check_epoch(&transaction, epoch)?;
    transaction
        .execute("INSERT INTO fence (only, epoch) VALUES (1, ?1) ON CONFLICT DO UPDATE SET epoch = excluded.epoch", [saved(epoch)])?;
    transaction.commit()?;
    Ok(())
}
