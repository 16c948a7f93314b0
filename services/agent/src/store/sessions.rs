//! The table of sessions.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Result, Store};
use crate::keys::{AgentId, SessionKey};
use crate::runs::{Drops, QueueMode, QueueWishes, Route};

/// The columns of a [`SessionRecord`], in its order.
pub(super) const COLUMNS: &str = "key, agent_id, session_id, updated_at_ms, label, display_name, channel, thinking_level, verbose_level, \
                       system_sent, aborted_last_run, input_tokens, output_tokens, total_tokens, context_tokens, model_provider, model, \
                       spawned_by, reasoning_level, response_usage, elevated_level, exec_host, exec_security, exec_ask, exec_node, \
                       provider_override, model_override, send_policy, group_activation, \
                       created_at_ms, archived_at_ms, pinned_at_ms, unread, icon, color, category, \
                       queue_mode, queue_debounce_ms, queue_cap, queue_drop, last_channel, last_to, last_account, last_thread, \
                       compactions, flushed_at_compaction";

/// One session.
#[derive(Debug, Clone)]
pub(crate) struct SessionRecord {
    pub(crate) key: SessionKey,
    pub(crate) agent_id: String,
    pub(crate) session_id: String,
    pub(crate) updated_at_ms: i64,
    pub(crate) label: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) thinking_level: Option<String>,
    pub(crate) verbose_level: Option<String>,
    /// Whether a turn has begun in it.
    pub(crate) system_sent: bool,
    pub(crate) aborted_last_run: bool,
    pub(crate) tokens: TokenCounts,
    pub(crate) settings: Settings,
    pub(crate) created_at_ms: i64,
    pub(crate) marks: Marks,
    pub(crate) queue: QueueWishes,
    /// Where its last answer went.
    pub(crate) last_route: Option<Route>,
    /// How often its beginning was replaced by a summary.
    pub(crate) compactions: i64,
    /// How often it had been, when the model was last asked to write down what is worth keeping.
    pub(crate) flushed_at: Option<i64>,
}

impl SessionRecord {
    /// Returns the account of the network that its last answer went to.
    pub(crate) fn last_account(&self) -> Option<&str> {
        self.last_route.as_ref()?.account.as_deref()
    }

    /// Returns the model that the user has set, as `provider/model`.
    pub(crate) fn model_override(&self) -> Option<String> {
        let Settings { provider_override, model_override, .. } = &self.settings;
        Some(format!("{}/{}", provider_override.as_deref()?, model_override.as_deref()?))
    }
}

/// What a user can set on a session, beyond what every list of sessions shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) spawned_by: Option<String>,
    pub(crate) reasoning_level: Option<String>,
    pub(crate) response_usage: Option<String>,
    pub(crate) elevated_level: Option<String>,
    pub(crate) exec_host: Option<String>,
    pub(crate) exec_security: Option<String>,
    pub(crate) exec_ask: Option<String>,
    pub(crate) exec_node: Option<String>,
    pub(crate) provider_override: Option<String>,
    pub(crate) model_override: Option<String>,
    pub(crate) send_policy: Option<String>,
    pub(crate) group_activation: Option<String>,
}

/// How a user keeps order among sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) archived_at_ms: Option<i64>,
    pub(crate) pinned_at_ms: Option<i64>,
    pub(crate) unread: bool,
    pub(crate) icon: Option<String>,
    pub(crate) color: Option<String>,
    pub(crate) category: Option<String>,
}

/// What the last turn of a session cost, and who answered it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenCounts {
    pub(crate) input: Option<i64>,
    pub(crate) output: Option<i64>,
    /// Context in use: the prompt side of the last call.
    pub(crate) total: Option<i64>,
    /// The model's window.
    pub(crate) context: Option<i64>,
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
}

/// What a request tells about a session beyond its key.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionHints {
    /// The id that a new session gets, instead of a fresh one.
    pub(crate) session_id: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) spawned_by: Option<String>,
    /// Where answers go from now on, if this message says so.
    pub(crate) route: Option<Route>,
}

impl Store {
    /// Reads a session.
    pub(crate) async fn session(&self, key: &SessionKey) -> Result<Option<SessionRecord>> {
        let key = key.clone();
        self.read(move |connection| load(connection, &key)).await
    }

    /// Says where a session's answers go, if there is one.
    pub(crate) async fn keep_route(&self, key: &SessionKey, route: Route) -> Result<()> {
        let key = key.clone();
        self.write(move |connection| set_route(connection, &key, &route)).await
    }

    /// Finds the session whose current id is `session_id`.
    pub(crate) async fn session_by_id(&self, session_id: &str) -> Result<Option<SessionRecord>> {
        let session_id = session_id.to_owned();
        self.read(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM sessions WHERE session_id = ?1 ORDER BY updated_at_ms DESC LIMIT 1");
            Ok(connection.prepare_cached(&sql)?.query_row([session_id], read).optional()?)
        })
        .await
    }

    /// Counts the sessions of each agent.
    pub(crate) async fn session_counts(&self) -> Result<Vec<(String, i64)>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT agent_id, COUNT(*) FROM sessions GROUP BY agent_id")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await
    }
}

/// Reads a session.
pub(super) fn load(connection: &Connection, key: &SessionKey) -> Result<Option<SessionRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM sessions WHERE key = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([key.as_str()], read).optional()?)
}

