//! Jobs and their log, as lists.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use verso_proto::agent::v1::{CronJob, CronListRequest, CronListResponse, CronRunsRequest, CronRunsResponse};

use super::{Cron, Error, Result};
use crate::store::LogPage;

/// Entries of a log that are returned, unless the caller says how many.
const LOG_ENTRIES_DEFAULT: i64 = 200;

impl Cron {
    /// Lists jobs.
    pub(crate) async fn list(&self, request: CronListRequest) -> Result<CronListResponse> {
        let records = self.parts().store.cron_jobs().await?;
        let mut jobs: Vec<CronJob> = records.into_iter().map(|record| record.job).filter(|job| matches(job, &request)).collect();
        jobs.sort_by(|a, b| order(a, b, request.sort_by.as_deref()));
        if request.sort_dir.as_deref() == Some("desc") {
            jobs.reverse();
        }
        let mut hasher = DefaultHasher::new();
        for job in &jobs {
            (&job.id, job.updated_at_ms).hash(&mut hasher);
        }
        let total = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        let offset = request.offset.unwrap_or(0).min(total);
        let limit = request.limit.unwrap_or(total.max(1));
        let count = |number: i64| usize::try_from(number).unwrap_or(0);
        let jobs: Vec<CronJob> = jobs.into_iter().skip(count(offset)).take(count(limit)).collect();
        let end = offset + i64::try_from(jobs.len()).unwrap_or(0);
        Ok(CronListResponse {
            jobs,
            total: Some(total),
            offset: Some(offset),
            limit: Some(limit),
            has_more: Some(end < total),
            next_offset: (end < total).then_some(end),
            snapshot_revision: Some(format!("{:016x}", hasher.finish())),
        })
    }

    /// Returns how a job has gone, the newest entries, oldest first.
    pub(crate) async fn log(&self, request: CronRunsRequest) -> Result<CronRunsResponse> {
        let all = request.scope.as_deref() == Some("all");
        let job_id = match request.id {
            Some(id) => Some(id),
            None if all || request.run_id.is_some() => None,
            None => return Err(Error::MissingId("cron.runs").into()),
        };
        let statuses: Vec<String> = request.statuses.into_iter().chain(request.status.filter(|status| status != "all")).collect();
        let (limit, offset) = (request.limit.unwrap_or(LOG_ENTRIES_DEFAULT), request.offset.unwrap_or(0));
        let page = LogPage { job_id, run_id: request.run_id, statuses, limit, offset };
        let (entries, total) = self.parts().store.cron_log(page).await?;
        let end = offset + i64::try_from(entries.len()).unwrap_or(0);
        let entries = if request.sort_dir.as_deref() == Some("desc") { entries.into_iter().rev().collect() } else { entries };
        Ok(CronRunsResponse {
            entries,
            total: Some(total),
            offset: Some(offset),
            limit: Some(limit),
            has_more: Some(end < total),
            next_offset: (end < total).then_some(end),
        })
    }
}

fn matches(job: &CronJob, request: &CronListRequest) -> bool {
    let shown = match request.enabled.as_deref() {
        Some("all") => true,
        Some("disabled") => !job.enabled,
        Some(_) => job.enabled,
        None => job.enabled || request.include_disabled == Some(true),
    };
    let same =
        |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| wanted == "all" || found == Some(wanted));
    let kind = job.schedule.as_ref().map(|schedule| schedule.kind.as_str());
    let last = job.state.as_ref().and_then(|state| state.last_status.as_deref());
    let text = job.payload.as_ref().and_then(|payload| payload.text.as_deref().or(payload.message.as_deref()));
    let found = request.query.as_deref().map(str::trim).filter(|query| !query.is_empty()).is_none_or(|query| {
        let query = query.to_lowercase();
        [Some(job.id.as_str()), Some(job.name.as_str()), job.description.as_deref(), text]
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(&query))
    });
    shown
        && found
        && same(&request.schedule_kind, kind)
        && same(&request.last_run_status, last)
        && same(&request.agent_id, job.agent_id.as_deref())
}

/// Those that are due soonest first, unless asked otherwise; what has no next time is last.
fn order(a: &CronJob, b: &CronJob, by: Option<&str>) -> Ordering {
    let next = |job: &CronJob| job.state.as_ref().and_then(|state| state.next_run_at_ms).unwrap_or(i64::MAX);
    let first = match by {
        Some("name") => a.name.to_lowercase().cmp(&b.name.to_lowercase()),
        Some("updatedAtMs") => a.updated_at_ms.cmp(&b.updated_at_ms),
        _ => next(a).cmp(&next(b)),
    };
    first.then_with(|| a.id.cmp(&b.id))
}
