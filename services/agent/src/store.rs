//! The agent service's database: sessions, transcripts and the journal of runs.
//!
//! One thread owns the only connection that writes; writes that queue up behind each other share one transaction. A small pool
//! of threads reads. Neither ever runs on the runtime's own thread.

mod archive;
mod changes;
mod cron;
mod deliveries;
mod error;
mod events;
mod export;
mod import;
mod journal;
mod ledger;
mod listing;
mod overflow;
mod reader;
mod schema;
mod sessions;
mod summaries;
mod transcript;
mod usage;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub(crate) use archive::Archive;
pub(crate) use changes::{Changed, Deleted, Setting};
pub(crate) use cron::{JobEnd, JobRecord, JobRun, LogPage};
pub(crate) use error::Error;
pub(crate) use events::SystemEvent;
pub(crate) use export::Export;
pub(crate) use import::{Import, Imported};
pub(crate) use journal::{Accepted, Arrival, Dropped, Finish, Finished, Head, Opening, RunRecord, RunState};
pub(crate) use listing::{Filter, LastRun, Listed};
pub(crate) use sessions::{SessionHints, SessionRecord, Settings, TokenCounts};
pub(crate) use summaries::{Context, Past, Summary};
pub(crate) use transcript::{PageRequest, Placed};
pub(crate) use usage::Used;

use reader::Readers;
use writer::Writer;

/// The service's folder and database in a state folder.
pub(crate) const DATABASE: &str = "agent/agent.sqlite";

type Result<T, E = Error> = std::result::Result<T, E>;

/// Which incarnation of the service writes. A database that a higher epoch, or a later incarnation, has opened refuses it.
#[derive(Debug, Clone)]
pub(crate) struct Fence {
    /// Minted by the supervisor; grows with every start.
    pub(crate) epoch: u64,
    /// Tells incarnations of one epoch apart.
    pub(crate) incarnation: String,
}

/// The database. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    path: PathBuf,
    epoch: i64,
    writer: Writer,
    readers: Readers,
}

impl Store {
    /// Opens the database at `path`, creates or migrates it, and shuts every earlier incarnation out of it.
    pub(crate) async fn open(path: &Path, fence: Fence) -> Result<Self> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let connection = schema::open(&path, &fence)?;
            let epoch = schema::as_integer(fence.epoch);
            Ok(Self { writer: Writer::start(connection, fence)?, readers: Readers::start(&path)?, path, epoch })
        });
        opened.await.map_err(|_| Error::Stopped)?
    }

    /// Returns where the database is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the store cannot go on: another incarnation took over, or its thread is gone.
    pub(crate) async fn failed(&self) -> Error {
        self.writer.failed().await
    }

    async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        self.writer.write(work).await
    }

    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        self.readers.read(work).await
    }
}
