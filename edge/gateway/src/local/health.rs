//! `health`, `status` and `last-heartbeat`.

use verso_proto::Json;
use verso_proto::agent::v1::StatusSummaryRequest;
use verso_proto::edge::v1::{HealthRequest, LastHeartbeatRequest, LastHeartbeatResponse, StatusRequest, StatusResponse};

use super::Local;
use crate::error::wire;
use crate::health;

pub(super) fn register(local: &mut Local) {
    local.on_rendered::<HealthRequest, _, _>(|asking, request| async move {
        let known = asking.gateway.health.latest();
        let summary = if request.probe == Some(true) || known.json.is_empty() { health::refresh(&asking.gateway).await } else { known };
        Ok(summary.json.clone())
    });
    local.on::<StatusRequest, _, _>(|asking, _| async move {
        let gateway = &asking.gateway;
        let agent = gateway.services.call(StatusSummaryRequest {}).await.map_err(|status| wire(&status, "agent"))?;
        Ok(StatusResponse {
            heartbeat: agent.heartbeat,
            channel_summary: channel_lines(&gateway.health.latest()),
            queued_system_events: agent.queued_system_events,
            sessions: agent.sessions,
            runtime_version: Some(crate::VERSION.to_owned()),
            mcp: agent.mcp,
        })
    });
    local.on::<LastHeartbeatRequest, _, _>(|asking, _| async move {
        let last = asking.gateway.last_heartbeat.load_full();
        Ok(LastHeartbeatResponse { event: last.as_ref().clone().map(|text| Json { text }) })
    });
}

/// One line a channel that is configured.
fn channel_lines(summary: &health::Summary) -> Vec<String> {
    let response = &summary.response;
    let configured =
        response.channel_order.iter().filter_map(|id| Some((id, response.channels.get(id)?))).filter(|(_, channel)| channel.configured);
    configured
        .map(|(id, channel)| {
            let label = response.channel_labels.get(id).unwrap_or(id);
            let state = if channel.running == Some(true) { "running" } else { "configured" };
            format!("{label}: {state}")
        })
        .collect()
}
