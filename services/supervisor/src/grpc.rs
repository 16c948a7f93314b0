//! The rpcs for operators, and the health checks of the services.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, async_trait};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_kit::peer::Peer;
use verso_proto::supervisor::v1::supervisor_server::{Supervisor, SupervisorServer};
use verso_proto::supervisor::v1::{
    ConfigStateRequest, ConfigStateResponse, ServiceInfo, ServicesListRequest, ServicesListResponse, ServicesRestartRequest,
    ServicesRestartResponse,
};

use crate::board::Entry;
use crate::config::Limits;
use crate::fleet::Fleet;
use crate::reload::Reloader;
use crate::service_name::ServiceName;

/// A process that is not ready yet is asked again after this, then after twice as long, and so on.
const READY_RETRY_FIRST: Duration = Duration::from_millis(5);

/// The longest pause between two questions.
const READY_RETRY_MAX: Duration = Duration::from_millis(100);

/// A process that missed a health check is asked again after this.
const MISSED_RETRY: Duration = Duration::from_millis(500);

/// Returns the rpcs of the supervisor.
pub(crate) fn routes(fleet: Fleet, reloader: Option<Arc<Reloader>>) -> Routes {
    Routes::new(SupervisorServer::new(Adapter { fleet, reloader }))
}

struct Adapter {
    fleet: Fleet,
    reloader: Option<Arc<Reloader>>,
}

#[async_trait]
impl Supervisor for Adapter {
    async fn services_list(&self, _: Request<ServicesListRequest>) -> Reply<ServicesListResponse> {
        let entries = self.fleet.shared.board.list();
        reply(ServicesListResponse { services: entries.into_iter().map(|(name, entry)| info(name, entry)).collect() })
    }

    async fn config_state(&self, _: Request<ConfigStateRequest>) -> Reply<ConfigStateResponse> {
        let Some(reloader) = &self.reloader else { return reply(ConfigStateResponse::default()) };
        let state = reloader.state();
        let revision = verso_config::content_hash(&state.value.to_string());
        reply(ConfigStateResponse { generation: state.generation, revision, problem: state.problem })
    }

    async fn services_restart(&self, request: Request<ServicesRestartRequest>) -> Reply<ServicesRestartResponse> {
        let name = self.fleet.restart(&request.into_inner().name).await.map_err(status)?;
        let service = self.fleet.shared.board.get(name).map(|entry| info(name, entry));
        reply(ServicesRestartResponse { ok: true, service })
    }
}

fn info(name: ServiceName, entry: Entry) -> ServiceInfo {
    let now = Instant::now();
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    ServiceInfo {
        name: name.as_str().to_owned(),
        state: entry.state.as_str().to_owned(),
        pid: entry.pid,
        starts: entry.starts,
        epoch: entry.epoch,
        uptime_ms: entry.serving_since.map(|since| ms(now.duration_since(since))),
        last_exit: entry.last_exit,
        retry_in_ms: entry.retry_at.map(|at| ms(at.saturating_duration_since(now))),
        config_generation: (entry.config_generation > 0).then_some(entry.config_generation),
        config_problem: entry.config_problem,
    }
}

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

    /// Returns when the process has left too many questions in a row unanswered.
    pub(crate) async fn unanswered(&self, limits: &Limits) {
        let mut misses = 0;
        while misses <= limits.health_misses_max {
            sleep(if misses == 0 { limits.health_interval } else { MISSED_RETRY.min(limits.health_interval) }).await;
            misses = if self.serving(limits.health_deadline).await { 0 } else { misses + 1 };
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
