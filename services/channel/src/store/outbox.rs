//! Messages that go out: waiting, claimed while they are sent, then sent, failed, expired, or uncertain.

use rusqlite::{Transaction, params};

use super::{AccountKey, Store};
use crate::error::Error;

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Posting {
    /// Names it within its account: a second posting with the same id is the same.
    pub(crate) id: String,
    /// Messages with the same leave in their order.
    pub(crate) chat: String,
    /// What is sent, as JSON.
    pub(crate) part: String,
    pub(crate) at_ms: i64,
}

/// A message that is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) part: String,
    pub(crate) attempts: u32,
    pub(crate) created_at_ms: i64,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The network has it, and calls it so.
    Sent { receipt: String },
    /// It is tried again then.
    Later { due_at_ms: i64, error: String },
    /// The network does not take it.
    Failed { error: String },
    /// It waited too long.
    Expired,
    /// Nobody can tell whether the network has it.
    Uncertain { error: String },
}

/// How a message of the outbox fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// `waiting`, `claimed`, `sent`, `failed`, `expired` or `uncertain`.
    pub(crate) state: String,
    pub(crate) receipt: Option<String>,
    pub(crate) error: Option<String>,
}

impl Store {
    /// Puts a message into the outbox. Returns false when it was there already.
    pub(crate) async fn post(&self, account: &AccountKey, posting: Posting) -> Result<bool, Error> {
        let account = account.clone();
        self.write(move |transaction| insert(transaction, &account, &posting)).await
    }

    /// Claims the next message that is due; none that comes after one of the same chat that is not. Says when the next one is due, too.
    pub(crate) async fn claim(&self, account: &AccountKey, now_ms: i64) -> Result<(Option<Claimed>, Option<i64>), Error> {
        let account = account.clone();
        self.write(move |transaction| {
            let mut query = transaction.prepare_cached(
                "SELECT seq, id, part, attempts, created_at_ms, due_at_ms FROM outbox AS message
                 WHERE channel = ?1 AND account = ?2 AND state = 'waiting' AND NOT EXISTS (
                     SELECT 1 FROM outbox AS earlier WHERE earlier.channel = ?1 AND earlier.account = ?2
                     AND earlier.state IN ('waiting', 'claimed') AND earlier.chat = message.chat AND earlier.seq < message.seq)
                 ORDER BY due_at_ms, seq LIMIT 1",
            )?;
            let mut rows = query.query(params![account.channel, account.account])?;
            let Some(row) = rows.next()? else { return Ok((None, None)) };
            let due_at_ms: i64 = row.get(5)?;
            if due_at_ms > now_ms {
                return Ok((None, Some(due_at_ms)));
            }
            let part: Option<String> = row.get(2)?;
            let claimed = Claimed {
                seq: row.get(0)?,
                id: row.get(1)?,
                part: part.unwrap_or_default(),
                attempts: row.get(3)?,
                created_at_ms: row.get(4)?,
            };
            transaction.execute("UPDATE outbox SET state = 'claimed', attempts = attempts + 1 WHERE seq = ?1", [claimed.seq])?;
            Ok((Some(claimed), None))
        })
        .await
    }

    /// Writes down what became of a claimed message.
    pub(crate) async fn settle(&self, seq: i64, fate: Fate, now_ms: i64) -> Result<(), Error> {
        self.write(move |transaction| {
            let (state, receipt, error) = match fate {
                Fate::Later { due_at_ms, error } => {
                    transaction.execute(
                        "UPDATE outbox SET state = 'waiting', due_at_ms = ?2, error = ?3 WHERE seq = ?1",
                        params![seq, due_at_ms, error],
                    )?;
                    return Ok(());
                }
                Fate::Sent { receipt } => ("sent", Some(receipt), None),
                Fate::Failed { error } => ("failed", None, Some(error)),
                Fate::Expired => ("expired", None, Some("it waited too long".to_owned())),
                Fate::Uncertain { error } => ("uncertain", None, Some(error)),
            };
            transaction.execute(
                "UPDATE outbox SET state = ?2, ended_at_ms = ?3, receipt = ?4, error = ?5, part = NULL WHERE seq = ?1",
                params![seq, state, now_ms, receipt, error],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns what became of a message.
    pub(crate) async fn delivery(&self, account: &AccountKey, id: &str) -> Result<Option<Delivery>, Error> {
        let (account, id) = (account.clone(), id.to_owned());
        self.with(move |connection, _| {
            let mut query =
                connection.prepare_cached("SELECT state, receipt, error FROM outbox WHERE channel = ?1 AND account = ?2 AND id = ?3")?;
            let mut rows = query.query_map(params![account.channel, account.account, id], |row| {
                Ok(Delivery { state: row.get(0)?, receipt: row.get(1)?, error: row.get(2)? })
            })?;
            Ok(rows.next().transpose()?)
        })
        .await
    }

    /// Decides about what was being sent when the account stopped: it is sent again where `again` says that nobody would see it twice, and is
    /// uncertain otherwise. Returns how many messages that are.
    pub(crate) async fn interrupted(&self, account: &AccountKey, now_ms: i64, again: bool) -> Result<usize, Error> {
        let account = account.clone();
        self.write(move |transaction| {
            let ours = "channel = ?1 AND account = ?2 AND (state = 'claimed' OR (state = 'uncertain' AND part IS NOT NULL))";
            let changed = if again {
                let sql = format!("UPDATE outbox SET state = 'waiting', due_at_ms = ?3, ended_at_ms = NULL WHERE {ours}");
                transaction.execute(&sql, params![account.channel, account.account, now_ms])?
            } else {
                let sql = format!(
                    "UPDATE outbox SET state = 'uncertain', ended_at_ms = ?3, part = NULL, error = 'the account stopped while it was being sent' WHERE {ours}"
                );
                transaction.execute(&sql, params![account.channel, account.account, now_ms])?
            };
            Ok(changed)
        })
        .await
    }

    /// Marks what an earlier incarnation was sending when it died, and forgets what ended before `before_ms`. Returns how many are uncertain.
    pub(crate) async fn recover(&self, now_ms: i64, before_ms: i64) -> Result<usize, Error> {
        self.write(move |transaction| {
            let uncertain = transaction.execute(
                // What it was stays until its account starts: its network may let it be sent again.
                "UPDATE outbox SET state = 'uncertain', ended_at_ms = ?1,
                 error = 'the gateway was interrupted while it was being sent' WHERE state = 'claimed'",
                [now_ms],
            )?;
            transaction.execute("DELETE FROM outbox WHERE ended_at_ms < ?1", [before_ms])?;
            transaction.execute("DELETE FROM inbox WHERE ended_at_ms < ?1", [before_ms])?;
            Ok(uncertain)
        })
        .await
    }
}

pub(super) fn insert(transaction: &Transaction<'_>, account: &AccountKey, posting: &Posting) -> Result<bool, Error> {
    let changed = transaction.execute(
        "INSERT INTO outbox (channel, account, id, chat, part, state, created_at_ms, due_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, 'waiting', ?6, ?6)
         ON CONFLICT DO NOTHING",
        params![account.channel, account.account, posting.id, posting.chat, posting.part, posting.at_ms],
    )?;
    Ok(changed > 0)
}
