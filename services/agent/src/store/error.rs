//! Why the database cannot be used.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why the database cannot be used. Cheap to clone: writes that shared a transaction share its error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A later incarnation of the service has opened the database.
    #[error("another incarnation of the agent service has taken over")]
    Fenced,
    /// The disk is full.
    #[error("the disk that holds the agent's database is full")]
    DiskFull,
    /// The disk answers with errors.
    #[error("the disk that holds the agent's database fails")]
    DiskFailed(#[source] Arc<rusqlite::Error>),
    /// The file is not a database, or a damaged one.
    #[error("the agent's database is damaged: restore it from a backup, or move it away to begin afresh")]
    Damaged(#[source] Arc<rusqlite::Error>),
    /// The file is there and holds nothing, which no database of ours ever does.
    #[error("the agent's database is empty: restore it from a backup, or move it away to begin afresh")]
    Empty(PathBuf),
    /// A newer version of the program has written the database.
    #[error("the agent's database has schema version {found}, and this program knows versions up to {known}")]
    FromTheFuture {
        /// What the file says.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// The file cannot be made.
    #[error("could not create {path}")]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<std::io::Error>,
    },
    /// A transcript cannot be written to a file.
    #[error("could not write {path}: {source}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<std::io::Error>,
    },
    /// Another write of the same transaction met a failing disk, which undid them all.
    #[error("a write was undone because the disk that holds the agent's database fails")]
    RolledBack,
    /// A thread of the store is gone, or cannot be started.
    #[error("the store has stopped")]
    Stopped,
    /// `SQLite` refused something else.
    #[error("could not use the agent's database")]
    Sqlite(#[source] Arc<rusqlite::Error>),
    /// A row does not hold what was written into it.
    #[error("could not read a row of the agent's database")]
    Row(#[source] Arc<serde_json::Error>),
}

impl Error {
    /// Whether the same write may succeed a little later: the disk has no room, or says so in other words where it had to map some.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::DiskFull | Self::DiskFailed(_) | Self::RolledBack)
    }

    /// Whether the operator, not the program, must act; the words are then for everybody.
    pub(crate) fn caused_outside(&self) -> bool {
        matches!(
            self,
            Self::DiskFull
                | Self::DiskFailed(_)
                | Self::Damaged(_)
                | Self::Empty(_)
                | Self::RolledBack
                | Self::Fenced
                | Self::Archive { .. }
        )
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let shared = Arc::new(error);
        match code {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => Self::DiskFailed(shared),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(shared),
            _ => Self::Sqlite(shared),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Row(Arc::new(error))
    }
}
