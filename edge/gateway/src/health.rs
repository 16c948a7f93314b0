//! The health summary: gathered in the background, answered from memory.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use verso_proto::agent::v1::{HealthSummaryRequest as AgentHealth, HealthSummaryResponse as AgentSummary};
use verso_proto::channel::v1::HealthSummaryRequest as ChannelHealth;
use verso_proto::edge::v1::{HealthResponse, SessionDefaults};
use verso_proto::supervisor::v1::{ServicesListRequest, ServicesListResponse};

use crate::gateway::Gateway;

/// Between two refreshes that nobody asked for.
const INTERVAL: Duration = Duration::from_mins(1);

/// Between two refreshes, at least; every connect asks for one.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Connections whose refreshes are worth one more second of pause: each refresh is an event to all of them.
const CONNECTIONS_PER_PAUSE: usize = 500;

/// What is known of the gateway's health.
#[derive(Debug, Default)]
pub(crate) struct Health {
    latest: ArcSwap<Summary>,
    wanted: Notify,
}

/// One summary.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    pub(crate) response: HealthResponse,
    /// The response as JSON; empty before the first refresh.
    pub(crate) json: String,
    pub(crate) session_defaults: Option<SessionDefaults>,
    /// `provider/model` of new sessions.
    pub(crate) model: Option<String>,
}

impl Health {
    /// Returns the latest summary.
    pub(crate) fn latest(&self) -> Arc<Summary> {
        self.latest.load_full()
    }

    /// Asks for a refresh in the background; several wishes make one.
    pub(crate) fn request_refresh(&self) {
        self.wanted.notify_one();
    }
}

/// Refreshes the summary when asked, and every minute, until the shutdown.
pub(crate) fn keep_fresh(gateway: &Arc<Gateway>) {
    let gateway = Arc::clone(gateway);
    let shutdown = gateway.tasks.shutdown().clone();
    gateway.tasks.clone().spawn("health", async move {
        let refreshing = async {
            loop {
                refresh(&gateway).await;
                let crowd = u32::try_from(gateway.connections.count() / CONNECTIONS_PER_PAUSE).unwrap_or(u32::MAX);
                sleep(PAUSE_MIN.saturating_mul(1 + crowd).min(INTERVAL)).await;
                tokio::select! {
                    () = gateway.health.wanted.notified() => {}
                    () = sleep(INTERVAL) => {}
                }
            }
        };
        tokio::select! {
            () = refreshing => {}
            () = shutdown.cancelled() => {}
        }
    });
}

/// Gathers a new summary and tells everybody. A service that is away keeps its last part and is named.
pub(crate) async fn refresh(gateway: &Gateway) -> Arc<Summary> {
    let begun = Instant::now();
    let (agent, channel, services) =
        tokio::join!(gateway.services.call(AgentHealth {}), gateway.services.call(ChannelHealth {}), fares(gateway));
    let last = gateway.health.latest();
    let mut summary = Summary::clone(&last);
    let response = &mut summary.response;
    response.ok = true;
    response.unavailable.clear();
    match agent {
        Ok(agent) => {
            summary.session_defaults = Some(defaults(&agent));
            summary.model = Some(agent.model);
            response.heartbeat_seconds = agent.heartbeat_seconds;
            response.default_agent_id = agent.default_agent_id;
            response.agents = agent.agents;
            response.sessions = agent.sessions;
        }
        Err(_) => response.unavailable.push("agent".to_owned()),
    }
    match channel {
        Ok(channel) => {
            response.channels = channel.channels;
            response.channel_order = channel.channel_order;
            response.channel_labels = channel.channel_labels;
        }
        Err(_) => response.unavailable.push("channel".to_owned()),
    }
    // Without a supervisor there is nobody to ask.
    if let Some(list) = services {
        let short = list.services.iter().filter(|service| !service.pressure.is_empty());
        response.pressure = short.map(|service| (service.name.clone(), service.pressure.join(" "))).collect();
        response.config_problems = list.services.into_iter().filter_map(|service| Some((service.name, service.config_problem?))).collect();
    }
    response.ts_ms = gateway.context.clock.now_ms();
    response.duration_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    summary.json = serde_json::to_string(&response).unwrap_or_default();
    let (summary, event) = (Arc::new(summary.clone()), summary.response);
    gateway.health.latest.store(Arc::clone(&summary));
    gateway.bump_health();
    gateway.emit(event);
    summary
}

/// What the supervisor says of the processes; none where there is no supervisor.
async fn fares(gateway: &Gateway) -> Option<ServicesListResponse> {
    gateway.context.env.get("VERSO_SUPERVISOR_PID")?;
    gateway.services.call(ServicesListRequest {}).await.ok()
}

fn defaults(agent: &AgentSummary) -> SessionDefaults {
    SessionDefaults {
        default_agent_id: agent.default_agent_id.clone(),
        main_key: agent.main_key.clone(),
        main_session_key: agent.main_session_key.clone(),
        scope: Some(agent.session_scope.clone()),
        model_configured: Some(agent.model_configured),
        ownership: Some("sole".to_owned()),
        selection_required: Some(false),
    }
}
