//! What the edge counts, and the one exposition of what all processes count.
//!
//! Labels take few values: methods of the contract, codes of the protocol, names of limits. A client cannot make up a series.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use verso_kit::metrics::{self, Exposition, NONE, OTHER, merge, whole};
use verso_kit::peer::Caller;
use verso_proto::methods::{Method, find};
use verso_proto::supervisor::v1::{MeasureRequest, MetricFamily};

use crate::gateway::Gateway;

/// How long another process may take to say what it counts.
const PATIENCE: Duration = Duration::from_millis(500);

/// How this process is called among the others.
const EDGE: &str = "edge";

verso_kit::metrics! {
    /// Times that a limit was reached.
    LIMITS: Counter = "verso_edge_limit_reached" ["limit"];
    /// Answers to requests by method and code.
    REQUESTS: Counter = "openclaw_gateway_rpc_requests" ["code", "method"] as "openclaw.gateway.rpc.requests";
    /// Requests of the protocol until their answer.
    HANDLED: Histogram(SECONDS) = "openclaw_gateway_rpc_handler_seconds" ["method"] as "openclaw.gateway.rpc.handler_ms";
    /// Handshakes that were refused by code.
    REFUSED: Counter = "verso_edge_connect_refused" ["code"];
    /// Connections that were let in.
    OPENED: Counter = "verso_edge_connections_opened" [];
    /// Events that slow readers missed.
    DROPPED: Counter = "verso_edge_events_dropped" [];
    /// Events that were queued for connections.
    DELIVERED: Counter = "verso_edge_events_delivered" [];
    /// HTTP requests.
    HTTP: Counter = "verso_edge_http_requests" [];
    /// HTTP requests until their answer began, by route.
    SERVED: Histogram(SECONDS) = "verso_http_request_duration_seconds" ["method", "route", "status"] as "http.server.request.duration";
    /// Established connections.
    CONNECTIONS: Gauge = "verso_edge_connections" [] as "verso.ws.connections";
    /// Sockets that wait for the end of their handshake.
    WAITING: Gauge = "verso_edge_connections_waiting" [];
    /// TCP connections that speak HTTP.
    HTTP_CONNECTIONS: Gauge = "verso_edge_http_connections" [];
    /// Since the edge was started.
    UPTIME: Gauge = "verso_edge_uptime_seconds" [];
    /// Calls of webhooks that were let in.
    WEBHOOKS: Counter = "openclaw_webhook_received" ["channel", "webhook"] as "openclaw.webhook.received";
    /// Calls of webhooks that were answered with an error.
    WEBHOOK_ERRORS: Counter = "openclaw_webhook_error" ["channel", "webhook"] as "openclaw.webhook.error";
    /// Calls of webhooks until their answer.
    WEBHOOK_SECONDS: Histogram(SECONDS) = "openclaw_webhook_duration_seconds" ["channel", "webhook"] as "openclaw.webhook.duration_ms";
    /// Whether a service answers.
    UP: Gauge = "verso_service_up" ["service"];
    /// What runs.
    BUILD: Gauge = "openclaw_gateway_build_info" ["process_instance_id", "version"];
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    PreauthPayload,
    Payload,
    BufferedBytes,
    Handshake,
    Ping,
    UnauthenticatedPerAddress,
    Unauthenticated,
    ConnectionsPerAddress,
    Connections,
    HttpPerAddress,
    Http,
    RequestsPerConnection,
    CallsPerService,
    ControlWrites,
    UnauthorizedCalls,
    FailedAuth,
}

impl Limit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::PreauthPayload => "preauth_payload_bytes",
            Self::Payload => "payload_bytes",
            Self::BufferedBytes => "buffered_bytes",
            Self::Handshake => "handshake_time",
            Self::Ping => "ping",
            Self::UnauthenticatedPerAddress => "unauthenticated_per_address",
            Self::Unauthenticated => "unauthenticated",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::Connections => "connections",
            Self::HttpPerAddress => "http_per_address",
            Self::Http => "http",
            Self::RequestsPerConnection => "requests_per_connection",
            Self::CallsPerService => "calls_per_service",
            Self::ControlWrites => "control_writes_per_minute",
            Self::UnauthorizedCalls => "unauthorized_calls",
            Self::FailedAuth => "failed_auth",
        }
    }
}

