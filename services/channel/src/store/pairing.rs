//! Who asks to be let in, and who was.

use rusqlite::{OptionalExtension as _, params};

use super::{AccountKey, Store};
use crate::error::Error;

/// How many people of one account may wait for an answer.
const WAITING_MAX: i64 = 3;

/// How long a code is good for, in milliseconds.
pub(crate) const CODE_LIFE_MS: i64 = 60 * 60 * 1_000;

/// Somebody who asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asking {
    pub(crate) channel: String,
    pub(crate) account: String,
    pub(crate) sender: String,
    pub(crate) code: String,
    pub(crate) name: Option<String>,
    pub(crate) created_at_ms: i64,
    pub(crate) seen_at_ms: i64,
}

/// Somebody who is not known yet.
#[derive(Debug, Clone)]
pub(crate) struct Stranger {
    pub(crate) sender: String,
    pub(crate) name: Option<String>,
    /// For him to show to the owner, if he has none yet.
    pub(crate) code: String,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A new request with this code.
    New,
    /// He asked before, and was told.
    Known,
    /// Too many others wait.
    Full,
}

impl Store {
    /// Whether somebody was let in.
    pub(crate) async fn is_allowed(&self, account: &AccountKey, sender: &str) -> Result<bool, Error> {
        let (account, sender) = (account.clone(), sender.to_owned());
        self.with(move |connection, _| {
            let query = "SELECT 1 FROM allowed WHERE channel = ?1 AND account = ?2 AND sender = ?3";
            Ok(connection.query_row(query, params![account.channel, account.account, sender], |_| Ok(())).optional()?.is_some())
        })
        .await
    }

    /// Notes that somebody asks.
    pub(crate) async fn ask(&self, account: &AccountKey, who: Stranger, now_ms: i64) -> Result<Asked, Error> {
        let account = account.clone();
        let Stranger { sender, name, code } = who;
        self.write(move |transaction| {
            transaction.execute("DELETE FROM pairing WHERE created_at_ms <= ?1", [now_ms - CODE_LIFE_MS])?;
            let known = transaction.execute(
                "UPDATE pairing SET seen_at_ms = ?4 WHERE channel = ?1 AND account = ?2 AND sender = ?3",
                params![account.channel, account.account, sender, now_ms],
            )?;
            if known > 0 {
                return Ok(Asked::Known);
            }
            let waiting: i64 = transaction.query_row(
                "SELECT count(*) FROM pairing WHERE channel = ?1 AND account = ?2",
                params![account.channel, account.account],
                |row| row.get(0),
            )?;
            if waiting >= WAITING_MAX {
                return Ok(Asked::Full);
            }
            transaction.execute(
                "INSERT INTO pairing (channel, account, sender, code, name, created_at_ms, seen_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
                params![account.channel, account.account, sender, code, name, now_ms],
            )?;
            Ok(Asked::New)
        })
        .await
    }

    /// Lists who asks, oldest first; only those of one network, if it is named.
    pub(crate) async fn asking(&self, channel: Option<&str>, now_ms: i64) -> Result<Vec<Asking>, Error> {
        let channel = channel.map(str::to_owned);
        self.with(move |connection, _| {
            let mut query = connection.prepare_cached(
                "SELECT channel, account, sender, code, name, created_at_ms, seen_at_ms FROM pairing
                 WHERE (?1 IS NULL OR channel = ?1) AND created_at_ms > ?2 ORDER BY created_at_ms",
            )?;
            let rows = query.query_map(params![channel, now_ms - CODE_LIFE_MS], |row| {
                Ok(Asking {
                    channel: row.get(0)?,
                    account: row.get(1)?,
                    sender: row.get(2)?,
                    code: row.get(3)?,
                    name: row.get(4)?,
                    created_at_ms: row.get(5)?,
                    seen_at_ms: row.get(6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Lets in who has a code, or sends him away. Returns him; none when the code is not known.
    pub(crate) async fn decide(&self, channel: &str, code: &str, let_in: bool, now_ms: i64) -> Result<Option<Asking>, Error> {
        let wanted = code.trim().to_uppercase();
        let Some(asking) = self.asking(Some(channel), now_ms).await?.into_iter().find(|asking| asking.code == wanted) else {
            return Ok(None);
        };
        let decided = asking.clone();
        self.write(move |transaction| {
            transaction.execute("DELETE FROM pairing WHERE code = ?1", [&asking.code])?;
            if let_in {
                transaction.execute(
                    "INSERT INTO allowed (channel, account, sender, added_at_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                    params![asking.channel, asking.account, asking.sender, now_ms],
                )?;
            }
            Ok(())
        })
        .await?;
        Ok(Some(decided))
    }
}
