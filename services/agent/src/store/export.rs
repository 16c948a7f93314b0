//! What is read for another gateway, beside a service that may be running.

use std::path::Path;

use rusqlite::Connection;
use verso_proto::agent::v1::CronJob;

use super::sessions::{self, COLUMNS};
use super::{Archive, Result, SessionRecord, archive, schema};

/// The database, to read all of it.
#[derive(Debug)]
pub(crate) struct Export {
    connection: Connection,
}

impl Export {
    /// Opens the database, which must be of this version.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self { connection: schema::open_reader(path)? })
    }

    /// Reads every session.
    pub(crate) fn sessions(&self) -> Result<Vec<SessionRecord>> {
        let mut statement = self.connection.prepare(&format!("SELECT {COLUMNS} FROM sessions ORDER BY key"))?;
        let found = statement.query_map([], sessions::read)?.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(found)
    }

    /// Writes a session's transcript to a file.
    pub(crate) fn transcript(&self, session: &SessionRecord, archive: &Archive) -> Result<()> {
        archive::write(&self.connection, &session.session_id, i64::MAX, archive)
    }

    /// Reads every job.
    pub(crate) fn jobs(&self) -> Result<Vec<CronJob>> {
        let mut statement = self.connection.prepare("SELECT job FROM cron_jobs ORDER BY id")?;
        let texts = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        texts.iter().map(|text| Ok(serde_json::from_str(text)?)).collect()
    }
}
