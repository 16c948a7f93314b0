//! All programs that were started and are still of interest.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use verso_kit::tasks::Tasks;

use super::job::{Job, Order};
use super::ledger::Ledger;

/// Programs that may run at once.
const RUNNING_MAX: usize = 64;

/// Programs that are remembered, ended ones included.
const REMEMBERED_MAX: usize = 256;

/// How long an ended program is remembered, unless configured.
const REMEMBER: Duration = Duration::from_mins(30);

/// The programs of one service. Clones share them.
#[derive(Debug, Clone)]
pub struct Jobs {
    tasks: Tasks,
    ledger: Ledger,
    remember: Duration,
    known: Arc<Mutex<BTreeMap<String, Arc<Job>>>>,
}

impl Jobs {
    /// Makes the table. What an earlier incarnation has left running, by its notes in `folder`, is ended first.
    pub fn open(tasks: Tasks, folder: PathBuf, remember_ms: Option<u64>) -> Self {
        let remember = remember_ms.map_or(REMEMBER, |ms| Duration::from_millis(ms.clamp(60_000, 10_800_000)));
        let ledger = Ledger::new(folder);
        ledger.sweep();
        Self { tasks, ledger, remember, known: Arc::default() }
    }

    /// Starts a program. It ends with its time, by [`Job::kill`], or with the service.
    pub async fn start(&self, order: Order) -> io::Result<Arc<Job>> {
        self.forget_old();
        if self.known().values().filter(|job| job.ended().is_none()).count() >= RUNNING_MAX {
            return Err(io::Error::other(format!("{RUNNING_MAX} programs are running already")));
        }
        let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let (job, running) = Job::start(id, order).await?;
        self.ledger.note(job.pid);
        self.known().insert(job.id.clone(), Arc::clone(&job));
        let (followed, ledger, shutdown) = (Arc::clone(&job), self.ledger.clone(), self.tasks.shutdown().clone());
        self.tasks.spawn("program", async move {
            running.follow(&followed, &shutdown).await;
            ledger.strike(followed.pid);
        });
        Ok(job)
    }

    /// Returns an agent's program.
    pub fn find(&self, agent: &str, id: &str) -> Option<Arc<Job>> {
        self.known().get(id).filter(|job| job.agent == agent).cloned()
    }

    /// Returns an agent's programs, the newest first.
    pub fn list(&self, agent: &str) -> Vec<Arc<Job>> {
        self.forget_old();
        let mut jobs: Vec<_> = self.known().values().filter(|job| job.agent == agent).cloned().collect();
        jobs.sort_by_key(|job| job.age());
        jobs
    }

    /// Forgets a program that has ended.
    pub fn remove(&self, id: &str) {
        self.known().remove(id);
    }

    fn forget_old(&self) {
        let mut known = self.known();
        known.retain(|_, job| job.since_end().is_none_or(|since| since < self.remember));
        while known.len() > REMEMBERED_MAX {
            let oldest = known.values().filter_map(|job| Some((job.since_end()?, job.id.clone()))).max();
            let Some((_, id)) = oldest else { break };
            known.remove(&id);
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Job>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
