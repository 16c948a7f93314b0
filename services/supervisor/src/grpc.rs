//! The rpcs for operators.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Status, async_trait};
use verso_kit::clock::Clock;
use verso_kit::error::status;
use verso_kit::grpc::{Reply, reply};
use verso_proto::supervisor::v1::supervisor_server::{Supervisor, SupervisorServer};
use verso_proto::supervisor::v1::{
    ConfigStateRequest, ConfigStateResponse, ServiceInfo, ServiceUsage, ServicesDrainRequest, ServicesDrainResponse, ServicesListRequest,
    ServicesListResponse, ServicesLogsRequest, ServicesLogsResponse, ServicesRestartRequest, ServicesRestartResponse,
    ServicesRollbackRequest, ServicesRollbackResponse, ServicesUpdateRequest, ServicesUpdateResponse,
};

use crate::audit::{Actor, Audit};
use crate::board::{Entry, State};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::logs;
use crate::memory;
use crate::reload::Reloader;
use crate::service_name::ServiceName;
use crate::update;
use crate::usage::Usage;

/// Steps of an update that nobody has read yet.
const STEPS_MAX: usize = 16;

/// Returns the rpcs of the supervisor.
pub(crate) fn routes(fleet: Fleet, reloader: Option<Arc<Reloader>>, state_dir: &Path) -> Routes {
    let audit = Audit::new(state_dir, Clock::system());
    Routes::new(SupervisorServer::new(Adapter { fleet, reloader, audit, state_dir: state_dir.to_owned(), since: Instant::now() }))
}

struct Adapter {
    fleet: Fleet,
    reloader: Option<Arc<Reloader>>,
    audit: Audit,
    state_dir: PathBuf,
    since: Instant,
}

impl Adapter {
    /// Does something to a service, and writes down who asked for it.
    async fn audited<T>(
        &self,
        (action, service): (&str, &str),
        actor: &Actor,
        deed: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Status> {
        self.audit.begin(action, service, actor).map_err(|source| status(Error::Audit(source)))?;
        let result = deed.await;
        let words = result.as_ref().err().map(ToString::to_string);
        self.audit.end(action, service, actor, words.as_deref().map_or(Ok(()), Err));
        result.map_err(status)
    }

    /// What is known of this process.
    fn own_info(&self) -> ServiceInfo {
        ServiceInfo {
            name: "supervisor".to_owned(),
            state: State::Serving.as_str().to_owned(),
            pid: Some(i64::from(std::process::id())),
            starts: 1,
            uptime_ms: i64::try_from(self.since.elapsed().as_millis()).ok(),
            ..ServiceInfo::default()
        }
    }

    fn fares(&self, name: ServiceName) -> Option<ServiceInfo> {
        self.fleet.shared.board.get(name).map(|entry| info(name, entry))
    }

    async fn roll_back(&self, request: &ServicesRollbackRequest) -> Result<(ServiceName, u64), Error> {
        let name = self.fleet.named(&request.name)?;
        let reloader = self.reloader.as_ref().ok_or(Error::NoConfiguration)?;
        let generation = reloader.roll_back_to(name, request.generation).await?;
        Ok((name, generation))
    }
}

#[async_trait]
impl Supervisor for Adapter {
    async fn services_list(&self, _: Request<ServicesListRequest>) -> Reply<ServicesListResponse> {
        let entries = self.fleet.shared.board.list();
        let mut services: Vec<ServiceInfo> = entries.into_iter().map(|(name, entry)| info(name, entry)).collect();
        let mut supervisor = self.own_info();
        // The system sums pages up for each answer, and that takes its time.
        let measured = tokio::task::spawn_blocking(move || {
            for service in services.iter_mut().chain([&mut supervisor]) {
                service.memory_bytes = service.pid.and_then(memory::share_bytes);
            }
            (services, supervisor)
        });
        let (services, supervisor) = measured.await.map_err(|_| Status::internal("not measured"))?;
        reply(ServicesListResponse { services, supervisor: Some(supervisor) })
    }

    async fn config_state(&self, _: Request<ConfigStateRequest>) -> Reply<ConfigStateResponse> {
        let Some(reloader) = &self.reloader else { return reply(ConfigStateResponse::default()) };
        let state = reloader.state();
        let revision = verso_config::content_hash(&state.value.to_string());
        reply(ConfigStateResponse { generation: state.generation, revision, problem: state.problem })
    }

