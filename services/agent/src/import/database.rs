//! The database in which newer versions of OpenClaw keep an agent's sessions. Its lines are those of the transcript files.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::lines::Transcript;

/// Its name, in the agent's folder.
pub(super) const NAME: &str = "openclaw-agent.sqlite";

/// The longest line that is unpacked, in bytes.
const LINE_BYTES_MAX: usize = 128 << 20;

/// The tables of sessions and their columns for key, id and entry, the newest layout first.
const SESSIONS: [(&str, &str); 2] = [
    ("session_nodes", "SELECT session_key, current_session_id, entry_json FROM session_nodes ORDER BY session_key"),
    ("session_entries", "SELECT session_key, session_id, entry_json FROM session_entries ORDER BY session_key"),
];

/// Whether a log lies beside it whose writes are not in the file yet. To fold them in would change what belongs to somebody else.
pub(super) fn unfinished(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

/// The database.
pub(super) struct Database {
    connection: Connection,
    /// Whether long lines may be packed.
    packs: bool,
}

impl Database {
    /// Opens a database that nobody uses, and leaves nothing beside it.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let mut escaped = String::new();
        for c in path.to_string_lossy().chars() {
            match c {
                '%' => escaped.push_str("%25"),
                '?' => escaped.push_str("%3f"),
                '#' => escaped.push_str("%23"),
                c => escaped.push(c),
            }
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)?;
        let packs = connection.prepare("SELECT 1 FROM pragma_table_info('transcript_events') WHERE name = 'event_zstd'")?.exists([])?;
        Ok(Self { connection, packs })
    }

    /// Returns the sessions: their keys, and their entries as the older list has them.
    pub(super) fn entries(&self) -> rusqlite::Result<Vec<(String, Value)>> {
        let known = |(table, _): &&(&str, &str)| self.connection.table_exists(None, *table).unwrap_or(false);
        let Some((_, sql)) = SESSIONS.iter().find(known) else { return Ok(Vec::new()) };
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)))?;
        let entry = |(key, id, entry): (String, String, String)| {
            let mut entry: Value = serde_json::from_str(&entry).unwrap_or_default();
            if !entry.is_object() {
                entry = serde_json::json!({});
            }
            entry["sessionId"] = id.into();
            (key, entry)
        };
        rows.map(|row| row.map(entry)).collect()
    }

    /// Reads a session's transcript.
    pub(super) fn transcript(&self, session_id: &str) -> rusqlite::Result<Transcript> {
        let packed = if self.packs { "event_zstd" } else { "NULL" };
        let sql = format!("SELECT event_json, {packed} FROM transcript_events WHERE session_id = ?1 ORDER BY seq");
        Transcript::read(|told| {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query([session_id])?;
            while let Some(row) = rows.next()? {
                told(match (row.get_ref(0)?, row.get_ref(1)?) {
                    (ValueRef::Text(line), _) => serde_json::from_slice(line).ok(),
                    (_, ValueRef::Blob(packed)) => unpacked(packed),
                    _ => None,
                });
            }
            Ok(())
        })
    }
}

fn unpacked(packed: &[u8]) -> Option<Value> {
    use std::io::Read as _;
    let mut line = Vec::new();
    let frame = ruzstd::decoding::StreamingDecoder::new(packed).ok()?;
    frame.take(LINE_BYTES_MAX as u64).read_to_end(&mut line).ok()?;
    serde_json::from_slice(&line).ok()
}
