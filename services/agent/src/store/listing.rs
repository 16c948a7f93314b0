//! Lists of sessions, and what is known of each beyond its own row.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};
use verso_proto::agent::v1::{ChatMessage, RunResponse};

use super::journal::RunState;
use super::sessions::{COLUMNS, SessionRecord, read};
use super::{Result, Store};
use crate::messages::text_of;

/// The time of a session's last run, for those who sort by it.
const LAST_INTERACTION: &str = "(SELECT max(accepted_at_ms) FROM runs WHERE session_key = key)";

/// Which sessions to list.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a member of the request")]
pub(crate) struct Filter {
    pub(crate) key: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) agent_id: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) spawned_by: Option<String>,
    /// Part of a key, label, display name or session id, in any case.
    pub(crate) search: Option<String>,
    /// Not updated since then: left out.
    pub(crate) updated_since_ms: Option<i64>,
    /// Keys that are left out.
    pub(crate) without: Vec<&'static str>,
    /// Parts of keys that are left out.
    pub(crate) without_part: Vec<&'static str>,
    /// Only these agents.
    pub(crate) agent_ids: Option<Vec<String>>,
    /// Only these sessions.
    pub(crate) keys: Option<Vec<String>>,
    pub(crate) archived: Option<bool>,
    pub(crate) pinned: Option<bool>,
    /// Only sessions that somebody has said something in.
    pub(crate) used: bool,
    /// By the last run instead of the last change.
    pub(crate) by_interaction: bool,
    /// Whether to read the first thing that the user said.
    pub(crate) titles: bool,
    /// Whether to read the last message.
    pub(crate) last_messages: bool,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
}

/// The newest run of a session.
#[derive(Debug, Clone)]
pub(crate) struct LastRun {
    pub(crate) run_id: String,
    pub(crate) state: RunState,
    pub(crate) error: Option<String>,
    pub(crate) accepted_at_ms: i64,
    pub(crate) started_at_ms: Option<i64>,
    pub(crate) ended_at_ms: Option<i64>,
}

/// A session in a list, with what was asked for about its transcript.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) session: SessionRecord,
    pub(crate) last_run: Option<LastRun>,
    pub(crate) first_user_text: Option<String>,
    pub(crate) last_text: Option<String>,
}

impl Store {
    /// Lists sessions, the newest first.
    pub(crate) async fn sessions(&self, filter: Filter) -> Result<Vec<Listed>> {
        self.read(move |connection| list(connection, &filter)).await
    }

    /// Lists sessions, and counts those that a longer list would hold.
    pub(crate) async fn sessions_counted(&self, filter: Filter) -> Result<(Vec<Listed>, i64)> {
        self.read(move |connection| {
            let (conditions, values) = conditions(&filter);
            let sql = format!("SELECT count(*) FROM sessions WHERE {conditions}");
            let total = connection.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0))?;
            Ok((list(connection, &filter)?, total))
        })
        .await
    }

    /// Reads one session as a list would hold it.
    pub(crate) async fn listed(&self, key: &str) -> Result<Option<Listed>> {
        let key = key.to_owned();
        self.read(move |connection| listed(connection, &key)).await
    }
}

pub(super) fn listed(connection: &Connection, key: &str) -> Result<Option<Listed>> {
    Ok(list(connection, &Filter { key: Some(key.to_owned()), limit: 1, ..Filter::default() })?.pop())
}

fn list(connection: &Connection, filter: &Filter) -> Result<Vec<Listed>> {
    let (conditions, mut values) = conditions(filter);
    let order = if filter.by_interaction { LAST_INTERACTION } else { "updated_at_ms" };
    let sql = format!("SELECT {COLUMNS} FROM sessions WHERE {conditions} ORDER BY {order} DESC, key LIMIT ? OFFSET ?");
    values.push(Value::Integer(i64::try_from(filter.limit).unwrap_or(i64::MAX)));
    values.push(Value::Integer(i64::try_from(filter.offset).unwrap_or(i64::MAX)));
    let mut statement = connection.prepare_cached(&sql)?;
    let sessions = statement.query_map(params_from_iter(values), read)?.collect::<Result<Vec<_>, _>>()?;
    sessions.into_iter().map(|session| describe(connection, session, filter)).collect()
}