    type ServicesUpdateStream = Pin<Box<dyn Stream<Item = Result<ServicesUpdateResponse, Status>> + Send>>;

    async fn services_update(&self, request: Request<ServicesUpdateRequest>) -> Reply<Self::ServicesUpdateStream> {
        let (progress, steps) = mpsc::channel(STEPS_MAX);
        let actor = Actor::of(&request, None);
        self.audit.begin("update", "all", &actor).map_err(|source| status(Error::Audit(source)))?;
        // A task of its own: it is not to end half-way because whoever asked has gone.
        self.fleet.shared.tasks.spawn("update", update::run(self.fleet.clone(), request.into_inner(), progress));
        reply(Box::pin(ReceiverStream::new(steps).map(|step| step.map_err(status))))
    }

    async fn services_restart(&self, request: Request<ServicesRestartRequest>) -> Reply<ServicesRestartResponse> {
        let actor = Actor::of(&request, request.get_ref().on_behalf_of.as_deref());
        let name = request.into_inner().name;
        let restarted = self.audited(("restart", &name), &actor, self.fleet.restart(&name)).await?;
        reply(ServicesRestartResponse { ok: true, service: self.fares(restarted) })
    }

    async fn services_drain(&self, request: Request<ServicesDrainRequest>) -> Reply<ServicesDrainResponse> {
        let actor = Actor::of(&request, request.get_ref().on_behalf_of.as_deref());
        let ServicesDrainRequest { name, deadline_ms, .. } = request.into_inner();
        let deadline = deadline_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        let drained = self.audited(("drain", &name), &actor, self.fleet.drain(&name, deadline)).await?;
        reply(ServicesDrainResponse { ok: true, service: self.fares(drained) })
    }

    async fn services_rollback(&self, request: Request<ServicesRollbackRequest>) -> Reply<ServicesRollbackResponse> {
        let actor = Actor::of(&request, request.get_ref().on_behalf_of.as_deref());
        let request = request.into_inner();
        let (name, generation) = self.audited(("rollback", &request.name), &actor, self.roll_back(&request)).await?;
        reply(ServicesRollbackResponse { ok: true, generation, service: self.fares(name) })
    }

    async fn services_logs(&self, request: Request<ServicesLogsRequest>) -> Reply<ServicesLogsResponse> {
        let actor = Actor::of(&request, request.get_ref().on_behalf_of.as_deref());
        let request = request.into_inner();
        let config = self.reloader.as_ref().map(|reloader| reloader.state().value).unwrap_or_default();
        let state_dir = self.state_dir.clone();
        let service = request.name.clone().unwrap_or_else(|| "all".to_owned());
        let reading = async {
            let read = tokio::task::spawn_blocking(move || logs::read(&config, &state_dir, &Clock::system(), &request)).await;
            read.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped))).map_err(Error::ReadLog)
        };
        reply(self.audited(("logs", &service), &actor, reading).await?)
    }
}

fn info(name: ServiceName, entry: Entry) -> ServiceInfo {
    let now = Instant::now();
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let usage = usage(&entry);
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
        usage,
        pressure: entry.pressure.iter().map(ToString::to_string).collect(),
        config_problem: entry.config_problem,
        memory_bytes: None,
        latency_us: entry.latency.and_then(|latency| i64::try_from(latency.as_micros()).ok()),
        failures_left: i64::try_from(entry.failures_left).ok(),
    }
}

/// What the process uses at this moment.
fn usage(entry: &Entry) -> Option<ServiceUsage> {
    let (usage, allowed) = (Usage::of(entry.pid?)?, entry.allowed?);
    Some(ServiceUsage {
        memory_bytes: usage.memory_bytes,
        resident_bytes: usage.resident_bytes,
        cpu_ms: usage.cpu_ms,
        descriptors: usage.descriptors,
        tasks: usage.tasks,
        memory_soft_bytes: allowed.memory_soft_bytes,
        memory_hard_bytes: allowed.memory_hard_bytes,
        descriptors_max: allowed.descriptors_max,
        tasks_max: allowed.tasks_max,
        recycled: entry.recycled,
    })
}
