//! Reports on what models have used and cost.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::civil::Date;
use jiff::{Span, Timestamp};
use verso_proto::agent::v1::{DailyUsage, UsageCostRequest, UsageCostResponse, UsageStatusResponse, UsageTotals};

use crate::error::Error;
use crate::parts::Parts;
use crate::store::Used;

/// Days that a report covers unless it is asked for others.
const DAYS_DEFAULT: i64 = 30;

/// How long a report is given again, in milliseconds.
const FRESH_MS: i64 = 30_000;

/// Reports that are kept.
const KEPT_MAX: usize = 16;

/// Reports that were made lately, by their days.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<BTreeMap<i64, UsageCostResponse>>);

/// Says how much of each provider's allowance is used. No provider whose dialect is spoken here tells that to a key.
pub(crate) fn status(parts: &Parts) -> UsageStatusResponse {
    UsageStatusResponse { updated_at_ms: parts.clock.now_ms(), providers: Vec::new() }
}

/// Adds up tokens and costs by the user's days.
pub(crate) async fn cost(parts: &Parts, request: &UsageCostRequest) -> Result<UsageCostResponse, Error> {
    let days = request.days.unwrap_or(DAYS_DEFAULT);
    let now_ms = parts.clock.now_ms();
    if let Some(fresh) = parts.reports.fresh(days, now_ms) {
        return Ok(fresh);
    }
    let now = Timestamp::from_millisecond(now_ms).unwrap_or_default().to_zoned(parts.zone.clone());
    let first = now.date().saturating_sub(Span::new().days(days - 1));
    let since = first.to_zoned(parts.zone.clone()).map_or(0, |first| first.timestamp().as_millisecond());
    let used = parts.store.used_since(since).await?;
    let report = report(parts, days, now_ms, &used);
    parts.reports.keep(&report);
    Ok(report)
}

fn report(parts: &Parts, days: i64, now_ms: i64, used: &[Used]) -> UsageCostResponse {
    let mut daily: BTreeMap<Date, UsageTotals> = BTreeMap::new();
    let mut totals = UsageTotals::default();
    for used in used {
        let date = Timestamp::from_millisecond(used.at_ms).unwrap_or_default().to_zoned(parts.zone.clone()).date();
        let price = parts.catalog.price(&used.provider, &used.model);
        let cost = price.map(|price| price.of(used.input, used.output, used.cache_read, used.cache_write));
        for sum in [&mut totals, daily.entry(date).or_default()] {
            add(sum, used, cost);
        }
    }
    let daily = daily.into_iter().map(|(date, sum)| DailyUsage {
        date: date.to_string(),
        input: sum.input,
        output: sum.output,
        cache_read: sum.cache_read,
        cache_write: sum.cache_write,
        total_tokens: sum.total_tokens,
        total_cost: sum.total_cost,
        missing_cost_entries: sum.missing_cost_entries,
    });
    UsageCostResponse { updated_at_ms: now_ms, days, daily: daily.collect(), totals: Some(totals) }
}

fn add(sum: &mut UsageTotals, used: &Used, cost: Option<f64>) {
    sum.input += used.input;
    sum.output += used.output;
    sum.cache_read += used.cache_read;
    sum.cache_write += used.cache_write;
    sum.total_tokens += used.input + used.output + used.cache_read + used.cache_write;
    match cost {
        Some(cost) => sum.total_cost += cost,
        None => sum.missing_cost_entries += used.calls,
    }
}

impl Reports {
    fn fresh(&self, days: i64, now_ms: i64) -> Option<UsageCostResponse> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&days).filter(|report| (0..FRESH_MS).contains(&(now_ms - report.updated_at_ms))).cloned()
    }

    fn keep(&self, report: &UsageCostResponse) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(report.days, report.clone());
    }
}
