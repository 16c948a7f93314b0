//! The layouts of the database, each made from the one before.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{check_epoch, saved};
use crate::error::Error;

/// The layout that this version of the program uses.
const LAST: u32 = 1;

/// Each step leads to the layout that it names, from the one before. A step that was released is never changed.
const STEPS: [(u32, &str); 1] = [(
    LAST,
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
)];

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
