//! Sessions that come from elsewhere, written while no service runs.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;
use verso_proto::agent::v1::CronJob;

use super::{Error, Fence, Result, cron, schema, sessions, transcript};
use crate::import::Transcript;
use crate::keys::{AgentId, SessionKey};
use crate::store::SessionHints;

/// A session that is to be taken over.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) key: SessionKey,
    pub(crate) agent: AgentId,
    pub(crate) session_id: String,
    /// As the other gateway kept it.
    pub(crate) entry: Value,
    pub(crate) transcript: Transcript,
}

/// The database, for sessions from elsewhere. None: it is only looked at, and is not there yet.
#[derive(Debug)]
pub(crate) struct Import {
    connection: Option<Connection>,
    writes: bool,
}

impl Import {
    /// Opens the database, and makes it if there is none.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            verso_kit::files::create_private_dir(folder)
                .map_err(|source| Error::Create { path: folder.to_owned(), source: std::sync::Arc::new(source) })?;
        }
        // The next service has a higher number than any before, so nobody is shut out who comes later.
        let epoch = if path.exists() { last_epoch(&schema::open_reader(path)?)? } else { 0 };
        let fence = Fence { epoch, incarnation: "import".to_owned() };
        Ok(Self { connection: Some(schema::open(path, &fence)?), writes: true })
    }

    /// Opens it to look.
    pub(crate) fn look(path: &Path) -> Result<Self> {
        let connection = path.exists().then(|| schema::open_reader(path)).transpose()?;
        Ok(Self { connection, writes: false })
    }

    /// Whether there is a session of that key.
    pub(crate) fn knows(&self, key: &SessionKey) -> Result<bool> {
        let Some(connection) = &self.connection else { return Ok(false) };
        Ok(connection.query_row("SELECT 1 FROM sessions WHERE key = ?1", [key.as_str()], |_| Ok(())).optional()?.is_some())
    }

    /// Whether there is a job of that id.
    pub(crate) fn knows_job(&self, id: &str) -> Result<bool> {
        let Some(connection) = &self.connection else { return Ok(false) };
        Ok(connection.query_row("SELECT 1 FROM cron_jobs WHERE id = ?1", [id], |_| Ok(())).optional()?.is_some())
    }

    /// Writes a job.
    pub(crate) fn take_job(&self, job: &CronJob) -> Result<()> {
        self.connection.as_ref().filter(|_| self.writes).map_or(Ok(()), |connection| cron::save(connection, job))
    }

    /// Writes a session, all of it or nothing.
    pub(crate) fn take(&self, session: &Imported) -> Result<()> {
        let Some(connection) = self.connection.as_ref().filter(|_| self.writes) else { return Ok(()) };
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let written = write(connection, session);
        connection.execute_batch(if written.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        written
    }
}

fn last_epoch(connection: &Connection) -> Result<u64> {
    let epoch: i64 = connection.query_row("SELECT epoch FROM fence", [], |row| row.get(0))?;
    Ok(u64::try_from(epoch).unwrap_or(0))
}

fn write(connection: &Connection, session: &Imported) -> Result<()> {
    let entry = &session.entry;
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let newest = session.transcript.messages.last().map(|(at_ms, _)| *at_ms);
    let oldest = session.transcript.messages.first().map(|(at_ms, _)| *at_ms);
    let updated_at_ms = entry["updatedAt"].as_i64().or(newest).unwrap_or(0);
    let hints = SessionHints {
        session_id: Some(session.session_id.clone()),
        label: text("label"),
        display_name: text("displayName"),
        channel: text("channel").or_else(|| text("lastChannel")),
        spawned_by: text("spawnedBy"),
        route: None,
    };
    sessions::ensure(connection, &session.key, &session.agent, &hints, oldest.unwrap_or(updated_at_ms))?;
    connection.execute(
        "UPDATE sessions SET updated_at_ms = ?2, thinking_level = ?3, verbose_level = ?4, reasoning_level = ?5, response_usage = ?6,
             provider_override = ?7, model_override = ?8, last_channel = ?9, last_to = ?10, last_account = ?11, last_thread = ?12,
             input_tokens = ?13, output_tokens = ?14, total_tokens = ?15, context_tokens = ?16, model_provider = ?17, model = ?18,
             compactions = ?19, system_sent = 1, elevated_level = ?20, exec_host = ?21, exec_security = ?22, exec_ask = ?23, exec_node = ?24,
             send_policy = ?25, group_activation = ?26, queue_mode = ?27, queue_debounce_ms = ?28, queue_cap = ?29, queue_drop = ?30,
             tts_auto = ?31
         WHERE key = ?1",
        params![
            session.key.as_str(),
            updated_at_ms,
            text("thinkingLevel"),
            text("verboseLevel"),
            text("reasoningLevel"),
            text("responseUsage"),
            text("providerOverride"),
            text("modelOverride"),
            text("lastChannel"),
            text("lastTo"),
            text("lastAccountId"),
            entry["lastThreadId"].as_str().map(str::to_owned).or_else(|| entry["lastThreadId"].as_i64().map(|id| id.to_string())),
            entry["inputTokens"].as_i64(),
            entry["outputTokens"].as_i64(),
            entry["totalTokens"].as_i64(),
            entry["contextTokens"].as_i64(),
            text("modelProvider"),
            text("model"),
            entry["compactionCount"].as_i64().unwrap_or(0),
            text("elevatedLevel"),
            text("execHost"),
            text("execSecurity"),
            text("execAsk"),
            text("execNode"),
            text("sendPolicy").filter(|policy| matches!(policy.as_str(), "allow" | "deny")),
            text("groupActivation"),
            text("queueMode"),
            entry["queueDebounceMs"].as_i64(),
            entry["queueCap"].as_i64(),
            text("queueDrop"),
            text("ttsAuto"),
        ],
    )?;
    for (at_ms, message) in &session.transcript.messages {
        transcript::append(connection, &session.session_id, None, std::slice::from_ref(message), *at_ms)?;
    }
    if let Some((summary, kept)) = &session.transcript.summary {
        connection.execute(
            "INSERT OR REPLACE INTO summaries (session_id, first_kept, at_ms, tokens_before, text) VALUES (?1, ?2, ?3, NULL, ?4)",
            params![session.session_id, i64::try_from(*kept).unwrap_or(i64::MAX), updated_at_ms, summary],
        )?;
    }
    Ok(())
}
