//! What people change about a session: its settings, its transcript's beginning, its existence.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::sessions::{self, SessionHints, SessionRecord};
use super::{Result, Store};
use crate::chat::WEBCHAT;
use crate::keys::{AgentId, SessionKey};
use crate::sessions::send_policy::SendPolicy;

/// Something that a user sets on a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Label,
    ThinkingLevel,
    VerboseLevel,
    ReasoningLevel,
    ResponseUsage,
    ElevatedLevel,
    ExecHost,
    ExecSecurity,
    ExecAsk,
    ExecNode,
    ProviderOverride,
    ModelOverride,
    SpawnedBy,
    SendPolicy,
    GroupActivation,
    /// A time in milliseconds, as the two that follow.
    Archived,
    Pinned,
    Unread,
    Icon,
    Color,
    Category,
    DisplayName,
    QueueMode,
    /// In milliseconds.
    QueueDebounce,
    QueueCap,
    QueueDrop,
    /// How often the session had been summarised when its memory was written down.
    FlushedAt,
}

impl Setting {
    /// Returns its column, which no caller can choose freely: it becomes part of a statement.
    fn column(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::ThinkingLevel => "thinking_level",
            Self::VerboseLevel => "verbose_level",
            Self::ReasoningLevel => "reasoning_level",
            Self::ResponseUsage => "response_usage",
            Self::ElevatedLevel => "elevated_level",
            Self::ExecHost => "exec_host",
            Self::ExecSecurity => "exec_security",
            Self::ExecAsk => "exec_ask",
            Self::ExecNode => "exec_node",
            Self::ProviderOverride => "provider_override",
            Self::ModelOverride => "model_override",
            Self::SpawnedBy => "spawned_by",
            Self::SendPolicy => "send_policy",
            Self::GroupActivation => "group_activation",
            Self::Archived => "archived_at_ms",
            Self::Pinned => "pinned_at_ms",
            Self::Unread => "unread",
            Self::Icon => "icon",
            Self::Color => "color",
            Self::Category => "category",
            Self::DisplayName => "display_name",
            Self::QueueMode => "queue_mode",
            Self::QueueDebounce => "queue_debounce_ms",
            Self::QueueCap => "queue_cap",
            Self::QueueDrop => "queue_drop",
            Self::FlushedAt => "flushed_at_compaction",
        }
    }
}

/// What became of a change.
#[derive(Debug)]
pub(crate) enum Changed {
    Done(Box<SessionRecord>),
    /// Another session has the label.
    LabelInUse(String),
    /// The session has another parent already.
    ParentKnown,
    /// The session's id is not the one that the caller knows.
    OtherId,
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deleted {
    Done,
    /// There was nothing to delete.
    Missing,
    /// Somebody runs in it, or has written into it, since the caller looked.
    Busy,
}

impl Store {
    /// Sets and clears (None) settings of a session, which is made if there is none. All of them, or none.
    pub(crate) async fn patch(
        &self,
        key: &SessionKey,
        agent: &AgentId,
        changes: Vec<(Setting, Option<String>)>,
        at_ms: i64,
    ) -> Result<Changed> {
        let (key, agent) = (key.clone(), agent.clone());
        self.write(move |connection| patch(connection, &key, &agent, changes, at_ms)).await
    }

    /// Begins a session afresh, and makes it first if there is none. With `expected`, only the session with that id.
    pub(crate) async fn reset(&self, key: &SessionKey, agent: &AgentId, expected: Option<String>, at_ms: i64) -> Result<Changed> {
        let (key, agent) = (key.clone(), agent.clone());
        self.write(move |connection| {
            let known = sessions::load(connection, &key)?.map(|session| session.session_id);
            if expected.is_some_and(|expected| known.as_ref() != Some(&expected)) {
                return Ok(Changed::OtherId);
            }
            sessions::ensure(connection, &key, &agent, &SessionHints::default(), at_ms)?;
            sessions::reset(connection, &key, at_ms)?;
            loaded(connection, &key)
        })
        .await
    }

    /// Removes the session with the id `session_id`. `archived`: its transcript goes as well, if it still ends where the archive does.
    pub(crate) async fn delete(&self, key: &SessionKey, session_id: &str, archived: Option<i64>) -> Result<Deleted> {
        let (key, session_id) = (key.clone(), session_id.to_owned());
        self.write(move |connection| delete(connection, &key, &session_id, archived)).await
    }

