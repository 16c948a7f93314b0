//! The health checks of the services.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use verso_kit::peer::Peer;

use crate::config::Limits;

/// A process that is not ready yet is asked again after this, then after twice as long, and so on.
const READY_RETRY_FIRST: Duration = Duration::from_millis(5);

/// The longest pause between two questions.
const READY_RETRY_MAX: Duration = Duration::from_millis(100);

/// A process that missed a health check is asked again after this.
const MISSED_RETRY: Duration = Duration::from_millis(500);

/// Asks one process how it is. The socket was bound before the process started, so a question waits for its answer.
#[derive(Debug)]
pub(crate) struct Probe {
    client: HealthClient<Channel>,
}

impl Probe {
    /// Asks whoever accepts on the socket at `path`.
    pub(crate) fn new(path: &Path) -> Self {
        Self { client: HealthClient::new(Peer::unix(path).channel()) }
    }

    /// Waits until the process serves.
    pub(crate) async fn ready(&self, limits: &Limits) {
        let mut pause = READY_RETRY_FIRST;
        while !self.serving(limits.health_deadline).await {
            sleep(pause).await;
            pause = (pause * 2).min(READY_RETRY_MAX);
        }
    }

    /// Returns when the process has left too many questions in a row unanswered; `answered` hears how long each answer took.
    pub(crate) async fn unanswered(&self, limits: &Limits, answered: impl Fn(Duration)) {
        let mut misses = 0;
        while misses <= limits.health_misses_max {
            let asked = Instant::now();
            if self.serving(limits.health_deadline).await {
                answered(asked.elapsed());
                misses = 0;
            } else {
                misses += 1;
            }
            sleep(if misses == 0 { limits.health_interval } else { MISSED_RETRY.min(limits.health_interval) }).await;
        }
    }

    async fn serving(&self, deadline: Duration) -> bool {
        let question = HealthCheckRequest { service: String::new() };
        let mut client = self.client.clone();
        match timeout(deadline, client.check(question)).await {
            Ok(Ok(answer)) => answer.into_inner().status() == ServingStatus::Serving,
            Ok(Err(_)) | Err(_) => false,
        }
    }
}
