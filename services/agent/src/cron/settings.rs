//! The section `cron`.

use serde::Deserialize;
use verso_kit::config::Env;

/// Jobs that run at once, unless configured.
const CONCURRENT_DEFAULT: usize = 1;

/// How late a run may begin under the policy `window`, in minutes, unless configured.
const WINDOW_MINUTES_DEFAULT: i64 = 60;

/// The section `cron`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Section {
    /// Whether jobs run. Default: true.
    pub(crate) enabled: Option<bool>,
    /// Jobs that run at once. Default: 1.
    pub(crate) max_concurrent_runs: Option<usize>,
    /// What becomes of runs that were due while nobody was there. Default: `skip`.
    pub(crate) missed_runs: Missed,
    /// How late a run may begin under the policy `window`, in minutes. Default: 60.
    pub(crate) missed_run_window_minutes: Option<i64>,
}

/// What becomes of a recurring run that was due while the service was away. A job that runs once is never forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Missed {
    /// The next run is the next one in time.
    #[default]
    Skip,
    /// One run at once, however many were missed.
    Run,
    /// The same, unless it is too late.
    Window,
}

impl Section {
    /// Whether jobs run: the environment can forbid it.
    pub(crate) fn enabled(&self, env: &Env) -> bool {
        let set = |name: &str| env.get(name).is_some_and(|value| matches!(value.trim(), "1" | "true" | "yes"));
        self.enabled != Some(false) && !set("VERSO_SKIP_CRON") && !set("OPENCLAW_SKIP_CRON")
    }

    /// Returns how many jobs run at once.
    pub(crate) fn concurrent(&self) -> usize {
        self.max_concurrent_runs.unwrap_or(CONCURRENT_DEFAULT).max(1)
    }

    /// Whether a recurring run that was due `late_ms` ago still begins.
    pub(crate) fn catches_up(&self, late_ms: i64) -> bool {
        let window_ms = self.missed_run_window_minutes.unwrap_or(WINDOW_MINUTES_DEFAULT).saturating_mul(60_000);
        match self.missed_runs {
            Missed::Skip => false,
            Missed::Run => true,
            Missed::Window => late_ms <= window_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_runs_follow_the_policy() {
        let section = |text: &str| serde_json::from_str::<Section>(text).unwrap();
        let minutes = |count: i64| count * 60_000;
        assert!(!section("{}").catches_up(1));
        assert!(section(r#"{"missedRuns": "run"}"#).catches_up(minutes(10_000)));
        let window = section(r#"{"missedRuns": "window", "missedRunWindowMinutes": 5}"#);
        assert!(window.catches_up(minutes(5)) && !window.catches_up(minutes(5) + 1));
    }

    #[test]
    fn the_environment_can_turn_jobs_off() {
        let env = Env::from_pairs([("OPENCLAW_SKIP_CRON", "1")]);
        assert!(!Section::default().enabled(&env) && Section::default().enabled(&Env::default()));
    }
}
