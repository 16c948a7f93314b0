//! The threads that read.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::schema;
use super::{Error, Result};

/// A slow read must not hold up a quick one; more than this only helps with more cores than a small host has.
const READER_THREADS: usize = 2;

/// Reads that may wait; those who queue more wait for a place.
const QUEUE_READS_MAX: usize = 1_024;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Hands reads to the threads. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    jobs: mpsc::Sender<Job>,
}

impl Readers {
    /// Starts the threads. They end with the last handle.
    pub(super) fn start(path: &Path) -> Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE_READS_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..READER_THREADS {
            let (connection, queue) = (schema::open_reader(path)?, Arc::clone(&queue));
            let thread = std::thread::Builder::new().name("agent-reader".to_owned());
            thread.spawn(move || run(&connection, &queue)).map_err(|_| Error::Stopped)?;
        }
        Ok(Self { jobs })
    }

    /// Runs `work` and returns what it read.
    pub(super) async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| drop(answer.send(work(connection))));
        self.jobs.send(job).await.map_err(|_| Error::Stopped)?;
        result.await.map_err(|_| Error::Stopped)?
    }
}

fn run(connection: &Connection, queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // One thread waits for work; the others wait for that thread.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(job) = job else { return };
        job(connection);
    }
}
