//! The tables of jobs and of how they went. A run's start is written before anything is done for it, its end once.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use verso_proto::agent::v1::{CronJob, CronRunEntry};

use super::events::{self, SystemEvent};
use super::{Result, Store};

/// Ended runs of a job that its log keeps.
const LOG_ENTRIES_MAX: i64 = 2_000;

/// A job with what the scheduler knows about it.
#[derive(Debug, Clone)]
pub(crate) struct JobRecord {
    pub(crate) job: CronJob,
    /// The run that is under way.
    pub(crate) running_run_id: Option<String>,
    /// Failures in a row.
    pub(crate) failures: i64,
}

/// A run of a job that has begun and not ended.
#[derive(Debug, Clone)]
pub(crate) struct JobRun {
    pub(crate) run_id: String,
    /// As it was when the run began.
    pub(crate) job: CronJob,
    pub(crate) started_at_ms: i64,
    /// Whether what it has to say was said already.
    pub(crate) dispatched: bool,
}

/// What a run's end changes. All of it becomes visible at once, or nothing.
#[derive(Debug)]
pub(crate) struct JobEnd {
    pub(crate) run_id: String,
    pub(crate) entry: CronRunEntry,
    /// None: the job is removed.
    pub(crate) job: Option<CronJob>,
    pub(crate) failures: i64,
    /// What a session hears of it.
    pub(crate) event: Option<SystemEvent>,
}

/// Which entries of the log to read.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogPage {
    /// None: of all jobs.
    pub(crate) job_id: Option<String>,
    pub(crate) run_id: Option<String>,
    /// Empty: all.
    pub(crate) statuses: Vec<String>,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

impl Store {
    /// Reads every job.
    pub(crate) async fn cron_jobs(&self) -> Result<Vec<JobRecord>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT job, running_run_id, failures FROM cron_jobs ORDER BY id")?;
            let rows = statement.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
            rows.into_iter().map(record).collect()
        })
        .await
    }

    /// Reads one job.
    pub(crate) async fn cron_job(&self, id: &str) -> Result<Option<JobRecord>> {
        let id = id.to_owned();
        self.read(move |connection| load(connection, &id)).await
    }

    /// Writes a job; what the scheduler knows about it stays.
    pub(crate) async fn cron_save(&self, job: CronJob) -> Result<()> {
        self.write(move |connection| save(connection, &job)).await
    }

    /// Removes a job. Returns whether there was one.
    pub(crate) async fn cron_remove(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |connection| Ok(connection.execute("DELETE FROM cron_jobs WHERE id = ?1", [id])? > 0)).await
    }

    /// Writes the start of a run down, unless the job runs already or is gone.
    pub(crate) async fn cron_start(&self, id: &str, run_id: &str, at_ms: i64) -> Result<Option<JobRun>> {
        let (id, run_id) = (id.to_owned(), run_id.to_owned());
        self.write(move |connection| {
            let Some(JobRecord { mut job, running_run_id: None, .. }) = load(connection, &id)? else { return Ok(None) };
            job.state.get_or_insert_default().running_at_ms = Some(at_ms);
            save(connection, &job)?;
            connection.execute("UPDATE cron_jobs SET running_run_id = ?2 WHERE id = ?1", params![id, run_id])?;
            connection.execute(
                "INSERT INTO cron_runs (run_id, job_id, job, started_at_ms) VALUES (?1, ?2, ?3, ?4)",
                params![run_id, id, serde_json::to_string(&job)?, at_ms],
            )?;
            Ok(Some(JobRun { run_id, job, started_at_ms: at_ms, dispatched: false }))
        })
        .await
    }

    /// Queues what a run has to say, and notes that it has said it: a later incarnation does not say it again.
    pub(crate) async fn cron_dispatch(&self, run_id: &str, event: SystemEvent) -> Result<()> {
        let run_id = run_id.to_owned();
        self.write(move |connection| {
            let sql = "UPDATE cron_runs SET dispatched = 1 WHERE run_id = ?1 AND dispatched = 0 AND ended_at_ms IS NULL";
            if connection.execute(sql, [run_id])? == 1 {
                events::queue(connection, &event)?;
            }
            Ok(())
        })
        .await
    }

    /// Ends a run: its log entry, its job and what a session hears of it. Returns false if it had ended before.
    pub(crate) async fn cron_finish(&self, end: JobEnd) -> Result<bool> {
        self.write(move |connection| finish(connection, &end)).await
    }

    /// Reads the runs that an earlier incarnation has left behind, the oldest first.
    pub(crate) async fn cron_unfinished(&self) -> Result<Vec<JobRun>> {
        self.read(|connection| {
            let sql = "SELECT run_id, job, started_at_ms, dispatched FROM cron_runs WHERE ended_at_ms IS NULL ORDER BY started_at_ms";
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?)))?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let run = |(run_id, job, started_at_ms, dispatched): (_, String, _, _)| {
                Ok(JobRun { run_id, job: serde_json::from_str(&job)?, started_at_ms, dispatched })
            };
            rows.into_iter().map(run).collect()
        })
        .await
    }

    /// Reads the newest entries of the log, the oldest of them first, and counts all that match.
    pub(crate) async fn cron_log(&self, page: LogPage) -> Result<(Vec<CronRunEntry>, i64)> {
        self.read(move |connection| log(connection, &page)).await
    }
}

