//! Jobs that run at a time, every so often, or by a cron expression.

mod error;
mod execute;
mod jobs;
mod list;
mod schedule;
pub(crate) mod settings;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use verso_kit::CancellationToken;
use verso_proto::agent::v1::{
    CronAddRequest, CronEvent, CronGetRequest, CronJob, CronRemoveRequest, CronRemoveResponse, CronRunRequest, CronRunResponse,
    CronStatusResponse, CronUpdateRequest,
};

use crate::heartbeat::Heartbeats;
use crate::parts::Parts;
use crate::store::{JobRecord, JobRun};
pub(crate) use error::Error;
use schedule::Schedule;

/// Jobs that there may be.
const JOBS_MAX: usize = 1_000;

/// The longest sleep between two looks at the clock, which somebody may set.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// A run that an earlier incarnation began longer ago is not taken up again, in milliseconds.
const TAKEN_UP_AGE_MS_MAX: i64 = 2 * 60 * 60 * 1_000;

type Result<T> = std::result::Result<T, crate::error::Error>;

/// Takes a job that another gateway has kept.
pub(crate) fn adopt(job: CronJob, now_ms: i64) -> std::result::Result<CronJob, Error> {
    jobs::adopt(job, now_ms, &jiff::tz::TimeZone::system())
}

/// All jobs. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Cron {
    heartbeats: Heartbeats,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    changed: Arc<Notify>,
    /// Jobs that may run at once.
    places: Semaphore,
}

impl Cron {
    /// Prepares the jobs.
    pub(crate) fn new(heartbeats: Heartbeats) -> Self {
        let places = Semaphore::new(heartbeats.runs.parts.cron.concurrent());
        Self { heartbeats, shared: Arc::new(Shared { changed: Arc::default(), places }) }
    }

    /// The jobs under another configuration. Those that run go on.
    pub(crate) fn renewed(&self, heartbeats: Heartbeats) -> Self {
        let places = Semaphore::new(heartbeats.runs.parts.cron.concurrent());
        Self { heartbeats, shared: Arc::new(Shared { changed: Arc::clone(&self.shared.changed), places }) }
    }

    /// Takes up what an earlier incarnation has left behind, and starts the task that watches the clock.
    pub(crate) async fn start(&self, replaced: CancellationToken) -> Result<()> {
        if !self.parts().cron_enabled {
            return Ok(());
        }
        let now_ms = self.parts().clock.now_ms();
        for run in self.parts().store.cron_unfinished().await? {
            if now_ms - run.started_at_ms > TAKEN_UP_AGE_MS_MAX {
                let outcome = execute::Outcome::error("the gateway stopped while the job was running");
                execute::finish(self, &run, outcome).await?;
            } else {
                self.execute(run);
            }
        }
        self.skip_missed(now_ms).await?;
        self.watch_the_clock(replaced);
        Ok(())
    }

    /// Starts the task that watches the clock until `replaced`, where jobs run at all.
    pub(crate) fn watch_the_clock(&self, replaced: CancellationToken) {
        if !self.parts().cron_enabled {
            return;
        }
        let (cron, shutdown) = (self.clone(), self.heartbeats.runs.shutdown());
        self.heartbeats.runs.spawn("cron", async move {
            shutdown.run_until_cancelled(cron.keep_time(replaced)).await;
        });
    }

    /// Returns who wakes.
    pub(crate) fn heartbeats(&self) -> &Heartbeats {
        &self.heartbeats
    }

    /// Makes a job.
    pub(crate) async fn add(&self, request: CronAddRequest) -> Result<CronJob> {
        const METHOD: &str = "cron.add";
        let parts = self.parts();
        self.check_agent(METHOD, request.agent_id.as_ref().and_then(|id| id.value.as_deref()))?;
        let job = jobs::make(request, parts.clock.now_ms(), &parts.zone).map_err(|error| error.of(METHOD))?;
        if parts.store.cron_jobs().await?.len() >= JOBS_MAX {
            return Err(Error::TooMany { max: JOBS_MAX }.into());
        }
        parts.store.cron_save(job.clone()).await?;
        self.changed(&job, "added");
        Ok(job)
    }