/// Returns the session, and makes it first if there is none.
pub(super) fn ensure(
    connection: &Connection,
    key: &SessionKey,
    agent: &AgentId,
    hints: &SessionHints,
    at_ms: i64,
) -> Result<SessionRecord> {
    let session_id = hints.session_id.clone().unwrap_or_else(fresh_id);
    connection
        .prepare_cached(
            "INSERT INTO sessions (key, agent_id, session_id, created_at_ms, updated_at_ms, label, display_name, channel, spawned_by)
             VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (key) DO UPDATE SET updated_at_ms = max(updated_at_ms, excluded.updated_at_ms),
                 label = coalesce(excluded.label, label), display_name = coalesce(display_name, excluded.display_name),
                 channel = coalesce(excluded.channel, channel), spawned_by = coalesce(spawned_by, excluded.spawned_by)",
        )?
        .execute(params![
            key.as_str(),
            agent.as_str(),
            session_id,
            at_ms,
            hints.label,
            hints.display_name,
            hints.channel,
            hints.spawned_by
        ])?;
    if let Some(route) = &hints.route {
        set_route(connection, key, route)?;
    }
    load(connection, key)?.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
}

/// Begins the session afresh: a new id, and therefore an empty transcript. What the user has set stays.
pub(super) fn reset(connection: &Connection, key: &SessionKey, at_ms: i64) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE sessions SET session_id = ?2, updated_at_ms = max(updated_at_ms, ?3), system_sent = 0, aborted_last_run = 0,
                 compactions = 0, flushed_at_compaction = NULL, input_tokens = 0, output_tokens = 0, total_tokens = 0
             WHERE key = ?1",
        )?
        .execute(params![key.as_str(), fresh_id(), at_ms])?;
    Ok(())
}

/// Notes that a turn has begun.
pub(super) fn turn_began(connection: &Connection, key: &SessionKey) -> Result<()> {
    connection.prepare_cached("UPDATE sessions SET system_sent = 1 WHERE key = ?1 AND system_sent = 0")?.execute([key.as_str()])?;
    Ok(())
}

/// Notes how a turn ended. Counts that are unknown stay as they are.
pub(super) fn turn_ended(connection: &Connection, key: &SessionKey, aborted: bool, tokens: &TokenCounts, at_ms: i64) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE sessions SET updated_at_ms = max(updated_at_ms, ?2), aborted_last_run = ?3,
                 input_tokens = coalesce(?4, input_tokens), output_tokens = coalesce(?5, output_tokens),
                 total_tokens = coalesce(?6, total_tokens), context_tokens = coalesce(?7, context_tokens),
                 model_provider = coalesce(?8, model_provider), model = coalesce(?9, model)
             WHERE key = ?1",
        )?
        .execute(params![
            key.as_str(),
            at_ms,
            aborted,
            tokens.input,
            tokens.output,
            tokens.total,
            tokens.context,
            tokens.provider,
            tokens.model
        ])?;
    Ok(())
}

/// Says when a session was updated last.
pub(super) fn set_updated(connection: &Connection, key: &SessionKey, at_ms: i64) -> Result<()> {
    connection.prepare_cached("UPDATE sessions SET updated_at_ms = ?2 WHERE key = ?1")?.execute(params![key.as_str(), at_ms])?;
    Ok(())
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    Ok(SessionRecord {
        key: SessionKey::stored(row.get_ref(0)?.as_str()?),
        agent_id: row.get(1)?,
        session_id: row.get(2)?,
        updated_at_ms: row.get(3)?,
        label: row.get(4)?,
        display_name: row.get(5)?,
        channel: row.get(6)?,
        thinking_level: row.get(7)?,
        verbose_level: row.get(8)?,
        system_sent: row.get(9)?,
        aborted_last_run: row.get(10)?,
        tokens: TokenCounts {
            input: row.get(11)?,
            output: row.get(12)?,
            total: row.get(13)?,
            context: row.get(14)?,
            provider: row.get(15)?,
            model: row.get(16)?,
        },
        settings: Settings {
            spawned_by: row.get(17)?,
            reasoning_level: row.get(18)?,
            response_usage: row.get(19)?,
            elevated_level: row.get(20)?,
            exec_host: row.get(21)?,
            exec_security: row.get(22)?,
            exec_ask: row.get(23)?,
            exec_node: row.get(24)?,
            provider_override: row.get(25)?,
            model_override: row.get(26)?,
            send_policy: row.get(27)?,
            group_activation: row.get(28)?,
        },
        created_at_ms: row.get(29)?,
        marks: Marks {
            archived_at_ms: row.get(30)?,
            pinned_at_ms: row.get(31)?,
            unread: row.get::<_, Option<bool>>(32)?.unwrap_or(false),
            icon: row.get(33)?,
            color: row.get(34)?,
            category: row.get(35)?,
        },
        queue: QueueWishes {
            mode: row.get::<_, Option<String>>(36)?.as_deref().and_then(QueueMode::parse),
            debounce_ms: row.get::<_, Option<i64>>(37)?.and_then(|ms| u64::try_from(ms).ok()),
            cap: row.get::<_, Option<i64>>(38)?.and_then(|cap| usize::try_from(cap).ok()),
            drops: row.get::<_, Option<String>>(39)?.as_deref().and_then(Drops::parse),
        },
        last_route: last_route(row)?,
        compactions: row.get(44)?,
        flushed_at: row.get(45)?,
    })
}

fn set_route(connection: &Connection, key: &SessionKey, route: &Route) -> Result<()> {
    connection
        .prepare_cached("UPDATE sessions SET last_channel = ?2, last_to = ?3, last_account = ?4, last_thread = ?5 WHERE key = ?1")?
        .execute(params![key.as_str(), route.channel, route.to, route.account, route.thread])?;
    Ok(())
}

fn last_route(row: &Row<'_>) -> rusqlite::Result<Option<Route>> {
    let (Some(channel), Some(to)) = (row.get(40)?, row.get(41)?) else { return Ok(None) };
    Ok(Some(Route { channel, to, account: row.get(42)?, thread: row.get(43)? }))
}

fn fresh_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
