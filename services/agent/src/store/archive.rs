//! Transcripts as files: one JSON document a line, a header first, each line naming the one before it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Error, Result, Store, summaries};

/// The version of the layout.
const LAYOUT_VERSION: u32 = 3;

/// Where a transcript is to be written.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) path: PathBuf,
    /// The folder that the agent works in.
    pub(crate) workspace: String,
    pub(crate) at_ms: i64,
    /// Nothing is written when the transcript has no more lines than this.
    pub(crate) unless_longer_than: usize,
}

/// How much of a transcript there is, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Lines.
    pub(crate) count: i64,
    /// The position after the last line.
    pub(crate) end: i64,
    /// Whether the file was written. It then holds every line before `end`.
    pub(crate) archived: bool,
}

impl Store {
    /// Writes a transcript to a file, which is there whole or not at all.
    pub(crate) async fn archive(&self, session_id: &str, archive: Archive) -> Result<Cut> {
        let session_id = session_id.to_owned();
        self.read(move |connection| {
            let (count, end) = connection
                .prepare_cached("SELECT count(*), coalesce(max(position), -1) + 1 FROM entries WHERE session_id = ?1")?
                .query_row([&session_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let archived = usize::try_from(count).is_ok_and(|count: usize| count > archive.unless_longer_than);
            if archived {
                write(connection, &session_id, end, &archive)?;
            }
            Ok(Cut { count, end, archived })
        })
        .await
    }
}

/// Writes the lines before the position `end`, and behind them the summary of what was shortened.
pub(super) fn write(connection: &Connection, session_id: &str, end: i64, archive: &Archive) -> Result<()> {
    let failed = |source: io::Error| Error::Archive { path: archive.path.clone(), source: Arc::new(source) };
    let folder = archive.path.parent().unwrap_or(Path::new("."));
    let mut unfinished = archive.path.clone().into_os_string();
    unfinished.push(".tmp");
    verso_kit::files::create_private_dir(folder).map_err(failed)?;
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&unfinished).map_err(failed)?;
    let mut lines = BufWriter::new(file);
    header(&mut lines, session_id, archive).map_err(failed)?;
    let mut statement = connection
        .prepare_cached("SELECT position, at_ms, message FROM entries WHERE session_id = ?1 AND position < ?2 ORDER BY position")?;
    let mut rows = statement.query(rusqlite::params![session_id, end])?;
    let mut before = "null".to_owned();
    while let Some(row) = rows.next()? {
        let id = format!("\"{:08x}\"", row.get::<_, i64>(0)?);
        let at = timestamp(row.get(1)?);
        let message = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        // The message is a JSON document of one line already.
        writeln!(lines, r#"{{"type":"message","id":{id},"parentId":{before},"timestamp":"{at}","message":{message}}}"#).map_err(failed)?;
        before = id;
    }
    if let Some(summary) = summaries::load(connection, session_id)? {
        let line = json!({
            "type": "compaction",
            "id": format!("{:08x}", u32::MAX),
            "parentId": serde_json::from_str::<Value>(&before)?,
            "timestamp": timestamp(summary.at_ms),
            "summary": summary.text,
            "firstKeptEntryId": format!("{:08x}", summary.first_kept),
            "tokensBefore": summary.tokens_before.unwrap_or(0),
        });
        writeln!(lines, "{line}").map_err(failed)?;
    }
    // What leaves the database afterwards must not be lost with the machine.
    let file = lines.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&unfinished, &archive.path).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn header(lines: &mut impl Write, session_id: &str, archive: &Archive) -> io::Result<()> {
    let header = json!({
        "type": "session",
        "version": LAYOUT_VERSION,
        "id": session_id,
        "timestamp": timestamp(archive.at_ms),
        "cwd": archive.workspace,
    });
    writeln!(lines, "{header}")
}

fn timestamp(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
