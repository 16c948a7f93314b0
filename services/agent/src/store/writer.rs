//! The thread that owns the only connection that writes.

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::schema;
use super::{Error, Fence, Result};

/// Writes that may wait; those who queue more wait for a place.
const QUEUE_WRITES_MAX: usize = 1_024;

/// Writes that share one transaction at most.
const BATCH_WRITES_MAX: usize = 128;

/// Does its part of a transaction (or learns that there is none) and returns who is to be told once that is committed.
type Job = Box<dyn FnOnce(Result<&Connection>) -> Deliver + Send>;
type Deliver = Box<dyn FnOnce(Result<()>) + Send>;

/// Hands writes to the thread. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    failure: watch::Receiver<Option<Error>>,
}

impl Writer {
    /// Starts the thread. It ends with the last handle.
    pub(super) fn start(connection: Connection, fence: Fence) -> Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE_WRITES_MAX);
        let (report, failure) = watch::channel(None);
        let thread = std::thread::Builder::new().name("agent-writer".to_owned());
        thread.spawn(move || run(&connection, &fence, queue, &report)).map_err(|_| Error::Stopped)?;
        Ok(Self { jobs, failure })
    }

    /// Runs `work` within a transaction and returns when that is committed. If `work` fails, nothing of it remains.
    pub(super) async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |connection: Result<&Connection>| {
            let done = connection.and_then(|connection| within_savepoint(connection, work));
            // Nobody listens any more when the caller gave up; the write counts all the same.
            Box::new(move |committed| drop(answer.send(done.and_then(|value| committed.map(|()| value)))))
        });
        self.jobs.send(job).await.map_err(|_| Error::Stopped)?;
        result.await.map_err(|_| Error::Stopped)?
    }

    /// Waits until writing has ended for good.
    pub(super) async fn failed(&self) -> Error {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(Error::Stopped),
            Err(_) => Error::Stopped,
        }
    }
}

fn run(connection: &Connection, fence: &Fence, mut queue: mpsc::Receiver<Job>, report: &watch::Sender<Option<Error>>) {
    while let Some(first) = queue.blocking_recv() {
        if let Err(Error::Fenced) = batch(connection, fence, first, &mut queue) {
            report.send_replace(Some(Error::Fenced));
        }
    }
}

/// Runs `first` and what has queued up behind it as one transaction, and tells every caller how it ended.
fn batch(connection: &Connection, fence: &Fence, first: Job, queue: &mut mpsc::Receiver<Job>) -> Result<()> {
    if let Err(error) = begin(connection, fence) {
        first(Err(error.clone()))(Ok(()));
        return Err(error);
    }
    let mut delivers = vec![first(Ok(connection))];
    // An error such as a full disk makes SQLite roll everything back by itself.
    while delivers.len() < BATCH_WRITES_MAX && !connection.is_autocommit() {
        let Ok(job) = queue.try_recv() else { break };
        delivers.push(job(Ok(connection)));
    }
    let committed = if connection.is_autocommit() { Err(Error::RolledBack) } else { commit(connection) };
    for deliver in delivers {
        deliver(committed.clone());
    }
    committed
}

fn begin(connection: &Connection, fence: &Fence) -> Result<()> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    schema::check(connection, fence).inspect_err(|_| roll_back(connection))
}

fn commit(connection: &Connection) -> Result<()> {
    let committed = connection.prepare_cached("COMMIT").and_then(|mut statement| statement.execute([]));
    committed.map(drop).map_err(Error::from).inspect_err(|_| roll_back(connection))
}

fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(error = &error as &dyn std::error::Error, "could not roll back");
    }
}

fn within_savepoint<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    match work(connection) {
        Ok(value) => {
            connection.prepare_cached("RELEASE job")?.execute([])?;
            Ok(value)
        }
        Err(error) => {
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK TO job; RELEASE job")?;
            }
            Err(error)
        }
    }
}