/// Counts that a limit was reached.
pub(crate) fn reached(limit: Limit) {
    LIMITS.one_more([limit.as_str()]);
}

#[cfg(test)]
pub(crate) fn times_reached(limit: Limit) -> f64 {
    LIMITS.count([limit.as_str()])
}

/// The code of a request that was answered as asked.
const OK: &str = "ok";

/// Stands for every name that is not in the contract.
const UNKNOWN: &str = "unknown";

/// Counts an answer; without a code it was the one that was asked for.
pub(crate) fn answered(method: &Method, code: Option<verso_protocol::Code>) {
    REQUESTS.one_more([code.map_or(OK, verso_protocol::Code::as_str), method.name]);
}

/// Counts a request that was not let through, whose method may not exist.
pub(crate) fn turned_away(method: &str, code: verso_protocol::Code) {
    REQUESTS.one_more([code.as_str(), find(method).map_or(UNKNOWN, |method| method.name)]);
}

/// Takes down how long a request of the protocol took.
pub(crate) fn handled(method: &Method, elapsed: Duration) {
    HANDLED.observe([method.name], elapsed.as_secs_f64());
}

/// Counts a refused `connect` by the code in its details, or by its own.
pub(crate) fn refused(error: &verso_protocol::ErrorShape) {
    let code = error.detail("code").unwrap_or_else(|| error.code.as_str().to_owned());
    REFUSED.one_more([&code]);
}

/// Counts a connection that was let in.
pub(crate) fn opened() {
    OPENED.one_more([]);
}

/// Counts an event that a slow reader missed.
pub(crate) fn dropped() {
    DROPPED.one_more([]);
}

/// Counts an HTTP request.
pub(crate) fn http_request() {
    HTTP.one_more([]);
}

/// Takes down how long an HTTP request took until its answer began. The route is a pattern, never what a client wrote.
pub(crate) fn served(route: &str, method: &http::Method, status: http::StatusCode, elapsed: Duration) {
    // What nobody has heard of is one of its kind.
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].into_iter().find(|known| *known == method.as_str());
    SERVED.observe([known.unwrap_or(OTHER), route, status.as_str()], elapsed.as_secs_f64());
}

/// Takes down a call of a webhook that knew the secret: `wake`, `agent`, or a name that the operator has mapped.
pub(crate) fn webhook(name: &str, failed: bool, elapsed: Duration) {
    WEBHOOKS.one_more([NONE, name]);
    if failed {
        WEBHOOK_ERRORS.one_more([NONE, name]);
    }
    WEBHOOK_SECONDS.observe([NONE, name], elapsed.as_secs_f64());
}

/// Makes what the edge counts a part of what its process answers.
pub(crate) fn start(gateway: &std::sync::Arc<Gateway>) {
    metrics::register(METRICS);
    BUILD.set([&gateway.boot_id, crate::VERSION], 1.0);
    let gateway = std::sync::Arc::downgrade(gateway);
    metrics::reading(EDGE, move || {
        let Some(gateway) = gateway.upgrade() else { return };
        let (waiting, established, http) = gateway.admission.counts();
        CONNECTIONS.set([], whole(established));
        WAITING.set([], whole(waiting));
        HTTP_CONNECTIONS.set([], whole(http));
        UPTIME.set([], whole(gateway.uptime_ms() / 1_000));
        DELIVERED.read([], whole(gateway.connections.delivered()));
    });
}

/// Asks every process what it counts, and writes it down. One that does not answer in time is missing, and said to be down.
pub(crate) async fn exposition(gateway: &Gateway, exposition: Exposition) -> String {
    let asked = gateway.services.processes().map(|(name, peer)| async move {
        let answer = timeout(PATIENCE, peer.call(MeasureRequest {}, &Caller::default())).await;
        (name, answer.ok().and_then(Result::ok).map(|answer| answer.families))
    });
    let mut answers: BTreeMap<&str, Option<Vec<MetricFamily>>> = join_all(asked).await.into_iter().collect();
    // The supervisor's absence is no fault: others may look after the processes.
    for (name, families) in answers.iter().filter(|(name, families)| **name != "supervisor" || families.is_some()) {
        UP.set([name], if families.is_some() { 1.0 } else { 0.0 });
    }
    UP.set([EDGE], 1.0);
    answers.insert(EDGE, Some(metrics::measure(EDGE).await));
    metrics::render(&merge(answers.into_values().flatten()), exposition)
}