    /// Removes the entries of a transcript before `position`; how full the model's window is, is unknown from then on.
    pub(crate) async fn cut(&self, key: &SessionKey, session_id: &str, position: i64, at_ms: i64) -> Result<()> {
        let (key, session_id) = (key.clone(), session_id.to_owned());
        self.write(move |connection| {
            connection.execute("DELETE FROM entries WHERE session_id = ?1 AND position < ?2", params![session_id, position])?;
            connection.execute(
                "UPDATE sessions SET updated_at_ms = max(updated_at_ms, ?3), input_tokens = NULL, output_tokens = NULL, total_tokens = NULL
                 WHERE key = ?1 AND session_id = ?2",
                params![key.as_str(), session_id, at_ms],
            )?;
            Ok(())
        })
        .await
    }
}

/// Whether the session takes no messages from `channel`: as it says itself, else as `policy` does.
pub(super) fn denies(connection: &Connection, key: &SessionKey, policy: &SendPolicy, channel: Option<&str>) -> Result<bool> {
    // Who has looked in from a page has not moved a conversation of a network.
    let sql = "SELECT send_policy, coalesce(nullif(channel, ?2), last_channel, channel) FROM sessions WHERE key = ?1";
    let read = |row: &Row<'_>| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?));
    let (own, known) = connection.prepare_cached(sql)?.query_row([key.as_str(), WEBCHAT], read).optional()?.unwrap_or_default();
    Ok(own.map_or_else(|| policy.denies(key, channel.or(known.as_deref())), |own| own == "deny"))
}

fn patch(
    connection: &Connection,
    key: &SessionKey,
    agent: &AgentId,
    changes: Vec<(Setting, Option<String>)>,
    at_ms: i64,
) -> Result<Changed> {
    for (setting, value) in &changes {
        if *setting == Setting::Label
            && let Some(label) = value
            && labelled(connection, label, key)?
        {
            return Ok(Changed::LabelInUse(label.clone()));
        }
        if *setting == Setting::SpawnedBy {
            let parent = sessions::load(connection, key)?.and_then(|session| session.settings.spawned_by);
            if parent.is_some() && parent != *value {
                return Ok(Changed::ParentKnown);
            }
        }
    }
    sessions::ensure(connection, key, agent, &SessionHints::default(), at_ms)?;
    if !changes.is_empty() {
        let columns: Vec<String> = changes.iter().map(|(setting, _)| format!("{} = ?", setting.column())).collect();
        let sql = format!("UPDATE sessions SET {} WHERE key = ?", columns.join(", "));
        let values = changes.into_iter().map(|(_, value)| value.map_or(Value::Null, Value::Text));
        connection.execute(&sql, params_from_iter(values.chain([Value::Text(key.to_string())])))?;
    }
    loaded(connection, key)
}

fn loaded(connection: &Connection, key: &SessionKey) -> Result<Changed> {
    let session = sessions::load(connection, key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Changed::Done(Box::new(session)))
}

fn labelled(connection: &Connection, label: &str, except: &SessionKey) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM sessions WHERE label = ?1 AND key <> ?2")?;
    Ok(statement.exists(params![label, except.as_str()])?)
}

fn delete(connection: &Connection, key: &SessionKey, session_id: &str, archived: Option<i64>) -> Result<Deleted> {
    let Some(session) = sessions::load(connection, key)? else { return Ok(Deleted::Missing) };
    let running = "SELECT 1 FROM runs WHERE ended_at_ms IS NULL AND session_key = ?1";
    let busy = connection.query_row(running, [key.as_str()], |_| Ok(())).optional()?.is_some();
    if busy || session.session_id != session_id {
        return Ok(Deleted::Busy);
    }
    if let Some(end) = archived {
        let grown = "SELECT 1 FROM entries WHERE session_id = ?1 AND position >= ?2";
        if connection.query_row(grown, params![session_id, end], |_| Ok(())).optional()?.is_some() {
            return Ok(Deleted::Busy);
        }
        connection.execute("DELETE FROM entries WHERE session_id = ?1", [session_id])?;
    }
    connection.execute("DELETE FROM sessions WHERE key = ?1", [key.as_str()])?;
    Ok(Deleted::Done)
}