    /// Changes a job.
    pub(crate) async fn update(&self, request: CronUpdateRequest) -> Result<CronJob> {
        const METHOD: &str = "cron.update";
        let parts = self.parts();
        let found = self.find(METHOD, request.id).await?;
        let patch = request.patch.unwrap_or_default();
        self.check_agent(METHOD, patch.agent_id.as_ref().and_then(|id| id.value.as_deref()))?;
        let job = jobs::change(found.job, patch, parts.clock.now_ms(), &parts.zone).map_err(|error| error.of(METHOD))?;
        parts.store.cron_save(job.clone()).await?;
        self.changed(&job, "updated");
        Ok(job)
    }

    /// Returns one job.
    pub(crate) async fn get(&self, request: CronGetRequest) -> Result<CronJob> {
        Ok(self.find("cron.get", request.id).await?.job)
    }

    /// Removes a job.
    pub(crate) async fn remove(&self, request: CronRemoveRequest) -> Result<CronRemoveResponse> {
        let id = named("cron.remove", request.id)?;
        let removed = self.parts().store.cron_remove(&id).await?;
        if removed {
            self.parts().hub.emit(CronEvent { job_id: id, action: "removed".to_owned(), ..CronEvent::default() });
            self.shared.changed.notify_one();
        }
        Ok(CronRemoveResponse { ok: true, removed })
    }

    /// Runs a job now, if it is due or must.
    pub(crate) async fn run(&self, request: CronRunRequest) -> Result<CronRunResponse> {
        let JobRecord { job, running_run_id, .. } = self.find("cron.run", request.id).await?;
        let next_ms = job.state.as_ref().and_then(|state| state.next_run_at_ms);
        let is_due = job.enabled && next_ms.is_some_and(|next_ms| next_ms <= self.parts().clock.now_ms());
        let wanted = match request.mode.as_deref() {
            Some("force") => true,
            Some("if-enabled") => job.enabled,
            _ => is_due,
        };
        let not_due = CronRunResponse { ok: true, ran: Some(false), reason: Some("not-due".to_owned()), ..CronRunResponse::default() };
        if !wanted || running_run_id.is_some() {
            return Ok(not_due);
        }
        let Some(run) = self.begin(&job.id).await? else { return Ok(not_due) };
        let run_id = run.run_id.clone();
        let over = self.execute(run);
        if request.wait == Some(true) {
            over.cancelled().await;
            return Ok(CronRunResponse { ok: true, ran: Some(true), ..CronRunResponse::default() });
        }
        Ok(CronRunResponse { ok: true, enqueued: Some(true), run_id: Some(run_id), ..CronRunResponse::default() })
    }

    /// Says whether jobs run, and when the next one does.
    pub(crate) async fn status(&self) -> Result<CronStatusResponse> {
        let parts = self.parts();
        let jobs = parts.store.cron_jobs().await?;
        let next = jobs.iter().filter(|record| record.job.enabled).filter_map(next_of).min();
        Ok(CronStatusResponse {
            enabled: parts.cron_enabled,
            store_path: parts.store_path(),
            jobs: i64::try_from(jobs.len()).unwrap_or(i64::MAX),
            next_wake_at_ms: next.filter(|_| parts.cron_enabled),
            triggers_enabled: Some(false),
            storage: Some("sqlite".to_owned()),
            sqlite_path: Some(parts.store_path()),
        })
    }

    fn parts(&self) -> &Parts {
        &self.heartbeats.runs.parts
    }

    fn check_agent(&self, method: &'static str, agent: Option<&str>) -> Result<()> {
        self.parts().roster.named(method, agent).map(|_| ())
    }

    async fn find(&self, method: &'static str, id: Option<String>) -> Result<JobRecord> {
        let id = named(method, id)?;
        Ok(self.parts().store.cron_job(&id).await?.ok_or(Error::UnknownJob(id))?)
    }

