//! How quickly the processes of a service are started again: as usual, unless `gateway.services.<name>.restart` says otherwise.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tracing::warn;
use verso_kit::config::File;

use crate::config::Limits;
use crate::service_name::ServiceName;

/// How quickly a service is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The second failure in a row waits this long; the first is restarted at once.
    pub(crate) first: Duration,
    /// The wait doubles up to this.
    pub(crate) max: Duration,
    /// This many failures within the window use the budget up.
    pub(crate) failures_max: usize,
    pub(crate) window: Duration,
}

impl Pace {
    /// What is usual.
    pub(crate) fn usual(limits: &Limits) -> Self {
        let Limits { backoff_first, backoff_max, budget_failures, budget_window, .. } = *limits;
        Self { first: backoff_first, max: backoff_max, failures_max: budget_failures, window: budget_window }
    }
}

/// `gateway.services.<name>.restart`
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Section {
    initial_ms: Option<u64>,
    max_ms: Option<u64>,
    limit: Option<usize>,
    window_ms: Option<u64>,
}

/// The pace of every service, as the configuration has it at the moment.
#[derive(Debug)]
pub(crate) struct Paces {
    usual: Pace,
    own: RwLock<BTreeMap<ServiceName, Pace>>,
}

impl Paces {
    /// Begins with what is usual.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { usual: Pace::usual(limits), own: RwLock::default() }
    }

    /// Takes over what a configuration says. A section that cannot be read leaves what is usual.
    pub(crate) fn follow(&self, config: &Value) {
        let file = File::from_value(config.clone());
        let pace = |name: ServiceName| {
            let section: Section = file.section(&format!("gateway.services.{name}.restart")).unwrap_or_else(|error| {
                warn!(service = %name, error = &error as &dyn std::error::Error, "how it is restarted cannot be read; it is as usual");
                Section::default()
            });
            let ms = |own: Option<u64>, usual| own.map_or(usual, Duration::from_millis);
            let first = ms(section.initial_ms, self.usual.first);
            Pace {
                first,
                max: ms(section.max_ms, self.usual.max).max(first),
                failures_max: section.limit.unwrap_or(self.usual.failures_max),
                window: ms(section.window_ms, self.usual.window),
            }
        };
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = ServiceName::ALL.into_iter().map(|name| (name, pace(name))).collect();
    }

    /// The pace of one service.
    pub(crate) fn get(&self, name: ServiceName) -> Pace {
        self.own.read().unwrap_or_else(PoisonError::into_inner).get(&name).copied().unwrap_or(self.usual)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_can_have_its_own_pace() {
        let (limits, paces) = (Limits::default(), Paces::new(&Limits::default()));
        assert_eq!(paces.get(ServiceName::Agent), Pace::usual(&limits));
        let own = json!({"initialMs": 20_000, "limit": 3, "windowMs": 60_000});
        paces.follow(&json!({"gateway": {"services": {"agent": {"restart": own}, "node": {"restart": {"maxMs": 700}}}}}));
        let (agent, node) = (paces.get(ServiceName::Agent), paces.get(ServiceName::Node));
        assert_eq!((agent.failures_max, agent.window), (3, Duration::from_mins(1)));
        assert_eq!((agent.first, agent.max), (Duration::from_secs(20), Duration::from_secs(20)), "no pause is shorter than the first");
        assert_eq!(node, Pace { max: Duration::from_millis(700), ..Pace::usual(&limits) });
        paces.follow(&json!({}));
        assert_eq!(paces.get(ServiceName::Agent), Pace::usual(&limits));
    }
}
