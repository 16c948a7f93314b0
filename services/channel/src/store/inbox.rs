//! Messages that came in: kept before their network hears that they were taken, until their answer waits in the outbox.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::outbox::{self, Posting};
use super::{AccountKey, Store};
use crate::error::Error;

/// How long a network goes on counting from where it was, in milliseconds: after a week of silence, Telegram begins anywhere.
const POSITION_LIFE_MS: i64 = 6 * 24 * 60 * 60 * 1_000;

/// A message that is not dealt with yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) seq: i64,
    /// The network's own id of the message.
    pub(crate) event: String,
    /// Messages with the same are dealt with in their order.
    pub(crate) chat: String,
    /// The message as JSON.
    pub(crate) message: String,
    pub(crate) received_at_ms: i64,
    /// The last of the messages that this one is told together with, once that is decided.
    pub(crate) lead: Option<String>,
    /// The message that shows the beginning of its answer.
    pub(crate) preview: Option<String>,
}

/// A message that has just arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) event: String,
    pub(crate) chat: String,
    pub(crate) message: String,
    pub(crate) at_ms: i64,
}

impl Store {
    /// Keeps a message, and how far the network has been read. Returns its number, or none when it was here before.
    pub(crate) async fn take(
        &self,
        account: &AccountKey,
        arrived: Option<Arrived>,
        position: Option<i64>,
        now_ms: i64,
    ) -> Result<Option<i64>, Error> {
        let account = account.clone();
        self.write(move |transaction| {
            let seq = arrived.map(|arrived| insert(transaction, &account, &arrived)).transpose()?.flatten();
            if let Some(position) = position {
                transaction.execute(
                    "INSERT INTO positions (channel, account, position, at_ms) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET at_ms = excluded.at_ms,
                     position = CASE WHEN at_ms < ?5 THEN excluded.position ELSE max(position, excluded.position) END",
                    params![account.channel, account.account, position, now_ms, now_ms - POSITION_LIFE_MS],
                )?;
            }
            Ok(seq)
        })
        .await
    }

    /// Returns how far the network has been read, unless that was too long ago to mean anything.
    pub(crate) async fn position(&self, account: &AccountKey, now_ms: i64) -> Result<Option<i64>, Error> {
        let account = account.clone();
        self.with(move |connection, _| {
            let query = "SELECT position FROM positions WHERE channel = ?1 AND account = ?2 AND at_ms >= ?3";
            Ok(connection
                .query_row(query, params![account.channel, account.account, now_ms - POSITION_LIFE_MS], |row| row.get(0))
                .optional()?)
        })
        .await
    }

    /// Returns the oldest messages after `after` that are not dealt with.
    pub(crate) async fn open_messages(&self, account: &AccountKey, after: i64, at_most: u32) -> Result<Vec<Open>, Error> {
        let account = account.clone();
        self.with(move |connection, _| {
            let mut query = connection.prepare_cached(
                "SELECT seq, event, chat, message, received_at_ms, lead, preview FROM inbox
                 WHERE channel = ?1 AND account = ?2 AND state = 'open' AND seq > ?3 ORDER BY seq LIMIT ?4",
            )?;
            let rows = query.query_map(params![account.channel, account.account, after, at_most], |row| {
                let message: Option<String> = row.get(3)?;
                Ok(Open {
                    seq: row.get(0)?,
                    event: row.get(1)?,
                    chat: row.get(2)?,
                    message: message.unwrap_or_default(),
                    received_at_ms: row.get(4)?,
                    lead: row.get(5)?,
                    preview: row.get(6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Decides which messages are told together, before an agent hears of them: a later incarnation tells them together again.
    pub(crate) async fn lead(&self, seqs: Vec<i64>, lead: &str) -> Result<(), Error> {
        let lead = lead.to_owned();
        self.write(move |transaction| {
            for seq in seqs {
                transaction.execute("UPDATE inbox SET lead = ?2 WHERE seq = ?1", params![seq, lead])?;
            }
            Ok(())
        })
        .await
    }

    /// Notes the message that shows the beginning of an answer, so that the whole answer takes its place, also after a restart.
    pub(crate) async fn preview(&self, seq: i64, message_id: &str) -> Result<(), Error> {
        let message_id = message_id.to_owned();
        self.write(move |transaction| {
            transaction.execute("UPDATE inbox SET preview = ?2 WHERE seq = ?1", params![seq, message_id])?;
            Ok(())
        })
        .await
    }

    /// Counts the messages of an account that are not dealt with.
    pub(crate) async fn open_count(&self, account: &AccountKey) -> Result<i64, Error> {
        let account = account.clone();
        self.with(move |connection, _| {
            let mut query =
                connection.prepare_cached("SELECT count(*) FROM inbox WHERE channel = ?1 AND account = ?2 AND state = 'open'")?;
            Ok(query.query_row(params![account.channel, account.account], |row| row.get(0))?)
        })
        .await
    }

    /// Ends messages that were told together and puts their answer into the outbox, in one write. What was ended already stays as it is.
    pub(crate) async fn answer(&self, account: &AccountKey, ended: Ended, postings: Vec<Posting>) -> Result<(), Error> {
        let account = account.clone();
        self.write(move |transaction| {
            let mut changed = 0;
            for seq in &ended.seqs {
                // The text is not needed any more; the id is, so that the message is not taken twice.
                changed += transaction.execute(
                    "UPDATE inbox SET state = ?2, ended_at_ms = ?3, error = ?4, message = NULL WHERE seq = ?1 AND state = 'open'",
                    params![seq, ended.state, ended.at_ms, ended.error],
                )?;
            }
            if changed > 0 {
                for posting in &postings {
                    outbox::insert(transaction, &account, posting)?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// How a message was dealt with.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) seqs: Vec<i64>,
    /// `answered`, `ignored`, `refused` or `failed`.
    pub(crate) state: &'static str,
    pub(crate) at_ms: i64,
    pub(crate) error: Option<String>,
}

fn insert(transaction: &Transaction<'_>, account: &AccountKey, arrived: &Arrived) -> Result<Option<i64>, Error> {
    let changed = transaction.execute(
        "INSERT INTO inbox (channel, account, event, chat, message, state, received_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, 'open', ?6)
         ON CONFLICT DO NOTHING",
        params![account.channel, account.account, arrived.event, arrived.chat, arrived.message, arrived.at_ms],
    )?;
    Ok((changed > 0).then(|| transaction.last_insert_rowid()))
}
