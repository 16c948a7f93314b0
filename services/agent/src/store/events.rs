//! Lines that a session hears with its next turn, and what each agent's heartbeat remembers.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Result, Store};
use crate::keys::SessionKey;

/// Lines that wait for one session; the oldest make room.
const SESSION_EVENTS_MAX: i64 = 20;

/// What the automation of agents keeps.
pub(super) const TABLES: &str = "
    CREATE TABLE system_events (
        id INTEGER PRIMARY KEY,
        session_key TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        text TEXT NOT NULL,
        line TEXT NOT NULL,
        context_key TEXT
    ) STRICT;
    CREATE INDEX system_events_by_session ON system_events (session_key, id);

    CREATE TABLE heartbeats (
        agent_id TEXT PRIMARY KEY,
        last_run_at_ms INTEGER NOT NULL,
        last_text TEXT,
        last_sent_at_ms INTEGER
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE cron_jobs (
        id TEXT PRIMARY KEY,
        job TEXT NOT NULL,
        enabled INTEGER NOT NULL,
        next_run_at_ms INTEGER,
        running_run_id TEXT,
        failures INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX cron_jobs_due ON cron_jobs (next_run_at_ms) WHERE enabled = 1 AND running_run_id IS NULL;

    CREATE TABLE cron_runs (
        run_id TEXT PRIMARY KEY,
        job_id TEXT NOT NULL,
        job TEXT NOT NULL,
        started_at_ms INTEGER NOT NULL,
        dispatched INTEGER NOT NULL DEFAULT 0,
        ended_at_ms INTEGER,
        entry TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX cron_runs_by_job ON cron_runs (job_id, ended_at_ms);
    CREATE INDEX cron_runs_unfinished ON cron_runs (started_at_ms) WHERE ended_at_ms IS NULL;
";

/// A line for a session's next turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemEvent {
    pub(crate) key: SessionKey,
    /// As it was reported.
    pub(crate) text: String,
    /// As the model reads it.
    pub(crate) line: String,
    /// What it is about; a new line about the same takes the place of the one before.
    pub(crate) context_key: Option<String>,
    pub(crate) at_ms: i64,
}

/// What was sent with an agent's last heartbeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LastBeat {
    pub(crate) run_at_ms: i64,
    pub(crate) text: Option<String>,
    pub(crate) sent_at_ms: Option<i64>,
}

impl Store {
    /// Queues a line. Returns false if it says what the newest one says.
    pub(crate) async fn queue_event(&self, event: SystemEvent) -> Result<bool> {
        self.write(move |connection| queue(connection, &event)).await
    }

    /// Returns the lines that wait for a session, as they were reported, the oldest first.
    pub(crate) async fn queued_events(&self, key: &SessionKey) -> Result<Vec<String>> {
        let key = key.clone();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT text FROM system_events WHERE session_key = ?1 ORDER BY id")?;
            let rows = statement.query_map([key.as_str()], |row| row.get(0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await
    }

    /// Returns what an agent's heartbeat remembers.
    pub(crate) async fn last_beat(&self, agent: &str) -> Result<Option<LastBeat>> {
        let agent = agent.to_owned();
        self.read(move |connection| {
            let sql = "SELECT last_run_at_ms, last_text, last_sent_at_ms FROM heartbeats WHERE agent_id = ?1";
            let beat = connection
                .prepare_cached(sql)?
                .query_row([agent], |row| Ok(LastBeat { run_at_ms: row.get(0)?, text: row.get(1)?, sent_at_ms: row.get(2)? }));
            Ok(beat.optional()?)
        })
        .await
    }

    /// Keeps when an agent's heartbeat ran, and what it sent if it sent something.
    pub(crate) async fn keep_beat(&self, agent: &str, run_at_ms: i64, sent: Option<String>) -> Result<()> {
        let agent = agent.to_owned();
        self.write(move |connection| {
            let sent_at_ms = sent.is_some().then_some(run_at_ms);
            connection
                .prepare_cached(
                    "INSERT INTO heartbeats VALUES (?1, ?2, ?3, ?4) ON CONFLICT (agent_id) DO UPDATE SET last_run_at_ms = ?2,
                     last_text = coalesce(?3, last_text), last_sent_at_ms = coalesce(?4, last_sent_at_ms)",
                )?
                .execute(params![agent, run_at_ms, sent, sent_at_ms])?;
            Ok(())
        })
        .await
    }
}

/// Queues a line; the oldest of too many go.
pub(super) fn queue(connection: &Connection, event: &SystemEvent) -> Result<bool> {
    let key = event.key.as_str();
    let newest = "SELECT text FROM system_events WHERE session_key = ?1 ORDER BY id DESC LIMIT 1";
    let newest: Option<String> = connection.prepare_cached(newest)?.query_row([key], |row| row.get(0)).optional()?;
    if newest.as_deref() == Some(event.text.as_str()) {
        return Ok(false);
    }
    if let Some(context) = &event.context_key {
        connection
            .prepare_cached("DELETE FROM system_events WHERE session_key = ?1 AND context_key = ?2")?
            .execute(params![key, context])?;
    }
    connection
        .prepare_cached("INSERT INTO system_events (session_key, at_ms, text, line, context_key) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![key, event.at_ms, event.text, event.line, event.context_key])?;
    connection.execute(
        "DELETE FROM system_events WHERE session_key = ?1 AND id <= (SELECT id FROM system_events WHERE session_key = ?1
         ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        params![key, SESSION_EVENTS_MAX],
    )?;
    Ok(true)
}

/// Takes the lines that wait for a session, the oldest first.
pub(super) fn drain(connection: &Connection, key: &SessionKey) -> Result<Vec<String>> {
    let mut statement = connection.prepare_cached("SELECT line FROM system_events WHERE session_key = ?1 ORDER BY id")?;
    let lines = statement.query_map([key.as_str()], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    if !lines.is_empty() {
        connection.prepare_cached("DELETE FROM system_events WHERE session_key = ?1")?.execute([key.as_str()])?;
    }
    Ok(lines)
}