    fn changed(&self, job: &CronJob, action: &str) {
        let next_run_at_ms = job.state.as_ref().and_then(|state| state.next_run_at_ms);
        self.parts().hub.emit(CronEvent { job_id: job.id.clone(), action: action.to_owned(), next_run_at_ms, ..CronEvent::default() });
        self.shared.changed.notify_one();
    }

    /// Writes the start of a run down; none if the job runs already, or is gone.
    async fn begin(&self, job_id: &str) -> Result<Option<JobRun>> {
        let now_ms = self.parts().clock.now_ms();
        let run_id = format!("cron-{}", uuid::Uuid::new_v4());
        let run = self.parts().store.cron_start(job_id, &run_id, now_ms).await?;
        if run.is_some() {
            let event = CronEvent { job_id: job_id.to_owned(), action: "started".to_owned(), ..CronEvent::default() };
            self.parts().hub.emit(CronEvent { run_at_ms: Some(now_ms), ..event });
        }
        Ok(run)
    }

    /// Carries a run out in the background. The token is triggered when it is over.
    fn execute(&self, run: JobRun) -> CancellationToken {
        let over = CancellationToken::new();
        let (cron, done, shutdown) = (self.clone(), over.clone().drop_guard(), self.heartbeats.runs.shutdown());
        self.heartbeats.runs.spawn("cron job", async move {
            let _done = done;
            shutdown.run_until_cancelled(execute::carry_out(&cron, &run)).await;
        });
        over
    }

    async fn keep_time(&self, replaced: CancellationToken) {
        while !replaced.is_cancelled() {
            let pause = match self.start_due().await {
                Ok(next_ms) => {
                    let now_ms = self.parts().clock.now_ms();
                    next_ms.map_or(LOOK_INTERVAL, |next_ms| Duration::from_millis(u64::try_from(next_ms - now_ms).unwrap_or(0)))
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "could not look for jobs that are due");
                    LOOK_INTERVAL
                }
            };
            tokio::select! {
                biased;
                () = replaced.cancelled() => return,
                () = self.shared.changed.notified() => {}
                () = tokio::time::sleep(pause.min(LOOK_INTERVAL)) => {}
            }
        }
    }

    /// Starts what is due, and returns when to look again.
    async fn start_due(&self) -> Result<Option<i64>> {
        let now_ms = self.parts().clock.now_ms();
        let mut next_ms: Option<i64> = None;
        for record in self.parts().store.cron_jobs().await? {
            if !record.job.enabled || record.running_run_id.is_some() {
                continue;
            }
            let Some(due_ms) = next_of(&record) else { continue };
            if due_ms > now_ms {
                next_ms = Some(next_ms.map_or(due_ms, |next_ms| next_ms.min(due_ms)));
            } else if let Some(run) = self.begin(&record.job.id).await? {
                self.execute(run);
            }
        }
        Ok(next_ms)
    }

    /// Moves recurring jobs on whose time passed while nobody was there, unless they are to catch up.
    async fn skip_missed(&self, now_ms: i64) -> Result<()> {
        let parts = self.parts();
        for JobRecord { mut job, running_run_id, .. } in parts.store.cron_jobs().await? {
            let Ok(schedule) = Schedule::parse(&job.schedule.clone().unwrap_or_default(), &parts.zone) else { continue };
            let missed = job.state.as_ref().and_then(|state| state.next_run_at_ms).filter(|next_ms| *next_ms <= now_ms);
            let Some(missed_ms) = missed else { continue };
            if running_run_id.is_none() && !schedule.once() && !parts.cron.catches_up(now_ms - missed_ms) {
                job.state.get_or_insert_default().next_run_at_ms = jobs::due(&job, &schedule, now_ms);
                parts.store.cron_save(job).await?;
            }
        }
        Ok(())
    }
}

fn next_of(record: &JobRecord) -> Option<i64> {
    record.job.state.as_ref()?.next_run_at_ms
}

fn named(method: &'static str, id: Option<String>) -> std::result::Result<String, Error> {
    id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()).ok_or(Error::MissingId(method))
}