fn conditions(filter: &Filter) -> (String, Vec<Value>) {
    let (mut conditions, mut values) = (vec!["1".to_owned()], Vec::new());
    let mut also = |condition: String, texts: Vec<Value>| {
        conditions.push(condition);
        values.extend(texts);
    };
    for key in &filter.without {
        also("key <> ?".to_owned(), vec![Value::Text((*key).to_owned())]);
    }
    for part in &filter.without_part {
        also("instr(key, ?) = 0".to_owned(), vec![Value::Text((*part).to_owned())]);
    }
    for (column, texts) in [("agent_id", &filter.agent_ids), ("key", &filter.keys)] {
        if let Some(texts) = texts {
            let marks = vec!["?"; texts.len()].join(", ");
            also(format!("{column} IN ({marks})"), texts.iter().cloned().map(Value::Text).collect());
        }
    }
    for (column, text) in [
        ("key", &filter.key),
        ("session_id", &filter.session_id),
        ("agent_id", &filter.agent_id),
        ("label", &filter.label),
        ("spawned_by", &filter.spawned_by),
    ] {
        if let Some(text) = text {
            also(format!("{column} = ?"), vec![Value::Text(text.clone())]);
        }
    }
    for (column, wanted) in [("archived_at_ms", filter.archived), ("pinned_at_ms", filter.pinned)] {
        if let Some(wanted) = wanted {
            also(format!("{column} IS {} NULL", if wanted { "NOT" } else { "" }), Vec::new());
        }
    }
    if filter.used {
        also(format!("{LAST_INTERACTION} IS NOT NULL"), Vec::new());
    }
    if let Some(since_ms) = filter.updated_since_ms {
        also("updated_at_ms >= ?".to_owned(), vec![Value::Integer(since_ms)]);
    }
    if let Some(search) = &filter.search {
        let part = "instr(lower(key || char(10) || coalesce(label, '') || char(10) || coalesce(display_name, '') || char(10) || session_id), ?) > 0";
        also(part.to_owned(), vec![Value::Text(search.to_lowercase())]);
    }
    (conditions.join(" AND "), values)
}

fn describe(connection: &Connection, session: SessionRecord, filter: &Filter) -> Result<Listed> {
    let read_text = |wanted: bool, sql: &str| -> Result<Option<String>> {
        if !wanted {
            return Ok(None);
        }
        let found: Option<String> = connection.prepare_cached(sql)?.query_row([&session.session_id], |row| row.get(0)).optional()?;
        let message: Option<ChatMessage> = found.map(|text| serde_json::from_str(&text)).transpose()?;
        Ok(message.map(|message| text_of(&message)).filter(|text| !text.is_empty()))
    };
    let first_user_text = read_text(
        filter.titles,
        "SELECT message FROM entries WHERE session_id = ?1 AND json_extract(message, '$.role') = 'user' ORDER BY position LIMIT 1",
    )?;
    let last_text = read_text(filter.last_messages, "SELECT message FROM entries WHERE session_id = ?1 ORDER BY position DESC LIMIT 1")?;
    let last_run = last_run(connection, session.key.as_str())?;
    Ok(Listed { session, last_run, first_user_text, last_text })
}

fn last_run(connection: &Connection, key: &str) -> Result<Option<LastRun>> {
    let sql = "SELECT run_id, state, CASE state WHEN 'error' THEN response END, accepted_at_ms, started_at_ms, ended_at_ms
               FROM runs WHERE session_key = ?1 ORDER BY accepted_at_ms DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        let response: Option<String> = row.get(2)?;
        Ok(LastRun {
            run_id: row.get(0)?,
            state: RunState::parse(row.get_ref(1)?.as_str()?),
            error: response.and_then(|text| serde_json::from_str::<RunResponse>(&text).ok()).and_then(|response| response.summary),
            accepted_at_ms: row.get(3)?,
            started_at_ms: row.get(4)?,
            ended_at_ms: row.get(5)?,
        })
    };
    Ok(connection.prepare_cached(sql)?.query_row([key], read).optional()?)
}