pub(super) fn save(connection: &Connection, job: &CronJob) -> Result<()> {
    let next = job.state.as_ref().and_then(|state| state.next_run_at_ms);
    connection
        .prepare_cached(
            "INSERT INTO cron_jobs (id, job, enabled, next_run_at_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET job = ?2, enabled = ?3, next_run_at_ms = ?4",
        )?
        .execute(params![job.id, serde_json::to_string(job)?, job.enabled, next])?;
    Ok(())
}

fn finish(connection: &Connection, end: &JobEnd) -> Result<bool> {
    let changed = connection.execute(
        "UPDATE cron_runs SET ended_at_ms = ?2, entry = ?3 WHERE run_id = ?1 AND ended_at_ms IS NULL",
        params![end.run_id, end.entry.ts_ms, serde_json::to_string(&end.entry)?],
    )?;
    if changed == 0 {
        return Ok(false);
    }
    let ours = "SELECT 1 FROM cron_jobs WHERE id = ?1 AND running_run_id = ?2";
    if connection.prepare_cached(ours)?.exists(params![end.entry.job_id, end.run_id])? {
        match &end.job {
            Some(job) => {
                save(connection, job)?;
                let sql = "UPDATE cron_jobs SET running_run_id = NULL, failures = ?2 WHERE id = ?1";
                connection.execute(sql, params![job.id, end.failures])?;
            }
            None => {
                connection.execute("DELETE FROM cron_jobs WHERE id = ?1", [&end.entry.job_id])?;
            }
        }
    }
    if let Some(event) = &end.event {
        events::queue(connection, event)?;
    }
    connection.execute(
        "DELETE FROM cron_runs WHERE job_id = ?1 AND ended_at_ms <= (SELECT ended_at_ms FROM cron_runs
         WHERE job_id = ?1 AND ended_at_ms IS NOT NULL ORDER BY ended_at_ms DESC LIMIT 1 OFFSET ?2)",
        params![end.entry.job_id, LOG_ENTRIES_MAX],
    )?;
    Ok(true)
}

fn log(connection: &Connection, page: &LogPage) -> Result<(Vec<CronRunEntry>, i64)> {
    let statuses = serde_json::to_string(&page.statuses)?;
    let matching = "FROM cron_runs WHERE ended_at_ms IS NOT NULL AND (?1 IS NULL OR job_id = ?1) AND (?2 IS NULL OR run_id = ?2)
                    AND (?3 = '[]' OR json_extract(entry, '$.status') IN (SELECT value FROM json_each(?3)))";
    let sql = format!("SELECT entry {matching} ORDER BY ended_at_ms DESC, run_id LIMIT ?4 OFFSET ?5");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![page.job_id, page.run_id, statuses, page.limit, page.offset], |row| row.get::<_, String>(0))?;
    let texts = rows.collect::<Result<Vec<_>, _>>()?;
    let mut entries = texts.iter().map(|text| serde_json::from_str(text)).collect::<Result<Vec<CronRunEntry>, _>>()?;
    entries.reverse();
    let sql = format!("SELECT count(*) {matching}");
    let total = connection.prepare_cached(&sql)?.query_row(params![page.job_id, page.run_id, statuses], |row| row.get(0))?;
    Ok((entries, total))
}

fn load(connection: &Connection, id: &str) -> Result<Option<JobRecord>> {
    let sql = "SELECT job, running_run_id, failures FROM cron_jobs WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([id], read).optional()?.map(record).transpose()
}

type Columns = (String, Option<String>, i64);

fn read(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn record((job, running_run_id, failures): Columns) -> Result<JobRecord> {
    Ok(JobRecord { job: serde_json::from_str(&job)?, running_run_id, failures })
}
