//! Messages that go out: waiting, claimed while they are sent, then sent, failed, expired, or uncertain.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{AccountKey, Store};
use crate::error::Error;
use crate::message::{Part, Receipt};

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

impl Posting {
    /// Makes a posting of a message.
    pub(crate) fn new(id: String, part: &Part, at_ms: i64) -> Self {
        // A part is plain data: it has a JSON form.
        Self { id, chat: part.to.order_key(), part: serde_json::to_string(part).unwrap_or_default(), at_ms }
    }
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
    Sent { receipt: Receipt },
    /// It is tried again then.
    Later { due_at_ms: i64, error: String },
    /// It was not tried: its chat was written to too often just now.
    Paced { due_at_ms: i64 },
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
    /// Puts finished pieces of an answer into the outbox; they take the place of what was shown of them. Returns false when they were there
    /// already.
    pub(crate) async fn post_pieces(&self, account: &AccountKey, seqs: Vec<i64>, postings: Vec<Posting>) -> Result<bool, Error> {
        let account = account.clone();
        self.write(move |transaction| {
            let mut new = false;
            for posting in &postings {
                new |= insert(transaction, &account, posting)?;
            }
            for seq in seqs.iter().filter(|_| new) {
                transaction.execute("UPDATE inbox SET preview = NULL WHERE seq = ?1", [seq])?;
            }
            Ok(new)
        })
        .await
    }

    /// Returns the names of the messages of an account that begin so, in their order.
    pub(crate) async fn posted(&self, account: &AccountKey, prefix: &str) -> Result<Vec<String>, Error> {
        let (account, prefix) = (account.clone(), prefix.to_owned());
        self.with(move |connection, _| {
            let mut query = connection.prepare_cached(
                "SELECT id FROM outbox WHERE channel = ?1 AND account = ?2 AND substr(id, 1, length(?3)) = ?3 AND id >= ?3 ORDER BY seq",
            )?;
            let ids = query.query_map(params![account.channel, account.account, prefix], |row| row.get(0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Counts the messages of an account of which nobody can tell whether they were taken, since a time.
    pub(crate) async fn uncertain_count(&self, account: &AccountKey, since_ms: i64) -> Result<i64, Error> {
        let account = account.clone();
        self.with(move |connection, _| {
            let mut query = connection.prepare_cached(
                "SELECT count(*) FROM outbox WHERE channel = ?1 AND account = ?2 AND state = 'uncertain' AND ended_at_ms >= ?3",
            )?;
            Ok(query.query_row(params![account.channel, account.account, since_ms], |row| row.get(0))?)
        })
        .await
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
            let (state, error) = match fate {
                Fate::Later { due_at_ms, error } => {
                    transaction.execute(
                        "UPDATE outbox SET state = 'waiting', due_at_ms = ?2, error = ?3 WHERE seq = ?1",
                        params![seq, due_at_ms, error],
                    )?;
                    return Ok(());
                }
                Fate::Paced { due_at_ms } => {
                    transaction.execute(
                        "UPDATE outbox SET state = 'waiting', due_at_ms = ?2, attempts = attempts - 1 WHERE seq = ?1",
                        params![seq, due_at_ms],
                    )?;
                    return Ok(());
                }
                Fate::Sent { receipt } => {
                    // A receipt is plain data: it has a JSON form.
                    let text = serde_json::to_string(&receipt).unwrap_or_default();
                    transaction.execute(
                        "UPDATE outbox SET state = 'sent', ended_at_ms = ?2, receipt = ?3, message_id = ?4, poll_id = ?5, error = NULL, part = NULL
                         WHERE seq = ?1",
                        params![seq, now_ms, text, receipt.message_id, receipt.poll_id],
                    )?;
                    return Ok(());
                }
                Fate::Failed { error } => ("failed", error),
                Fate::Expired => ("expired", "it waited too long".to_owned()),
                Fate::Uncertain { error } => ("uncertain", error),
            };
            transaction.execute(
                "UPDATE outbox SET state = ?2, ended_at_ms = ?3, error = ?4, part = NULL WHERE seq = ?1",
                params![seq, state, now_ms, error],
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

    /// Whether the account has sent a message to a chat or one of its topics.
    pub(crate) async fn has_sent(&self, account: &AccountKey, peer: &str, message_id: &str) -> Result<bool, Error> {
        let (account, peer, message_id) = (account.clone(), peer.to_owned(), message_id.to_owned());
        self.with(move |connection, _| {
            let mut query = connection
                .prepare_cached("SELECT chat FROM outbox WHERE channel = ?1 AND account = ?2 AND message_id = ?3 AND state = 'sent'")?;
            let chats = query.query_map(params![account.channel, account.account, message_id], |row| row.get::<_, String>(0))?;
            for chat in chats {
                let chat = chat?;
                if chat == peer || chat.strip_prefix(peer.as_str()).is_some_and(|rest| rest.starts_with(":topic:")) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    /// Returns the chat that a poll was sent to, and its receipt.
    pub(crate) async fn poll(&self, account: &AccountKey, poll_id: &str) -> Result<Option<(String, String)>, Error> {
        let (account, poll_id) = (account.clone(), poll_id.to_owned());
        self.with(move |connection, _| {
            let mut query = connection.prepare_cached(
                "SELECT chat, receipt FROM outbox WHERE channel = ?1 AND account = ?2 AND poll_id = ?3 AND receipt IS NOT NULL",
            )?;
            let found = query.query_row(params![account.channel, account.account, poll_id], |row| Ok((row.get(0)?, row.get(1)?)));
            Ok(found.optional()?)
        })
        .await
    }

    /// Counts the messages of an account that wait to be sent.
    pub(crate) async fn waiting_count(&self, account: &AccountKey) -> Result<i64, Error> {
        let account = account.clone();
        self.with(move |connection, _| {
            let mut query =
                connection.prepare_cached("SELECT count(*) FROM outbox WHERE channel = ?1 AND account = ?2 AND state = 'waiting'")?;
            Ok(query.query_row(params![account.channel, account.account], |row| row.get(0))?)
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
